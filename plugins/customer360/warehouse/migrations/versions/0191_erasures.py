"""Who was erased, as keyed digests, and what each erasure removed, without the person."""

from alembic import op

revision = "0191"
down_revision = "0190"
branch_labels = None
depends_on = None

_TABLES = """
create table state.erasures (
    erasure_id bigint generated always as identity primary key,
    state text not null default 'stripped' check (state in ('stripped', 'finished')),
    erased_before timestamptz not null,
    acted_by text not null,
    because text not null,
    began_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    removed jsonb not null default '{}',
    customer_keys bigint[] not null default '{}'
);
comment on table state.erasures is 'One row per erasure of a person: its certificate, without the person.';
comment on column state.erasures.state is 'stripped: texts are gone, tables are built next; finished: nothing is left.';
comment on column state.erasures.erased_before is 'Records whose own time is later stay: the person came back.';
comment on column state.erasures.removed is 'Place -> how many rows, entries or files lost the person.';
comment on column state.erasures.customer_keys is 'Keys of the person, until the erasure is finished; empty then.';
create table state.erasure_registry (
    identifier_type text not null,
    digest text not null,
    erased_before timestamptz not null,
    primary key (identifier_type, digest)
);
comment on table state.erasure_registry is
    'One row per identifier of an erased person: a keyed digest, applied to whatever is loaded or restored later.';
comment on column state.erasure_registry.identifier_type is 'customer_id, email, phone or anonymous_id.';
comment on column state.erasure_registry.digest is 'HMAC-SHA-256 of the normal form, by a key that is in no table.';
comment on column state.erasure_registry.erased_before is 'Records whose own time is later are not affected.';
grant select on state.erasure_registry to loader;
alter table ops.batch_actions drop constraint batch_actions_action_check;
alter table ops.batch_actions add constraint batch_actions_action_check check (
    action in ('hold', 'unhold', 'replay', 'release', 'discard', 'tidy', 'retire', 'isolate', 'erase'));
"""


# Published for every reader, it named what marts_pii had lost by e-mail address and phone number.
_FORGET = """
do $$ begin
    if to_regclass('marts.deleted_keys') is not null then
        update marts.deleted_keys set key = jsonb_build_object('customer_key', key -> 'customer_key')
        where starts_with(table_name, 'marts_pii.') and jsonb_exists(key, 'identifier');
    end if;
end $$
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(_FORGET)


def downgrade() -> None:
    raise NotImplementedError("Migrations of this project go forward only.")
