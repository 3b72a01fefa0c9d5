"""A shop small enough to check on paper: staged records put straight into schema staging, then resolved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from customer360 import warehouse
from customer360.identity import IdentityDelta, resolve
from customer360.settings import Settings
from customer360.warehouse import Connection, query

DAY_ZERO = datetime(2025, 1, 1, tzinfo=UTC)
_TABLES = {
    "order": ("stg_orders", "order_key", "ordered_at", ("customer_id", "email", "phone", "anonymous_id")),
    "session": ("stg_web_sessions", "session_key", "started_at", ("customer_id", "email", "anonymous_id", "order_key")),
    "ticket": ("stg_support_tickets", "ticket_key", "created_at", ("customer_id", "email", "phone", "order_key")),
}


@dataclass(frozen=True)
class Record:
    """One staged record: ``day`` counts from DAY_ZERO."""

    record_type: str
    record_id: str
    day: float = 0
    shown: dict[str, str] = field(default_factory=dict)


def order(record_id: str, day: float = 0, **shown: str) -> Record:
    """An order, and the identifiers that it shows."""
    return Record("order", record_id, day, shown)


def session(record_id: str, day: float = 0, **shown: str) -> Record:
    """A web session, and the identifiers that it shows."""
    return Record("session", record_id, day, shown)


def ticket(record_id: str, day: float = 0, **shown: str) -> Record:
    """A support ticket, and the identifiers that it shows."""
    return Record("ticket", record_id, day, shown)


@dataclass
class Shop:
    """Staging and identity of one warehouse, driven as the build drives them."""

    connection: Connection
    settings: Settings
    schema: str = "identity"
    staging: str = "staging"

    def stage(self, *records: Record) -> None:
        """Put records into staging (again, if they are there) and mark them dirty."""
        for record in records:
            table, record_id, at, fields = _TABLES[record.record_type]
            columns = [*fields, "source"]
            assert set(record.shown) <= set(columns), f"{record} shows what its feed does not have"
            self._execute(f"delete from {self.staging}.{table} where {record_id} = %s", [record.record_id])
            self._execute(
                f"insert into {self.staging}.{table} ({record_id}, {at}, {', '.join(columns)}) "
                f"values (%s, %s, {', '.join(['%s'] * len(columns))})",
                [
                    record.record_id,
                    DAY_ZERO + timedelta(days=record.day),
                    *[record.shown.get(c, "" if c == "source" else None) for c in columns],
                ],
            )
            self.mark_dirty(record.record_type, record.record_id)

    def withdraw(self, *records: Record) -> None:
        """Take records out of staging, as the hold of their batch does."""
        for record in records:
            table, record_id, _, _ = _TABLES[record.record_type]
            self._execute(f"delete from {self.staging}.{table} where {record_id} = %s", [record.record_id])
            self.mark_dirty(record.record_type, record.record_id)

    def mark_dirty(self, scope: str, key: str) -> None:
        """What the build's claim does."""
        self._execute("insert into ops.dirty (scope, key) values (%s, %s) on conflict do nothing", [scope, key])

    def resolve(self, *records: Record, full: bool = False, **options: Any) -> IdentityDelta:
        """Stage records and resolve, as one run does; the run's publication empties ops.dirty."""
        self.stage(*records)
        delta = resolve(
            self.connection,
            staging_schema=self.staging,
            identity_schema=self.schema,
            full=full,
            settings=self.settings,
            **options,
        )
        self.connection.execute("create temp table last_delta as table pg_temp.identity_delta")
        self.connection.execute("delete from ops.dirty")
        self.connection.commit()
        self._last = set(self.rows("select scope, key from last_delta"))
        self.connection.execute("drop table last_delta")
        self.connection.commit()
        return delta

    @property
    def last_delta(self) -> set[tuple[str, str]]:
        """(scope, key) of all that the last run touched."""
        return self._last

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return [tuple(row) for row in self.connection.execute(query(statement)).fetchall()]

    def customer(self, record: Record) -> int | None:
        """The customer_key of a record."""
        return self.whose()[(record.record_type, record.record_id)][0]

    def rule(self, record: Record) -> str:
        """The rule that says whose a record is."""
        return self.whose()[(record.record_type, record.record_id)][1]

    def whose(self) -> dict[tuple[str, str], tuple[int | None, str]]:
        """Every record's customer and rule."""
        rows = self.rows(f"select record_type, record_id, customer_key, rule from {self.schema}.records")
        return {(row[0], row[1]): (row[2], row[3]) for row in rows}

    def partition(self) -> set[frozenset[tuple[str, str]]]:
        """The records by customer, keys aside; those of nobody one by one."""
        groups: dict[Any, set[tuple[str, str]]] = {}
        for record, (customer, _) in self.whose().items():
            groups.setdefault(customer if customer is not None else record, set()).add(record)
        return {frozenset(group) for group in groups.values()}

    def state(self) -> dict[str, list[tuple[Any, ...]]]:
        """The whole content of schema identity, to be compared."""
        return {
            "identifiers": sorted(self.rows(f"select * from {self.schema}.identifiers")),
            "records": sorted(self.rows(f"select * from {self.schema}.records"), key=str),
            "customers": sorted(self.rows(f"select * from {self.schema}.customers")),
        }

    def blocked(self) -> set[tuple[str, str]]:
        """The identifiers that join nobody, with the reason."""
        rows = self.rows(f"select identifier, blocked_by from {self.schema}.blocked_identifiers")
        return {(row[0], row[1]) for row in rows}

    def present(self, key: int) -> int | None:
        """The customer that a key stands for at present, by the journal."""
        rows = self.rows(
            "select present_customer_key from state.customer_key_crosswalk "
            f"where customer_key = {key} order by entry_id desc limit 1"
        )
        return rows[0][0] if rows else None

    def _execute(self, statement: str, parameters: Iterable[Any]) -> None:
        self.connection.execute(query(statement), list(parameters))


@contextmanager
def open_shop(settings: Settings, *records: Record) -> Iterator[Shop]:
    """An empty shop, or one with these records resolved, in a migrated warehouse."""
    with warehouse.connect("transformer", settings) as connection:
        create_staging(connection, "staging")
        shop = Shop(connection, settings)
        if records:
            shop.resolve(*records)
        yield shop


def create_staging(connection: Connection, schema: str) -> None:
    """Make the columns of staging that identity reads."""
    connection.execute(query(f"create schema if not exists {schema}"))
    for table, record_id, at, columns in _TABLES.values():
        texts = ", ".join(f"{column} text" for column in columns)
        connection.execute(
            query(
                f"create table {schema}.{table} ({record_id} text primary key, source text not null default '', "
                f"is_deleted boolean not null default false, {at} timestamptz not null, {texts})"
            )
        )
    connection.commit()
