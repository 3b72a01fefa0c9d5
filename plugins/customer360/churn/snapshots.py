"""Features as of a day, out of the warehouse: each snapshot is a build of the past in a scratch schema.

Staging limited to what was known at the end of the day, identity resolved on that, the facts, and the features: the
same models that build today's tables, so that a feature cannot mean one thing in training and another in scoring.
Nothing that serves is touched, and the writer lock is not needed.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
from psycopg import sql

from customer360 import warehouse
from customer360.churn.features import FEATURE_COLUMNS
from customer360.errors import Customer360Error
from customer360.progress import Progress, Silent
from customer360.settings import Settings
from customer360.warehouse import SNAPSHOTS_LOCK, Connection, scalar

PREFIX = "churn_snapshot"
_SCHEMAS = (PREFIX, f"{PREFIX}_staging", f"{PREFIX}_identity", f"{PREFIX}_intermediate")
_FACTS = ("fct_orders", "fct_refunds", "fct_sessions", "fct_tickets", "int_customers__featured")


class NothingBuiltError(Customer360Error):
    """There are no tables to take features from."""


class SnapshotsBusyError(Customer360Error):
    """Another fit or evaluation is taking snapshots."""


@dataclass
class WarehouseSource:
    """A :class:`customer360.churn.protocol.FeatureSource` over the warehouse, where `as_of_on` is today."""

    settings: Settings
    as_of_on: date
    run_id: int | None = None
    progress: Progress | None = None

    @property
    def first_ordered_on(self) -> date | None:
        """The first day on which a valid order had been placed, and was known, and which raw still knows."""
        with self._connect() as connection:
            first: date | None = scalar(
                connection,
                """
                select greatest(min(greatest(ordered_on, (known_at at time zone %s)::date)),
                    (select max(history_starts_on) from state.freezes))
                from candidate.fct_orders
                where is_valid and customer_key is not null having count(*) > 0
                """,
                [self.settings.business_timezone],
            )
        return first

    @property
    def last_complete_on(self) -> date:
        """Yesterday: today goes on."""
        return self.as_of_on - timedelta(days=1)

    def features(self, as_of_on: date) -> pd.DataFrame:
        """Build the past as it was known at the end of the day, and read its features."""
        from customer360 import identity
        from customer360.models import runner

        progress = self.progress or Silent()
        progress.stage(f"snapshot {as_of_on}")
        known_until = end_of(as_of_on, self.settings)

        def models(*select: str) -> None:
            runner.run_models(
                self.settings,
                select,
                run_id=self.run_id,
                full_refresh=True,
                variables={
                    "schema_prefix": PREFIX,
                    "known_until": known_until.isoformat(),
                    "as_of_on": as_of_on.isoformat(),
                },
                progress=lambda result: progress.step(result.model),
            )

        models("tag:staging")
        with self._connect() as connection:
            identity.resolve(
                connection,
                staging_schema=f"{PREFIX}_staging",
                identity_schema=f"{PREFIX}_identity",
                full=True,
                settings=self.settings,
                known_until=known_until,
                keeps_journals=False,
            )
        models(*_FACTS)
        with self._connect() as connection:
            frame = read_features(connection, f"{PREFIX}_intermediate")
        progress.note(f"{len(frame):,} customers")
        return frame

    def ordering_customers(self, after: date, until: date) -> frozenset[int]:
        """Keys that a customer of the past may have, of everybody who placed an order in (after, until].

        The key of the past is that of one of the customer's identifiers, of which a later merge may have chosen
        another: so all of them are given.
        """
        with self._connect() as connection:
            rows = connection.execute(
                """
                select distinct identifiers.identifier_key
                from candidate.fct_orders as orders
                inner join identity.identifiers using (customer_key)
                where orders.ordered_on > %s and orders.ordered_on <= %s and orders.original_total_amount > 0
                """,
                [after, until],
            ).fetchall()
        return frozenset(row[0] for row in rows)

    def _connect(self) -> Connection:
        return warehouse.connect("transformer", self.settings, application_name="customer360 churn snapshots")


@contextlib.contextmanager
def scratch_schemas(settings: Settings) -> Iterator[None]:
    """Keep the scratch schemas to this process, and drop them in the end.

    Raises:
        SnapshotsBusyError: another process has them.
        NothingBuiltError: there is no published build to take snapshots of.
    """
    with warehouse.connect("transformer", settings, autocommit=True) as connection:
        if not scalar(connection, "select to_regclass('candidate.fct_orders')"):
            raise NothingBuiltError("There is no customer yet: nothing has been built.", "Run `c360 run` first.")
        if not scalar(connection, "select pg_try_advisory_lock(%s)", [SNAPSHOTS_LOCK]):
            raise SnapshotsBusyError(
                "Another fit or evaluation of the churn model is running.",
                "Try again when it has ended: `c360 status`.",
            )
        _drop(connection)
        try:
            yield
        finally:
            _drop(connection)


def _drop(connection: Connection) -> None:
    for schema in _SCHEMAS:
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))


def end_of(day: date, settings: Settings) -> datetime:
    """The last moment of a business day."""
    midnight = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(settings.business_timezone))
    return midnight - timedelta(microseconds=1)


def read_features(connection: Connection, schema: str) -> pd.DataFrame:
    """The content of `int_customers__featured` of a schema, by customer_key."""
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in FEATURE_COLUMNS)
    statement = sql.SQL("copy (select {} from {} order by customer_key) to stdout (format csv, header)").format(
        columns, sql.Identifier(schema, "int_customers__featured")
    )
    content = io.BytesIO()
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for block in copy:
            content.write(block)
    content.seek(0)
    dates = [column.name for column in FEATURE_COLUMNS if column.sql_type == "date"]
    return pd.read_csv(content, parse_dates=dates)
