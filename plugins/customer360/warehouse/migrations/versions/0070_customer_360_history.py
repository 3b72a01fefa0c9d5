"""What was known of each customer: the journal behind marts.customer_360_history."""

from alembic import op

revision = "0070"
down_revision = "0060"
branch_labels = None
depends_on = None

_TABLE = """
create table state.customer_360_history (
    period_id bigint generated always as identity primary key,
    customer_key bigint not null,
    tier text,
    lifecycle_stage text,
    churn_band text,
    order_count bigint not null,
    net_amount numeric(18, 4) not null,
    valid_from_on date not null,
    valid_to_on date check (valid_to_on >= valid_from_on),
    closed_because text check (closed_because in ('changed', 'customer_gone')),
    opened_at timestamptz not null default now(),
    closed_at timestamptz,
    check ((valid_to_on is null) = (closed_at is null) and (valid_to_on is null) = (closed_because is null))
);
create unique index customer_360_history_one_open on state.customer_360_history (customer_key)
    where valid_to_on is null;
create index customer_360_history_by_customer on state.customer_360_history (customer_key, valid_from_on)
"""

# The same words as in dbt_project/models/marts/customer_360_history.yml; a test compares them.
_COMMENTS = {
    "": "Journal, never restated: one row per customer and period in which the daily passes knew the same of the "
    "customer.",
    "period_id": "Number of the period.",
    "customer_key": "The customer, by the key of that time; customer_key_crosswalk leads to the present one.",
    "tier": "Loyalty tier as known then.",
    "lifecycle_stage": "Lifecycle stage (of four) as known then.",
    "churn_band": "Band of the churn probability as known then; null without a model.",
    "order_count": "Valid orders known then.",
    "net_amount": "Net revenue of them as known then, in the reporting currency.",
    "valid_from_on": "as_of_on of the daily pass from which it was known.",
    "valid_to_on": "as_of_on of the daily pass from which it was no longer so (exclusive); null: still so.",
    "closed_because": "changed, or customer_gone (merged or erased); null while it is open.",
    "opened_at": "When the row was written (UTC).",
    "closed_at": "When the row was completed (UTC); null while it is open.",
}


def upgrade() -> None:
    for statement in _TABLE.split(";\n"):
        op.execute(statement)
    for column, text in _COMMENTS.items():
        thing = f"column state.customer_360_history.{column}" if column else "table state.customer_360_history"
        op.execute(f"comment on {thing} is '{text}'")
