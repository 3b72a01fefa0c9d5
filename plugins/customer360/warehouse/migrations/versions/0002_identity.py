"""Identity's state: what operators decided, and which customer every key ever published is now."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = """
create table state.identity_decisions (
    decision_id bigint generated always as identity primary key,
    kind text not null check (kind in ('join', 'split', 'block', 'allow', 'undo')),
    undoes bigint references state.identity_decisions,
    decided_by text not null,
    because text not null,
    decided_at timestamptz not null default now(),
    check ((kind = 'undo') = (undoes is not null))
);
comment on table state.identity_decisions is 'One row per decision of an operator about who is who. Append-only.';

create table state.identity_decision_members (
    decision_id bigint not null references state.identity_decisions,
    identifier_key bigint not null references state.customer_key_map,
    side smallint not null check (side in (0, 1)),
    primary key (decision_id, identifier_key)
);
create index identity_decision_members_by_identifier on state.identity_decision_members (identifier_key);
comment on table state.identity_decision_members is
    'One row per identifier that a decision is about; the sides of a split are 0 and 1. Append-only.';
comment on column state.identity_decision_members.identifier_key is 'The identifier, by its own key in the map.';

create table state.customer_key_crosswalk (
    entry_id bigint generated always as identity primary key,
    customer_key bigint not null,
    present_customer_key bigint,
    reason text not null check (reason in ('first_seen', 'merged', 'split', 'moved', 'withdrawn')),
    evidence jsonb not null default '{}',
    run_id bigint,
    changed_at timestamptz not null default now()
);
create index customer_key_crosswalk_by_key on state.customer_key_crosswalk (customer_key, entry_id);
create index customer_key_crosswalk_by_present on state.customer_key_crosswalk (present_customer_key);
comment on table state.customer_key_crosswalk is
    'Journal, append-only: one row per change of the customer that a key stands for. The latest row of a key holds.';
comment on column state.customer_key_crosswalk.present_customer_key is 'Null: none of its records is left.';
comment on column state.customer_key_crosswalk.evidence is 'Record ids, decision ids, rules: no personal data.';

grant select, insert on state.customer_key_map, state.identity_decisions, state.identity_decision_members,
    state.customer_key_crosswalk to transformer;
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
