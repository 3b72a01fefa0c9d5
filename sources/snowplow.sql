/*
source: snowplow
version: 2
feed: web_events
title: "Snowplow: atomic.events as CSV with a header, JSON Lines or Parquet"
page: docs/sources/snowplow.md
shapes: [csv, json, parquet]
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
  useragent: text
  unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1: {type: text}
  contexts_com_snowplowanalytics_snowplow_ecommerce_transaction_1: [{transaction_id: text}]
  contexts_com_snowplowanalytics_snowplow_ecommerce_checkout_step_1: [{step: text}]
  contexts_com_iab_snowplow_spiders_and_robots_1: [{spiderOrRobot: text, spider_or_robot: text}]
ignores: [
  app_id, etl_tstamp, dvce_created_tstamp, dvce_sent_tstamp, txn_id, name_tracker, v_tracker, v_collector, v_etl,
  user_ipaddress, user_fingerprint, domain_sessionidx, network_userid, geo_region, geo_city, geo_zipcode,
  geo_latitude, geo_longitude, geo_region_name, ip_isp, ip_organization, ip_domain, ip_netspeed, page_title,
  page_urlscheme, page_urlhost, page_urlport, page_urlpath, page_urlquery, page_urlfragment, refr_urlscheme,
  refr_urlhost, refr_urlport, refr_urlpath, refr_urlquery, refr_urlfragment, refr_medium, refr_source, refr_term,
  mkt_term, mkt_content, se_category, se_action, se_label, se_property, se_value, tr_affiliation, tr_total, tr_tax,
  tr_shipping, tr_city, tr_state, tr_country, ti_orderid, ti_sku, ti_name, ti_category, ti_price, ti_quantity,
  pp_xoffset_min, pp_xoffset_max, pp_yoffset_min, pp_yoffset_max, br_name, br_family, br_version, br_type,
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
        contexts_com_snowplowanalytics_snowplow_ecommerce_checkout_step_1[1].step as checkout_step,
        useragent as user_agent,
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
            when anonymous_id is null then 'no visitor (domain_userid is empty)'
            when occurred_at is null then 'no time that can be read'
        end as reason
    from events
)

select
    record_number,
    case when reason is not null then 'aside: ' || reason else 'record' end as outcome,
    event_id,
    time_text(occurred_at) as occurred_at,
    anonymous_id,
    case
        when event_name in ('page_view', 'screen_view') then 'page_view'
        when action = 'product_view' then 'product_view'
        when event_name in ('site_search', 'search') then 'search'
        when action = 'add_to_cart' then 'add_to_cart'
        when action = 'checkout_step' and coalesce(checkout_step, '1') = '1' then 'checkout_started'
        when action = 'transaction' then 'order_placed'
        else coalesce(action, event_name)
    end as name,
    session_id,
    without_query(page_url) as page_url,
    without_query(referrer) as referrer,
    utm_source,
    utm_medium,
    utm_campaign,
    customer_id,
    order_id,
    device_type,
    country,
    user_agent,
    -- The trackers' heartbeat.
    case when event_name = 'page_ping' then 10 else 0 end as engaged_seconds,
    is_bot
from judged
