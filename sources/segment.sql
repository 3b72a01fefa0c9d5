/*
source: segment
version: 1
feed: web_sessions
title: "Segment: track, page, screen and identify messages (Spec), JSON Lines"
page: docs/sources/segment.md
shapes: [json]
dated by: export
needs: [messageId, type, timestamp]
columns:
  messageId: text
  type: text
  event: text
  anonymousId: text
  userId: text
  timestamp: text
  receivedAt: text
  traits: {email: text}
  properties: {url: text, referrer: text, order_id: text, email: text}
  context:
    page: {url: text, referrer: text}
    campaign: {source: text, medium: text, name: text}
    device: {type: text}
    userAgentData: {mobile: text}
    traits: {email: text}
ignores: [channel, integrations, sentAt, originalTimestamp, version, projectId, name, category, groupId, previousId, writeKey, _metadata]
*/
with messages as (
    select
        record_number,
        messageId as event_id,
        row_number() over (partition by messageId order by record_number) as time_sent,
        coalesce(instant("timestamp"), instant(receivedAt)) as occurred_at,
        filled(anonymousId) as anonymous_id,
        lower(type) as type,
        lower(event) as event,
        coalesce(properties.url, context.page.url) as page_url,
        coalesce(properties.referrer, context.page.referrer) as referrer,
        coalesce(context.campaign.source, query_value(context.page.url, 'utm_source')) as utm_source,
        coalesce(context.campaign.medium, query_value(context.page.url, 'utm_medium')) as utm_medium,
        coalesce(context.campaign.name, query_value(context.page.url, 'utm_campaign')) as utm_campaign,
        filled(userId) as customer_id,
        coalesce(traits.email, context.traits.email, properties.email) as email,
        properties.order_id as order_id,
        case
            when lower(context.device.type) in ('ios', 'android') then 'app'
            when lower(context.device.type) in ('desktop', 'mobile', 'tablet') then lower(context.device.type)
            when context.userAgentData.mobile = 'true' then 'mobile'
            when context.userAgentData.mobile = 'false' then 'desktop'
        end as device_type
    from input
),

judged as (
    select
        *,
        case
            when time_sent > 1 and event_id is not null then 'sent twice (its messageId came before)'
            when anonymous_id is null then 'no visitor (anonymousId is empty: sent by a server)'
            when occurred_at is null then 'no time that can be read'
            when type in ('group', 'alias', 'delete') then 'a ' || type || ' message'
        end as reason
    from messages
),

-- The Spec has no session: 30 minutes of silence, or another campaign, begin the next one.
cut as (
    select
        *,
        occurred_at - lag(occurred_at) over visits > interval 30 minutes
        or utm_source || '/' || coalesce(utm_campaign, '') <> lag(
            utm_source || '/' || coalesce(utm_campaign, '') ignore nulls
        ) over visits as is_next
    from judged
    where reason is null
    window visits as (partition by anonymous_id order by occurred_at, record_number)
),

numbered as (
    select
        *,
        sum(case when is_next then 1 else 0 end)
            over (partition by anonymous_id order by occurred_at, record_number) as visit
    from cut
),

sessions as (
    select
        anonymous_id,
        visit,
        min(record_number) as record_number,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        count(*) filter (where type in ('page', 'screen')) as page_views,
        count(*) filter (where event = 'product viewed') as product_views,
        count(*) filter (where event = 'products searched') as searches,
        count(*) filter (where event = 'product added') as add_to_carts,
        count(*) filter (where event = 'checkout started') as checkouts_started,
        arg_max(customer_id, (occurred_at, record_number)) filter (where customer_id is not null) as customer_id,
        arg_max(email, (occurred_at, record_number)) filter (where email is not null) as email,
        arg_max(order_id, (occurred_at, record_number)) filter (where event = 'order completed') as order_id,
        bool_or(type = 'screen') as is_app,
        arg_min(device_type, (occurred_at, record_number)) filter (where device_type is not null) as device_type,
        arg_min(page_url, (occurred_at, record_number)) filter (where page_url is not null) as landing_page,
        arg_min(referrer, (occurred_at, record_number)) filter (where page_url is not null) as referrer,
        arg_min(utm_source, (occurred_at, record_number)) filter (where utm_source is not null) as utm_source,
        arg_min(utm_medium, (occurred_at, record_number)) filter (where utm_source is not null) as utm_medium,
        arg_min(utm_campaign, (occurred_at, record_number)) filter (where utm_source is not null) as utm_campaign
    from numbered
    group by anonymous_id, visit
)

select
    judged.record_number,
    case
        when judged.reason is not null then 'aside: ' || judged.reason
        when sessions.record_number is null then 'continuation'
        else 'record'
    end as outcome,
    sessions.anonymous_id || '.' || epoch_ms(sessions.started_at) as session_id,
    time_text(greatest(exported_at()::timestamptz, sessions.ended_at)) as updated_at,
    sessions.anonymous_id,
    time_text(sessions.started_at) as started_at,
    time_text(sessions.ended_at) as ended_at,
    sessions.page_views,
    sessions.product_views,
    sessions.searches,
    sessions.add_to_carts,
    sessions.checkouts_started,
    sessions.customer_id,
    filled(sessions.email) as email,
    sessions.order_id,
    case when sessions.is_app then 'app' else sessions.device_type end as device_type,
    without_query(sessions.landing_page) as landing_page,
    without_query(sessions.referrer) as referrer,
    sessions.utm_source,
    sessions.utm_medium,
    sessions.utm_campaign
from judged
left join sessions on judged.record_number = sessions.record_number
