/*
source: snowplow
version: 1
feed: web_sessions
title: "Snowplow: atomic.events as CSV with a header, JSON Lines or Parquet"
page: docs/sources/snowplow.md
shapes: [csv, json, parquet]
dated by: export
needs: [event_id, collector_tstamp, domain_sessionid, domain_userid]
columns:
  event_id: text
  event: text
  event_name: text
  platform: text
  collector_tstamp: text
  derived_tstamp: text
  user_id: text
  domain_userid: text
  domain_sessionid: text
  page_url: text
  page_referrer: text
  mkt_source: text
  mkt_medium: text
  mkt_campaign: text
  geo_country: text
  dvce_type: text
  tr_orderid: text
  unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1: {type: text}
  contexts_com_snowplowanalytics_snowplow_ecommerce_transaction_1: [{transaction_id: text}]
  contexts_com_iab_snowplow_spiders_and_robots_1: [{spiderOrRobot: text, spider_or_robot: text}]
ignores: [
  app_id, etl_tstamp, dvce_created_tstamp, dvce_sent_tstamp, txn_id, name_tracker, v_tracker, v_collector, v_etl,
  user_ipaddress, user_fingerprint, domain_sessionidx, network_userid, geo_region, geo_city, geo_zipcode,
  geo_latitude, geo_longitude, geo_region_name, ip_isp, ip_organization, ip_domain, ip_netspeed, page_title,
  page_urlscheme, page_urlhost, page_urlport, page_urlpath, page_urlquery, page_urlfragment, refr_urlscheme,
  refr_urlhost, refr_urlport, refr_urlpath, refr_urlquery, refr_urlfragment, refr_medium, refr_source, refr_term,
  mkt_term, mkt_content, se_category, se_action, se_label, se_property, se_value, tr_affiliation, tr_total, tr_tax,
  tr_shipping, tr_city, tr_state, tr_country, ti_orderid, ti_sku, ti_name, ti_category, ti_price, ti_quantity,
  pp_xoffset_min, pp_xoffset_max, pp_yoffset_min, pp_yoffset_max, useragent, br_name, br_family, br_version, br_type,
  br_renderengine, br_lang, br_features_pdf, br_features_flash, br_features_java, br_features_director,
  br_features_quicktime, br_features_realplayer, br_features_windowsmedia, br_features_gears,
  br_features_silverlight, br_cookies, br_colordepth, br_viewwidth, br_viewheight, os_name, os_family,
  os_manufacturer, os_timezone, dvce_ismobile, dvce_screenwidth, dvce_screenheight, doc_charset, doc_width,
  doc_height, tr_currency, tr_total_base, tr_tax_base, tr_shipping_base, ti_currency, ti_price_base, base_currency,
  geo_timezone, mkt_clickid, mkt_network, etl_tags, refr_domain_userid, refr_dvce_tstamp, event_vendor, event_format,
  event_version, event_fingerprint, true_tstamp, load_tstamp]
*/
with events as (
    select
        record_number,
        event_id,
        row_number() over (partition by event_id order by record_number) as time_sent,
        coalesce(instant(utc_time(derived_tstamp)), instant(utc_time(collector_tstamp))) as occurred_at,
        domain_userid as anonymous_id,
        domain_sessionid as session_id,
        coalesce(event_name, event) as event_name,
        unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1.type as action,
        page_url,
        page_referrer as referrer,
        coalesce(mkt_source, query_value(page_url, 'utm_source')) as utm_source,
        coalesce(mkt_medium, query_value(page_url, 'utm_medium')) as utm_medium,
        coalesce(mkt_campaign, query_value(page_url, 'utm_campaign')) as utm_campaign,
        filled(user_id) as customer_id,
        coalesce(
            filled(tr_orderid), contexts_com_snowplowanalytics_snowplow_ecommerce_transaction_1[1].transaction_id
        ) as order_id,
        case
            when platform in ('mob', 'app') then 'app'
            when lower(dvce_type) in ('computer', 'desktop') then 'desktop'
            when lower(dvce_type) in ('mobile', 'phone') then 'mobile'
            when lower(dvce_type) = 'tablet' then 'tablet'
            when dvce_type is not null then 'other'
        end as device_type,
        upper(geo_country) as country,
        lower(coalesce(
            contexts_com_iab_snowplow_spiders_and_robots_1[1].spiderOrRobot,
            contexts_com_iab_snowplow_spiders_and_robots_1[1].spider_or_robot
        )) = 'true' as is_bot
    from input
),

judged as (
    select
        *,
        case
            when time_sent > 1 and event_id is not null then 'sent twice (its event_id came before)'
            when coalesce(is_bot, false) then 'a bot, by the IAB list'
            when anonymous_id is null then 'no visitor (domain_userid is empty)'
            when session_id is null then 'no session (domain_sessionid is empty)'
            when occurred_at is null then 'no time that can be read'
        end as reason
    from events
),

sessions as (
    select
        session_id,
        min(record_number) as record_number,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        arg_min(anonymous_id, record_number) as anonymous_id,
        count(*) filter (where event_name in ('page_view', 'screen_view')) as page_views,
        count(*) filter (where action = 'product_view') as product_views,
        count(*) filter (where event_name in ('site_search', 'search')) as searches,
        count(*) filter (where action = 'add_to_cart' or event_name = 'add_to_cart') as add_to_carts,
        count(*) filter (where action = 'checkout_step') as checkout_steps,
        count(*) filter (where event_name = 'page_ping') * 10 as engaged_seconds,
        arg_max(customer_id, (occurred_at, record_number)) filter (where customer_id is not null) as customer_id,
        arg_max(order_id, (occurred_at, record_number)) filter (where order_id is not null) as order_id,
        arg_min(device_type, (occurred_at, record_number)) as device_type,
        arg_min(country, (occurred_at, record_number)) as country,
        arg_min(page_url, (occurred_at, record_number)) filter (where page_url is not null) as landing_page,
        arg_min(referrer, (occurred_at, record_number)) filter (where page_url is not null) as referrer,
        arg_min(utm_source, (occurred_at, record_number)) filter (where utm_source is not null) as utm_source,
        arg_min(utm_medium, (occurred_at, record_number)) filter (where utm_source is not null) as utm_medium,
        arg_min(utm_campaign, (occurred_at, record_number)) filter (where utm_source is not null) as utm_campaign
    from judged
    where reason is null
    group by session_id
)

select
    judged.record_number,
    case
        when judged.reason is not null then 'aside: ' || judged.reason
        when sessions.session_id is null then 'continuation'
        else 'record'
    end as outcome,
    judged.session_id,
    time_text(greatest(exported_at()::timestamptz, sessions.ended_at)) as updated_at,
    sessions.anonymous_id,
    time_text(sessions.started_at) as started_at,
    time_text(sessions.ended_at) as ended_at,
    sessions.page_views,
    sessions.product_views,
    sessions.searches,
    sessions.add_to_carts,
    least(sessions.checkout_steps, 1) as checkouts_started,
    least(sessions.engaged_seconds, date_diff('second', sessions.started_at, sessions.ended_at)) as engaged_seconds,
    sessions.customer_id,
    sessions.order_id,
    sessions.device_type,
    sessions.country,
    without_query(sessions.landing_page) as landing_page,
    without_query(sessions.referrer) as referrer,
    sessions.utm_source,
    sessions.utm_medium,
    sessions.utm_campaign
from judged
left join sessions on judged.record_number = sessions.record_number
