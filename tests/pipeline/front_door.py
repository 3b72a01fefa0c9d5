"""Records and files for the tests of the front door, and what they look at afterwards."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from customer360 import warehouse
from customer360.contract.feeds import FEEDS
from customer360.front_door import landing, ledger, load
from customer360.front_door.load import BatchOutcome
from customer360.settings import Settings

Record = dict[str, Any]
ABSENT = ...
"""As a value: the record has no such field."""


def order(number: int = 1, **fields: Any) -> Record:
    """A good order."""
    return _with(
        {
            "order_id": f"o{number}",
            "updated_at": "2026-03-02T10:00:00Z",
            "ordered_at": "2026-03-01T10:00:00+01:00",
            "status": "paid",
            "currency": "USD",
            "total_amount": "12.50",
            "customer_id": f"c{number}",
            "email": f"ann{number}@example.com",
            "items": [{"sku": "tea", "quantity": 2, "unit_price": "6.25"}],
        },
        fields,
    )


def session(number: int = 1, **fields: Any) -> Record:
    """A good session of ten minutes."""
    return _with(
        {
            "session_id": f"s{number}",
            "updated_at": "2026-03-01T10:10:00Z",
            "anonymous_id": f"device{number}",
            "started_at": "2026-03-01T10:00:00Z",
            "ended_at": "2026-03-01T10:10:00Z",
            "page_views": 5,
        },
        fields,
    )


def ticket(number: int = 1, **fields: Any) -> Record:
    """A good ticket."""
    return _with(
        {
            "ticket_id": f"t{number}",
            "updated_at": "2026-03-02T10:00:00Z",
            "created_at": "2026-03-01T10:00:00Z",
            "status": "open",
            "channel": "email",
            "category": "question",
            "customer_id": f"c{number}",
        },
        fields,
    )


def event(number: int = 1, **fields: Any) -> Record:
    """A good page view."""
    return _with(
        {
            "event_id": f"e{number}",
            "occurred_at": "2026-03-01T10:00:00Z",
            "anonymous_id": f"device{number}",
            "name": "page_view",
        },
        fields,
    )


MAKERS: dict[str, Callable[..., Record]] = {
    "orders": order,
    "web_sessions": session,
    "support_tickets": ticket,
    "web_events": event,
}


def _with(record: Record, fields: Record) -> Record:
    return {name: value for name, value in (record | fields).items() if value is not ABSENT}


# --- files -----------------------------------------------------------------------------------------------------------


def jsonl(records: Iterable[Record]) -> bytes:
    """Records as JSON Lines."""
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def csv_text(records: Sequence[Record], delimiter: str = ",", newline: str = "\n") -> bytes:
    """Records as CSV; arrays as JSON in their cells."""
    names = list(dict.fromkeys(name for record in records for name in record))
    out = io.StringIO()
    # Python 3.11 leaves a carriage return without quotes when lines end in a line feed.
    has_return = "\r" in repr(records) or "\\r" in repr(records)
    quoting: Literal[0, 1] = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=delimiter, lineterminator=newline, quoting=quoting)
    writer.writerow(names)
    for record in records:
        writer.writerow([_cell(record.get(name)) for name in names])
    return out.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def parquet(records: Sequence[Record]) -> bytes:
    """Records as Parquet, in the types that pyarrow finds (text for times and money that are text)."""
    names = list(dict.fromkeys(name for record in records for name in record))
    table = pa.table({name: pa.array([record.get(name) for record in records]) for name in names})
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


WRITERS: dict[str, Callable[[Sequence[Record]], bytes]] = {"jsonl": jsonl, "csv": csv_text, "parquet": parquet}


def drop(settings: Settings, feed: str, name: str, content: bytes) -> Path:
    """Put bytes into the landing zone as a producer does: write elsewhere, rename in."""
    landing.prepare(settings)
    target = Path(settings.landing_url) / feed / name
    partial = target.with_name(f".{target.name}.part")
    partial.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    partial.rename(target)
    return target


def ingest_one(settings: Settings, feed: str, name: str, content: bytes) -> BatchOutcome:
    """Land bytes and ingest; what became of the one batch. The ledger balances afterwards."""
    drop(settings, feed, name, content)
    (outcome,) = load.ingest(settings).batches
    assert_balanced(settings)
    return outcome


# --- what is there ---------------------------------------------------------------------------------------------------


def assert_balanced(settings: Settings) -> None:
    """The ledger's equation holds, and raw and quarantine hold what the ledger says."""
    with warehouse.connect("owner", settings) as connection:
        assert ledger.check(connection) == []


def reasons(settings: Settings) -> dict[int, list[str]]:
    """Row of the file -> the messages of its reasons, for all open rows."""
    with warehouse.connect("oncall", settings) as connection:
        rows = connection.execute(
            "select row_number, reasons from quarantine.rows where state = 'open' order by batch_id, row_number"
        ).fetchall()
    return {row: [reason["message"] for reason in told] for row, told in rows}


def raw_rows(settings: Settings, feed: str, columns: str = "", order_by: str = "") -> list[tuple[Any, ...]]:
    """The feed's raw rows without their batch, numbers as text without trailing zeros."""
    content = columns or ", ".join(field.name for field in FEEDS[feed].fields) + ", extra"
    with warehouse.connect("owner", settings) as connection:
        found = connection.execute(
            warehouse.query(f"select {content} from raw.{feed} order by {order_by or FEEDS[feed].id_field}")
        ).fetchall()
    return [tuple(format(v.normalize(), "f") if isinstance(v, Decimal) else v for v in row) for row in found]


def batches(settings: Settings) -> list[ledger.Batch]:
    """The whole ledger."""
    with warehouse.connect("oncall", settings) as connection:
        return ledger._batches(connection, "true", [])
