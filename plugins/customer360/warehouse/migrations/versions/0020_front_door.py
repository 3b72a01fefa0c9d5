"""The front door: who is loading a batch, how its file is read, what operators did to it, which fields are unknown."""

from alembic import op

revision = "0020"
down_revision = "0011"
branch_labels = None
depends_on = None

_TABLES = """
alter table ops.batches
    add column location text,
    add column reading jsonb,
    add column heartbeat_at timestamptz,
    add column warning text;
comment on column ops.batches.location is 'Path or URL of the landed file; null for a released batch.';
comment on column ops.batches.reading is 'How the file was read: format, and for CSV its delimiter and header.';
comment on column ops.batches.attempts is 'Loads begun. Also the fencing token: only the last loader may commit.';
comment on column ops.batches.heartbeat_at is 'When the present loader last made progress.';
comment on column ops.batches.warning is 'What somebody should know about a batch that was loaded all the same.';
create index batches_by_feed on ops.batches (feed, batch_id);
create index batches_by_content on ops.batches (content_hash);

-- A block-range index is not maintained for pages added since the last vacuum, so that looking up the batch that was
-- loaded a moment ago would read all of them. An ascending key costs a B-tree next to nothing.
drop index raw.orders_by_batch;
drop index raw.web_sessions_by_batch;
drop index raw.support_tickets_by_batch;
create index orders_by_batch on raw.orders (batch_id);
create index web_sessions_by_batch on raw.web_sessions (batch_id);
create index support_tickets_by_batch on raw.support_tickets (batch_id);

create index quarantine_open on quarantine.rows (batch_id) where state = 'open';

create table ops.batch_actions (
    action_id bigint generated always as identity primary key,
    batch_id bigint not null references ops.batches,
    action text not null check (action in ('hold', 'unhold', 'replay', 'release', 'discard', 'tidy')),
    row_count bigint not null default 0,
    acted_by text not null,
    because text not null,
    acted_at timestamptz not null default now()
);
create index batch_actions_by_batch on ops.batch_actions (batch_id);
comment on table ops.batch_actions is 'One row per thing that a person did to a batch: what, who, why. Append-only.';

create table ops.unknown_fields (
    feed text not null,
    field text not null,
    first_batch_id bigint not null references ops.batches,
    first_seen_at timestamptz not null default now(),
    row_count bigint not null,
    primary key (feed, field)
);
comment on table ops.unknown_fields is 'One row per feed and field that the contract does not know: kept, counted.';
comment on column ops.unknown_fields.row_count is 'Records that had it so far.';
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
