{{ config(
    tags=['staging'],
    meta={
        'scope': 'event', 'scope_key': 'event_key', 'primary_key': ['event_key'],
        'touches': {'stream': 'stream_key'}, 'indexes': ['(stream_key)'],
    }
) }}

with
{{ latest_versions('web_events') }}

select
    {{ record_columns('web_events', 'raw') }},
    record.updated_at,
    record.occurred_at,
    raw.trimmed_id(record.anonymous_id) as anonymous_id,
    lower(record.name) as name,
    raw.trimmed_id(record.session_id) as session_id,
    raw.stream_key(record.source, record.session_id, record.anonymous_id) as stream_key,
    raw.page_of(record.page_url) as page_url,
    raw.page_of(record.referrer) as referrer,
    {%- for part in ['utm_source', 'utm_medium', 'utm_campaign'] %}
    coalesce(record.{{ part }}, raw.query_value(record.page_url, '{{ part }}')) as {{ part }},
    {%- endfor %}
    record.customer_id,
    record.email,
    raw.trimmed_id(record.order_id) as order_id,
    record.device_type,
    record.country,
    record.engaged_seconds,
    coalesce(record.is_internal, false) or {{ is_own_traffic('record.page_url', 'record.email') }} as is_internal,
    coalesce(record.is_bot, false) or {{ is_bot_agent('record.user_agent') }} as is_bot,
    record.extra,
    {{ version_columns('web_events', 'raw') }}
from latest
inner join {{ source('raw', 'web_events') }} as record on record.ctid = latest.row_id
{{ frozen_behind('web_events') }}

union all

select
    {{ record_columns('web_events', 'frozen') }},
    frozen.updated_at,
    frozen.occurred_at,
    frozen.anonymous_id,
    frozen.name,
    frozen.session_id,
    raw.stream_key(frozen.source, frozen.session_id, frozen.anonymous_id) as stream_key,
    frozen.page_url,
    frozen.referrer,
    frozen.utm_source,
    frozen.utm_medium,
    frozen.utm_campaign,
    raw.id_of_key(customer_id_map.identifier) as customer_id,
    email_map.identifier as email,
    frozen.order_id,
    frozen.device_type,
    frozen.country,
    frozen.engaged_seconds,
    frozen.is_internal,
    frozen.is_bot,
    null::jsonb as extra,
    {{ version_columns('web_events', 'frozen') }}
from {{ source('retention', 'frozen_web_events') }} as frozen
{{- frozen_identifiers(['customer_id', 'email']) }}
where {{ is_frozen_ahead('web_events') }}
