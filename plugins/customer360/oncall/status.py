"""``c360 status``: what waits, what went wrong, how old the tables are, and which command mends what.

What is wrong is asked of the same conditions that wake on-call (:mod:`customer360.oncall.conditions`), at this moment,
so that the answer does not depend on a monitor that runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from psycopg.rows import dict_row

from customer360 import wake, warehouse
from customer360.contract.feeds import FEEDS
from customer360.front_door import quarantine
from customer360.front_door.late_records import history_starts_on
from customer360.oncall import airflow_conditions, conditions, freshness, incidents, receiver_conditions
from customer360.receiver import spool
from customer360.settings import Settings
from customer360.warehouse import Connection, query, scalar

Row = dict[str, Any]

# A BI query that is open for longer than this is told: it may keep a table from getting a new column.
_LONG_QUERY_SECONDS = 60


@dataclass
class Status:
    """The state of the pipeline at one moment. Every list is of plain rows, for --json."""

    writer: str
    """Who holds the lease of the writer now, and where; empty if it is free."""
    is_daily_due: bool
    is_whole_build_due: bool
    history_starts_on: date | None = None
    """What was known before this day has left raw and is frozen; null: raw has all."""
    feeds: list[Row] = field(default_factory=list)
    webhooks: list[Row] = field(default_factory=list)
    """What each hook has received, and what of it waits in the spool."""
    dirty: dict[str, int] = field(default_factory=dict)
    unusable: list[Row] = field(default_factory=list)
    """Optional fields that cost themselves: rows of the last seven days that were loaded without one, by rule."""
    troubled: list[Row] = field(default_factory=list)
    """Batches that failed, were refused without a successor, or are held."""
    quarantined: list[Row] = field(default_factory=list)
    """Open rows in quarantine per feed, with the commonest reasons."""
    runs: list[Row] = field(default_factory=list)
    publications: list[Row] = field(default_factory=list)
    readers: list[Row] = field(default_factory=list)
    incidents: list[Row] = field(default_factory=list)
    """What is wrong now, each with its runbook and the command that fixes it; its number once the monitor saw it."""
    freshness: list[Row] = field(default_factory=list)
    """How old each feed and table was at the monitor's last look, against its objective, with the error budget."""

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return not self.incidents


def status(settings: Settings) -> Status:
    """Look at the landing zone, the ledger, the runs and the conditions of on-call. Reads only."""
    groups = [warehouse.role_name("bi_reader", settings), warehouse.role_name("pii_reader", settings)]
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        found = Status(
            writer=warehouse.holder(connection),
            is_daily_due=wake.is_daily_due(settings),
            is_whole_build_due=not scalar(connection, "select exists (select from ops.live_build)")
            and scalar(connection, "select exists (select from ops.batches where claimed_at is not null)"),
            history_starts_on=history_starts_on(connection),
            feeds=_feeds(connection, settings),
            webhooks=_webhooks(settings),
            dirty=dict(connection.execute("select scope, count(*) from ops.dirty group by scope").fetchall()),
            unusable=_rows(connection, _UNUSABLE),
            troubled=_rows(connection, _TROUBLED),
            runs=_rows(connection, _RUNS),
            publications=_rows(connection, _PUBLICATIONS),
            readers=_rows(connection, _READERS, [groups, _LONG_QUERY_SECONDS]),
        )
    with warehouse.connect("oncall", settings) as connection:
        seen = conditions.look(conditions.View(connection, settings)) + airflow_conditions.look_or_say_why(settings)
        seen += receiver_conditions.silent_receiver(settings)
        opened = {row["dedupe_key"]: row for row in incidents.open_incidents(connection)}
        muted = {row[0] for row in connection.execute("select dedupe_key from ops.incident_mutes").fetchall()}
        found.quarantined = [
            {"feed": feed, "rows": rows, "reasons": told}
            for feed, (rows, told) in quarantine.commonest_reasons(connection).items()
        ]
        found.freshness = freshness.error_budget(connection)
    rank = {"critical": 0, "warning": 1, "info": 2}
    found.incidents = [
        {
            "incident_id": opened[one.key]["incident_id"] if one.key in opened else None,
            "first_seen_at": opened[one.key]["first_seen_at"] if one.key in opened else None,
            "kind": one.kind,
            "severity": one.severity,
            "summary": one.summary,
            "runbook": f"docs/{one.runbook}",
            "command": one.command,
            "command_label": one.command_label,
            "tables": list(one.tables),
        }
        for one in sorted(seen, key=lambda one: rank[one.severity])
        if one.key not in muted and not one.is_explained_by({other.key for other in seen} - {one.key})
    ]
    return found


def _feeds(connection: Connection, settings: Settings) -> list[Row]:
    counted = {row["feed"]: row for row in _rows(connection, _FEEDS)}
    empty = dict.fromkeys(("unfinished", "loaded", "published", "held", "failed", "refused", "quarantined_rows"), 0)
    return [
        {"files_waiting": len(wake.waiting_files(settings, feed)), "last_landed_at": None, "backlog_seconds": None}
        | empty
        | counted.get(feed, {})
        | {"feed": feed}
        for feed in FEEDS
    ]


def _webhooks(settings: Settings) -> list[Row]:
    try:
        return [state.as_json() for state in spool.states(settings)]
    except spool.SpoolError:
        return []  # its conditions are blind then, and say why


_FEEDS = """
    select feed,
        count(*) filter (where state = 'landed') as unfinished,
        count(*) filter (where state = 'loaded') as loaded,
        count(*) filter (where state = 'published') as published,
        count(*) filter (where state = 'held') as held,
        count(*) filter (where state = 'failed') as failed,
        count(*) filter (where state = 'refused') as refused,
        coalesce(sum(quarantined_rows), 0)::bigint as quarantined_rows,
        max(landed_at) as last_landed_at,
        round(extract(epoch from now() - min(landed_at) filter (where state in ('landed', 'loaded'))))::bigint
            as backlog_seconds
    from ops.batches group by feed
"""

_UNUSABLE = """
    select b.feed, f.key as field, r.key as rule, sum(r.value::bigint)::bigint as row_count,
        max(b.batch_id) as last_batch_id
    from ops.batches as b
    cross join jsonb_each(b.unusable_fields) as f
    cross join jsonb_each_text(f.value) as r
    where b.landed_at > now() - interval '7 days' and b.unusable_fields <> '{}'
    group by b.feed, f.key, r.key order by row_count desc, b.feed, f.key, r.key limit 20
"""

_TROUBLED = """
    select batch_id, feed, file_name, state, error, landed_at from ops.batches
    where state in ('failed', 'held') or (state = 'refused' and landed_at > now() - interval '7 days')
    order by batch_id desc limit 20
"""

_RUNS = """
    select run_id, kind, trigger, state, started_at, extract(epoch from finished_at - started_at)::float as seconds,
        batch_count, dirty_count, publication_id, error, next_step
    from ops.runs where state <> 'idle' order by run_id desc limit 5
"""

_PUBLICATIONS = """
    select publication_id, run_id, kind, as_of_on, published_at, tables from ops.publications
    order by publication_id desc limit 3
"""

_READERS = """
    select pid, usename as role, application_name as application,
        extract(epoch from now() - xact_start)::bigint as seconds
    from pg_stat_activity
    where datname = current_database() and usesysid in (
            select m.member from pg_auth_members as m join pg_roles as g on g.oid = m.roleid where g.rolname = any(%s))
        and xact_start < now() - make_interval(secs => %s)
    order by xact_start
"""


def _rows(connection: Connection, statement: str, parameters: list[Any] | None = None) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query(statement), parameters).fetchall()
