"""What people did from the on-call page, and freshness measured from the time of the events themselves."""

from alembic import op

revision = "0040"
down_revision = "0030"
branch_labels = None
depends_on = None

_TABLES = """
create table ops.page_actions (
    action_id bigint generated always as identity primary key,
    incident_id bigint references ops.incidents,
    command text not null,
    acted_by text not null,
    because text not null,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    exit_code integer,
    output text
);
comment on table ops.page_actions is
    'One row per command that somebody started from the on-call page: what, who, why, and what came of it.';
alter table ops.freshness drop constraint if exists freshness_measure_check;
alter table ops.freshness_objectives drop constraint freshness_objectives_measure_check;
alter table ops.freshness_objectives add constraint freshness_objectives_measure_check
    check (measure in ('landing', 'publication', 'event'));
insert into ops.freshness_objectives (subject, measure, objective_minutes) values
    ('fct_orders', 'event', 2880), ('fct_sessions', 'event', 2880), ('fct_tickets', 'event', 4320);
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
