"""A small shop for the pipeline's tests: records of the four feeds, and a load that skips the front door.

``load`` writes what the front door writes for a batch of valid rows (a ledger entry and raw rows, in one transaction),
so that a test of the build can run hundreds of batches. The front door has tests of its own; the tests that go the
whole way use ``c360 land``'s own functions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from customer360 import warehouse
from customer360.contract.feeds import FEEDS
from customer360.settings import Settings

Record = dict[str, Any]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(day: float) -> str:
    """A time ``day`` days after the shop opened, as feeds write it."""
    return (NOON + timedelta(days=day)).isoformat()


def order(order_id: str, *, day: float = 0, version: float = 0, total: str = "100.00", **fields: Any) -> Record:
    """An order placed on ``day``, in its version of ``version`` days later."""
    return {
        "order_id": order_id,
        "updated_at": at(day + version),
        "ordered_at": at(day),
        "status": "paid",
        "currency": "USD",
        "total_amount": total,
        **fields,
    }


def session(session_id: str, *, day: float = 0, device: str = "d1", **fields: Any) -> Record:
    """A ten-minute visit."""
    return {
        "session_id": session_id,
        "updated_at": at(day + 0.01),
        "anonymous_id": device,
        "started_at": at(day),
        "ended_at": at(day + 600 / 86400),
        "page_views": 5,
        **fields,
    }


def ticket(ticket_id: str, *, day: float = 0, version: float = 0, **fields: Any) -> Record:
    """A question to support."""
    return {
        "ticket_id": ticket_id,
        "updated_at": at(day + version),
        "created_at": at(day),
        "status": "open",
        "channel": "email",
        "category": "question",
        **fields,
    }


def event(event_id: str, minute: float = 0, *, day: float = 0, device: str = "d1", **fields: Any) -> Record:
    """A page view ``minute`` minutes after noon of ``day``."""
    moment = at(day + minute / 1440)
    return {
        "event_id": event_id,
        "updated_at": moment,
        "occurred_at": moment,
        "anonymous_id": device,
        "name": "page_view",
        **fields,
    }


def feed_of(record: Record) -> str:
    """The feed that a record belongs to."""
    return next(feed.name for feed in FEEDS.values() if feed.id_field in record and feed.seen_at in record)


def load(settings: Settings, feed: str, records: Sequence[Record], *, is_history: bool = False) -> int:
    """Load valid records as one batch; returns its id. The content hash is the batch's own: each call is a new file."""
    with warehouse.connect("loader", settings) as connection:
        batch_id: int = warehouse.scalar(
            connection,
            """
            insert into ops.batches (feed, file_name, is_history, state, landed_rows, loaded_rows, loaded_at)
            values (%s, 'of a test', %s, 'loaded', %s, %s, clock_timestamp()) returning batch_id
            """,
            [feed, is_history, len(records), len(records)],
        )
        columns = ", ".join(FEEDS[feed].raw_columns)
        numbered = [{"batch_id": batch_id, "row_number": n, **record} for n, record in enumerate(records, 1)]
        connection.execute(
            warehouse.query(
                f"insert into raw.{feed} ({columns}) "
                f"select {columns} from jsonb_populate_recordset(null::raw.{feed}, %s)"
            ),
            [json.dumps(numbered)],
        )
    return batch_id


def load_all(settings: Settings, records: Sequence[Record], *, is_history: bool = False) -> list[int]:
    """Load records of any feeds, one batch per feed."""
    feeds: dict[str, list[Record]] = {}
    for record in records:
        feeds.setdefault(feed_of(record), []).append(record)
    return [load(settings, feed, rows, is_history=is_history) for feed, rows in feeds.items()]


def rows(settings: Settings, statement: str, role: warehouse.Role = "bi_reader") -> list[tuple[Any, ...]]:
    """What a reader of the given role sees."""
    with warehouse.connect(role, settings) as connection:
        return connection.execute(warehouse.query(statement)).fetchall()
