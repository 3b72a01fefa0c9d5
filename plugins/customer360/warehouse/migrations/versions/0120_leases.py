"""Leases: who may write now. They replace advisory locks, which any reader could take."""

from alembic import op

revision = "0120"
down_revision = "0110"
branch_labels = None
depends_on = None

_TABLES = """
create table ops.leases (
    name text primary key,
    token bigint not null default 0,
    holder text,
    host text,
    process text,
    acquired_at timestamptz,
    heartbeat_at timestamptz,
    lease_seconds double precision not null default 0,
    released_at timestamptz default now(),
    unique (name, token)
);
comment on table ops.leases is
    'One row per thing that one process at a time may do: writer, snapshots. Only the pipeline can change it.';
comment on column ops.leases.token is
    'Fencing token: grows with each holder; a publication checks that its own is the newest.';
comment on column ops.leases.holder is 'What the newest holder does or did.';
comment on column ops.leases.host is 'The machine or container that the newest holder runs on.';
comment on column ops.leases.process is 'Machine, process id and start time of the newest holder.';
comment on column ops.leases.heartbeat_at is 'When the holder last showed that it lives (UTC).';
comment on column ops.leases.lease_seconds is 'A heartbeat that is older than this means a dead holder.';
comment on column ops.leases.released_at is 'When the newest holder ended its work (UTC); null while it works.';
insert into ops.leases (name) values ('writer'), ('snapshots');
alter table ops.runs add column lease_token bigint;
comment on column ops.runs.lease_token is 'Fencing token of the writer lease that the run works under.';
alter table ops.batches add column loading_by text;
comment on column ops.batches.loading_by is 'Machine, process id and start time of the loader at work; null otherwise.';
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
