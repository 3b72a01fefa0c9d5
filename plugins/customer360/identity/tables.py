"""The tables of schema identity: what they are, and how they are made.

All of them are state: a function of the staged records, the operators' decisions and the settings. They are emptied
and filled, never dropped, since dbt's models may look at them. The journals and the key map are in schema ``state``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from customer360.errors import Customer360Error
from customer360.identity.staged import RECORD_TYPES
from customer360.warehouse import Connection, query, scalar

_TABLES = """
create table if not exists {schema}.identifiers (
    identifier_key bigint primary key,
    identifier_type text not null check (identifier_type in ('customer_id', 'email', 'phone')),
    identifier text not null,
    customer_key bigint,
    account_key bigint,
    is_account boolean not null,
    blocked_by text check (blocked_by in ('operator', 'shared')),
    check ((customer_key is null) = (blocked_by is not null))
) with (fillfactor = 90);
comment on table {schema}.identifiers is
    'One row per strong identifier that a staged record shows, and the customer whom it identifies. Personal data.';
comment on column {schema}.identifiers.identifier_key is 'Its own key in state.customer_key_map.';
comment on column {schema}.identifiers.customer_key is 'Null: it is blocked and identifies nobody.';
comment on column {schema}.identifiers.account_key is
    'The group that customer_ids and e-mail addresses alone make; null for phones and blocked identifiers.';
comment on column {schema}.identifiers.is_account is 'Whether that group has a customer_id.';
comment on column {schema}.identifiers.blocked_by is
    'operator: by decision; shared: linked to more people than one identifier may be.';

create table if not exists {schema}.records (
    record_type text not null,
    record_id text not null,
    seen_at timestamptz not null,
    customer_id_key bigint,
    email_key bigint,
    phone_key bigint,
    anonymous_id text,
    linked_order_id text,
    customer_key bigint,
    rule text not null,
    source_type text,
    source_id text,
    primary key (record_type, record_id)
) with (fillfactor = 90);
comment on table {schema}.records is
    'One row per staged record: the identifiers it shows, whose it is, by which rule and on which evidence.';
comment on column {schema}.records.record_id is 'The record key: source and id as one text.';
comment on column {schema}.records.seen_at is 'ordered_at, started_at or created_at.';
comment on column {schema}.records.linked_order_id is
    'Key of the order placed in the session, or that the ticket is about: it names the customer if nothing else does.';
comment on column {schema}.records.rule is
    'customer_id, email, phone: its own identifier; linked_order; device_before, device_after; unattributed.';
comment on column {schema}.records.source_id is 'The other record that names the customer, where another one does.';

create table if not exists {schema}.customers (
    customer_key bigint primary key,
    identifier_count integer not null,
    identity_confidence numeric(5, 4) not null,
    first_seen_at timestamptz not null
) with (fillfactor = 90);
comment on table {schema}.customers is 'One row per customer.';
comment on column {schema}.customers.identifier_count is 'Strong identifiers that are the customer''s.';
comment on column {schema}.customers.identity_confidence is
    'Of the weakest of them: 1 - doubt / (1 + records that show it beside another); doubt: '
    'customer_id 0, e-mail 0.05, phone 0.2. Assumed figures: they order customers, they are no probability.';
comment on column {schema}.customers.first_seen_at is 'The earliest record that shows one of them.';

create table if not exists {schema}.resolution (
    is_only boolean primary key default true check (is_only),
    rules text not null,
    decision_id bigint not null
);
comment on table {schema}.resolution is 'One row: under which rules, and up to which decision, these tables are.';
alter table {schema}.resolution add column if not exists max_device_people integer;
comment on column {schema}.resolution.max_device_people is
    'On a device with more people than this no record is attributed to the person known there.';
"""

# One for each feed.
_CUSTOMERS_OF = """
create or replace view {schema}.{scope}_customers as
    select record_id as {scope}_key, customer_key, rule, source_type, source_id
    from {schema}.records where record_type = '{scope}';
comment on view {schema}.{scope}_customers is
    'One row per staged {scope}: the customer it belongs to (null: nobody known), and why.';
"""

_VIEWS = """
create or replace view {schema}.links as
    select
        r.record_type, r.record_id, r.seen_at, i.identifier_type, i.identifier, i.identifier_key, i.customer_key,
        coalesce(i.blocked_by, case
            when i.customer_key = r.customer_key then 'strong'
            when r.rule = 'linked_order' then 'overruled'
            else 'set_apart'
        end) as rule
    from {schema}.records as r
    cross join lateral (values (r.customer_id_key), (r.email_key), (r.phone_key)) as shown (identifier_key)
    inner join {schema}.identifiers as i using (identifier_key)
    union all
    select record_type, record_id, seen_at, 'anonymous_id', anonymous_id, null, customer_key, 'weak'
    from {schema}.records where anonymous_id is not null;
comment on view {schema}.links is
    'One row per identifier that a record shows: the link, its rule and its source record. Personal data.';
create or replace view {schema}.blocked_identifiers as
    select
        i.identifier_key, i.identifier_type, i.identifier, i.blocked_by, seen.records, seen.customer_ids,
        seen.sources, seen.emails, seen.phones, seen.customers, seen.first_seen_at, seen.last_seen_at,
        seen.first_record
    from {schema}.identifiers as i
    cross join lateral (
        select
            count(*) as records, count(distinct r.customer_id_key) as customer_ids,
            count(distinct case when strpos(c.identifier, '/') > 0 then split_part(c.identifier, '/', 1) else '' end)
                filter (where c.identifier is not null) as sources,
            count(distinct r.email_key) as emails, count(distinct r.phone_key) as phones,
            count(distinct r.customer_key) as customers, min(r.seen_at) as first_seen_at,
            max(r.seen_at) as last_seen_at,
            (array_agg(r.record_type || ':' || r.record_id order by r.seen_at, r.record_type, r.record_id))[1]
                as first_record
        from {schema}.records as r
        left join {schema}.identifiers as c on c.identifier_key = r.customer_id_key
        where i.identifier_key in (r.customer_id_key, r.email_key, r.phone_key)
    ) as seen
    where i.blocked_by is not null;
comment on view {schema}.blocked_identifiers is
    'One row per identifier that joins nobody, why, and what its records show. Personal data.';
comment on column {schema}.blocked_identifiers.blocked_by is
    'operator: by decision; shared: seen with more customer_ids, e-mail addresses, phones or people than the limits.';
comment on column {schema}.blocked_identifiers.records is 'Records that show the identifier.';
comment on column {schema}.blocked_identifiers.customer_ids is 'Different customer_ids in these records.';
comment on column {schema}.blocked_identifiers.sources is 'Different sources of these customer_ids.';
comment on column {schema}.blocked_identifiers.emails is 'Different e-mail addresses in these records.';
comment on column {schema}.blocked_identifiers.phones is 'Different phones in these records.';
comment on column {schema}.blocked_identifiers.customers is 'Different customers that these records belong to.';
comment on column {schema}.blocked_identifiers.first_record is 'The earliest of these records: type and record key.';
create or replace view {schema}.crowded_devices as
    select
        anonymous_id, count(*) as records, count(distinct customer_key) filter (where is_known) as people,
        min(seen_at) as first_seen_at, max(seen_at) as last_seen_at
    from (
        select *, rule in ('customer_id', 'email', 'phone', 'linked_order') as is_known from {schema}.records
        where anonymous_id is not null
    ) as on_device
    group by anonymous_id
    having count(distinct customer_key) filter (where is_known) > (select max_device_people from {schema}.resolution);
comment on view {schema}.crowded_devices is
    'One row per device on which more people are known than one device may have: it attributes nothing to anybody.';
"""

_INDEXES = {
    "identifiers_by_customer": "identifiers (customer_key)",
    "identifiers_by_account": "identifiers (account_key) where account_key is not null",
    "records_by_customer_id": "records (customer_id_key, email_key) where customer_id_key is not null",
    "records_by_email": "records (email_key, customer_id_key) where email_key is not null",
    "records_by_phone": "records (phone_key, customer_id_key) where phone_key is not null",
    "records_by_customer_id_and_phone": (
        "records (customer_id_key, phone_key) where customer_id_key is not null and phone_key is not null"
    ),
    "records_by_email_and_phone": (
        "records (email_key, phone_key) where email_key is not null and phone_key is not null"
    ),
    "records_by_phone_and_email": (
        "records (phone_key, email_key) where email_key is not null and phone_key is not null"
    ),
    "records_by_device": "records (anonymous_id, seen_at) where anonymous_id is not null",
    "records_by_order": "records (linked_order_id) where linked_order_id is not null",
}
_KEYS = {
    "identifiers": "identifier_key",
    "records": "record_type, record_id",
    "customers": "customer_key",
}


def check_schema(schema: str) -> str:
    """The schema's name, if it is one that may stand in SQL text.

    Raises:
        Customer360Error: it may not.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
        raise Customer360Error(f"{schema!r} is no schema name.", "Use lower-case letters, digits and underscores.")
    return schema


def create(connection: Connection, schema: str) -> None:
    """Create what is missing of the schema's tables, indexes and views."""
    wanted = [
        f"{schema}.resolution",
        f"{schema}.crowded_devices",
        *(f"{schema}.{scope}_customers" for scope in RECORD_TYPES),
    ]
    missing = "select exists (select from unnest(%s::text[]) as name where to_regclass(name) is null)"
    if not scalar(connection, missing, [wanted]):
        return
    connection.execute(query(f"create schema if not exists {schema}"))
    views = _VIEWS + "".join(_CUSTOMERS_OF.replace("{scope}", scope) for scope in RECORD_TYPES)
    for statement in (_TABLES + views).split(";\n"):
        if statement.strip():
            connection.execute(query(statement.format(schema=schema)))
    create_indexes(connection, schema)


def create_indexes(connection: Connection, schema: str) -> None:
    """Create the secondary indexes that are missing."""
    for name, columns in _INDEXES.items():
        connection.execute(query(f"create index if not exists {name} on {schema}.{columns}"))


def empty(connection: Connection, schema: str) -> None:
    """Empty the tables and take their indexes away: a whole new content is loaded faster without them."""
    connection.execute(query(f"truncate {', '.join(f'{schema}.{table}' for table in _KEYS)}"))
    for name in _INDEXES:
        connection.execute(query(f"drop index if exists {schema}.{name}"))
    for table in _KEYS:
        connection.execute(query(f"alter table {schema}.{table} drop constraint if exists {table}_pkey"))


def finish(connection: Connection, schema: str) -> None:
    """After :func:`empty` and loading: keys, indexes, statistics."""
    for table, columns in _KEYS.items():
        connection.execute(query(f"alter table {schema}.{table} add primary key ({columns})"))
    create_indexes(connection, schema)
    for table in _KEYS:
        connection.execute(query(f"analyze {schema}.{table}"))


def temporary(connection: Connection, name: str, columns: str) -> None:
    """Create an empty temporary table that ends with the transaction, in place of one of that name.

    Give it the key that its joins use, and analyze it once it is filled: without the two the planner loops over all of
    it for each row of the other side, and the cost of an increment grows with the square of its size.
    """
    connection.execute(query(f"drop table if exists pg_temp.{name}"))
    connection.execute(query(f"create temp table {name} ({columns}) on commit drop"))


@contextmanager
def by_index(connection: Connection) -> Iterator[None]:
    """Let one statement look up its keys by index, although the planner would read the table.

    For a list of keys joined to an indexed table, where one value is so frequent (a call box's phone) that the planner
    takes every key for such a one. Never for a whole step: two lists without an index would be compared row by row.
    """
    switches = [f"enable_{way}" for way in ("hashjoin", "mergejoin", "seqscan")]
    connection.execute("select set_config(name, 'off', true) from unnest(%s::text[]) as name", [switches])
    yield
    connection.execute("select set_config(name, 'on', true) from unnest(%s::text[]) as name", [switches])
