/*
source: segment
version: 2
feed: web_events
title: "Segment: track, page, screen and identify messages (Spec), JSON Lines"
page: docs/sources/segment.md
shapes: [json]
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
    userAgent: text
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
        context.userAgent as user_agent,
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
)

-- The Spec has no session: sessions are cut by silence and campaign.
select
    record_number,
    case when reason is not null then 'aside: ' || reason else 'record' end as outcome,
    event_id,
    time_text(occurred_at) as occurred_at,
    anonymous_id,
    case
        when type in ('page', 'screen') then 'page_view'
        when event = 'product viewed' then 'product_view'
        when event = 'products searched' then 'search'
        when event = 'product added' then 'add_to_cart'
        when event = 'checkout started' then 'checkout_started'
        when event = 'order completed' then 'order_placed'
        else coalesce(event, type)
    end as name,
    without_query(page_url) as page_url,
    without_query(referrer) as referrer,
    utm_source,
    utm_medium,
    utm_campaign,
    customer_id,
    filled(email) as email,
    case when event = 'order completed' then order_id end as order_id,
    case when type = 'screen' then 'app' else device_type end as device_type,
    user_agent
from judged
