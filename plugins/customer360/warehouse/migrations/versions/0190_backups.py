"""The journal of backups and of restores, which on-call looks at."""

from alembic import op

revision = "0190"
down_revision = "0180"
branch_labels = None
depends_on = None

_TABLES = """
create table ops.backups (
    backup_id bigint generated always as identity primary key,
    name text,
    place text not null,
    state text not null check (state in ('succeeded', 'failed')),
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    taken_at timestamptz,
    bytes bigint not null,
    table_count bigint not null,
    row_count bigint not null,
    landed_files bigint,
    error text
);
comment on table ops.backups is
    'One row per backup that was tried, in the order of their ends. A process that was killed leaves none.';
comment on column ops.backups.backup_id is 'Number of the row.';
comment on column ops.backups.name is 'Name of the backup in its place; null if it failed before it had one.';
comment on column ops.backups.place is 'Folder or URL that holds the backup.';
comment on column ops.backups.state is 'succeeded or failed. An old backup may have been removed since.';
comment on column ops.backups.started_at is 'When the command began (UTC).';
comment on column ops.backups.finished_at is 'When the backup was complete, or failed (UTC).';
comment on column ops.backups.taken_at is
    'The moment that the backup shows: it holds what was committed before (UTC). Null if it failed before.';
comment on column ops.backups.bytes is 'Size of the backup in bytes, compressed and encrypted.';
comment on column ops.backups.table_count is 'How many tables the backup holds.';
comment on column ops.backups.row_count is 'How many rows all tables of the backup hold together.';
comment on column ops.backups.landed_files is 'How many landed files the backup holds; null if it leaves them out.';
comment on column ops.backups.error is 'Why it failed, without values of records; null if it succeeded.';
create table ops.restores (
    restore_id bigint generated always as identity primary key,
    name text not null,
    taken_at timestamptz not null,
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    row_count bigint not null
);
comment on table ops.restores is 'One row per time that this warehouse was restored from a backup.';
comment on column ops.restores.restore_id is 'Number of the row.';
comment on column ops.restores.name is 'Name of the backup.';
comment on column ops.restores.taken_at is 'The moment that the backup shows (UTC). Later work was lost or done again.';
comment on column ops.restores.started_at is 'When the restore began (UTC).';
comment on column ops.restores.finished_at is 'When the restore was complete (UTC).';
comment on column ops.restores.row_count is 'How many rows the restore brought back.';
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("Migrations of this project go forward only.")
