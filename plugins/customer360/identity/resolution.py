"""The build's identity step: brings schema identity to the staged records, and says who was touched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import phonenumbers

from customer360.identity import crosswalk, decisions, tables
from customer360.identity.full import resolve_all
from customer360.identity.grouping import Limits
from customer360.identity.identifiers import Normaliser
from customer360.settings import Settings, get_settings
from customer360.warehouse import Connection, query, scalar

RULES_VERSION = 1
"""Raise it when the rules change: the next run then resolves everything anew, and its delta says what that moved."""


@dataclass(frozen=True)
class IdentityDelta:
    """What a resolution touched: how many customers (old and new keys), and records that were there before and now
    belong to another customer. The keys themselves wait in a temporary table for :meth:`mark_dirty`.
    """

    customers: int
    orders: int
    sessions: int
    tickets: int
    was_full: bool

    def mark_dirty(self, connection: Connection) -> None:
        """Put the touched keys into ops.dirty: in the transaction of the resolution, or a crash loses them."""
        connection.execute(
            "insert into ops.dirty (scope, key) select scope, key from pg_temp.identity_delta on conflict do nothing"
        )


def resolve(
    connection: Connection,
    *,
    staging_schema: str = "staging",
    identity_schema: str = "identity",
    full: bool = False,
    settings: Settings | None = None,
    run_id: int | None = None,
    known_until: datetime | None = None,
    keeps_journals: bool = True,
) -> IdentityDelta:
    """Resolve who is who, as role transformer, in the caller's transaction (it is not committed here).

    Args:
        staging_schema: where stg_orders, stg_web_sessions and stg_support_tickets are.
        identity_schema: where the outcome goes; created if missing.
        full: resolve everything anew; otherwise what ops.dirty names (scopes order, session, ticket) and what new
            decisions of operators are about.
        run_id: the run, for the crosswalk.
        known_until: look at the past: operators' decisions as of then, staging being of then.
        keeps_journals: false for the past and for scratch copies: the key map is only read, and the crosswalk and
            the delta are left alone. Implies ``full``.
    """
    settings = settings or get_settings()
    staging_schema, schema = tables.check_schema(staging_schema), tables.check_schema(identity_schema)
    tables.create(connection, schema)
    rules = _rules(settings)
    keeps_journals = keeps_journals and known_until is None
    if keeps_journals:
        crosswalk.remember(connection, schema)
    resolve_all(
        connection,
        staging_schema=staging_schema,
        schema=schema,
        normaliser=Normaliser.of(settings),
        limits=_limits(settings),
        device_days=settings.identity_device_days,
        device_people=settings.identity_max_device_people,
        known_until=known_until,
        extend_map=keeps_journals,
    )
    connection.execute(query(f"delete from {schema}.resolution"))
    connection.execute(
        query(f"insert into {schema}.resolution (rules, decision_id) values (%s, %s)"),
        [rules, decisions.latest_id(connection)],
    )
    if keeps_journals:
        crosswalk.compare(connection, schema)
        crosswalk.write(connection, schema, run_id)
    return _delta(connection, schema, keeps_journals=keeps_journals, was_full=full)


def _limits(settings: Settings) -> Limits:
    return Limits(settings.identity_max_customer_ids, settings.identity_max_phone_people)


def _rules(settings: Settings) -> str:
    """What the tables depend on besides records and decisions; where it differs, an increment would mix two rules."""
    return "; ".join(
        f"{name}={value}"
        for name, value in {
            "version": RULES_VERSION,
            "phonenumbers": phonenumbers.__version__,
            "phone_region": settings.phone_region,
            "drop_plus_tags": settings.email_drop_plus_tags,
            "dotless_domains": settings.email_dotless_domains,
            "junk_list": Normaliser.of(settings).junk.fingerprint,
            "max_customer_ids": settings.identity_max_customer_ids,
            "max_phone_people": settings.identity_max_phone_people,
            "max_device_people": settings.identity_max_device_people,
            "device_days": settings.identity_device_days,
        }.items()
    )


def _delta(connection: Connection, schema: str, *, keeps_journals: bool, was_full: bool) -> IdentityDelta:
    connection.execute("create temp table if not exists identity_delta (scope text, key text) on commit drop")
    connection.execute("truncate pg_temp.identity_delta")
    if keeps_journals:
        connection.execute(
            """
            insert into pg_temp.identity_delta (scope, key)
            select record_type, record_id from pg_temp.identity_moved where was_there
            union
            select 'customer', customer_key::text from pg_temp.identity_touched
            """
        )
    rows = connection.execute("select scope, count(*) from pg_temp.identity_delta group by scope").fetchall()
    counts: dict[str, int] = dict(rows)
    return IdentityDelta(
        customers=counts.get("customer", 0),
        orders=counts.get("order", 0),
        sessions=counts.get("session", 0),
        tickets=counts.get("ticket", 0),
        was_full=was_full,
    )


def has_work(connection: Connection, *, identity_schema: str = "identity") -> bool:
    """Whether a decision of an operator waits for the next run, so that a build without new records is not idle."""
    schema = tables.check_schema(identity_schema)
    applied = 0
    if scalar(connection, "select to_regclass(%s) is not null", [f"{schema}.resolution"]):
        applied = scalar(connection, f"select coalesce(max(decision_id), 0) from {schema}.resolution")
    return decisions.latest_id(connection) > applied
