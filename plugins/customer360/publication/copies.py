"""Whole builds beside the live one: a past day's tables, or a scratch copy to compare with.

The same models, the same identity rules, in schemas of their own; nothing live is written (architecture, principle 11).
Keys are read from today's map, so that a customer has the same key in every copy.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from psycopg import sql

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.front_door.late_records import history_starts_on
from customer360.models.fingerprint import PROJECT
from customer360.progress import Progress
from customer360.publication.build import RunSummary, published_tables, stepping
from customer360.publication.publish import Change, PublishedTable
from customer360.settings import Settings
from customer360.warehouse import Connection, Role
from customer360.warehouse.run_log import recorded

# What dbt makes beside the candidate tables (macros/generate_schema_name.sql).
_HELPERS = ("staging", "identity", "intermediate")


def build_copy(
    settings: Settings,
    prefix: str,
    *,
    as_of_on: date,
    run_id: int | None,
    progress: Progress,
    known_until: datetime | None = None,
) -> list[PublishedTable]:
    """Build every table whole into the schema ``prefix`` and helpers beside it; returns the tables as built there.

    Args:
        known_until: see the records as they were known then; by default all that is known.
    """
    from customer360 import identity
    from customer360.models import runner

    variables = {"schema_prefix": prefix, "as_of_on": as_of_on.isoformat()}
    if known_until is not None:
        variables["known_until"] = known_until.isoformat()

    def models(select: str) -> None:
        progress.stage(f"{select.removeprefix('tag:')} models")
        runner.run_models(
            settings, select, run_id=run_id, full_refresh=True, variables=variables, progress=stepping(progress)
        )

    drop_copy(settings, prefix)
    models("tag:staging")
    progress.stage("identity")
    with warehouse.connect("transformer", settings) as connection:
        identity.resolve(
            connection,
            staging_schema=f"{prefix}_staging",
            identity_schema=f"{prefix}_identity",
            full=True,
            settings=settings,
            run_id=run_id,
            known_until=known_until,
            keeps_journals=False,
        )
    models("tag:live")
    models("tag:daily")
    with warehouse.connect("transformer", settings) as connection:
        _open_to(connection, settings, prefix, "owner")
    return published_tables(settings, schema_prefix=prefix)


def drop_copy(settings: Settings, prefix: str) -> None:
    """Remove a copy, or what an interrupted one left."""
    with warehouse.connect("transformer", settings) as connection:
        _drop(connection, [prefix, *(f"{prefix}_{helper}" for helper in _HELPERS)])


def build_as_of(settings: Settings, day: date, *, trigger: str, progress: Progress) -> RunSummary:
    """Build the daily tables of a past ``day`` as they would have been made then, into the schema ``asof_YYYYMMDD``.

    The schema takes the place of an earlier one of the same day in one transaction; ``bi_reader`` may read it.

    Raises:
        Customer360Error: raw has let go of what was known then.
    """
    insist_on_parameters(day)
    _insist_on_history(settings, day)
    schema, prefix = f"asof_{day:%Y%m%d}", f"making_{day:%Y%m%d}"
    known_until = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(settings.business_timezone))
    with recorded(settings, "as_of", trigger, as_of_on=day) as run:
        tables = build_copy(
            settings, prefix, as_of_on=day, run_id=run.run_id, progress=progress, known_until=known_until
        )
        run.mark("built")
        progress.stage(f"place in {schema}")
        counts: dict[str, Change] = {}
        with warehouse.connect("transformer", settings) as connection:
            for table in tables:
                name = sql.Identifier(prefix, table.name)
                if table.is_daily:
                    row = connection.execute(sql.SQL("select count(*) from {}").format(name)).fetchone()
                    counts[f"{schema}.{table.name}"] = Change(added=row[0] if row else 0)
                else:
                    connection.execute(sql.SQL("drop table {} cascade").format(name))
            _drop(connection, [schema, *(f"{prefix}_{helper}" for helper in _HELPERS)])
            connection.execute(
                sql.SQL("alter schema {} rename to {}").format(sql.Identifier(prefix), sql.Identifier(schema))
            )
            _open_to(connection, settings, schema, "bi_reader", "owner")
        run.mark("published")
        progress.note(", ".join(f"{name}: {change.added} rows" for name, change in counts.items()))
        summary = RunSummary.of(run)
        summary.tables = counts
        return summary


def insist_on_parameters(day: date) -> None:
    """Nothing, if every parameter of loyalty has a value on that day.

    Raises:
        Customer360Error: the day is before the first values.
    """
    starts: dict[str, date] = {}
    with (PROJECT / "seeds" / "loyalty_parameters.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            since = date.fromisoformat(row["valid_from"])
            starts[row["parameter"]] = min(since, starts.get(row["parameter"], since))
    first = max(starts.values())
    if day < first:
        raise Customer360Error(
            f"{day} is before {first}, when the loyalty parameters begin: there are no rules for that day.",
            f"Name a day from {first} on, or add rows with an earlier valid_from to seeds/loyalty_parameters.csv.",
        )


def _insist_on_history(settings: Settings, day: date) -> None:
    with warehouse.connect("transformer", settings, autocommit=True) as connection:
        starts_on = history_starts_on(connection)
    if starts_on is not None and day < starts_on:
        raise Customer360Error(
            f"What was known on {day} is not known any more: history starts on {starts_on} (C360_RAW_RETENTION_DAYS).",
            f"Name {starts_on} or a later day.",
        )


def _open_to(connection: Connection, settings: Settings, schema: str, *roles: Role) -> None:
    for statement in ("grant usage on schema {} to {}", "grant select on all tables in schema {} to {}"):
        connection.execute(
            sql.SQL(warehouse.query(statement)).format(
                sql.Identifier(schema),
                sql.SQL(", ").join(sql.Identifier(warehouse.role_name(role, settings)) for role in roles),
            )
        )


def _drop(connection: Connection, schemas: Iterable[str]) -> None:
    for schema in schemas:
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))
