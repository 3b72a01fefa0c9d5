"""What the published tables promise about their rows, declared in PostgreSQL where BI tools and diagrams read it.

Foreign keys are declared ``not enforced`` (PostgreSQL 18; before that they are left out): the candidate gate has proved
them, and a publication writes the tables in any order. Not-null columns are enforced, for the gate has proved them too.
Only rebuilds and daily passes declare what is missing, so that an increment pays nothing (docs/decisions/0035).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from customer360.warehouse import Connection, query

NOT_ENFORCED_SINCE = 180_000

# Seconds that a declaration waits for readers; whoever queues behind it waits as long. The next rebuild tries again.
_LOCK_SECONDS = 1

_OF_ORDERS = {"order_key": "fct_orders", "customer_key": "customer_360"}
_OF_CUSTOMERS = {"customer_key": "customer_360"}

REFERENCES: Mapping[str, Mapping[str, str]] = {
    "fct_orders": _OF_CUSTOMERS,
    "fct_order_items": _OF_ORDERS,
    "fct_refunds": _OF_ORDERS,
    "fct_sessions": _OF_CUSTOMERS,
    "order_attribution": _OF_ORDERS | {"session_key": "fct_sessions"},
    "fct_tickets": _OF_CUSTOMERS,
    "customer_loyalty": _OF_CUSTOMERS,
    "customer_churn": _OF_CUSTOMERS,
    "customer_churn_history": _OF_CUSTOMERS,
    "service_recovery_plan": _OF_CUSTOMERS,
    "ticket_service_levels": _OF_CUSTOMERS,
    "customer_contacts": _OF_CUSTOMERS,
    "contact_preferences": _OF_CUSTOMERS,
}
"""Published table → its column → the table of marts whose key of the same name the column holds."""

REQUIRED: Mapping[str, Sequence[str]] = {
    "customer_360": ("order_count", "identifier_count", "gross_amount", "net_amount", "refunded_amount"),
    "fct_orders": ("ordered_at", "ordered_on", "status"),
    "fct_order_items": ("ordered_on",),
    "customer_loyalty": ("as_of_on", "order_count", "tier", "lifecycle_stage", "ladder_rung", "points_balance"),
    "customer_churn": ("as_of_on", "model_status"),
    "ticket_service_levels": ("created_on", "priority", "first_response_outcome", "resolution_outcome"),
}
"""Published table → its columns, beside the key, that are never null."""


def declare(connection: Connection, tables: Sequence[tuple[str, str]]) -> None:
    """Declare what is missing of these published tables (schema, name), within the publication's transaction.

    What a reader holds for too long is left for the next rebuild or daily pass: the rows are right all the same.
    """
    schemas = {name: schema for schema, name in tables}
    declared = _declared(connection)
    for name, schema in schemas.items():
        target = sql.Identifier(schema, name)
        nullable = declared.get((schema, name), {})
        required = [column for column in REQUIRED.get(name, ()) if nullable.get(column) is True]
        if required:
            _try(
                connection,
                sql.SQL("alter table {} {}").format(
                    target,
                    sql.SQL(", ").join(
                        sql.SQL("alter column {} set not null").format(sql.Identifier(column)) for column in required
                    ),
                ),
            )
    if connection.info.server_version < NOT_ENFORCED_SINCE:
        return
    present = _foreign_keys(connection)
    for name, schema in schemas.items():
        for column, referenced in REFERENCES.get(name, {}).items():
            key = f"{name}_{column}_fkey"
            if (schema, key) in present or column not in declared.get((schema, name), {}):
                continue
            if ("marts", referenced) not in declared or column not in declared["marts", referenced]:
                continue
            _try(
                connection,
                sql.SQL(
                    "alter table {} add constraint {} foreign key ({column}) references {} ({column}) not enforced"
                ).format(
                    sql.Identifier(schema, name),
                    sql.Identifier(key),
                    sql.Identifier("marts", referenced),
                    column=sql.Identifier(column),
                ),
            )


def _try(connection: Connection, statement: sql.Composed) -> None:
    try:
        with connection.transaction():
            connection.execute(query(f"set local lock_timeout = '{_LOCK_SECONDS}s'"))
            connection.execute(statement)
    except (
        psycopg.errors.LockNotAvailable,  # somebody reads the table
        psycopg.errors.NotNullViolation,  # rows of an older version, which a rebuild renews
        psycopg.errors.InvalidForeignKey,  # the referenced table has another key, or none yet
    ):
        return


def _declared(connection: Connection) -> dict[tuple[str, str], dict[str, bool]]:
    """For each published table its columns, and whether each may be null."""
    rows = connection.execute(
        """
        select n.nspname, c.relname, a.attname, not a.attnotnull
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace and n.nspname in ('marts', 'marts_pii')
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relkind = 'r'
        """
    ).fetchall()
    found: dict[tuple[str, str], dict[str, bool]] = {}
    for schema, table, column, is_nullable in rows:
        found.setdefault((schema, table), {})[column] = is_nullable
    return found


def _foreign_keys(connection: Connection) -> set[tuple[str, str]]:
    rows = connection.execute(
        """
        select n.nspname, f.conname from pg_constraint as f join pg_namespace as n on n.oid = f.connamespace
        where f.contype = 'f' and n.nspname in ('marts', 'marts_pii')
        """
    ).fetchall()
    return {(schema, name) for schema, name in rows}
