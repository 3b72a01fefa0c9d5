"""Loyalty's journals: what each customer had, was and was warned of, as it was known on each day."""

from alembic import op

revision = "0060"
down_revision = "0050"
branch_labels = None
depends_on = None

_TABLES = """
create table state.loyalty_points_ledger (
    posting_id bigint generated always as identity primary key,
    customer_key bigint not null,
    kind text not null check (kind in ('earn', 'claw_back', 'expire', 'transfer')),
    source_id text not null,
    version integer not null check (version > 0),
    lot text not null,
    points bigint not null check (points <> 0),
    effective_on date not null,
    expires_on date not null,
    why text not null,
    posted_on date not null,
    posted_at timestamptz not null default now(),
    unique (source_id, kind, version)
);
create index loyalty_points_ledger_by_customer on state.loyalty_points_ledger (customer_key);
create index loyalty_points_ledger_by_lot on state.loyalty_points_ledger (lot);
comment on table state.loyalty_points_ledger is
    'Journal, append-only: one row per posting (source_id, kind, version). A correction is a further version '
    'that holds the difference.';
comment on column state.loyalty_points_ledger.posting_id is 'Number of the posting, in the order of posting.';
comment on column state.loyalty_points_ledger.customer_key is 'The customer whose balance it changes.';
comment on column state.loyalty_points_ledger.kind is
    'earn: points of an order; claw_back: the share of a refund; expire: what was left of a lot on its last '
    'day; transfer: a lot moved with its order to another customer.';
comment on column state.loyalty_points_ledger.source_id is
    'What it comes from: the order (earn, expire, transfer), or order:refund (claw_back).';
comment on column state.loyalty_points_ledger.version is 'Counts the postings of a source and kind, from 1.';
comment on column state.loyalty_points_ledger.lot is
    'The order whose points these are: a lot expires as a whole, the oldest first.';
comment on column state.loyalty_points_ledger.points is 'Points added to the balance; negative: taken away.';
comment on column state.loyalty_points_ledger.effective_on is 'Business date on which it counts.';
comment on column state.loyalty_points_ledger.expires_on is 'Business date on which the lot expires.';
comment on column state.loyalty_points_ledger.why is
    'new, corrected (a record changed after it was posted), or moved (the order belongs to another customer).';
comment on column state.loyalty_points_ledger.posted_on is
    'as_of_on of the daily pass that posted it: when it was known.';
comment on column state.loyalty_points_ledger.posted_at is 'When it was posted (UTC).';

create function state.refuse_update() returns trigger language plpgsql as
'begin raise exception ''%.% is append-only: post a further version'', tg_table_schema, tg_table_name; end';
create trigger append_only before update on state.loyalty_points_ledger
    for each row execute function state.refuse_update();

create table state.customer_alerts (
    alert_id bigint generated always as identity primary key,
    customer_key bigint not null,
    rule text not null,
    severity text not null check (severity in ('medium', 'high', 'critical')),
    evidence text not null,
    started_on date not null,
    opened_on date not null,
    due_on date not null,
    closed_on date check (closed_on >= opened_on),
    closed_because text,
    opened_at timestamptz not null default now(),
    closed_at timestamptz,
    check ((closed_on is null) = (closed_because is null))
);
create unique index customer_alerts_one_open on state.customer_alerts (customer_key, rule) where closed_on is null;
create index customer_alerts_by_rule on state.customer_alerts (customer_key, rule, opened_on);
comment on table state.customer_alerts is
    'Journal: one row per episode (customer, rule, start) of the early warning. Written when it opens, '
    'completed once when it closes.';
comment on column state.customer_alerts.alert_id is 'Number of the episode.';
comment on column state.customer_alerts.customer_key is 'The customer it is about, by the key of the day it opened.';
comment on column state.customer_alerts.rule is 'The rule that was met; alert_rules says what each means.';
comment on column state.customer_alerts.severity is 'medium, high or critical; higher for a VIP.';
comment on column state.customer_alerts.evidence is 'The figures that met the rule when the alert opened.';
comment on column state.customer_alerts.started_on is 'Business date on which what it warns of began.';
comment on column state.customer_alerts.opened_on is 'as_of_on of the daily pass that opened it.';
comment on column state.customer_alerts.due_on is 'Business date by which somebody should have acted.';
comment on column state.customer_alerts.closed_on is
    'as_of_on of the daily pass that closed it; null while it is open.';
comment on column state.customer_alerts.closed_because is
    'ordered_again, complaint_resolved, probability_fell, no_longer_at_risk, window_passed or customer_gone '
    '(merged or erased).';
comment on column state.customer_alerts.opened_at is 'When the row was written (UTC).';
comment on column state.customer_alerts.closed_at is 'When the row was completed (UTC).';
"""

# One row per customer and period of one status. (journal, status, what it says about the table and the status, more)
_HISTORIES: tuple[tuple[str, str, str, str, str, str, dict[str, str]], ...] = (
    (
        "loyalty_tier_history", "tier", "previous_tier",
        "one row per customer and period in one tier", "base, silver, gold or platinum",
        "reached_on date",
        {
            "reached_on": "Business date on which the records say that the tier was reached; it may lie before "
            "it was known."
        },
    ),
    (
        "lifecycle_stage_history", "lifecycle_stage", "previous_stage",
        "one row per customer and period in one lifecycle stage (of four)", "exploration, formation, stable or decline",
        "lifecycle_stage_5 text", {"lifecycle_stage_5": "The stage of five when the period began."},
    ),
    (
        "relationship_ladder_history", "ladder_rung", "previous_rung",
        "one row per customer and period on one rung of the ladder",
        "prospect, purchaser, client, supporter, advocate or partner",
        "", {},
    ),
    (
        "vip_history", "vip_status", "previous_vip_status",
        "one row per VIP and period of standing; whoever is no VIP has no open row",
        "vip; leaving: below the exit on one snapshot, out with the next one",
        "vip_since_on date", {"vip_since_on": "Business date on which the customer became a VIP."},
    ),
)  # fmt: skip


def _history(
    name: str, status: str, previous: str, grain: str, values: str, extra: str, comments: dict[str, str]
) -> list[str]:
    columns = f"{extra}," if extra else ""
    said = {
        "period_id": "Number of the period.",
        "customer_key": "The customer, by the key of that time.",
        status: f"{values[0].upper()}{values[1:]}.",
        previous: "The status before; null for the first one known.",
        "why": "The figures that gave the status when the period began.",
        "valid_from_on": "as_of_on of the daily pass from which it was known.",
        "valid_to_on": "as_of_on of the daily pass from which it was no longer so (exclusive); null: still so.",
        "closed_because": "changed, or customer_gone (merged or erased).",
        "opened_at": "When the row was written (UTC).",
        "closed_at": "When the row was completed (UTC).",
        **comments,
    }
    return [
        f"""
        create table state.{name} (
            period_id bigint generated always as identity primary key,
            customer_key bigint not null,
            {status} text not null,
            {previous} text,
            {columns}
            why text not null,
            valid_from_on date not null,
            valid_to_on date check (valid_to_on >= valid_from_on),
            closed_because text,
            opened_at timestamptz not null default now(),
            closed_at timestamptz
        )
        """,
        f"create unique index {name}_one_open on state.{name} (customer_key) where valid_to_on is null",
        f"create index {name}_by_customer on state.{name} (customer_key, valid_from_on)",
        f"comment on table state.{name} is 'Journal, never restated: {grain}, as it was known.'",
        *(f"comment on column state.{name}.{column} is '{text}'" for column, text in said.items()),
    ]


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for history in _HISTORIES:
        for statement in _history(*history):
            op.execute(statement)
