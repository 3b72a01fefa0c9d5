{{ config(
    tags=['live'],
    meta={
        'scope': 'attribution', 'scope_key': 'order_key', 'primary_key': ['order_key', 'touch_number'],
        'marked_by': 'reattributed_orders',
        'indexes': ['(session_key) where session_key is not null'], 'cluster_by': 'customer_key',
    }
) }}

with dated as (
    {{ dated_parameters(ref('attribution_parameters')) }}
),

orders as (
    select
        fact.order_key,
        fact.source,
        fact.order_id,
        fact.customer_key,
        fact.ordered_at,
        fact.ordered_on,
        fact.net_amount,
        windows.value as window_days,
        directs.value = 1 as is_direct_counted
    from {{ ref('fct_orders') }} as fact
    left join dated as windows
        on windows.parameter = 'window_days'
        and fact.ordered_on >= windows.valid_from_on and fact.ordered_on < windows.valid_to_on
    left join dated as directs
        on directs.parameter = 'counts_direct'
        and fact.ordered_on >= directs.valid_from_on and fact.ordered_on < directs.valid_to_on
    where fact.customer_key is not null
        and not fact.is_cancelled
        {{- only_dirty('attribution', 'fact.order_key') }}
),

-- Two joins that an index answers each, where one with "or" would pair every order with every visit of its customer.
-- The visit that names the order is always one of its touches, also where two clocks differ.
visits as (
    {%- for condition in [
        "sessions.started_at <= orders.ordered_at"
        " and sessions.started_at > orders.ordered_at - orders.window_days * interval '1 day'",
        'sessions.order_key = orders.order_key',
    ] %}
    select
        orders.order_key,
        sessions.session_key,
        sessions.started_at,
        sessions.utm_source,
        sessions.utm_medium,
        sessions.utm_campaign,
        coalesce(sessions.channel, 'unknown') as channel
    from orders
    inner join {{ ref('fct_sessions') }} as sessions
        on sessions.customer_key = orders.customer_key and {{ condition }}
    {{ 'union' if not loop.last }}
    {%- endfor %}
),

compared as (
    select
        orders.*,
        visits.session_key,
        visits.started_at,
        visits.utm_source,
        visits.utm_medium,
        visits.utm_campaign,
        coalesce(visits.channel, 'unknown') as channel,
        coalesce(bool_or(visits.channel <> 'direct') over (partition by order_key), false) as has_other_than_direct
    from orders
    left join visits using (order_key)
),

touches as (
    select
        *,
        row_number() over (partition by order_key order by started_at, session_key) as touch_number,
        count(*) over (partition by order_key) as touch_count
    from compared
    where channel <> 'direct' or is_direct_counted or not has_other_than_direct
),

weighed as (
    select
        *,
        touch_number = 1 as is_first,
        touch_number = touch_count as is_last,
        round(1::numeric / touch_count, 6) as equal_weight,
        round(net_amount / touch_count, 4) as equal_amount
    from touches
)

-- What rounding leaves goes to the last touch, so that the touches of an order add up to it.
select
    order_key,
    touch_number,
    touch_count,
    source,
    order_id,
    customer_key,
    ordered_at,
    ordered_on,
    session_key,
    started_at as touched_at,
    channel,
    utm_source,
    utm_medium,
    utm_campaign,
    window_days::bigint as window_days,
    is_first::integer::numeric(18, 6) as first_touch_weight,
    is_last::integer::numeric(18, 6) as last_touch_weight,
    (case when is_last then 1 - equal_weight * (touch_count - 1) else equal_weight end)::numeric(18, 6) as linear_weight,
    (net_amount * is_first::integer)::numeric(28, 4) as first_touch_net_amount,
    (net_amount * is_last::integer)::numeric(28, 4) as last_touch_net_amount,
    (case when is_last then net_amount - equal_amount * (touch_count - 1) else equal_amount end)::numeric(28, 4)
        as linear_net_amount
from weighed
