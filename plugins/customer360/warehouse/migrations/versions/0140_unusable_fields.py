"""Count the fields that cost a record only themselves; let sums of amounts be as large as the limits allow."""

from alembic import op

revision = "0140"
down_revision = "0121"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table ops.batches add column unusable_fields jsonb not null default '{}'")
    op.execute(
        "comment on column ops.batches.unusable_fields is 'Loaded rows whose value of a field could not be used, by "
        'field and rule: {"country": {"choice": 12}}. The column is null there, and raw keeps the value as it came '
        "in extra.unusable.'"
    )
    # Ten thousand million in a currency, times a rate of at most a million, summed up.
    op.execute("alter table state.customer_360_history alter column net_amount type numeric(28, 4)")
    op.execute("alter table state.customer_churn_history alter column expected_value_365_amount type numeric(28, 4)")
