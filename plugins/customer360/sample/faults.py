"""``--faults``: what goes wrong with real feeds, each case written down in ``truth/faults.json``.

Bad rows of every rule, lines that are no records, the same row twice, the same rows in another file, a file sent
again, records that come months late, corrections of old orders, two contents for one version, unknown fields, and
files that cannot be read. The truth's totals are those of the good records, corrections included.
"""

from __future__ import annotations

import gzip
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from customer360.sample.bad_rows import BAD_ROWS, BROKEN_LINES
from customer360.sample.calendar import DAY, Calendar, as_datetime
from customer360.sample.columns import Bools, Ints
from customer360.sample.manifest import FEEDS, Expected, SampleFile
from customer360.sample.orders import DELIVERED, Versions
from customer360.sample.truth import Totals, write_json
from customer360.sample.writing import FeedWriter, Row, fresh_format, fresh_path, json_row, write_rows

KEPT_BACK = 12
"""Old orders (sessions, tickets) that arrive only with the last fresh batch."""
CORRECTED = 12
UNREFUNDED = 3
REPEATED_ROWS = 3
COPIED_ROWS = 10
UNKNOWN_FIELDS = 5
OLD_ORDER_DAYS = 3 * 365
CONTESTED_FIELDS = {"orders": "region", "web_sessions": "landing_page", "support_tickets": "subject"}
"""Two contents of one version differ in a field that no total is made of: which of them wins is for the warehouse."""
ID_FIELDS = {"orders": "order_id", "web_sessions": "session_id", "support_tickets": "ticket_id"}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. ``row_number`` counts records from 1; it is null where the whole file is meant.

    ``kind``: bad_row (goes to quarantine for ``rule`` in ``field``), bad_line, repeated_row, copied_row, late,
    correction, conflict, unknown_field, duplicate_file, refused_file.
    """

    path: str
    row_number: int | None
    feed: str
    kind: str
    record_id: str | None = None
    field: str | None = None
    rule: str | None = None


class Keeper:
    """Keeps back what shall come late, and remembers old orders that shall be corrected; out of the first chunk."""

    def __init__(self, calendar: Calendar, fresh_from: int) -> None:
        span = fresh_from - calendar.start
        self._late_before = fresh_from - min(150 * DAY, span // 2)
        self._old_before = fresh_from - min(30 * DAY, span // 4)
        self.late: dict[str, list[dict[str, Any]]] = {}
        self.to_correct: list[dict[str, Any]] = []
        self.to_unrefund: list[dict[str, Any]] = []

    def keep(self, feed: str, versions: Versions) -> Bools:
        """Which records not to write with the others."""
        last = np.flatnonzero(versions.is_last())
        quiet = last[versions.updated[last] < self._late_before]
        late = _some(quiet, KEPT_BACK)
        back = np.isin(versions.entity, versions.entity[late])
        self.late[feed] = versions.table.take(pa.array(np.flatnonzero(back))).to_pylist()
        if feed == "orders":
            self._remember(versions, last[~np.isin(last, late)])
        return back

    def _remember(self, versions: Versions, last: Ints) -> None:
        value = versions.measures
        settled = (versions.updated[last] < self._old_before) & (value["status"][last] == DELIVERED)
        refunded = value["refunded_amount"][last] > 0
        plain = last[settled & ~refunded & (value["total_amount"][last] >= 200)]
        self.to_correct = versions.table.take(pa.array(_some(plain, CORRECTED))).to_pylist()
        self.to_unrefund = versions.table.take(pa.array(_some(last[settled & refunded], UNREFUNDED))).to_pylist()


def _some(rows: Ints, wanted: int) -> Ints:
    """So many of the rows, evenly spread."""
    if len(rows) <= wanted:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, wanted).astype(np.int64)])


class _Book:
    """Fresh rows under way into files, with the faults among them. Rows get their numbers when all are in."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], list[tuple[Row, Fault | None]]] = defaultdict(list)

    def add(self, batch: int, feed: str, row: Row, kind: str, place: int | None = None, **about: str | None) -> None:
        rows = self.rows[batch, feed]
        record_id = row.get(ID_FIELDS[feed]) if isinstance(row, dict) else None
        fault = Fault("", None, feed, kind, record_id=record_id, **about)
        rows.insert(len(rows) if place is None else min(place, len(rows)), (row, fault))


def write_fresh(
    rng: np.random.Generator,
    out: Path,
    batches: dict[tuple[int, str], pa.Table],
    edges: Ints,
    formats: tuple[str, ...],
    keeper: Keeper,
    totals: Totals,
) -> list[SampleFile]:
    """Write the fresh batches with their faults, and ``truth/faults.json``.

    Batches written as Parquet have typed columns and stay whole; the faults are in those of JSON Lines and CSV.
    """
    columns = {feed: table.column_names for (_, feed), table in batches.items()}
    numbers = sorted({batch for batch, _ in batches})
    if not numbers:
        write_json(out / "truth" / "faults.json", [])
        return []
    form = {key: _format(key, formats) for key in batches}
    book = _Book()
    for key, table in batches.items():
        if form[key] != "parquet":
            book.rows[key] = [(row, None) for row in table.to_pylist()]
    text = {feed: [batch for batch, name in book.rows if name == feed and book.rows[batch, name]] for feed in FEEDS}
    for feed in FEEDS:
        if text[feed]:
            _disturb(rng, book, feed, text[feed], form)
            _come_late(book, feed, text[feed][-1], keeper, totals, int(edges[-1]))
    if text["orders"]:
        _correct(book, text["orders"], keeper, totals, edges)
    files: list[SampleFile] = []
    faults: list[Fault] = []
    for key in sorted(batches, key=lambda k: (k[0], FEEDS.index(k[1]))):
        batch, feed = key
        path = fresh_path(batch, feed, edges, form[key])
        if form[key] == "parquet":
            with FeedWriter(out / path, "parquet") as writer:
                writer.write(batches[key])
            files.append(SampleFile(feed, path, batch, "loaded", batches[key].num_rows))
        else:
            file, found = _write_book(out, path, key, form[key], columns[feed], book)
            files.append(file)
            faults.extend(found)
    extra, found = _spoilt_files(out, files, batches, edges)
    write_json(out / "truth" / "faults.json", [asdict(fault) for fault in (*faults, *found)])
    return sorted([*files, *extra], key=lambda file: (file.batch, FEEDS.index(file.feed), file.path))


def _format(key: tuple[int, str], formats: tuple[str, ...]) -> str:
    """The formats go round as in a sample without faults; where all are Parquet, JSON Lines takes the first batch."""
    batch, feed = key
    chosen = fresh_format(batch, feed, formats)
    return "jsonl" if batch == 1 and chosen == "parquet" and set(formats) == {"parquet"} else chosen


def _disturb(
    rng: np.random.Generator, book: _Book, feed: str, batches: list[int], form: dict[tuple[int, str], str]
) -> None:
    """Bad rows and lines, repeated, copied and conflicting rows, unknown fields: in turn over the feed's batches."""
    good = {batch: [row for row, _ in book.rows[batch, feed] if isinstance(row, dict)] for batch in batches}
    turn = itertools.cycle(batches)
    for number, bad in enumerate(BAD_ROWS[feed]):
        batch = next(turn)
        row = dict(good[batch][int(rng.integers(len(good[batch])))])
        row[ID_FIELDS[feed]] = f"BAD-{feed}-{number}"
        bad.breaks(row)
        place = int(rng.integers(len(book.rows[batch, feed]) + 1))
        book.add(batch, feed, row, "bad_row", place, field=bad.field, rule=bad.rule)
    for batch in batches:
        for broken in BROKEN_LINES:
            if form[batch, feed].startswith(broken.formats):
                book.add(batch, feed, broken.line, "bad_line", rule="line")
    first = batches[0]
    for row in good[first][:REPEATED_ROWS]:
        book.add(first, feed, dict(row), "repeated_row")
    if len(batches) > 1:
        for row in good[first][-COPIED_ROWS:]:
            book.add(batches[1], feed, dict(row), "copied_row")
    odd = dict(good[first][-1])
    odd[CONTESTED_FIELDS[feed]] = "otherwise"
    book.add(batches[-1], feed, odd, "conflict")
    extra = next((batch for batch in batches if form[batch, feed].startswith("jsonl")), None)
    if extra is not None:
        # Not among the rows that are repeated or copied: those have to stay equal to their copies.
        plain = [place for place, (_, fault) in enumerate(book.rows[extra, feed]) if fault is None]
        for place in plain[REPEATED_ROWS:-COPIED_ROWS][:UNKNOWN_FIELDS]:
            known = book.rows[extra, feed][place][0]
            if isinstance(known, dict):
                told = Fault("", None, feed, "unknown_field", record_id=known[ID_FIELDS[feed]], field="shop_floor")
                book.rows[extra, feed][place] = ({**known, "shop_floor": "ground"}, told)


def _come_late(book: _Book, feed: str, batch: int, keeper: Keeper, totals: Totals, end: int) -> None:
    for row in keeper.late.get(feed, []):
        book.add(batch, feed, row, "late")
    if feed == "orders" and keeper.to_correct:
        old = _three_years_ago(keeper.to_correct[0], end)
        totals.add_order(old["currency"], "delivered", _hundredths(old["total_amount"]))
        book.add(batch, feed, old, "late")


def _three_years_ago(like: dict[str, Any], end: int) -> dict[str, Any]:
    at = as_datetime(end - OLD_ORDER_DAYS * DAY)
    amount = Decimal("25.00")
    return {
        **like,
        "order_id": "O-FROM-LONG-AGO",
        "ordered_at": at,
        "updated_at": at + timedelta(days=3),
        "total_amount": amount,
        "discount_amount": None,
        "shipping_amount": None,
        "tax_amount": None,
        "items": None,
        "refunds": None,
        "coupon_code": None,
        "promised_delivery_at": None,
        "delivered_at": at + timedelta(days=3),
    }


def _correct(book: _Book, batches: list[int], keeper: Keeper, totals: Totals, edges: Ints) -> None:
    """Old orders whose amount or refund turns out to have been wrong: a later version says so."""
    turn = itertools.cycle(batches)
    for row in keeper.to_correct:
        batch = next(turn)
        discount = row["discount_amount"] or Decimal(0)
        changed = {
            **row,
            "updated_at": _within(edges, batch),
            "total_amount": row["total_amount"] - 1,
            "discount_amount": discount + 1,
        }
        totals.adjust(row["currency"], total_amount=-100, gross_amount=-100, discount_amount=100)
        book.add(batch, "orders", changed, "correction", field="total_amount")
    for row in keeper.to_unrefund:
        batch = next(turn)
        refunded = sum(_hundredths(refund["amount"]) for refund in row["refunds"])
        totals.adjust(row["currency"], refunded_amount=-refunded)
        changed = {**row, "updated_at": _within(edges, batch), "refunds": None}
        book.add(batch, "orders", changed, "correction", field="refunds")


def _within(edges: Ints, batch: int) -> Any:
    return as_datetime(int(edges[batch - 1] + edges[batch]) // 2)


def _hundredths(amount: Decimal) -> int:
    return int(amount.scaleb(2))


def _write_book(
    out: Path, path: str, key: tuple[int, str], file_format: str, columns: Sequence[str], book: _Book
) -> tuple[SampleFile, list[Fault]]:
    batch, feed = key
    entries = book.rows[key]
    write_rows(out / path, file_format, columns, (row for row, _ in entries), dressed=batch == 2)
    found = [
        replace(fault, path=path, row_number=number)
        for number, (_, fault) in enumerate(entries, start=1)
        if fault is not None
    ]
    bad = sum(fault.kind in ("bad_row", "bad_line") for fault in found)
    texts = [
        json_row(row) for row, fault in entries if isinstance(row, dict) and (fault is None or fault.kind != "bad_row")
    ]
    repeated = len(texts) - len(set(texts))
    return SampleFile(feed, path, batch, "loaded", len(entries), bad_rows=bad, repeated_rows=repeated), found


def _spoilt_files(
    out: Path, files: list[SampleFile], batches: dict[tuple[int, str], pa.Table], edges: Ints
) -> tuple[list[SampleFile], list[Fault]]:
    """A file sent again under another name, and files that must be refused whole; all with the second batch."""
    made: list[SampleFile] = []
    faults: list[Fault] = []
    batch = 2 if any(file.batch == 2 for file in files) else files[0].batch

    def spoil(feed: str, name: str, content: bytes, expected: Expected, rule: str) -> None:
        path = fresh_path(batch, feed, edges, "").removesuffix(".") + "-" + name
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(content)
        made.append(SampleFile(feed, path, batch, expected, 0))
        kind = "duplicate_file" if expected == "duplicate" else "refused_file"
        faults.append(Fault(path, None, feed, kind, rule=rule))

    for feed in FEEDS:
        first = next((file for file in files if file.feed == feed), None)
        table = next((table for (_, name), table in batches.items() if name == feed), None)
        if first is None or table is None:
            continue
        ending = first.path.split(".", 1)[1]
        spoil(feed, f"again.{ending}", (out / first.path).read_bytes(), "duplicate", "same content")
        rows = table.slice(0, 5).to_pylist()
        short = [{name: value for name, value in row.items() if name != "updated_at"} for row in rows]
        lines = "\n".join(json_row(row) for row in short).encode()
        spoil(feed, "column-missing.jsonl", lines, "refused", "required column missing: updated_at")
    whole = "\n".join(json_row(row) for row in next(iter(batches.values())).slice(0, 50).to_pylist()).encode()
    packed = gzip.compress(whole, mtime=0)
    feed = next(iter(batches))[1]
    spoil(feed, "empty.jsonl", b"", "refused", "empty file")
    spoil(feed, "cut-short.jsonl.gz", packed[: len(packed) // 2], "refused", "unreadable file")
    spoil(feed, "no-parquet.parquet", b"PAR1 nothing of the kind PAR1", "refused", "unreadable file")
    spoil(feed, "table.xlsx", b"PK\x03\x04 a spreadsheet", "refused", "wrong extension")
    return made, faults
