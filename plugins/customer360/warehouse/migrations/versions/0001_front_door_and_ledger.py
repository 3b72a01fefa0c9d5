"""Raw feeds, the ledger, the quarantine, and what the steps record about themselves."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
create table ops.batches (
    batch_id bigint generated always as identity primary key,
    feed text not null,
    file_name text not null,
    content_hash text,
    bytes bigint,
    is_history boolean not null default false,
    state text not null check (state in ('landed', 'refused', 'failed', 'loaded', 'held', 'published', 'duplicate')),
    landed_rows bigint not null default 0,
    loaded_rows bigint not null default 0,
    quarantined_rows bigint not null default 0,
    released_rows bigint not null default 0,
    discarded_rows bigint not null default 0,
    duplicate_rows bigint not null default 0,
    erased_rows bigint not null default 0,
    refused_rows bigint not null default 0,
    duplicate_of bigint references ops.batches,
    released_from bigint references ops.batches,
    unknown_fields jsonb not null default '{}',
    error text,
    attempts integer not null default 0,
    file_modified_at timestamptz,
    landed_at timestamptz not null default now(),
    gated_at timestamptz,
    loaded_at timestamptz,
    claimed_at timestamptz,
    claimed_by bigint,
    published_at timestamptz,
    publication_id bigint
);
comment on table ops.batches is 'One row per file that arrived: the ledger. Grain: batch.';
comment on column ops.batches.is_history is 'Landed under <feed>/history/: its known time is each record''s own time.';
comment on column ops.batches.quarantined_rows is 'Rows that are in quarantine now (open).';
comment on column ops.batches.claimed_at is 'When a build took the batch; staging sees only claimed batches.';
create unique index batches_one_per_content on ops.batches (feed, is_history, content_hash)
    where state not in ('duplicate', 'refused', 'failed') and released_from is null;
create index batches_by_state on ops.batches (state);

create table ops.landing_seen (
    path text primary key,
    bytes bigint not null,
    modified_ns bigint not null,
    batch_id bigint references ops.batches,
    seen_at timestamptz not null default now()
);
comment on table ops.landing_seen is 'One row per file path already looked at, so that a sweep hashes what is new.';

create table quarantine.rows (
    quarantine_id bigint generated always as identity primary key,
    batch_id bigint not null references ops.batches,
    feed text not null,
    row_number bigint not null,
    record text,
    reasons jsonb not null,
    state text not null default 'open' check (state in ('open', 'released', 'discarded', 'erased')),
    quarantined_at timestamptz not null default now(),
    closed_at timestamptz,
    closed_by text,
    closed_because text,
    release_batch_id bigint references ops.batches,
    unique (batch_id, row_number)
);
comment on table quarantine.rows is 'One row per record that stepped aside, as it came, with every reason.';
comment on column quarantine.rows.reasons is 'Array of {rule, field, message}: personal values in it are masked.';

create table raw.orders (
    batch_id bigint not null, row_number bigint not null,
    order_id text not null, updated_at timestamptz not null, ordered_at timestamptz not null, status text not null,
    currency text not null, total_amount numeric(20, 4) not null, discount_amount numeric(20, 4),
    shipping_amount numeric(20, 4), tax_amount numeric(20, 4), customer_id text, email text, phone text,
    anonymous_id text, items jsonb, refunds jsonb, promised_delivery_at timestamptz, delivered_at timestamptz,
    sales_channel text, payment_method text, coupon_code text, country text, region text, extra jsonb
);
create index orders_by_id on raw.orders (order_id);
create index orders_by_batch on raw.orders using brin (batch_id) with (pages_per_range = 16);

create table raw.web_sessions (
    batch_id bigint not null, row_number bigint not null,
    session_id text not null, updated_at timestamptz not null, anonymous_id text not null,
    started_at timestamptz not null, ended_at timestamptz not null, page_views bigint not null, product_views bigint,
    searches bigint, add_to_carts bigint, checkouts_started bigint, engaged_seconds bigint, customer_id text,
    email text, order_id text, device_type text, country text, landing_page text, referrer text, utm_source text,
    utm_medium text, utm_campaign text, extra jsonb
);
create index web_sessions_by_id on raw.web_sessions (session_id);
create index web_sessions_by_batch on raw.web_sessions using brin (batch_id) with (pages_per_range = 16);

create table raw.support_tickets (
    batch_id bigint not null, row_number bigint not null,
    ticket_id text not null, updated_at timestamptz not null, created_at timestamptz not null, status text not null,
    channel text not null, category text not null, customer_id text, email text, phone text, priority text,
    first_response_at timestamptz, resolved_at timestamptz, replies bigint, reopens bigint, order_id text,
    satisfaction_score numeric, satisfaction_scale_max numeric, compensation_amount numeric(20, 4), currency text,
    subject text, body text, extra jsonb
);
create index support_tickets_by_id on raw.support_tickets (ticket_id);
create index support_tickets_by_batch on raw.support_tickets using brin (batch_id) with (pages_per_range = 16);

create table ops.dirty (
    scope text not null check (scope in ('order', 'session', 'ticket', 'customer', 'day')),
    key text not null,
    primary key (scope, key)
);
comment on table ops.dirty is 'Keys that the next build must do again. Written only under the writer lock.';

create table ops.runs (
    run_id bigint generated always as identity primary key,
    kind text not null check (kind in ('build', 'daily', 'rebuild', 'as_of', 'fit')),
    trigger text not null,
    state text not null default 'running' check (state in ('running', 'succeeded', 'failed', 'blocked', 'idle')),
    as_of_on date,
    started_at timestamptz not null default now(),
    claimed_at timestamptz,
    built_at timestamptz,
    checked_at timestamptz,
    published_at timestamptz,
    finished_at timestamptz,
    batch_count integer not null default 0,
    dirty_count bigint not null default 0,
    publication_id bigint,
    error text,
    next_step text,
    log_path text
);
comment on table ops.runs is 'One row per build, daily refresh, rebuild, as-of build or model fit.';

create table ops.model_runs (
    run_id bigint not null references ops.runs,
    model text not null,
    status text not null,
    seconds double precision not null,
    rows_affected bigint,
    message text,
    finished_at timestamptz not null default now()
);
create index model_runs_by_run on ops.model_runs (run_id);
comment on table ops.model_runs is 'One row per dbt node and run: what it did and how long it took.';

create table ops.gate_results (
    gate text not null check (gate in ('landing', 'raw', 'candidate', 'marts')),
    suite text not null,
    expectation text not null,
    column_name text,
    severity text not null check (severity in ('critical', 'warning', 'info')),
    outcome text not null check (outcome in ('passed', 'failed', 'crashed')),
    run_id bigint references ops.runs,
    batch_id bigint references ops.batches,
    checked_count bigint,
    unexpected_count bigint,
    detail text,
    checked_at timestamptz not null default now()
);
create index gate_results_by_run on ops.gate_results (run_id);
create index gate_results_by_batch on ops.gate_results (batch_id);
comment on table ops.gate_results is 'One row per expectation evaluated at a gate; no personal data.';

create table ops.publications (
    publication_id bigint generated always as identity primary key,
    run_id bigint not null references ops.runs,
    kind text not null,
    as_of_on date,
    published_at timestamptz not null default now(),
    tables jsonb not null default '{}'
);
comment on table ops.publications is 'One row per version of marts: what it added, changed and removed per table.';

create table state.customer_key_map (
    customer_key bigint generated always as identity primary key,
    identifier_type text not null,
    identifier text not null,
    first_seen_at timestamptz not null default now(),
    unique (identifier_type, identifier)
);
comment on table state.customer_key_map is 'Append-only: the key each strong identifier got at first sight.';

create table state.population_statistics (
    as_of_on date not null,
    statistic text not null,
    value double precision,
    primary key (as_of_on, statistic)
);
comment on table state.population_statistics is 'Frozen per day: what a customer is compared with.';
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
