"""How old each feed and table is, against its objective, kept for graphs and shown as an error budget.

Three measures, in minutes: ``landing`` (since the feed's last file landed), ``publication`` (how long the oldest
loaded batch of the table's feeds has waited; for daily tables since the end of the day they are of) and ``event``
(since the newest thing that the published table tells of happened at its source).
"""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row

from customer360.contract.feeds import FEEDS
from customer360.errors import ConfigurationError
from customer360.settings import Settings
from customer360.warehouse import Connection, query

_FEEDS_OF = {"customer_360": tuple(FEEDS)} | {
    feed.fact: tuple(one.name for one in FEEDS.values() if one.fact == feed.fact) for feed in FEEDS.values()
}
DAILY = ("customer_loyalty", "customer_churn")
_EVENT_TIMES = {feed.fact: feed.event_time for feed in FEEDS.values()}
_KEEP_DAYS = 90


def _enter_new_feeds(connection: Connection) -> None:
    """Enter the objectives of a feed that is new here; those of known feeds stay as they were set."""
    for feed in FEEDS.values():
        for measured, minutes in feed.objective_minutes.items():
            connection.execute(
                """
                insert into ops.freshness_objectives (subject, measure, objective_minutes) values (%s, %s, %s)
                on conflict do nothing
                """,
                [feed.name if measured == "landing" else feed.fact, measured, minutes],
            )


def configure(connection: Connection, settings: Settings) -> None:
    """Bring the configured objectives (C360_FRESHNESS_OBJECTIVES) into ops.freshness_objectives.

    Raises:
        ConfigurationError: the setting cannot be read, or names no known subject and measure.
    """
    _enter_new_feeds(connection)
    for entry in filter(None, (part.strip() for part in settings.freshness_objectives.split(","))):
        name, _, minutes = entry.partition("=")
        subject, _, measured = name.strip().partition(".")
        changed = 0
        if minutes.strip().isdigit() and int(minutes) > 0:
            changed = connection.execute(
                "update ops.freshness_objectives set objective_minutes = %s where subject = %s and measure = %s",
                [int(minutes), subject, measured],
            ).rowcount
        if not changed:
            known = connection.execute("select subject || '.' || measure from ops.freshness_objectives order by 1")
            raise ConfigurationError(
                f"C360_FRESHNESS_OBJECTIVES: {entry!r} sets no objective.",
                f"Write subject.measure=minutes; there are {', '.join(row[0] for row in known.fetchall())}.",
            )


def measure(connection: Connection, settings: Settings) -> list[dict[str, Any]]:
    """Measure every objective now, store one row each in ops.freshness, and return them."""
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        _enter_new_feeds(connection)
        objectives = cursor.execute("select * from ops.freshness_objectives").fetchall()
        measured = []
        for objective in objectives:
            age = _age_minutes(connection, settings, objective["subject"], objective["measure"])
            if age is None:
                continue
            row = {
                "subject": objective["subject"],
                "measure": objective["measure"],
                "age_minutes": round(age, 2),
                "objective_minutes": objective["objective_minutes"],
                "is_fresh": age <= objective["objective_minutes"],
            }
            measured.append(row)
            cursor.execute(
                """
                insert into ops.freshness (subject, measure, age_minutes, objective_minutes, is_fresh)
                values (%(subject)s, %(measure)s, %(age_minutes)s, %(objective_minutes)s, %(is_fresh)s)
                on conflict do nothing
                """,
                row,
            )
        cursor.execute(query(f"delete from ops.freshness where looked_at < now() - interval '{_KEEP_DAYS} days'"))
    return measured


def error_budget(connection: Connection, days: int = 28) -> list[dict[str, Any]]:
    """Per subject and measure: the share of looks that were fresh, and the share of the budget that is left.

    The budget is the share of looks that may be stale (1 - target_share); 1 is untouched, below 0 is overspent.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            select f.subject, f.measure, count(*) as looks, avg(f.is_fresh::int)::float as fresh_share, o.target_share,
                1 - (1 - avg(f.is_fresh::int)) / (1 - o.target_share) as budget_left,
                (array_agg(f.age_minutes order by f.looked_at desc))[1] as age_minutes,
                (array_agg(f.is_fresh order by f.looked_at desc))[1] as is_fresh, o.objective_minutes
            from ops.freshness as f join ops.freshness_objectives as o using (subject, measure)
            where f.looked_at > now() - make_interval(days => %(days)s)
            group by f.subject, f.measure, o.target_share, o.objective_minutes order by f.subject, f.measure
            """,
            {"days": days},
        ).fetchall()


def _age_minutes(connection: Connection, settings: Settings, subject: str, measure_name: str) -> float | None:
    if measure_name == "landing":
        statement = """
            select extract(epoch from now() - max(landed_at)) / 60 from ops.batches
            where feed = %(subject)s and not is_history and state not in ('refused', 'duplicate')
            """
    elif measure_name == "event":
        found = connection.execute("select to_regclass(%s) is not null", [f"marts.{subject}"]).fetchone()
        if not found or not found[0]:
            return None
        statement = f"select extract(epoch from now() - max({_EVENT_TIMES[subject]})) / 60 from marts.{subject}"
    elif subject in DAILY:
        statement = """
            select greatest(0, extract(epoch from now() - (max(as_of_on) + 1)::timestamp at time zone %(zone)s) / 60)
            from ops.publications where as_of_on is not null
            """
    elif measure_name == "publication":
        statement = """
            select coalesce(extract(epoch from now() - min(loaded_at)) / 60, 0) from ops.unpublished_batches
            where feed = any(%(feeds)s)
            """
    else:
        return None
    row = connection.execute(
        query(statement),
        {
            "subject": subject,
            "zone": settings.business_timezone,
            "feeds": list(_FEEDS_OF.get(subject, (subject,))),
        },
    ).fetchone()
    return float(row[0]) if row and row[0] is not None else None
