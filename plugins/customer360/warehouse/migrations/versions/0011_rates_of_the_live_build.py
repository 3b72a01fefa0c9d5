"""Which exchange rates the published amounts were converted with."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table ops.live_build add column rates text not null default ''")
    op.execute("comment on column ops.live_build.rates is 'Hash of the exchange rates of the published amounts.'")
