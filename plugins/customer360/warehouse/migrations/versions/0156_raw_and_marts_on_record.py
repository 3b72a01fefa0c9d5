"""What raw and marts were when they were last known to be whole, so that a change by hand is noticed."""

from alembic import op

revision = "0156"
down_revision = "0155"
branch_labels = None
depends_on = None

_TABLES = """
create table ops.raw_counts (
    feed text primary key,
    stamp text not null,
    counted_at timestamptz not null default now()
);
comment on table ops.raw_counts is
    'One row per feed: the state of its raw table when its rows were last counted and equal to the ledger.';
comment on column ops.raw_counts.feed is 'The feed.';
comment on column ops.raw_counts.stamp is
    'Storage of the raw table and its counters of deleted and updated rows: while it is the same, nothing was removed.';
comment on column ops.raw_counts.counted_at is 'When the rows were counted (UTC).';
create table ops.published_columns (
    schema_name text not null,
    table_name text not null,
    column_name text not null,
    type_name text not null,
    primary key (schema_name, table_name, column_name)
);
comment on table ops.published_columns is
    'One row per column of a published table, as the last publication of the table left it.';
comment on column ops.published_columns.schema_name is 'Schema of the table.';
comment on column ops.published_columns.table_name is 'Name of the table.';
comment on column ops.published_columns.column_name is 'Name of the column.';
comment on column ops.published_columns.type_name is 'Type of the column, as PostgreSQL formats it.';
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("Migrations of this project go forward only.")
