"""Whose each record is, for the records that an increment concerns: by the same rules as :mod:`full` has for all.

A session belongs first to whom the order placed in it names. Else what a record's own identifiers name comes first,
then its order's customer, then the person known on its device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from customer360.identity import devices
from customer360.identity.changes import KEY_COLUMNS
from customer360.identity.staged import FOLLOWS_ITS_ORDER, RECORD_TYPES
from customer360.identity.tables import by_index, temporary
from customer360.warehouse import Connection, query

DAY_US = 86_400_000_000


def attribute(
    connection: Connection,
    schema: str,
    *,
    regrouped: Iterable[int],
    device_ids: Iterable[str],
    device_days: int,
    device_people: int,
) -> None:
    """Bring customer_key, rule and source of the concerned records up to date.

    Concerned are the changed records (``pg_temp.identity_work`` has them), those showing an identifier whose
    customer is another now, sessions and tickets linked to such orders, and the anonymous ones on their devices. The
    customers that records had are kept in identity_work.

    Args:
        regrouped: identifiers that have another customer now.
        device_ids: devices that changed records were on before.
    """
    _add_records_showing(connection, schema, list(regrouped))
    _add_linked_to_orders(connection, schema)
    _work_out_own(connection, schema)
    _work_out_devices(connection, schema, list(device_ids), days=device_days, people=device_people)
    connection.execute("analyze pg_temp.identity_work")
    connection.execute(
        query(
            f"""
            insert into pg_temp.identity_moved (record_type, record_id, old_key, new_key, was_there)
            select w.record_type, w.record_id, w.old_key, r.customer_key, w.was_there
            from pg_temp.identity_work as w left join {schema}.records as r using (record_type, record_id)
            where w.old_key is distinct from r.customer_key
            """
        )
    )


def _add_records_showing(connection: Connection, schema: str, keys: list[int]) -> None:
    if keys:
        showing = " union all ".join(
            f"""
            select r.record_type, r.record_id, r.customer_key, true
            from wanted inner join {schema}.records as r on r.{column} = wanted.key
            """
            for column in KEY_COLUMNS
        )
        with by_index(connection):
            connection.execute(
                query(
                    f"""
                    with wanted as materialized (select unnest(%s::bigint[]) as key)
                    insert into pg_temp.identity_work (record_type, record_id, old_key, was_there)
                    {showing}
                    on conflict do nothing
                    """
                ),
                [keys],
            )


def _add_linked_to_orders(connection: Connection, schema: str) -> None:
    connection.execute("analyze pg_temp.identity_work")
    connection.execute(
        query(
            f"""
            insert into pg_temp.identity_work (record_type, record_id, old_key, was_there)
            select r.record_type, r.record_id, r.customer_key, true
            from pg_temp.identity_work as w
            inner join {schema}.records as r on r.linked_order_id = w.record_id
            where w.record_type = 'order'
            on conflict do nothing
            """
        )
    )


def _work_out_own(connection: Connection, schema: str) -> None:
    """Customers by own identifiers and by the order; everything else is nobody's until its device says more."""
    connection.execute("analyze pg_temp.identity_work")
    temporary(
        connection,
        "identity_own",
        """
        record_type text, record_id text, anonymous_id text, customer_key bigint, rule text, order_id text,
        primary key (record_type, record_id)
        """,
    )
    connection.execute(
        query(
            f"""
            insert into pg_temp.identity_own (record_type, record_id, anonymous_id, customer_key, rule, order_id)
            select
                r.record_type, r.record_id, r.anonymous_id,
                case when follows.its_order then named.by_order
                    else coalesce(c.customer_key, e.customer_key, p.customer_key, named.by_order) end as customer_key,
                case
                    when follows.its_order then 'linked_order'
                    when c.customer_key is not null then 'customer_id'
                    when e.customer_key is not null then 'email'
                    when p.customer_key is not null then 'phone'
                    when named.by_order is not null then 'linked_order'
                    else 'unattributed'
                end as rule,
                o.record_id as order_id
            from pg_temp.identity_work as w
            inner join {schema}.records as r using (record_type, record_id)
            left join {schema}.identifiers as c on c.identifier_key = r.customer_id_key
            left join {schema}.identifiers as e on e.identifier_key = r.email_key
            left join {schema}.identifiers as p on p.identifier_key = r.phone_key
            left join {schema}.records as o on o.record_type = 'order' and o.record_id = r.linked_order_id
            left join {schema}.identifiers as oc on oc.identifier_key = o.customer_id_key
            left join {schema}.identifiers as oe on oe.identifier_key = o.email_key
            left join {schema}.identifiers as op on op.identifier_key = o.phone_key
            cross join lateral (
                select coalesce(oc.customer_key, oe.customer_key, op.customer_key) as by_order
            ) as named
            cross join lateral (
                select r.record_type = '{FOLLOWS_ITS_ORDER}' and named.by_order is not null as its_order
            ) as follows
            """
        )
    )
    connection.execute("analyze pg_temp.identity_own")
    connection.execute(
        query(
            f"""
            update {schema}.records as r
            set customer_key = own.customer_key, rule = own.rule,
                source_type = case when own.rule = 'linked_order' then 'order' end,
                source_id = case when own.rule = 'linked_order' then own.order_id end
            from pg_temp.identity_own as own
            where r.record_type = own.record_type and r.record_id = own.record_id
                and (own.rule <> 'unattributed' or r.anonymous_id is null
                    or r.rule not in ('device_before', 'device_after'))
                and (r.customer_key, r.rule, r.source_type, r.source_id) is distinct from (
                    own.customer_key, own.rule,
                    case when own.rule = 'linked_order' then 'order' end,
                    case when own.rule = 'linked_order' then own.order_id end)
            """
        )
    )


def _work_out_devices(connection: Connection, schema: str, left: list[str], *, days: int, people: int) -> None:
    """Attribute anew what is anonymous on every concerned device; ``left`` are devices that records have left."""
    rows = connection.execute(
        query(
            f"""
            with concerned as (
                select anonymous_id from pg_temp.identity_own where anonymous_id is not null
                union
                select unnest(%s::text[])
            )
            select
                r.record_type, r.record_id, r.anonymous_id,
                (extract(epoch from r.seen_at) * 1000000)::bigint,
                hashtextextended(r.record_id, array_position(%s::text[], r.record_type) - 1),
                case when own.record_id is not null then own.customer_key
                    when r.rule not in ('device_before', 'device_after') then r.customer_key end,
                r.customer_key, r.rule, r.source_type, r.source_id
            from concerned
            inner join {schema}.records as r using (anonymous_id)
            left join pg_temp.identity_own as own using (record_type, record_id)
            """
        ),
        [left, list(RECORD_TYPES)],
    ).fetchall()
    if not rows:
        return
    device_of: dict[str, int] = {}
    person_of: dict[int, int] = {}
    found = devices.attribute(
        np.array([device_of.setdefault(row[2], len(device_of)) for row in rows], np.int64),
        np.array([row[3] for row in rows], np.int64),
        np.array([row[4] for row in rows], np.int64),
        np.array([-1 if row[5] is None else person_of.setdefault(row[5], len(person_of)) for row in rows], np.int64),
        within=days * DAY_US,
        max_people=people,
    )
    outcome = []
    for row, source, how in zip(rows, found.source.tolist(), found.how.tolist(), strict=True):
        if row[5] is not None:
            continue
        by = rows[source] if source >= 0 else (None,) * 6
        rule = "unattributed" if source < 0 else ("device_before" if how == devices.BEFORE else "device_after")
        if (by[5], rule, by[0], by[1]) != row[6:]:
            outcome.append((row[0], row[1], by[5], rule, by[0], by[1], row[6]))
    if outcome:
        _write(connection, schema, outcome)


def _write(connection: Connection, schema: str, outcome: Sequence[tuple[object, ...]]) -> None:
    temporary(
        connection,
        "identity_on_device",
        """
        record_type text, record_id text, customer_key bigint, rule text, source_type text, source_id text,
        old_key bigint, primary key (record_type, record_id)
        """,
    )
    with connection.cursor() as cursor, cursor.copy("copy pg_temp.identity_on_device from stdin") as copy:
        for row in outcome:
            copy.write_row(row)
    connection.execute("analyze pg_temp.identity_on_device")
    connection.execute(
        """
        insert into pg_temp.identity_work (record_type, record_id, old_key, was_there)
        select record_type, record_id, old_key, true from pg_temp.identity_on_device on conflict do nothing
        """
    )
    connection.execute(
        query(
            f"""
            update {schema}.records as r
            set customer_key = d.customer_key, rule = d.rule, source_type = d.source_type, source_id = d.source_id
            from pg_temp.identity_on_device as d
            where r.record_type = d.record_type and r.record_id = d.record_id
            """
        )
    )
