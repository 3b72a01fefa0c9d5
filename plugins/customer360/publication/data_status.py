"""How fresh and how complete each published table is: ``ops.table_status``, and ``marts.data_status`` over it.

A publication writes what it knows (when, of which day, how many rows) in its own transaction. How old that is, what
waits, is held or in quarantine, and which incident is open, the view works out when it is read: it tells the truth
while Airflow, the monitor and this product's processes are all dead (docs/decisions/0036).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from psycopg import sql

from customer360.warehouse import Connection, query, scalar

VIEW = "marts.data_status"

_AMOUNTS = {
    "waiting": "Order totals in the batches that are loaded and not published yet",
    "held": "Order totals in the batches that an operator holds back",
    "quarantined": "Order totals, as far as they can be read, of the rows that are in quarantine",
}
COMMENTS = {
    "": "One row per published table: how fresh and how complete it is, worked out when it is read. Built from what "
    "publications recorded (ops.table_status), the ledger, the quarantine and the open incidents.",
    "table_name": "The published table, with its schema.",
    "feeds": "The feeds whose records the table is made from.",
    "is_daily": "Whether figures of the table are those of one day, which the daily pass alone moves (as_of_on).",
    "row_count": "Rows that the table had after its last publication.",
    "as_of_on": "Business date of the table's daily figures; null for a table without any.",
    "published_at": "When a publication last compared this table with what was built, and so confirmed it (UTC).",
    "publication_id": "That publication (ops.publications).",
    "changed_at": "When a publication last added, changed or removed a row of the table (UTC).",
    "newest_landed_at": "When the newest file of the table's feeds landed, backfills left out (UTC).",
    "waiting_row_count": "Rows of the table's feeds that have landed and are not published yet.",
    "waiting_since": "When the oldest file that waits landed (UTC); null when none waits.",
    "held_row_count": "Rows of the table's feeds in batches that an operator holds back: they are in no figure.",
    "quarantined_row_count": "Rows of the table's feeds that broke a rule: they count nowhere until they are released.",
    **{
        f"{what}_order_amounts": f"{text}: currency → sum, in the orders' own currencies; null for a table that is "
        "not made from orders, or when there are none."
        for what, text in _AMOUNTS.items()
    },
    "is_complete": "Whether nothing of the table's feeds waits, is held or is in quarantine.",
    "stale_because": "Which objective of ops.freshness_objectives the table misses now, one text for each; empty when "
    "it misses none.",
    "is_stale": "Whether stale_because names an objective that is missed.",
    "incident_ids": "The open incidents (ops.incidents) that concern the table; empty when there is none.",
    "incident_severity": "The gravest severity of those: critical, warning or info; null without an incident.",
    "incident_summary": "What the gravest and oldest of them says; null without an incident.",
}

_QUERY = """
create view marts.data_status as
with status as (
    select *, schema_name || '.' || table_name as name from ops.table_status
),
zone as (
    select coalesce((select value from ops.installation where name = 'business_timezone'), 'UTC') as name
),
fed as (
    select s.name,
        max(f.newest_landed_at) as newest_landed_at,
        coalesce(sum(f.waiting_row_count), 0)::bigint as waiting_row_count,
        min(f.waiting_since) as waiting_since,
        coalesce(sum(f.held_row_count), 0)::bigint as held_row_count,
        coalesce(sum(f.quarantined_row_count), 0)::bigint as quarantined_row_count,
        -- Only orders have amounts: at most one row of the feeds gives any.
        (array_agg(f.waiting_order_amounts) filter (where f.waiting_order_amounts is not null))[1]
            as waiting_order_amounts,
        (array_agg(f.held_order_amounts) filter (where f.held_order_amounts is not null))[1] as held_order_amounts,
        (array_agg(f.quarantined_order_amounts) filter (where f.quarantined_order_amounts is not null))[1]
            as quarantined_order_amounts,
        coalesce(
            array_agg(format('no file of %s has landed for %s minutes; %s are allowed', f.feed,
                floor(extract(epoch from now() - f.newest_landed_at) / 60), o.objective_minutes) order by f.feed)
            filter (where now() - f.newest_landed_at > o.objective_minutes * interval '1 minute'), '{}'
        ) as late_feeds
    from status as s
    left join ops.feed_completeness as f on f.feed = any(s.feeds)
    left join ops.freshness_objectives as o on o.subject = f.feed and o.measure = 'landing'
    group by s.name
),
troubled as (
    select s.name, array_agg(i.incident_id order by i.incident_id) as incident_ids,
        (array_agg(i.severity order by array_position(array['critical', 'warning', 'info'], i.severity),
            i.first_seen_at))[1] as incident_severity,
        (array_agg(i.summary order by array_position(array['critical', 'warning', 'info'], i.severity),
            i.first_seen_at))[1] as incident_summary
    from status as s
    join ops.incidents as i on i.closed_at is null and s.name = any(i.tables)
    group by s.name
),
judged as (
    select s.name, fed.late_feeds
        || case when now() - fed.waiting_since > waiting.minutes * interval '1 minute' then array[format(
            'landed files have waited for %s minutes; %s are allowed',
            floor(extract(epoch from now() - fed.waiting_since) / 60), waiting.minutes)] else '{}' end
        || case when now() - day.ended_at > daily.minutes * interval '1 minute' then array[format(
            'the daily figures are those of %s, which ended %s minutes ago; %s are allowed', s.as_of_on,
            floor(extract(epoch from now() - day.ended_at) / 60), daily.minutes)] else '{}' end as stale_because
    from status as s
    join fed using (name)
    cross join zone
    cross join lateral (select (s.as_of_on + 1)::timestamp at time zone zone.name as ended_at) as day
    cross join lateral (
        select max(objective_minutes) as minutes from ops.freshness_objectives
        where measure = 'publication' and subject = case
            when exists (select from ops.freshness_objectives as own
                where own.measure = 'publication' and own.subject = s.table_name and not s.is_daily) then s.table_name
            else 'customer_360' end
    ) as waiting
    cross join lateral (
        select max(objective_minutes) as minutes from ops.freshness_objectives
        where measure = 'publication' and subject = case
            when exists (select from ops.freshness_objectives as own
                where own.measure = 'publication' and own.subject = s.table_name
                and s.table_name <> 'customer_360') and s.is_daily then s.table_name
            else 'customer_loyalty' end
    ) as daily
)
select s.name as table_name, s.feeds, s.is_daily, s.row_count, s.as_of_on, s.published_at, s.publication_id,
    s.changed_at, fed.newest_landed_at,
    fed.waiting_row_count, fed.waiting_since, fed.waiting_order_amounts,
    fed.held_row_count, fed.held_order_amounts,
    fed.quarantined_row_count, fed.quarantined_order_amounts,
    fed.waiting_since is null and fed.held_row_count = 0 and fed.quarantined_row_count = 0 as is_complete,
    judged.stale_because, cardinality(judged.stale_because) > 0 as is_stale,
    coalesce(troubled.incident_ids, '{}') as incident_ids, troubled.incident_severity, troubled.incident_summary
from status as s
join fed using (name)
join judged using (name)
left join troubled using (name)
"""


@dataclass(frozen=True)
class Standing:
    """What a publication knows of one table. ``was_compared``: it confirmed the table; else it only took rows away."""

    schema: str
    name: str
    feeds: tuple[str, ...]
    is_daily: bool
    was_compared: bool
    is_whole: bool
    added: int
    removed: int
    has_changed: bool


def record(connection: Connection, tables: Sequence[Standing], *, publication_id: int, as_of_on: date | None) -> None:
    """Write the standing of the tables in the publication's transaction, and make the view unless it is there."""
    known: Mapping[tuple[str, str], int] = {
        (schema, name): count
        for schema, name, count in connection.execute(
            "select schema_name, table_name, row_count from ops.table_status"
        ).fetchall()
    }
    for table in tables:
        key = (table.schema, table.name)
        if key not in known and not table.was_compared:
            continue
        # A comparison of the whole table reads it anyway; an increment counts what it added and took away.
        count = (
            scalar(connection, query(f"select count(*) from {table.schema}.{table.name}"))
            if table.is_whole or key not in known
            else known[key] + table.added - table.removed
        )
        connection.execute(
            """
            insert into ops.table_status as known (schema_name, table_name, feeds, is_daily, row_count, as_of_on,
                publication_id, published_at, changed_at)
            values (%(schema)s, %(name)s, %(feeds)s, %(is_daily)s, %(count)s, %(as_of_on)s, %(publication)s,
                clock_timestamp(), clock_timestamp())
            on conflict (schema_name, table_name) do update set row_count = excluded.row_count,
                feeds = excluded.feeds, is_daily = excluded.is_daily,
                as_of_on = coalesce(excluded.as_of_on, known.as_of_on),
                publication_id = case when %(compared)s then excluded.publication_id else known.publication_id end,
                published_at = case when %(compared)s then excluded.published_at else known.published_at end,
                changed_at = case when %(changed)s then excluded.changed_at else known.changed_at end
            """,
            {
                "schema": table.schema, "name": table.name, "feeds": list(table.feeds), "is_daily": table.is_daily,
                "count": count, "as_of_on": as_of_on if table.is_daily and table.was_compared else None,
                "publication": publication_id, "compared": table.was_compared, "changed": table.has_changed,
            },
        )  # fmt: skip
    if not scalar(connection, f"select to_regclass('{VIEW}')"):
        connection.execute(query(_QUERY))
        for column, text in COMMENTS.items():
            thing = (
                sql.SQL("column {}").format(sql.Identifier("marts", "data_status", column))
                if column
                else sql.SQL("view {}").format(sql.Identifier("marts", "data_status"))
            )
            connection.execute(sql.SQL("comment on {} is {}").format(thing, sql.Literal(text)))
