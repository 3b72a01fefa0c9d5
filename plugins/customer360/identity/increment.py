"""An increment: the cost of a resolution follows the links that are new, changed or gone, not the base."""

from __future__ import annotations

from typing import Any

from customer360.identity import attribution, changes, decisions
from customer360.identity.grouping import Limits
from customer360.identity.identifiers import Normaliser
from customer360.identity.neighbourhood import Identifier, Neighbourhood, Regrouped
from customer360.warehouse import Connection, query


def resolve_changes(
    connection: Connection,
    *,
    staging_schema: str,
    schema: str,
    normaliser: Normaliser,
    limits: Limits,
    device_days: int,
    device_people: int,
    decided_since: int,
) -> None:
    """Bring the schema's tables to what ops.dirty and the decisions after ``decided_since`` changed.

    Fills ``pg_temp.identity_moved`` and ``pg_temp.identity_touched``.

    Raises:
        TooWideError: so much is concerned that everything should be resolved anew; the caller rolls back to before.
    """
    changed = changes.find_changes(connection, staging_schema=staging_schema, schema=schema, normaliser=normaliser)
    touched = changed.identifier_keys() | decisions.touched_since(connection, decided_since)
    if not touched and not changed.before and not changed.after:
        return
    changes.apply(connection, schema, changed)
    around = Neighbourhood(connection, schema, limits, decisions.in_force(connection))
    outcome = around.resolve(touched)
    regrouped = _write_identifiers(connection, schema, around, outcome)
    _write_customers(connection, schema, around, outcome)
    attribution.attribute(
        connection,
        schema,
        regrouped=regrouped,
        device_ids={shown.anonymous_id for shown in changed.before.values() if shown.anonymous_id is not None},
        device_days=device_days,
        device_people=device_people,
    )
    connection.execute(
        """
        insert into pg_temp.identity_touched (customer_key)
        select old_key from pg_temp.identity_moved where old_key is not null
        union select new_key from pg_temp.identity_moved where new_key is not null
        on conflict do nothing
        """
    )


def _write_identifiers(connection: Connection, schema: str, around: Neighbourhood, outcome: Regrouped) -> set[int]:
    """Write the identifiers that changed; returns those whose customer did."""
    concerned = around.members | around.border
    gone = [key for key in concerned if key in around.stored and key not in outcome.identifiers]
    new = {key: now for key, now in outcome.identifiers.items() if key not in around.stored}
    other = {key: now for key, now in outcome.identifiers.items() if key in around.stored and around.stored[key] != now}
    if gone:
        connection.execute(
            query(
                f"delete from {schema}.identifiers as i using unnest(%s::bigint[]) as gone (key)"
                " where i.identifier_key = gone.key"
            ),
            [gone],
        )
    if other:
        connection.execute(
            query(
                f"""
                update {schema}.identifiers as i
                set customer_key = n.customer_key, account_key = n.account_key, is_account = n.is_account,
                    blocked_by = n.blocked_by
                from unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::boolean[], %s::text[])
                    as n (identifier_key, customer_key, account_key, is_account, blocked_by)
                where i.identifier_key = n.identifier_key
                """
            ),
            _columns(other),
        )
    if new:
        connection.execute(
            query(
                f"""
                insert into {schema}.identifiers (
                    identifier_key, identifier_type, identifier, customer_key, account_key, is_account, blocked_by)
                select n.identifier_key, m.identifier_type, m.identifier, n.customer_key, n.account_key, n.is_account,
                    n.blocked_by
                from unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::boolean[], %s::text[])
                    as n (identifier_key, customer_key, account_key, is_account, blocked_by)
                inner join state.customer_key_map as m on m.customer_key = n.identifier_key
                """
            ),
            _columns(new),
        )
    regrouped = set(gone) | new.keys()
    return regrouped | {key for key, now in other.items() if around.stored[key].customer_key != now.customer_key}


def _columns(identifiers: dict[int, Identifier]) -> list[list[Any]]:
    rows = [
        (key, one.customer_key, one.account_key, one.is_account, one.blocked_by) for key, one in identifiers.items()
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _write_customers(connection: Connection, schema: str, around: Neighbourhood, outcome: Regrouped) -> None:
    """Write the customers that are new, other or gone, and name them in identity_touched."""
    before = {around.stored[key].customer_key for key in around.members | around.border if key in around.stored} - {
        None
    }
    gone = [key for key in before if key not in outcome.customers]
    rows = [(key, *customer) for key, customer in outcome.customers.items()]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    connection.execute(
        query(
            f"""
            with gone as (
                delete from {schema}.customers as c using unnest(%s::bigint[]) as listed (key)
                where c.customer_key = listed.key returning c.customer_key
            ),
            written as (
                insert into {schema}.customers as c (customer_key, identifier_count, identity_confidence, first_seen_at)
                select * from unnest(%s::bigint[], %s::integer[], %s::numeric(5, 4)[], %s::timestamptz[])
                on conflict (customer_key) do update
                set identifier_count = excluded.identifier_count, identity_confidence = excluded.identity_confidence,
                    first_seen_at = excluded.first_seen_at
                where (c.identifier_count, c.identity_confidence, c.first_seen_at) is distinct from (
                    excluded.identifier_count, excluded.identity_confidence, excluded.first_seen_at)
                returning customer_key
            )
            insert into pg_temp.identity_touched (customer_key)
            select customer_key from gone union select customer_key from written
            on conflict do nothing
            """
        ),
        [gone, *columns],
    )
