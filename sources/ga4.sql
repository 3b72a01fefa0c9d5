/*
source: ga4
version: 1
feed: web_sessions
title: "Google Analytics 4: the events of its BigQuery export, as JSON Lines or Parquet"
page: docs/sources/ga4.md
shapes: [json, parquet]
# Google rewrites a day's table for up to three days: what a newer file says of a session counts.
dated by: export
needs: [event_timestamp, event_name, user_pseudo_id]
columns:
  event_timestamp: BIGINT
  event_name: text
  event_params: [{key: text, value: {string_value: text, int_value: text, float_value: text, double_value: text}}]
  user_id: text
  user_pseudo_id: text
  platform: text
  device: {category: text}
  geo: {country: text}
  collected_traffic_source: {manual_source: text, manual_medium: text, manual_campaign_name: text}
  ecommerce: {transaction_id: text}
ignores: [
  event_date, event_previous_timestamp, event_value_in_usd, event_bundle_sequence_id, event_server_timestamp_offset,
  user_properties, user_first_touch_timestamp, user_ltv, privacy_info, app_info, traffic_source, stream_id, items,
  event_dimensions, is_active_user, batch_event_index, batch_page_id, batch_ordering_id,
  session_traffic_source_last_click, publisher]
*/
with parameters as (
    select
        *,
        list_filter(event_params, lambda p: p.key = 'ga_session_id')[1].value as session,
        list_filter(event_params, lambda p: p.key = 'page_location')[1].value.string_value as page_location,
        list_filter(event_params, lambda p: p.key = 'page_referrer')[1].value.string_value as page_referrer,
        list_filter(event_params, lambda p: p.key = 'transaction_id')[1].value as transaction,
        list_filter(event_params, lambda p: p.key = 'engagement_time_msec')[1].value.int_value as engaged
    from input
),

events as (
    select
        record_number,
        make_timestamp(event_timestamp) as occurred_at,
        user_pseudo_id as anonymous_id,
        user_pseudo_id || '.' || coalesce(session.int_value, session.string_value) as session_id,
        event_name,
        page_location as page_url,
        page_referrer as referrer,
        coalesce(collected_traffic_source.manual_source, query_value(page_location, 'utm_source'))
            as utm_source,
        coalesce(collected_traffic_source.manual_medium, query_value(page_location, 'utm_medium'))
            as utm_medium,
        coalesce(
            collected_traffic_source.manual_campaign_name, query_value(page_location, 'utm_campaign')
        ) as utm_campaign,
        filled(user_id) as customer_id,
        case
            when event_name in ('purchase', 'in_app_purchase')
                then nullif(coalesce(ecommerce.transaction_id, transaction.string_value, transaction.int_value), '(not set)')
        end as order_id,
        try_cast(engaged as bigint) as engaged_milliseconds,
        case
            when platform in ('IOS', 'ANDROID') then 'app'
            when lower(device.category) in ('desktop', 'mobile', 'tablet') then lower(device.category)
            when device.category is not null then 'other'
        end as device_type,
        geo.country as country
    from parameters
),

sessions as (
    select
        session_id,
        min(record_number) as record_number,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        arg_min(anonymous_id, record_number) as anonymous_id,
        count(*) filter (where event_name in ('page_view', 'screen_view')) as page_views,
        count(*) filter (where event_name = 'view_item') as product_views,
        count(*) filter (where event_name in ('search', 'view_search_results')) as searches,
        count(*) filter (where event_name = 'add_to_cart') as add_to_carts,
        count(*) filter (where event_name = 'begin_checkout') as checkouts_started,
        cast(sum(engaged_milliseconds) // 1000 as bigint) as engaged_seconds,
        arg_max(customer_id, (occurred_at, record_number)) filter (where customer_id is not null) as customer_id,
        arg_max(order_id, (occurred_at, record_number)) filter (where order_id is not null) as order_id,
        arg_min(device_type, (occurred_at, record_number)) as device_type,
        arg_min(country, (occurred_at, record_number)) as country,
        arg_min(page_url, (occurred_at, record_number)) filter (where page_url is not null) as landing_page,
        arg_min(referrer, (occurred_at, record_number)) filter (where page_url is not null) as referrer,
        arg_min(utm_source, (occurred_at, record_number)) filter (where utm_source is not null) as utm_source,
        arg_min(utm_medium, (occurred_at, record_number)) filter (where utm_source is not null) as utm_medium,
        arg_min(utm_campaign, (occurred_at, record_number)) filter (where utm_source is not null) as utm_campaign
    from events
    where session_id is not null
    group by session_id
)

select
    events.record_number,
    case
        when events.anonymous_id is null then 'aside: no visitor (user_pseudo_id is empty: consent was not given)'
        when events.session_id is null then 'aside: no session (ga_session_id is missing)'
        when sessions.session_id is null then 'continuation'
        else 'record'
    end as outcome,
    events.session_id,
    time_text(greatest(exported_at()::timestamptz, sessions.ended_at::timestamptz)) as updated_at,
    sessions.anonymous_id,
    time_text(sessions.started_at) as started_at,
    time_text(sessions.ended_at) as ended_at,
    sessions.page_views,
    sessions.product_views,
    sessions.searches,
    sessions.add_to_carts,
    sessions.checkouts_started,
    least(sessions.engaged_seconds, date_diff('second', sessions.started_at, sessions.ended_at)) as engaged_seconds,
    sessions.customer_id,
    sessions.order_id,
    sessions.device_type,
    sessions.country,
    without_query(sessions.landing_page) as landing_page,
    without_query(sessions.referrer) as referrer,
    nullif(sessions.utm_source, '(direct)') as utm_source,
    nullif(sessions.utm_medium, '(none)') as utm_medium,
    nullif(nullif(sessions.utm_campaign, '(direct)'), '(not set)') as utm_campaign
from events
left join sessions on events.record_number = sessions.record_number
