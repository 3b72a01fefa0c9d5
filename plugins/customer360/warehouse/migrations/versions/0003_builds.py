"""What builds and publications remember: the models behind the live tables, control totals, restated figures."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = """
create table ops.live_build (
    is_complete boolean primary key default true check (is_complete),
    fingerprint text not null,
    run_id bigint not null references ops.runs,
    publication_id bigint not null references ops.publications,
    published_at timestamptz not null default now()
);
comment on table ops.live_build is
    'At most one row: the last whole build that was published. None while one is on its way or was cut off.';
comment on column ops.live_build.fingerprint is 'Hash of models, seeds and settings that the live tables come from.';

create table ops.control_totals (
    measure text not null,
    source text not null,
    total numeric not null default 0,
    publication_id bigint not null references ops.publications,
    primary key (measure, source)
);
comment on table ops.control_totals is
    'One row per measure and published table that adds it up, moved by each publication''s differences alone.';
comment on column ops.control_totals.source is 'facts, customers or unattributed: facts = customers + unattributed.';

create table ops.restatements (
    publication_id bigint not null references ops.publications,
    table_name text not null,
    key text not null,
    figure text not null,
    old_amount numeric,
    new_amount numeric,
    batch_id bigint,
    restated_at timestamptz not null default now()
);
create index restatements_by_publication on ops.restatements (publication_id);
create index restatements_by_key on ops.restatements (table_name, key);
comment on table ops.restatements is
    'Journal: one row per published figure of a closed day or order that a publication changed.';
comment on column ops.restatements.batch_id is 'The batch whose record now says so; null if it was taken away.';
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
