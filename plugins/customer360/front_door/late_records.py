"""Late records: versions of what is frozen, because raw has let go of it."""

from __future__ import annotations

from datetime import date

from customer360.contract.feeds import FEEDS
from customer360.warehouse import Connection, scalar


def late_count(connection: Connection, feed: str, batch_id: int) -> tuple[int, date | None]:
    """How many rows of a loaded batch are versions of a frozen record, and when history starts."""
    starts_on = history_starts_on(connection)
    if starts_on is None:
        return 0, None
    key = FEEDS[feed].id_field
    count = scalar(
        connection,
        f"select count(*) from raw.{feed} as r where batch_id = %s"
        f" and exists (select from state.frozen_{feed} as frozen where frozen.{key} = r.{key})",
        [batch_id],
    )
    return count, starts_on


def history_starts_on(connection: Connection) -> date | None:
    """The business day before which everything known is frozen; None if nothing ever was."""
    found: date | None = scalar(connection, "select max(history_starts_on) from state.freezes")
    return found
