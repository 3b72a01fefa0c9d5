{{ config(
    tags=['staging'],
    meta={
        'scope': 'session', 'scope_key': 'session_key', 'primary_key': ['session_key'],
        'indexes': ['(session_key) where contact_preferences is not null'],
    }
) }}

with
{{ latest_versions('web_sessions') }}

select
    {{ record_columns('web_sessions', 'raw') }},
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
    record.extra,
    false as is_built,
    {{ version_columns('web_sessions', 'raw') }}
from latest
inner join {{ source('raw', 'web_sessions') }} as record on record.ctid = latest.row_id
{{ frozen_behind('web_sessions') }}

union all

select
    {{ record_columns('web_sessions', 'frozen') }},
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
    null::jsonb as extra,
    false as is_built,
    {{ version_columns('web_sessions', 'frozen') }}
from {{ source('retention', 'frozen_web_sessions') }} as frozen
{{- frozen_identifiers(['customer_id', 'email']) }}
where {{ is_frozen_ahead('web_sessions') }}

union all

-- Of a session that was landed and built, the landed one counts.
select
    built.session_key,
    built.source,
    built.session_id,
    built.ended_at as updated_at,
    built.anonymous_id,
    built.started_at,
    built.ended_at,
    built.page_views,
    built.product_views,
    built.searches,
    built.add_to_carts,
    built.checkouts_started,
    built.engaged_seconds,
    built.customer_id,
    built.email,
    built.order_id,
    built.order_key,
    built.device_type,
    built.country,
    built.landing_page,
    built.referrer,
    built.utm_source,
    built.utm_medium,
    built.utm_campaign,
    null::jsonb as contact_preferences,
    null::jsonb as extra,
    true as is_built,
    false as is_deleted,
    built.batch_id,
    built.row_number,
    1 as version_count,
    built.has_version_conflict,
    built.has_id_conflict,
    built.known_at
from {{ ref('int_sessions__built') }} as built
where built.left_out_as is null
    and not exists (select from latest where latest.session_key = built.session_key)
    and not exists (
        select from {{ source('retention', 'frozen_web_sessions') }} as frozen
        where frozen.session_key = built.session_key
            {%- if is_as_of() %} and frozen.known_at <= {{ known_until() }} {%- endif %}
    )
    {{- only_dirty('session', 'built.session_key') }}
