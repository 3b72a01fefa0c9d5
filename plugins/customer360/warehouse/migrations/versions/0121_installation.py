"""What an installation is: its id, and the settings that every process which writes to it must have alike."""

from alembic import op

revision = "0121"
down_revision = "0120"
branch_labels = None
depends_on = None

_TABLES = """
create table ops.installation (
    name text primary key,
    value text not null,
    recorded_at timestamptz not null default now()
);
comment on table ops.installation is
    'One row per fact about this installation: its id, its business time zone, its reporting currency.';
comment on column ops.installation.name is 'installation, business_timezone or reporting_currency.';
comment on column ops.installation.value is 'The value that processes which write here must have alike.';
comment on column ops.installation.recorded_at is 'When this value was first recorded or adopted (UTC).';
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
