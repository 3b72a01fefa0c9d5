"""Raw retention: what is left of a record when raw has let go of it, and the journal of who let go of what."""

from alembic import op

revision = "0080"
down_revision = "0070"
branch_labels = None
depends_on = None

_TABLES = """
create table state.freezes (
    freeze_id bigint generated always as identity primary key,
    history_starts_on date not null,
    order_count bigint not null,
    session_count bigint not null,
    ticket_count bigint not null,
    retired_rows bigint not null,
    forgotten_rows bigint not null,
    acted_by text not null,
    because text not null,
    acted_at timestamptz not null default now()
);
comment on table state.freezes is 'Journal, append-only: one row per time that raw let go of its oldest records.';
comment on column state.freezes.history_starts_on is
    'What was known before this business day is frozen: raw no longer has it. It never moves back.';
comment on column state.freezes.retired_rows is 'Rows that left raw: every version of the frozen records.';
comment on column state.freezes.forgotten_rows is 'Closed rows of the quarantine whose record as it came was removed.';

create table state.frozen_orders (
    order_id text primary key,
    updated_at timestamptz not null, ordered_at timestamptz not null, status text not null, currency text not null,
    total_amount numeric(18, 4) not null, discount_amount numeric(18, 4) not null,
    shipping_amount numeric(18, 4) not null, tax_amount numeric(18, 4) not null,
    customer_id_key bigint references state.customer_key_map on delete set null,
    email_key bigint references state.customer_key_map on delete set null,
    phone_key bigint references state.customer_key_map on delete set null, anonymous_id text,
    items jsonb, refunds jsonb,
    promised_delivery_at timestamptz, delivered_at timestamptz, sales_channel text not null, payment_method text,
    coupon_code text, country text, region text, batch_id bigint not null, row_number bigint not null,
    version_count bigint not null, has_version_conflict boolean not null, known_at timestamptz not null,
    freeze_id bigint not null references state.freezes
);
comment on table state.frozen_orders is
    'One row per order that raw let go of: as staging had it, identifiers as keys of the map, unknown fields left out.';

create table state.frozen_web_sessions (
    session_id text primary key,
    updated_at timestamptz not null, anonymous_id text not null, started_at timestamptz not null,
    ended_at timestamptz not null, page_views bigint not null, product_views bigint not null, searches bigint not null,
    add_to_carts bigint not null, checkouts_started bigint not null, engaged_seconds bigint,
    customer_id_key bigint references state.customer_key_map on delete set null,
    email_key bigint references state.customer_key_map on delete set null,
    order_id text, device_type text, country text, landing_page text, referrer text, utm_source text, utm_medium text,
    utm_campaign text, batch_id bigint not null, row_number bigint not null, version_count bigint not null,
    has_version_conflict boolean not null, known_at timestamptz not null,
    freeze_id bigint not null references state.freezes
);
comment on table state.frozen_web_sessions is
    'One row per session that raw let go of: as staging had it, identifiers as keys of the map, unknown fields left '
    'out.';

create table state.frozen_support_tickets (
    ticket_id text primary key,
    updated_at timestamptz not null, created_at timestamptz not null, status text not null, channel text not null,
    category text not null, customer_id_key bigint references state.customer_key_map on delete set null,
    email_key bigint references state.customer_key_map on delete set null,
    phone_key bigint references state.customer_key_map on delete set null,
    priority text not null, first_response_at timestamptz, resolved_at timestamptz, replies bigint not null,
    reopens bigint not null, order_id text, satisfaction_score numeric, satisfaction_scale_max numeric,
    compensation_amount numeric(18, 4), currency text, first_resolved_at timestamptz, satisfaction_at timestamptz,
    batch_id bigint not null, row_number bigint not null, version_count bigint not null,
    has_version_conflict boolean not null, known_at timestamptz not null,
    freeze_id bigint not null references state.freezes
);
comment on table state.frozen_support_tickets is
    'One row per ticket that raw let go of: as staging had it, identifiers as keys of the map, subject, body and '
    'unknown fields left out.';

alter table ops.batches add column retired_rows bigint not null default 0 check (retired_rows <= loaded_rows);
comment on column ops.batches.retired_rows is 'Of loaded_rows, those that raw let go of (state.freezes).';

alter table ops.batch_actions drop constraint batch_actions_action_check;
alter table ops.batch_actions add constraint batch_actions_action_check
    check (action in ('hold', 'unhold', 'replay', 'release', 'discard', 'tidy', 'retire'));

-- The loader says of a batch how many of its records were frozen before.
grant usage on schema state to loader;
grant select on state.freezes to loader;
grant select (order_id) on state.frozen_orders to loader;
grant select (session_id) on state.frozen_web_sessions to loader;
grant select (ticket_id) on state.frozen_support_tickets to loader;
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
