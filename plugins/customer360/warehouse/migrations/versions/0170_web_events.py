"""The feed web_events: page views and named events, from which sessions are built."""

from alembic import op

revision = "0170"
down_revision = "0156"
branch_labels = None
depends_on = None

_TABLES = r"""
create table raw.web_events (
    batch_id bigint not null, row_number bigint not null,
    event_id text not null, updated_at timestamptz not null, occurred_at timestamptz not null,
    anonymous_id text not null, name text not null, session_id text, page_url text, referrer text, utm_source text,
    utm_medium text, utm_campaign text, customer_id text, email text, order_id text, device_type text, country text,
    user_agent text, engaged_seconds numeric, is_internal boolean, is_bot boolean, source text, deleted boolean,
    extra jsonb,
    event_key text not null generated always as (raw.record_key(source, event_id)) stored
);
create index web_events_by_key on raw.web_events (event_key);
create index web_events_by_batch on raw.web_events using brin (batch_id) with (pages_per_range = 16);

create table state.frozen_web_events (
    event_key text primary key, source text not null, event_id text not null, updated_at timestamptz not null,
    occurred_at timestamptz not null, anonymous_id text not null, name text not null, session_id text, page_url text,
    referrer text, utm_source text, utm_medium text, utm_campaign text,
    customer_id_key bigint references state.customer_key_map on delete set null,
    email_key bigint references state.customer_key_map on delete set null,
    order_id text, device_type text, country text, engaged_seconds numeric, is_internal boolean not null,
    is_bot boolean not null, is_deleted boolean not null, batch_id bigint not null, row_number bigint not null,
    version_count bigint not null, has_version_conflict boolean not null, has_id_conflict boolean not null,
    known_at timestamptz not null,
    freeze_id bigint not null references state.freezes
);
comment on table state.frozen_web_events is
    'One row per event that raw let go of: as staging had it, identifiers as keys of the map, unknown fields left out.';
grant select (event_key) on state.frozen_web_events to loader;
alter table state.freezes add column event_count bigint not null default 0;
comment on column state.freezes.event_count is 'Web events frozen.';

create function raw.stream_key(source text, session_id text, anonymous_id text) returns bigint
    language sql immutable parallel safe
    return case
        when raw.trimmed_id(session_id) is not null
            then hashtextextended('session ' || raw.record_key(source, session_id), 0)
        else hashtextextended('device ' || raw.record_key(source, anonymous_id), 0) end;
comment on function raw.stream_key is
    'Which web events make sessions together: those of one session of the vendor, else those of one device.';
create function raw.host_of(url text) returns text language sql immutable parallel safe
    return lower(substring(url from '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/@?#]*@)?([^/:?#]+)'));
comment on function raw.host_of is 'The host of an address, in lower case.';
create function raw.page_of(url text) returns text language sql immutable parallel safe
    return nullif(
        regexp_replace(regexp_replace(url, '[?#].*$', ''), '^([A-Za-z][A-Za-z0-9+.-]*://)[^/@]*@', '\1'), '');
comment on function raw.page_of is
    'An address without its query, its fragment and the name and password of a log-in: these may be personal.';
"""

# A semicolon stands within it. A sequence that is no UTF-8 (or means a zero byte) stays as it came: one odd link must
# not stop a build.
_DECODED = r"""
create function raw.percent_decoded(encoded text) returns text language plpgsql immutable strict parallel safe as $$
begin
    if strpos(encoded, '%') = 0 then
        return encoded;
    end if;
    return (
        select convert_from(string_agg(
            case when piece[1] is not null then decode(piece[1], 'hex') else convert_to(piece[2], 'UTF8') end,
            ''::bytea order by place), 'UTF8')
        from regexp_matches(encoded, '%([0-9A-Fa-f]{2})|([^%]+|%)', 'g') with ordinality as found (piece, place)
    );
exception when data_exception then
    return encoded;
end $$
"""

_QUERY_VALUE = r"""
create function raw.query_value(url text, name text) returns text language sql immutable parallel safe
    return nullif(btrim(raw.percent_decoded(replace(
        substring(split_part(url, '#', 1) from '[?&]' || name || '=([^&]*)'), '+', ' '))), '')
"""


def upgrade() -> None:
    """Where events are loaded, what is kept of them when raw lets go of them, and how their addresses are read."""
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(_DECODED)
    op.execute("comment on function raw.percent_decoded is 'Text with its percent-encoded bytes read as UTF-8.'")
    op.execute(_QUERY_VALUE)
    op.execute("comment on function raw.query_value is 'A parameter of the query of an address; null without it.'")


def downgrade() -> None:
    raise NotImplementedError("Migrations of this project go forward only.")
