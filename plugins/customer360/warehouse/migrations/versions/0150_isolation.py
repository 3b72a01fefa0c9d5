"""Isolation: rows that are out of a build while the rows that stop it are searched."""

from alembic import op

revision = "0150"
down_revision = "0140"
branch_labels = None
depends_on = None


_TABLES = """
create table quarantine.suspended (
            feed text not null,
            batch_id bigint not null references ops.batches,
            row_number bigint not null,
            record jsonb not null,
            primary key (batch_id, row_number)
        );
        comment on table quarantine.suspended is
            'One row per record that is out of raw while a run searches for the rows that stop its build; else empty.';
        comment on column quarantine.suspended.feed is 'The feed of the record.';
        comment on column quarantine.suspended.batch_id is 'The batch of the record.';
        comment on column quarantine.suspended.row_number is 'Number of the record in its file, from 1.';
        comment on column quarantine.suspended.record is 'The row of raw as it was; personal data.';
        alter table ops.batch_actions drop constraint batch_actions_action_check;
        alter table ops.batch_actions add constraint batch_actions_action_check check (
            action in ('hold', 'unhold', 'replay', 'release', 'discard', 'tidy', 'retire', 'isolate'));
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("Migrations of this project go forward only.")
