{{ config(
    tags=['staging'],
    meta={'scope': 'session', 'scope_key': 'session_key', 'primary_key': ['session_key']}
) }}

with
{{ latest_versions('web_sessions') }}

select
    record.session_key,
    coalesce(record.source, '') as source,
    raw.trimmed_id(record.session_id) as session_id,
    record.updated_at,
    record.anonymous_id,
    record.started_at,
    record.ended_at,
    record.page_views,
    coalesce(record.product_views, 0) as product_views,
    coalesce(record.searches, 0) as searches,
    coalesce(record.add_to_carts, 0) as add_to_carts,
    coalesce(record.checkouts_started, 0) as checkouts_started,
    record.engaged_seconds,
    record.customer_id,
    record.email,
    raw.trimmed_id(record.order_id) as order_id,
    raw.record_key(record.source, record.order_id) as order_key,
    record.device_type,
    record.country,
    record.landing_page,
    record.referrer,
    record.utm_source,
    record.utm_medium,
    record.utm_campaign,
    record.contact_preferences,
    {{ is_deleted('web_sessions') }} as is_deleted,
    record.extra,
    record.batch_id,
    record.row_number,
    latest.version_count + coalesce(frozen.version_count, 0) as version_count,
    coalesce(latest.has_version_conflict, false) as has_version_conflict,
    {{ has_id_conflict('web_sessions') }} as has_id_conflict,
    latest.known_at
from latest
inner join {{ source('raw', 'web_sessions') }} as record on record.ctid = latest.row_id
{{ frozen_behind('web_sessions') }}

union all

select
    frozen.session_key,
    frozen.source,
    frozen.session_id,
    frozen.updated_at,
    frozen.anonymous_id,
    frozen.started_at,
    frozen.ended_at,
    frozen.page_views,
    frozen.product_views,
    frozen.searches,
    frozen.add_to_carts,
    frozen.checkouts_started,
    frozen.engaged_seconds,
    raw.id_of_key(customer_id_map.identifier) as customer_id,
    email_map.identifier as email,
    frozen.order_id,
    raw.record_key(frozen.source, frozen.order_id) as order_key,
    frozen.device_type,
    frozen.country,
    frozen.landing_page,
    frozen.referrer,
    frozen.utm_source,
    frozen.utm_medium,
    frozen.utm_campaign,
    frozen.contact_preferences,
    frozen.is_deleted,
    null::jsonb as extra,
    frozen.batch_id,
    frozen.row_number,
    frozen.version_count,
    frozen.has_version_conflict,
    frozen.has_id_conflict,
    frozen.known_at
from {{ source('retention', 'frozen_web_sessions') }} as frozen
{{- frozen_identifiers(['customer_id', 'email']) }}
where {{ is_frozen_ahead('web_sessions') }}
