"""Side products that fail are recorded; a result of a gate never counts more unexpected than checked."""

from alembic import op

revision = "0155"
down_revision = "0150"
branch_labels = None
depends_on = None

_TABLES = """
create table ops.side_product_failures (
    product text primary key,
    failing_since timestamptz not null default now(),
    failed_at timestamptz not null default now(),
    failures bigint not null default 1,
    error text not null
);
comment on table ops.side_product_failures is
    'One row per side product (Data Docs, lineage, alerts, report, metrics, churn picture) that cannot be made now.';
comment on column ops.side_product_failures.product is 'The side product.';
comment on column ops.side_product_failures.failing_since is 'When it failed first since it was last made (UTC).';
comment on column ops.side_product_failures.failed_at is 'When it failed last (UTC).';
comment on column ops.side_product_failures.failures is 'How often it failed since it was last made.';
comment on column ops.side_product_failures.error is 'What went wrong the last time, without values of records.';
update ops.gate_results set unexpected_count = checked_count where unexpected_count > checked_count;
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("Migrations of this project go forward only.")
