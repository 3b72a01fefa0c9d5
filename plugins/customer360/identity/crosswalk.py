"""What a resolution moved, and the journal of which customer every key ever published is now."""

from __future__ import annotations

from customer360.identity.tables import temporary
from customer360.warehouse import Connection, query, scalar


def remember(connection: Connection, schema: str) -> None:
    """Before everything is resolved anew: keep what was, in temporary tables, to compare with."""
    temporary(connection, "identity_records_before", "record_type text, record_id text, customer_key bigint")
    temporary(connection, "identity_customers_before", f"like {schema}.customers")
    connection.execute(
        query(
            "insert into pg_temp.identity_records_before "
            f"select record_type, record_id, customer_key from {schema}.records"
        )
    )
    connection.execute(query(f"insert into pg_temp.identity_customers_before select * from {schema}.customers"))
    connection.execute("analyze pg_temp.identity_records_before, pg_temp.identity_customers_before")


def compare(connection: Connection, schema: str) -> None:
    """After it: fill identity_moved and identity_touched from the difference."""
    begin(connection)
    connection.execute(
        query(
            f"""
            insert into pg_temp.identity_moved (record_type, record_id, old_key, new_key, was_there)
            select record_type, record_id, before.customer_key, now.customer_key, true
            from pg_temp.identity_records_before as before
            left join {schema}.records as now using (record_type, record_id)
            where before.customer_key is distinct from now.customer_key
            """
        )
    )
    connection.execute(
        query(
            f"""
            insert into pg_temp.identity_touched (customer_key)
            select coalesce(before.customer_key, now.customer_key)
            from pg_temp.identity_customers_before as before
            full join {schema}.customers as now on now.customer_key = before.customer_key
            where now is distinct from before
            union
            select old_key from pg_temp.identity_moved where old_key is not null
            union
            select new_key from pg_temp.identity_moved where new_key is not null
            """
        )
    )


def begin(connection: Connection) -> None:
    """Make the empty temporary tables that say what a resolution moved."""
    temporary(
        connection,
        "identity_moved",
        "record_type text, record_id text, old_key bigint, new_key bigint, was_there boolean",
    )
    temporary(connection, "identity_touched", "customer_key bigint primary key")


def write(connection: Connection, schema: str, *, run_id: int | None, decided_since: int) -> None:
    """Add to the journal what changed for the touched keys, and for the keys that stood for one of them.

    A key's present customer is the one that its own identifier identifies. If that is blocked or in no record any
    more, it is the one that got most of the key's records (of equals the oldest).

    Args:
        decided_since: decisions of operators after this one are what this run obeys for the first time.
    """
    temporary(
        connection,
        "identity_present",
        "customer_key bigint primary key, before bigint, was_known boolean, present bigint, is_identified boolean",
    )
    if not scalar(connection, "select exists (select from state.customer_key_crosswalk)"):
        # A first load: every customer is new, and there is nothing to compare millions of them with.
        connection.execute(
            query(
                f"""
                insert into state.customer_key_crosswalk (customer_key, present_customer_key, reason, run_id)
                select customer_key, customer_key, 'first_seen', %s from {schema}.customers order by customer_key
                """
            ),
            [run_id],
        )
        return
    connection.execute("analyze pg_temp.identity_touched, pg_temp.identity_moved")
    connection.execute(
        query(
            f"""
            with affected as (
                select customer_key from pg_temp.identity_touched
                union
                select c.customer_key from pg_temp.identity_touched as touched
                inner join state.customer_key_crosswalk as c on c.present_customer_key = touched.customer_key
            )
            insert into pg_temp.identity_present (customer_key, before, was_known, present, is_identified)
            select
                a.customer_key, latest.present_customer_key, latest.entry_id is not null, i.customer_key,
                i.customer_key is not null
            from affected as a
            left join lateral (
                select c.entry_id, c.present_customer_key from state.customer_key_crosswalk as c
                where c.customer_key = a.customer_key
                order by c.entry_id desc
                limit 1
            ) as latest on true
            left join {schema}.identifiers as i on i.identifier_key = a.customer_key
            where latest.entry_id is not null or i.customer_key = a.customer_key
            """
        )
    )
    connection.execute("analyze pg_temp.identity_present")
    connection.execute(
        query(
            f"""
            with successor as (
                select distinct on (old_key) old_key, new_key
                from (
                    select old_key, new_key, count(*) as records from pg_temp.identity_moved
                    where old_key is not null and new_key is not null group by old_key, new_key
                ) as moved
                order by old_key, records desc, new_key
            )
            update pg_temp.identity_present as p
            set present = coalesce(direct.new_key, inherited.new_key, still.customer_key)
            from pg_temp.identity_present as self
            left join successor as direct on direct.old_key = self.customer_key
            left join successor as inherited on inherited.old_key = self.before
            left join {schema}.customers as still on still.customer_key = self.before
            where self.customer_key = p.customer_key and not p.is_identified
            """
        )
    )
    connection.execute(
        query(
            f"""
            with changed as (
                select p.*,
                    case
                        when not p.was_known then 'first_seen'
                        when p.present is null then 'withdrawn'
                        when p.present = p.customer_key then 'split'
                        when p.is_identified then 'merged'
                        else 'moved'
                    end as reason
                from pg_temp.identity_present as p
                where not p.was_known or p.before is distinct from p.present
            )
            insert into state.customer_key_crosswalk (customer_key, present_customer_key, reason, evidence, run_id)
            select c.customer_key, c.present, c.reason, '{{}}'::jsonb, %(run)s::bigint
            from changed as c where not c.was_known
            union all
            select
                c.customer_key, c.present, c.reason,
                jsonb_strip_nulls(jsonb_build_object(
                    'rule', case
                        when decided.ids is not null then 'operator'
                        when c.reason = 'merged' then 'strong'
                        when c.reason = 'withdrawn' then 'records_gone'
                        when blocked.identifier_keys is not null then 'blocked'
                        else 'link_gone'
                    end,
                    'record_type', case when decided.ids is null then joining.record_type end,
                    'record_id', case when decided.ids is null then joining.record_id end,
                    'decision_ids', decided.ids,
                    'blocked_identifier_keys', blocked.identifier_keys
                )),
                %(run)s::bigint
            from changed as c
            left join lateral (
                select r.record_type, r.record_id from {schema}.records as r
                where c.reason = 'merged' and c.customer_key in (r.customer_id_key, r.email_key, r.phone_key)
                    and num_nonnulls(r.customer_id_key, r.email_key, r.phone_key) > 1
                order by r.seen_at, r.record_type, r.record_id
                limit 1
            ) as joining on true
            left join lateral (
                select array_agg(distinct i.identifier_key) as identifier_keys
                from {schema}.records as r
                inner join {schema}.identifiers as i
                    on i.identifier_key in (r.customer_id_key, r.email_key, r.phone_key) and i.blocked_by is not null
                where c.reason in ('split', 'moved')
                    and c.customer_key in (r.customer_id_key, r.email_key, r.phone_key)
            ) as blocked on true
            left join lateral (
                select array_agg(distinct d.decision_id) as ids
                from state.identity_decisions as d
                inner join state.identity_decision_members as m
                    on m.decision_id = coalesce(d.undoes, d.decision_id)
                where d.decision_id > %(since)s and m.identifier_key = c.customer_key
            ) as decided on true
            where c.was_known
            """
        ),
        {"run": run_id, "since": decided_since},
    )
