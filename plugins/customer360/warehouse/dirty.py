"""The dirty keys, ``ops.dirty(scope, key)``: what a run has to do, as a set of keys.

Whatever changes a record puts its key here; the publication removes it in its own transaction, so that the work of a
run that failed carries over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from customer360.contract.feeds import FEEDS, Feed
from customer360.settings import Settings
from customer360.warehouse import Connection, connect, query

KEY_TYPES = {feed.scope: "text" for feed in FEEDS.values()} | {
    "attribution": "text",
    "stream": "bigint",
    "customer": "bigint",
    "day": "date",
}
"""Scope -> the type that its keys, text in ``ops.dirty``, have in the tables."""


def keys(scope: str) -> str:
    """SQL: the dirty keys of a scope, as a subquery in the type of the columns that they are compared with."""
    return f"(select key::{KEY_TYPES[scope]} from ops.dirty where scope = '{scope}')"


def mark_batches(connection: Connection, feed: Feed, batch_ids: Sequence[int]) -> None:
    """Put the record keys of batches' rows into ``ops.dirty``. The caller holds the writer lock and commits."""
    mark(
        connection,
        feed.scope,
        f"select distinct {feed.key} from raw.{feed.name} where batch_id = any(%s)",
        [list(batch_ids)],
    )


def mark(connection: Connection, scope: str, keys: str, parameters: Any) -> None:
    """Put the keys that a query gives into ``ops.dirty``. The caller commits."""
    connection.execute(
        query(
            f"insert into ops.dirty (scope, key) select '{scope}', key from ({keys}) as k (key) on conflict do nothing"
        ),
        parameters,
    )


def mark_staged(settings: Settings, feed: Feed, batch_id: int) -> None:
    """Put the record keys that staging has of a batch into ``ops.dirty``: raw may have lost them. Commits by itself."""
    with connect("transformer", settings) as connection:
        found = connection.execute("select to_regclass(%s)", [f"staging.{feed.staged}"]).fetchone()
        if found and found[0]:
            mark(
                connection,
                feed.scope,
                f"select distinct {feed.key} from staging.{feed.staged} where batch_id = %s",
                [batch_id],
            )


def analyze(connection: Connection) -> None:
    """Analyze ``ops.dirty``: every model joins it, and the planner must know whether it holds ten keys or a million."""
    connection.execute("analyze ops.dirty")


def vacuum(connection: Connection) -> None:
    """Make room of the keys that the publication took out of ``ops.dirty``.

    Every statement of a run reads that table; under steady load a minute until autovacuum comes is a dozen runs, and
    each would walk over the keys of all of them.
    """
    connection.execute("vacuum ops.dirty")


def analyze_grown_feeds(connection: Connection) -> None:
    """Analyze the raw table of each feed that the claimed batches have made more than a tenth larger.

    Autovacuum comes a minute later: after a first load or a backfill the next run would read the whole table for a
    thousand keys, because nothing says that they are few.
    """
    grown = connection.execute(
        """
        select feed from ops.unpublished_batches where is_claimed group by feed
        having sum(loaded_rows) > 0.1 * (select reltuples from pg_class where oid = ('raw.' || feed)::regclass)
        """
    ).fetchall()
    for (feed,) in grown:
        connection.execute(query(f"analyze raw.{feed}"))
