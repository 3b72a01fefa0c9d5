{{ config(
    tags=['live'],
    meta={
        'scope': 'session', 'scope_key': 'session_key', 'primary_key': ['session_key'],
        'touches': {'customer': 'customer_key', 'day': 'started_on'},
        'indexes': ['(customer_key, started_at)', '(order_key) where order_key is not null'], 'cluster_by': 'customer_key',
    }
) }}

with sessions as (
    select *
    from {{ ref('stg_web_sessions') }}
    where is_deleted is not true
        {{- only_dirty('session', 'session_key') }}
)

select
    sessions.session_key,
    sessions.source,
    sessions.session_id,
    session_customers.customer_key,
    sessions.started_at,
    {{ business_date('sessions.started_at') }} as started_on,
    sessions.ended_at,
    sessions.updated_at,
    sessions.engaged_seconds,
    extract(epoch from sessions.ended_at - sessions.started_at)::bigint as session_seconds,
    sessions.page_views,
    sessions.product_views,
    sessions.searches,
    sessions.add_to_carts,
    sessions.checkouts_started,
    sessions.order_id,
    sessions.order_key,
    sessions.device_type,
    raw.masked_text(sessions.country) as country,
    raw.masked_text(sessions.utm_source) as utm_source,
    raw.masked_text(sessions.utm_medium) as utm_medium,
    raw.masked_text(sessions.utm_campaign) as utm_campaign,
    -- A query carries e-mail addresses, searches and tokens: only what stands before it is published.
    raw.masked_text(raw.page_of(sessions.landing_page)) as landing_page,
    raw.masked_text(raw.page_of(sessions.referrer)) as referrer,
    {{ channel() }} as channel,
    -- Nothing was done beyond the page that the visitor came to.
    sessions.page_views <= 1
        and sessions.product_views <= 1
        and sessions.searches = 0
        and sessions.add_to_carts = 0
        and sessions.checkouts_started = 0
        and sessions.order_key is null as is_bounce,
    sessions.is_built,
    sessions.version_count,
    sessions.has_version_conflict,
    sessions.has_id_conflict,
    sessions.known_at,
    sessions.batch_id
from sessions
left join {{ source('identity', 'session_customers') }} as session_customers using (session_key)
