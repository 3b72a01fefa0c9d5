"""Incidents, their alerts, and the freshness of feeds and tables."""

from alembic import op

revision = "0010"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = """
create table ops.incidents (
    incident_id bigint generated always as identity primary key,
    kind text not null,
    dedupe_key text not null,
    severity text not null check (severity in ('critical', 'warning', 'info')),
    summary text not null,
    tables text[] not null,
    evidence jsonb not null default '{}',
    runbook text not null,
    command text not null,
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    seen_count bigint not null default 1,
    escalated_at timestamptz,
    closed_at timestamptz,
    closed_by text,
    closed_because text
);
comment on table ops.incidents is 'One row per episode of one cause: opened, escalated and closed by state.';
create unique index incidents_one_open_per_cause on ops.incidents (dedupe_key) where closed_at is null;

create table ops.incident_mutes (
    dedupe_key text primary key,
    muted_by text not null,
    because text not null,
    muted_at timestamptz not null default now()
);
comment on table ops.incident_mutes is 'One row per cause closed by hand; it stays closed as long as the cause lasts.';

create table ops.alerts (
    alert_id bigint generated always as identity primary key,
    incident_id bigint not null references ops.incidents,
    event text not null check (event in ('opened', 'escalated', 'closed')),
    made_at timestamptz not null default now()
);
comment on table ops.alerts is 'One row per change of an incident that somebody must hear of.';

create table ops.alert_deliveries (
    alert_id bigint not null references ops.alerts,
    channel text not null,
    attempts integer not null,
    sent_at timestamptz,
    next_try_at timestamptz,
    error text,
    primary key (alert_id, channel)
);
comment on table ops.alert_deliveries is 'One row per alert and channel: when it was sent, or when it is tried again.';

create table ops.freshness_objectives (
    subject text not null,
    measure text not null check (measure in ('landing', 'publication')),
    objective_minutes integer not null check (objective_minutes > 0),
    target_share double precision not null default 0.99 check (target_share > 0 and target_share < 1),
    primary key (subject, measure)
);
comment on table ops.freshness_objectives is 'One row per feed or table and measure: how old it may be.';
insert into ops.freshness_objectives (subject, measure, objective_minutes) values
    ('orders', 'landing', 1440), ('web_sessions', 'landing', 1440), ('support_tickets', 'landing', 2880),
    ('customer_360', 'publication', 15), ('fct_orders', 'publication', 15), ('fct_sessions', 'publication', 15),
    ('fct_tickets', 'publication', 15), ('customer_loyalty', 'publication', 1440),
    ('customer_churn', 'publication', 1440);

create table ops.freshness (
    subject text not null,
    measure text not null,
    looked_at timestamptz not null default now(),
    age_minutes double precision not null,
    objective_minutes integer not null,
    is_fresh boolean not null,
    primary key (subject, measure, looked_at)
);
comment on table ops.freshness is 'One row per subject, measure and look of the monitor: its age against its objective.'
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
