/*
source: ga4
version: 2
feed: web_events
title: "Google Analytics 4: the events of its BigQuery export, as JSON Lines or Parquet"
page: docs/sources/ga4.md
shapes: [json, parquet]
# Google rewrites a day's table for up to three days: what a newer file says of an event counts.
dated by: export
needs: [event_timestamp, event_name, user_pseudo_id]
columns:
  event_timestamp: BIGINT
  event_name: text
  event_params: [{key: text, value: {string_value: text, int_value: text, float_value: text, double_value: text}}]
  user_id: text
  user_pseudo_id: text
  event_bundle_sequence_id: text
  batch_page_id: text
  batch_ordering_id: text
  batch_event_index: text
  platform: text
  device: {category: text}
  geo: {country: text}
  collected_traffic_source: {manual_source: text, manual_medium: text, manual_campaign_name: text}
  ecommerce: {transaction_id: text}
ignores: [
  event_date, event_previous_timestamp, event_value_in_usd, event_server_timestamp_offset,
  user_properties, user_first_touch_timestamp, user_ltv, privacy_info, app_info, traffic_source, stream_id, items,
  event_dimensions, is_active_user,
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
        case
            when event_name in ('page_view', 'screen_view') then 'page_view'
            when event_name = 'view_item' then 'product_view'
            when event_name in ('search', 'view_search_results') then 'search'
            when event_name = 'begin_checkout' then 'checkout_started'
            when event_name in ('purchase', 'in_app_purchase') then 'order_placed'
            else event_name
        end as name,
        -- The export has no id of an event: what Google orders them by, and their place among those that are alike.
        md5(concat_ws(
            '|', user_pseudo_id, event_timestamp, event_name, coalesce(event_bundle_sequence_id, ''),
            coalesce(batch_page_id, ''), coalesce(batch_ordering_id, ''), coalesce(batch_event_index, ''),
            row_number() over (
                partition by user_pseudo_id, event_timestamp, event_name, event_bundle_sequence_id, batch_page_id,
                    batch_ordering_id, batch_event_index
                order by record_number
            )
        )) as event_id,
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
        cast(try_cast(engaged as bigint) as decimal(18, 0)) * cast('0.001' as decimal(4, 3)) as engaged_seconds,
        case
            when platform in ('IOS', 'ANDROID') then 'app'
            when lower(device.category) in ('desktop', 'mobile', 'tablet') then lower(device.category)
            when device.category is not null then 'other'
        end as device_type,
        geo.country as country
    from parameters
)

select
    record_number,
    case
        when anonymous_id is null then 'aside: no visitor (user_pseudo_id is empty: consent was not given)'
        when session_id is null then 'aside: no session (ga_session_id is missing)'
        else 'record'
    end as outcome,
    event_id,
    time_text(greatest(exported_at()::timestamptz, occurred_at::timestamptz)) as updated_at,
    time_text(occurred_at) as occurred_at,
    anonymous_id,
    name,
    session_id,
    without_query(page_url) as page_url,
    without_query(referrer) as referrer,
    nullif(utm_source, '(direct)') as utm_source,
    nullif(utm_medium, '(none)') as utm_medium,
    nullif(nullif(utm_campaign, '(direct)'), '(not set)') as utm_campaign,
    customer_id,
    order_id,
    device_type,
    country,
    engaged_seconds
from events
