"""The build's identity step: brings schema identity to the staged records, and says who was touched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import phonenumbers

from customer360.identity import crosswalk, decisions, tables
from customer360.identity.full import resolve_all
from customer360.identity.grouping import Limits
from customer360.identity.identifiers import Normaliser
from customer360.identity.increment import resolve_changes
from customer360.identity.neighbourhood import TooWideError
from customer360.identity.staged import RECORD_TYPES
from customer360.settings import Settings, get_settings
from customer360.warehouse import Connection, query, scalar

RULES_VERSION = 2
"""Raise it when the rules change: the next run then resolves everything anew, and its delta says what that moved."""

_FEW_RECORDS = 20_000
_LARGE_SHARE = 0.1
"""More dirty records than both: following each one's links costs more than reading everything in order (bench)."""


@dataclass(frozen=True)
class IdentityDelta:
    """How many customers (old and new keys) a resolution touched, and how many known records it moved to another one.

    The keys themselves wait in a temporary table for :meth:`mark_dirty`.
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
        staging_schema: where the staged feeds are.
        identity_schema: where the outcome goes; created if missing.
        full: resolve everything anew; otherwise what ops.dirty names (the scopes of the feeds) and what new
            decisions of operators are about.
        run_id: the run, for the crosswalk.
        known_until: look at the past: operators' decisions as of then, staging being of then.
        keeps_journals: false for the past and for scratch copies: the key map is only read, and the crosswalk and
            the delta are left alone. Implies ``full``.
    """
    settings = settings or get_settings()
    staging_schema, schema = tables.check_schema(staging_schema), tables.check_schema(identity_schema)
    tables.create(connection, schema)
    keeps_journals = keeps_journals and known_until is None
    how: dict[str, Any] = {
        "staging_schema": staging_schema,
        "schema": schema,
        "normaliser": Normaliser.of(settings),
        "limits": Limits(
            customer_ids=settings.identity_max_customer_ids,
            phone_people=settings.identity_max_phone_people,
            emails=settings.identity_max_emails,
            phones=settings.identity_max_phones,
            a_day=settings.identity_max_a_day,
        ),
        "device_days": settings.identity_device_days,
        "device_people": settings.identity_max_device_people,
    }
    rules = _rules(settings)
    if not keeps_journals:
        resolve_all(connection, **how, known_until=known_until, extend_map=False)
        _note_resolution(connection, schema, settings)
        return IdentityDelta(0, 0, 0, 0, was_full=True)
    noted = connection.execute(query(f"select rules, decision_id from {schema}.resolution")).fetchone() or (None, 0)
    can_go_on = noted[0] == rules and not full
    is_full = not (can_go_on and _resolve_increment(connection, how, decided_since=noted[1]))
    if is_full:
        crosswalk.remember(connection, schema)
        resolve_all(connection, **how, known_until=None, extend_map=True)
        crosswalk.compare(connection, schema)
    _note_resolution(connection, schema, settings)
    crosswalk.write(connection, schema, run_id=run_id, decided_since=noted[1])
    return _delta(connection, was_full=is_full)


def _resolve_increment(connection: Connection, how: dict[str, Any], *, decided_since: int) -> bool:
    """Resolve what changed; False, with nothing done, where that is so much that everything should be resolved."""
    base = scalar(connection, "select reltuples from pg_class where oid = %s::regclass", [f"{how['schema']}.records"])
    dirty = scalar(connection, "select count(*) from ops.dirty where scope = any(%s)", [list(RECORD_TYPES)])
    if dirty > max(_FEW_RECORDS, base * _LARGE_SHARE):
        return False
    try:
        with connection.transaction():
            crosswalk.begin(connection)
            resolve_changes(connection, **how, decided_since=decided_since)
    except TooWideError:
        return False
    return True


def _note_resolution(connection: Connection, schema: str, settings: Settings) -> None:
    connection.execute(query(f"delete from {schema}.resolution"))
    connection.execute(
        query(f"insert into {schema}.resolution (rules, decision_id, max_device_people) values (%s, %s, %s)"),
        [_rules(settings), decisions.latest_id(connection), settings.identity_max_device_people],
    )


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
            "max_emails": settings.identity_max_emails,
            "max_phones": settings.identity_max_phones,
            "max_a_day": settings.identity_max_a_day,
            "max_device_people": settings.identity_max_device_people,
            "device_days": settings.identity_device_days,
        }.items()
    )


def _delta(connection: Connection, *, was_full: bool) -> IdentityDelta:
    connection.execute("drop table if exists pg_temp.identity_delta")
    connection.execute(
        """
        create temp table identity_delta on commit drop as
        select record_type as scope, record_id as key from pg_temp.identity_moved where was_there
        union
        select 'customer', customer_key::text from pg_temp.identity_touched
        union
        select 'customer', customer_key::text from pg_temp.identity_present
        where not was_known or before is distinct from present
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


def has_work(connection: Connection, *, identity_schema: str = "identity", settings: Settings | None = None) -> bool:
    """Whether the next run has something to do here although no record is dirty.

    A decision of an operator waits, or (where ``settings`` are given) the rules are other than those of the last run.
    """
    schema = tables.check_schema(identity_schema)
    noted = None
    if scalar(connection, "select to_regclass(%s) is not null", [f"{schema}.resolution"]):
        noted = connection.execute(query(f"select rules, decision_id from {schema}.resolution")).fetchone()
    rules, decision_id = noted or (None, 0)
    has_other_rules = settings is not None and rules is not None and rules != _rules(settings)
    return has_other_rules or decisions.latest_id(connection) > decision_id
