"""Requests to erase a person: they wait for somebody to decide on them."""

from alembic import op

revision = "0221"
down_revision = "0220"
branch_labels = None
depends_on = None

_TABLES = """
create table state.erasure_requests (
    request_id bigint generated always as identity primary key,
    requested_from text not null,
    reference text not null,
    identifiers jsonb,
    requested_at timestamptz not null default clock_timestamp(),
    state text not null default 'open' check (state in ('open', 'erased', 'dismissed')),
    erasure_id bigint references state.erasures,
    closed_at timestamptz,
    closed_by text,
    closed_because text,
    unique (requested_from, reference),
    check ((state = 'open') = (identifiers is not null))
);
comment on table state.erasure_requests is
    'One row per request to erase a person: open until somebody has erased the person or dismissed the request.';
comment on column state.erasure_requests.request_id is 'Its number, for `c360 erase --request`.';
comment on column state.erasure_requests.requested_from is 'Where it came from: a source''s name, or a command.';
comment on column state.erasure_requests.reference is 'Its name there: the same one again is the same request.';
comment on column state.erasure_requests.identifiers is
    'Identifiers of the person by kind; personal data, and null as soon as the request is closed.';
comment on column state.erasure_requests.requested_at is 'When it arrived (UTC): records that begin later stay.';
comment on column state.erasure_requests.state is 'open, erased or dismissed.';
comment on column state.erasure_requests.erasure_id is 'The erasure that it led to (state.erasures).';
comment on column state.erasure_requests.closed_at is 'When it was decided on (UTC).';
comment on column state.erasure_requests.closed_by is 'Who decided.';
comment on column state.erasure_requests.closed_because is 'Why, in that person''s words.'
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("Migrations of this project go forward only.")
