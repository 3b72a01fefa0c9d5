"""``generate``: a shop with a known truth, written as the feeds that its systems would land."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from customer360.progress import Progress, Silent
from customer360.sample import faults as fault_rows
from customer360.sample.calendar import DAY, Calendar, as_datetime, make_calendar, stamp
from customer360.sample.catalogue import CURRENCY_UNITS, Catalogue, make_catalogue
from customer360.sample.columns import Bools, Ints
from customer360.sample.journey import Journey, simulate
from customer360.sample.manifest import (
    FEEDS,
    SampleError,
    SampleFile,
    SampleManifest,
    claim_directory,
    write_manifest,
)
from customer360.sample.orders import Orders, Versions, make_orders, order_versions
from customer360.sample.people import EASY, HARD, Names, People, make_people, write_names
from customer360.sample.sessions import Sessions, make_sessions, session_versions
from customer360.sample.tickets import Tickets, make_tickets, ticket_versions
from customer360.sample.truth import (
    Totals,
    TruthWriter,
    identifier_rows,
    model,
    people_table,
    record_rows,
    session_people,
    write_json,
)
from customer360.sample.writing import FeedWriter, check_formats, fresh_format, fresh_path

CHUNK = 10_000
"""People made at a time. It bounds the memory, and it belongs to the outcome: another size gives another shop."""
_IDS_PER_CHUNK = 10_000_000
HISTORY_ROWS_PER_FILE = 400_000
"""A larger history is cut into more files, so that no batch grows past some hundred megabytes."""
YEARLY_ORDERS = 9.5
"""Orders a year of an average customer who has not left. With those who leave, people place about 4.6 in a year of
the sample and 7.2 in two; 16 gives about ten in two."""

HistoryVersions = Literal["all", "latest"]


@dataclass(frozen=True)
class _Chunk:
    people: People
    names: Names
    journey: Journey
    orders: Orders
    sessions: Sessions
    tickets: Tickets
    versions: dict[str, Versions]


def generate(
    customers: int,
    days: int,
    until: date | datetime | None,
    seed: int,
    out: Path,
    *,
    faults: bool = False,
    fresh_batches: int = 5,
    fresh_days: float | None = None,
    hard_identity: bool = False,
    formats: Sequence[str] = ("jsonl.gz", "csv", "parquet"),
    fresh_formats: Sequence[str] = ("jsonl", "csv", "parquet"),
    history_files: int = 3,
    history_versions: HistoryVersions = "all",
    currencies: Sequence[str] = ("USD",),
    orders_per_year: float = YEARLY_ORDERS,
    progress: Progress | None = None,
) -> SampleManifest:
    """Write a sample of ``customers`` people over ``days`` days to the empty or new directory ``out``.

    The sample ends with the day ``until`` (a datetime is the exact end; None, or a day that is not over, ends now,
    because the front door refuses orders from the future). The last ``fresh_days`` (one per batch unless said, never
    more than half of the days) are cut into ``fresh_batches`` pieces of equal time; what changed before is history:
    with ``history_versions="latest"`` one record per id as a database dump has it, with "all" every version.
    The same arguments give the same bytes.

    Raises SampleError for arguments that make no sample and for a directory that already holds something.
    """
    _check(customers, days, seed, fresh_batches, history_files, currencies, orders_per_year)
    check_formats(formats)
    check_formats(fresh_formats)
    end = _end(until)
    start = end - timedelta(days=days)
    claim_directory(out)
    fresh_span = min(fresh_days if fresh_days is not None else float(fresh_batches), days / 2) if fresh_batches else 0.0
    calendar = make_calendar(start, end)
    edges = np.linspace(calendar.end - fresh_span * DAY, calendar.end, fresh_batches + 1).astype(np.int64)
    expected_rows = customers * orders_per_year * days / 365 * (4 if history_versions == "all" else 1)
    pieces = max(history_files, math.ceil(expected_rows / HISTORY_ROWS_PER_FILE))
    rates = HARD if hard_identity else EASY
    currencies = tuple(currencies)
    catalogue = make_catalogue(seed)
    totals = Totals(currencies)
    truth = TruthWriter(out / "truth")
    history = _History(out, calendar, int(edges[0]), pieces, tuple(formats), history_versions)
    fresh: dict[tuple[int, str], list[pa.Table]] = defaultdict(list)
    keeper = fault_rows.Keeper(calendar, int(edges[0])) if faults else None
    chunks = math.ceil(customers / CHUNK)
    watcher = progress or Silent()
    watcher.stage("make customers", total=chunks)
    try:
        for number in range(chunks):
            size = min(CHUNK, customers - number * CHUNK)
            chunk = _make_chunk(seed, number, size, calendar, catalogue, currencies, orders_per_year, rates)
            _count(totals, chunk)
            _tell_truth(truth, chunk, calendar)
            for feed, versions in chunk.versions.items():
                kept = np.ones(len(versions.entity), dtype=bool)
                if keeper is not None and number == 0:
                    kept = ~keeper.keep(feed, versions)
                history.write(feed, versions, kept & (versions.updated < edges[0]))
                _sort_into_batches(fresh, feed, versions, kept, edges)
            watcher.step(f"{number * CHUNK + size:,} of {customers:,} customers")
    finally:
        truth.close()
        history.close()
    watcher.stage("write fresh batches")
    batches = _in_time_order(fresh)
    if keeper is None:
        files = _write_fresh(out, batches, edges, tuple(fresh_formats))
    else:
        rng = np.random.default_rng([seed, 8001])
        files = fault_rows.write_fresh(rng, out, batches, edges, tuple(fresh_formats), keeper, totals)
    write_json(out / "truth" / "model.json", model(hard_identity, asdict(rates)))
    write_json(out / "truth" / "totals.json", totals.as_dict())
    manifest = SampleManifest(
        out=Path(out),
        source="generated",
        seed=seed,
        customers=customers,
        start_at=start,
        end_at=end,
        fresh_from=as_datetime(int(edges[0])),
        has_faults=faults,
        has_hard_identity=hard_identity,
        files=(*history.files(), *files),
        totals=totals.as_dict(),
    )
    write_manifest(manifest)
    return manifest


def _check(
    customers: int,
    days: int,
    seed: int,
    fresh_batches: int,
    history_files: int,
    currencies: Sequence[str],
    orders_per_year: float,
) -> None:
    if customers < 1 or days < 2:
        raise SampleError("A sample needs at least 1 customer and 2 days.", "Give --customers and --days.")
    if customers > 10_000_000 or days > 10_950:
        raise SampleError("A sample has at most 10,000,000 customers and 10,950 days.", "Ask for less.")
    if seed < 0:
        raise SampleError("A seed is a whole number from 0 on.", "Give --seed 1, for instance.")
    if fresh_batches < 0 or history_files < 1:
        raise SampleError("A sample needs at least one history file, and no fewer than 0 fresh batches.")
    if not 0 < orders_per_year <= 1_000:
        raise SampleError("Orders per year have to be above 0 and at most 1,000.")
    unknown = [code for code in currencies if code not in CURRENCY_UNITS]
    if unknown or not currencies:
        known = ", ".join(CURRENCY_UNITS)
        raise SampleError(f"The sample shop has no prices in {', '.join(unknown) or 'no currency'}.", f"Known: {known}")


def _end(until: date | datetime | None) -> datetime:
    """The sample's end in UTC, exclusive, never later than now."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    if until is None:
        return now
    if isinstance(until, datetime):
        if until.tzinfo is None:
            raise SampleError(f"{until} has no time zone.", "Add one: 2026-01-31T00:00:00+00:00")
        return until.astimezone(UTC).replace(microsecond=0)
    whole_day = datetime(until.year, until.month, until.day, tzinfo=UTC) + timedelta(days=1)
    if whole_day - timedelta(days=1) > now:
        raise SampleError(f"{until} has not begun yet.", "Orders from the future are refused: give a day up to today.")
    return min(whole_day, now)


def _make_chunk(
    seed: int,
    number: int,
    size: int,
    calendar: Calendar,
    catalogue: Catalogue,
    currencies: tuple[str, ...],
    orders_per_year: float,
    rates: object,
) -> _Chunk:
    # A stream of its own for each step: a change in one step leaves the others' luck alone.
    rngs = [np.random.default_rng([seed, 1, number, step]) for step in range(5)]
    first_id = number * _IDS_PER_CHUNK + 1
    people = make_people(rngs[0], number * CHUNK + 1, size, calendar, orders_per_year, rates)  # type: ignore[arg-type]
    journey = simulate(rngs[1], people, calendar)
    names = write_names(people)
    orders = make_orders(rngs[2], people, journey, calendar, catalogue, currencies, first_id)
    sessions = make_sessions(rngs[3], people, orders, calendar, first_id)
    tickets = make_tickets(rngs[4], people, orders, calendar, first_id)
    versions = {
        "orders": order_versions(orders, people, names, catalogue, currencies, calendar.end),
        "web_sessions": session_versions(sessions, orders, names, calendar.end),
        "support_tickets": ticket_versions(tickets, orders, names, currencies, calendar.end),
    }
    return _Chunk(people, names, journey, orders, sessions, tickets, versions)


def _count(totals: Totals, chunk: _Chunk) -> None:
    totals.add_orders(chunk.versions["orders"])
    totals.add_sessions(chunk.versions["web_sessions"])
    totals.add_tickets(chunk.versions["support_tickets"])


def _tell_truth(truth: TruthWriter, chunk: _Chunk, calendar: Calendar) -> None:
    names, versions = chunk.names, chunk.versions
    behind = {
        "orders": (chunk.orders.ids(), names.person.take(pa.array(chunk.journey.person))),
        "web_sessions": (chunk.sessions.ids(), session_people(chunk.sessions, names)),
        "support_tickets": (chunk.tickets.ids(), names.person.take(pa.array(chunk.tickets.person))),
    }
    truth.write("people", people_table(chunk.people, chunk.journey, names, calendar.end))
    for feed, (ids, people_ids) in behind.items():
        truth.write("records", record_rows(feed, ids, people_ids, versions[feed]))
    shown = [
        (chunk.orders.identity, chunk.journey.person, _seen(versions["orders"])),
        (chunk.sessions.identity, chunk.sessions.person, _seen(versions["web_sessions"])),
        (chunk.tickets.identity, chunk.tickets.person, _seen(versions["support_tickets"])),
    ]
    truth.write("identifiers", identifier_rows(chunk.people, names, shown))


def _seen(versions: Versions) -> Ints:
    return versions.entity[versions.is_last()]


class _History:
    """The files of what was before the fresh batches: cut by time, each open from its first row to the end."""

    def __init__(
        self, out: Path, calendar: Calendar, until: int, pieces: int, formats: tuple[str, ...], kept: HistoryVersions
    ) -> None:
        self._out, self._start, self._until = out, calendar.start, until
        self._pieces, self._formats, self._kept = pieces, formats, kept
        self._writers: dict[tuple[str, int], FeedWriter] = {}
        self._stack = ExitStack()

    def write(self, feed: str, versions: Versions, wanted: Bools) -> None:
        rows = np.flatnonzero(wanted)
        if self._kept == "latest" and len(rows):
            entity = versions.entity[rows]
            rows = rows[np.append(entity[1:] != entity[:-1], True)]
        share = (versions.updated[rows] - self._start) * self._pieces // max(self._until - self._start, 1)
        piece = np.clip(share, 0, self._pieces - 1)
        for number in np.unique(piece):
            table = versions.table.take(pa.array(rows[piece == number]))
            self._writer(feed, int(number)).write(table)

    def _writer(self, feed: str, number: int) -> FeedWriter:
        key = (feed, number)
        if key not in self._writers:
            file_format = self._formats[number % len(self._formats)]
            end = self._start + (self._until - self._start) * (number + 1) // self._pieces
            path = self._out / "history" / feed / f"{feed}-history-{stamp(end)}.{file_format}"
            self._writers[key] = self._stack.enter_context(FeedWriter(path, file_format))
        return self._writers[key]

    def files(self) -> list[SampleFile]:
        return [
            SampleFile(feed, str(writer.path.relative_to(self._out)), 0, "loaded", writer.rows)
            for (feed, _), writer in sorted(
                self._writers.items(), key=lambda item: (FEEDS.index(item[0][0]), item[0][1])
            )
        ]

    def close(self) -> None:
        self._stack.close()


def _sort_into_batches(
    fresh: dict[tuple[int, str], list[pa.Table]], feed: str, versions: Versions, kept: Bools, edges: Ints
) -> None:
    rows = np.flatnonzero(kept & (versions.updated >= edges[0]))
    batch = np.clip(np.searchsorted(edges, versions.updated[rows], side="right"), 1, max(len(edges) - 1, 1))
    for number in np.unique(batch):
        fresh[int(number), feed].append(versions.table.take(pa.array(rows[batch == number])))


def _in_time_order(fresh: dict[tuple[int, str], list[pa.Table]]) -> dict[tuple[int, str], pa.Table]:
    """One table per batch and feed, in the order in which the shop's systems wrote it."""
    ordered = {}
    for key in sorted(fresh, key=lambda k: (k[0], FEEDS.index(k[1]))):
        table = pa.concat_tables(fresh[key])
        id_column = table.column_names[0]
        ordered[key] = table.sort_by([("updated_at", "ascending"), (id_column, "ascending")]).combine_chunks()
    return ordered


def _write_fresh(
    out: Path, batches: dict[tuple[int, str], pa.Table], edges: Ints, formats: tuple[str, ...]
) -> list[SampleFile]:
    files = []
    for (batch, feed), table in batches.items():
        file_format = fresh_format(batch, feed, formats)
        path = fresh_path(batch, feed, edges, file_format)
        with FeedWriter(out / path, file_format) as writer:
            writer.write(table)
        files.append(SampleFile(feed, path, batch, "loaded", table.num_rows))
    return files
