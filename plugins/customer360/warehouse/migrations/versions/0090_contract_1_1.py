"""Contract 1.1: source, deleted and contact preferences of every record; its key is (source, id) as one text.

docs/decisions/0015. What an older warehouse holds is taken along: ids are trimmed, ids that hold a slash get another
slash in front wherever they are kept as keys, and rows without an id leave raw for the quarantine.
"""

from alembic import op
from sqlalchemy import text

revision = "0090"
down_revision = "0080"
branch_labels = None
depends_on = None

_SPACES = "".join(
    rf"\u{code:04X}"
    for code in (*range(0x09, 0x0E), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
                 0x202F, 0x205F, 0x3000)
)  # fmt: skip

_FUNCTIONS = rf"""
create function raw.trimmed_id(id text) returns text language sql immutable parallel safe
    return nullif(case when octet_length(id) = char_length(id) then btrim(id, E'\u0020\u0009\u000A\u000B\u000C\u000D\u001C\u001D\u001E\u001F')
        else btrim(normalize(id, NFC), E'{_SPACES}') end, '');
comment on function raw.trimmed_id is
    'An id as it counts: in NFC, without white space around it; null if nothing is left.';
create function raw.record_key(source text, id text) returns text language sql immutable parallel safe
    return case
        when source <> '' then source || '/' || raw.trimmed_id(id)
        when strpos(id, '/') > 0 then '/' || raw.trimmed_id(id)
        else raw.trimmed_id(id) end;
comment on function raw.record_key is
    'The key of a record: its id; behind "<source>/" if it has a source; behind "/" if the id holds a slash.';
create function raw.id_of_key(key text) returns text language sql immutable parallel safe
    return case when strpos(key, '/') = 0 then key else substr(key, strpos(key, '/') + 1) end;
comment on function raw.id_of_key is 'The id that a record key stands for, without its source.';
"""  # noqa: E501

_VIEWS = """
create view ops.visible_batches as
    select batch_id, feed, file_name, is_history, state, loaded_rows, landed_at, loaded_at, claimed_at, claimed_by
    from ops.batches where claimed_at is not null and state in ('loaded', 'published');
comment on view ops.visible_batches is
    'One row per batch that staging reads: taken by a build, and neither held nor refused.';
create view ops.unpublished_batches as
    select batch_id, feed, file_name, is_history, claimed_at is not null as is_claimed, loaded_rows, landed_at,
        loaded_at, claimed_at, claimed_by
    from ops.batches where state = 'loaded';
comment on view ops.unpublished_batches is
    'One row per batch that is loaded and not published yet; is_claimed: a build has taken it.';
alter table ops.dirty drop constraint dirty_scope_check;
alter table ops.dirty add constraint dirty_scope_check check (scope ~ '^[a-z_]+$');
"""

# Feed, id, record key, fact tables with the rest of their key.
_FEEDS = (
    ("orders", "order_id", "order_key", {"fct_orders": "", "fct_order_items": "line_number",
                                         "fct_refunds": "refund_number"}),
    ("web_sessions", "session_id", "session_key", {"fct_sessions": ""}),
    ("support_tickets", "ticket_id", "ticket_key", {"fct_tickets": ""}),
)  # fmt: skip


def upgrade() -> None:
    """Functions and views first, then raw, the archive, and what was made of them."""
    for statement in (_FUNCTIONS + _VIEWS).split(";\n"):
        if statement.strip():
            op.execute(statement)
    for feed, id_field, key, facts in _FEEDS:
        _raw(feed, id_field, key)
        _frozen(feed, id_field, key)
        for fact, rest in facts.items():
            if _exists(f"marts.{fact}"):
                _fact(fact, id_field, key, rest)
    _dirty_keys()
    _keys_with_a_slash()


def _raw(feed: str, id_field: str, key: str) -> None:
    op.execute(f"""
        alter table raw.{feed}
            add column source text, add column deleted boolean, add column contact_preferences jsonb,
            add column {key} text generated always as (raw.record_key(source, {id_field})) stored
    """)
    op.execute(f"comment on column raw.{feed}.{key} is 'Record key: (source, {id_field}) as one text.'")
    op.execute(f"""
        with gone as (delete from raw.{feed} where {key} is null returning *),
        aside as (
            insert into quarantine.rows (batch_id, feed, row_number, record, reasons)
            select batch_id, '{feed}', row_number,
                jsonb_strip_nulls(
                    to_jsonb(gone) - '{{batch_id,row_number,extra,{key}}}'::text[]
                    || coalesce(extra, '{{}}'))::text,
                jsonb_build_array(jsonb_build_object(
                    'rule', 'required', 'field', '{id_field}', 'message', '{id_field} is missing'))
            from gone
        )
        update ops.batches as b
        set loaded_rows = loaded_rows - n.row_count, quarantined_rows = quarantined_rows + n.row_count
        from (select batch_id, count(*) as row_count from gone group by batch_id) as n where n.batch_id = b.batch_id
    """)
    op.execute(f"alter table raw.{feed} alter column {key} set not null")
    op.execute(f"drop index raw.{feed}_by_id")
    op.execute(f"create index {feed}_by_key on raw.{feed} ({key})")


def _frozen(feed: str, id_field: str, key: str) -> None:
    table = f"state.frozen_{feed}"
    op.execute(f"""
        alter table {table}
            add column source text not null default '', add column {key} text,
            add column is_deleted boolean not null default false,
            add column has_id_conflict boolean not null default false, add column contact_preferences jsonb
    """)
    op.execute(f"update {table} set {key} = coalesce(raw.record_key(null, {id_field}), {id_field})")
    op.execute(f"""
        delete from {table} as older using {table} as newer
        where older.{key} = newer.{key}
            and (older.updated_at, older.{id_field}) < (newer.updated_at, newer.{id_field})
    """)
    op.execute(f"update {table} set {id_field} = coalesce(raw.trimmed_id({id_field}), {id_field})")
    op.execute(f"alter table {table} drop constraint frozen_{feed}_pkey")
    op.execute(f"alter table {table} add primary key ({key})")
    op.execute(f"grant select ({key}) on {table} to loader")


def _fact(fact: str, id_field: str, key: str, rest: str) -> None:
    """The published table gets its new key before its next publication, which compares by it.

    Of ids that are one now, the first gives the key; the others keep their old text as a key until the next build
    takes their rows away.
    """
    op.execute(f"alter table marts.{fact} add column {key} text")
    op.execute(f"""
        update marts.{fact} as fact set {key} = keys.key
        from (
            select {id_field},
                case when row_number() over (partition by raw.record_key(null, {id_field}) order by {id_field}) = 1
                    then coalesce(raw.record_key(null, {id_field}), {id_field}) else {id_field} end as key
            from (select distinct {id_field} from marts.{fact}) as ids
        ) as keys where keys.{id_field} = fact.{id_field}
    """)
    op.execute(f"alter table marts.{fact} drop constraint {fact}_pkey")
    op.execute(f"alter table marts.{fact} add primary key ({', '.join(filter(None, (key, rest)))})")


def _dirty_keys() -> None:
    op.execute("""
        with old as (
            delete from ops.dirty
            where scope in ('order', 'session', 'ticket') and key is distinct from raw.record_key(null, key)
            returning scope, key
        )
        insert into ops.dirty (scope, key)
        select distinct scope, raw.record_key(null, key) from old where raw.record_key(null, key) is not null
        on conflict do nothing
    """)


def _keys_with_a_slash() -> None:
    """Where a customer id or a record id is kept as a key, the slash in it gets another one in front of the id."""
    _put_slash("state.customer_key_map", ("identifier",), "identifier_type = 'customer_id' and identifier")
    if _exists("identity.records"):
        # State that the next build, a whole one, makes again: until then it is read by its new keys.
        for view in ("order_customers", "session_customers", "ticket_customers"):
            op.execute(f"drop view if exists identity.{view}")
        op.execute("alter table identity.records drop constraint if exists records_record_type_check")
        _put_slash("identity.identifiers", ("identifier",), "identifier_type = 'customer_id' and identifier")
        for column in ("record_id", "linked_order_id", "source_id"):
            _put_slash("identity.records", (column,), column)
    op.execute("alter table state.loyalty_points_ledger disable trigger append_only")
    _put_slash("state.loyalty_points_ledger", ("lot", "source_id"), "lot")
    op.execute("alter table state.loyalty_points_ledger enable trigger append_only")
    if _exists("marts.loyalty_points_ledger"):
        _put_slash("marts.loyalty_points_ledger", ("lot", "source_id"), "lot")


def _put_slash(table: str, columns: tuple[str, ...], holds: str) -> None:
    """In two steps, for the new text of one row may be the old text of another."""
    marked = ", ".join(f"{column} = chr(1) || '/' || {column}" for column in columns)
    cleaned = ", ".join(f"{column} = substr({column}, 2)" for column in columns)
    op.execute(f"update {table} set {marked} where {holds} like '%/%'")
    op.execute(f"update {table} set {cleaned} where {columns[0]} like chr(1) || '%'")


def _exists(table: str) -> bool:
    return bool(op.get_bind().scalar(text("select to_regclass(:name) is not null"), {"name": table}))
