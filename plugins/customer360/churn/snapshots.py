"""Features as of a day, out of the warehouse: each snapshot is a build of the past in a scratch schema.

Staging limited to what was known at the end of the day, identity resolved on that, the facts, and the features: the
same models that build today's tables, so that a feature cannot mean one thing in training and another in scoring.
Nothing that serves is touched, and the writer lock is not needed.

A fit takes a dozen snapshots. The models are compiled once and their SQL is run for each day; of a large shop only the
records of a sample of the customers are staged.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, LiteralString, cast
from zoneinfo import ZoneInfo

import pandas as pd
from psycopg import sql

from customer360 import warehouse
from customer360.churn.features import FEATURE_COLUMNS
from customer360.errors import Customer360Error
from customer360.progress import Progress, Silent
from customer360.settings import Settings
from customer360.warehouse import Connection, scalar

if TYPE_CHECKING:
    from customer360.models.runner import CompiledModel

PREFIX = "churn_snapshot"
_SCHEMAS = (PREFIX, f"{PREFIX}_staging", f"{PREFIX}_identity", f"{PREFIX}_intermediate")
SAMPLED_ABOVE = 25_000
"""Customers above which a sample is taken: a dozen builds of the past of 200,000 would take a quarter of an hour."""

SAMPLED_CUSTOMERS = 15_000
"""About so many, the same ones each time. Half of CDNOW ranks within 0.001 of all of it (decision 21)."""

_KNOWN_UNTIL, _AS_OF_ON = "@known_until@", "@as_of_on@"
"""Placeholders of the compiled models."""

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
    sampled_above: int = SAMPLED_ABOVE
    sampled_customers: int = SAMPLED_CUSTOMERS
    _compiled: tuple[list[CompiledModel], list[CompiledModel]] | None = field(default=None, repr=False)

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

        progress = self.progress or Silent()
        progress.stage(f"snapshot {as_of_on}")
        known_until = end_of(as_of_on, self.settings)
        staging, facts = self._models()
        self._build(staging, as_of_on, known_until)
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
        self._build(facts, as_of_on, known_until)
        with self._connect() as connection:
            frame = read_features(connection, f"{PREFIX}_intermediate")
        progress.note(f"{len(frame):,} customers")
        return frame

    def _models(self) -> tuple[list[CompiledModel], list[CompiledModel]]:
        """Staging, and the facts and features, compiled once for all snapshots."""
        from customer360.models import runner

        if self._compiled is None:
            variables = {"schema_prefix": PREFIX, "known_until": _KNOWN_UNTIL, "as_of_on": _AS_OF_ON}
            if self._take_sample():
                variables["sample_of"] = f"{PREFIX}.sample"
            models = runner.compile_models(self.settings, ["tag:staging", *_FACTS], variables=variables)
            staging = [model for model in models if "staging" in model.table.tags]
            self._compiled = staging, [model for model in models if model not in staging]
        return self._compiled

    def _take_sample(self) -> bool:
        """Fill the scratch table of sampled records, if the shop is large enough to be sampled."""
        with self._connect() as connection:
            for schema in _SCHEMAS:
                connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
            customers: int = scalar(connection, "select count(*) from identity.customers")
            if customers <= self.sampled_above:
                return False
            share = max(self.sampled_customers * 10_000 // customers, 1)
            connection.execute(
                sql.SQL(
                    """
                    create table {sample} as
                    with sampled as (
                        select customer_key from identity.customers
                        where abs(hashint8extended(customer_key, 360) % 10000) < {share}
                    )
                    select 'order' as scope, order_key as key
                    from candidate.fct_orders inner join sampled using (customer_key)
                    union all
                    select 'session', session_key from candidate.fct_sessions inner join sampled using (customer_key)
                    union all
                    select 'ticket', ticket_key from candidate.fct_tickets inner join sampled using (customer_key)
                    union all
                    -- Sessions are built from all events of their devices.
                    select 'event', event_key from staging.stg_web_events
                    where stream_key in (
                        select stream_key
                        from intermediate.int_sessions__built
                        inner join candidate.fct_sessions using (session_key)
                        inner join sampled using (customer_key)
                    )
                    """
                ).format(sample=sql.Identifier(PREFIX, "sample"), share=sql.Literal(share))
            )
            connection.execute(sql.SQL("analyze {}").format(sql.Identifier(PREFIX, "sample")))
        return True

    def _build(self, models: list[CompiledModel], as_of_on: date, known_until: datetime) -> None:
        """Fill the models' tables, a transaction each, by one connection: a new one would have to learn the catalog."""
        progress = self.progress or Silent()
        with self._connect() as connection:
            for model in models:
                table = sql.Identifier(model.table.schema, model.table.name)
                columns = sql.SQL(", ").join(sql.Identifier(name) for name in model.table.columns)
                typed = sql.SQL(", ").join(
                    sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(_literal(kind)))
                    for name, kind in model.table.columns.items()
                )
                text = model.query.replace(_KNOWN_UNTIL, known_until.isoformat()).replace(
                    _AS_OF_ON, as_of_on.isoformat()
                )
                # As the materialization does for whole tables (macros/replace_scope.sql).
                connection.execute("set local enable_nestloop = off")
                connection.execute("set local work_mem = '128MB'")
                connection.execute("set local timezone = 'UTC'")
                connection.execute("set local jit = off")
                connection.execute(sql.SQL("drop table if exists {}").format(table))
                connection.execute(sql.SQL("create unlogged table {} ({})").format(table, typed))
                connection.execute(
                    sql.SQL("insert into {} ({}) select {} from ({}) as whole").format(
                        table, columns, columns, sql.SQL(_literal(text))
                    )
                )
                connection.execute(sql.SQL("analyze {}").format(table))
                connection.commit()
                progress.step(model.table.name)

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

    def amounts(self, after: date, until: date) -> pd.Series:
        """Net revenue in (after, until] under every key that a customer of the past may have."""
        with self._connect() as connection:
            rows = connection.execute(
                """
                with brought as (
                    select customer_key, sum(net_amount)::double precision as net_amount
                    from candidate.fct_orders
                    where ordered_on > %s and ordered_on <= %s and is_valid and net_amount is not null
                    group by customer_key
                )
                select identifiers.identifier_key, brought.net_amount
                from brought inner join identity.identifiers using (customer_key)
                """,
                [after, until],
            ).fetchall()
        return pd.Series(dict(rows), dtype="float64")

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
        lease = contextlib.ExitStack()
        try:
            lease.enter_context(
                warehouse.lease(settings, warehouse.SNAPSHOTS, who="churn model snapshots", wait_seconds=0)
            )
        except warehouse.WriterBusyError as error:
            raise SnapshotsBusyError(
                "Another fit or evaluation of the churn model is running.",
                "Try again when it has ended: `c360 status`.",
            ) from error
        with lease:
            _drop(connection)
            try:
                yield
            finally:
                _drop(connection)


def _literal(text: str) -> LiteralString:
    """SQL that the project itself wrote."""
    return cast(LiteralString, text)


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
    return pd.read_csv(content, parse_dates=dates, float_precision="round_trip")
