"""The dirty keys, ``ops.dirty(scope, key)``: what a run has to do, as a set of keys.

Whatever changes a record puts its key here; the publication removes it in its own transaction, so that the work of a
run that failed carries over.
"""

from __future__ import annotations

from typing import Any

from customer360.warehouse import Connection, query

SCOPES = {
    "orders": ("order", "order_id"),
    "web_sessions": ("session", "session_id"),
    "support_tickets": ("ticket", "ticket_id"),
}
"""Feed -> the scope of its ids in ``ops.dirty``, and the column of that id."""


def mark_batch(connection: Connection, feed: str, batch_id: int) -> None:
    """Put the keys of a batch's rows into ``ops.dirty``. The caller holds the writer lock and commits."""
    scope, column = SCOPES[feed]
    mark(connection, scope, f"select distinct {column} from raw.{feed} where batch_id = %s", [batch_id])


def mark(connection: Connection, scope: str, keys: str, parameters: Any) -> None:
    """Put the keys that a query gives into ``ops.dirty``. The caller commits."""
    connection.execute(
        query(
            f"insert into ops.dirty (scope, key) select '{scope}', key from ({keys}) as k (key) on conflict do nothing"
        ),
        parameters,
    )


def analyze(connection: Connection) -> None:
    """Analyze ``ops.dirty``: every model joins it, and the planner must know whether it holds ten keys or a million."""
    connection.execute("analyze ops.dirty")


def analyze_grown_feeds(connection: Connection) -> None:
    """Analyze the raw table of each feed that the claimed batches have made more than a tenth larger.

    Autovacuum comes a minute later: after a first load or a backfill the next run would read the whole table for a
    thousand keys, because nothing says that they are few.
    """
    grown = connection.execute(
        """
        select feed from ops.batches where state = 'loaded' and claimed_at is not null group by feed
        having sum(loaded_rows) > 0.1 * (select reltuples from pg_class where oid = ('raw.' || feed)::regclass)
        """
    ).fetchall()
    for (feed,) in grown:
        connection.execute(query(f"analyze raw.{feed}"))
