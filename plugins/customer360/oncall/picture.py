"""What on-call needs to know, gathered in one look: the content of the on-call page and of ``c360 status``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from customer360 import warehouse
from customer360.oncall import freshness, incidents
from customer360.settings import Settings
from customer360.warehouse import query

_SHOWN = 50


@dataclass(frozen=True)
class Picture:
    """Everything on one page. Each list holds rows by column name, no more than :data:`_SHOWN` of them."""

    incidents: list[dict[str, Any]]
    closed: list[dict[str, Any]]
    freshness: list[dict[str, Any]]
    batches: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    publications: list[dict[str, Any]]
    actions: list[dict[str, Any]]
    suspects: dict[int, list[dict[str, Any]]]
    monitor_seconds: float | None
    """Since the monitor last looked; None if it never did."""


_BATCHES = """
    select batch_id, feed, file_name, state, error, warning, landed_rows, quarantined_rows, landed_at, attempts,
        extract(epoch from now() - landed_at)::bigint as age_seconds, claimed_at is not null as is_claimed
    from ops.batches where state in ('landed', 'failed', 'held', 'loaded')
        or (state = 'refused' and landed_at > now() - interval '7 days')
    order by array_position(array['failed', 'held', 'refused', 'landed', 'loaded'], state), batch_id desc
    limit %(shown)s
"""
_QUARANTINE = """
    select q.feed, q.batch_id, b.file_name, reason ->> 'rule' as rule, reason ->> 'field' as field,
        count(*) as row_count, min(q.quarantined_at) as since_at
    from quarantine.rows as q join ops.batches as b using (batch_id), jsonb_array_elements(q.reasons) as reason
    where q.state = 'open' group by 1, 2, 3, 4, 5 order by row_count desc, batch_id limit %(shown)s
"""
_PUBLICATIONS = """
    select p.publication_id, p.run_id, p.kind, p.as_of_on, p.published_at, p.tables,
        (select count(*) from ops.restatements as r where r.publication_id = p.publication_id) as restatements
    from ops.publications as p order by p.publication_id desc limit 10
"""
_RUNS = """
    select run_id, kind, trigger, state, started_at, finished_at, batch_count, dirty_count, error, next_step,
        extract(epoch from coalesce(finished_at, now()) - started_at)::float as seconds
    from ops.runs where state <> 'idle' order by run_id desc limit 10
"""
_CLOSED = """
    select *, extract(epoch from closed_at - first_seen_at)::bigint as lasted_seconds
    from ops.incidents where closed_at > now() - interval '1 day' order by closed_at desc limit 10
"""
_ACTIONS = "select * from ops.page_actions order by action_id desc limit 10"
_SUSPECTS = """
    select batch_id, feed, file_name, loaded_rows from ops.unpublished_batches
    where claimed_by = %(run)s order by batch_id desc limit 10
"""


def take(settings: Settings) -> Picture:
    """Look at the warehouse as oncall may. Changes nothing."""
    with warehouse.connect("oncall", settings, autocommit=True, application_name="customer360 on-call") as connection:

        def rows(statement: str, **parameters: Any) -> list[dict[str, Any]]:
            with connection.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(query(statement), parameters).fetchall()

        opened = incidents.open_incidents(connection)
        suspects = {
            row["incident_id"]: rows(_SUSPECTS, run=row["evidence"]["run_id"])
            for row in opened
            if row["kind"] == "gate_failed"
        }
        looked = rows("select extract(epoch from now() - max(looked_at))::float as seconds from ops.freshness")
        return Picture(
            incidents=opened,
            closed=rows(_CLOSED),
            freshness=freshness.error_budget(connection),
            batches=rows(_BATCHES, shown=_SHOWN),
            quarantine=rows(_QUARANTINE, shown=_SHOWN),
            runs=rows(_RUNS),
            publications=rows(_PUBLICATIONS),
            actions=rows(_ACTIONS),
            suspects=suspects,
            monitor_seconds=looked[0]["seconds"] if looked else None,
        )
