{{ config(
    tags=['live'],
    meta={'scope': 'day', 'scope_key': 'event_on', 'primary_key': ['event_on']}
) }}

with orders as (
    select
        ordered_on as event_on,
        count(*) as order_count,
        coalesce(sum(gross_amount), 0) as gross_amount,
        coalesce(sum(net_amount + refunded_net_amount) filter (where not is_cancelled), 0) as net_before_refunds_amount,
        coalesce(sum(cancelled_amount), 0) as cancelled_amount
    from {{ ref('fct_orders') }}
    where customer_key is null
        {{- only_dirty('day', 'ordered_on') }}
    group by ordered_on
),

refunds as (
    select
        refunded_on as event_on,
        count(*) as refund_count,
        coalesce(sum(amount), 0) as refunded_amount,
        coalesce(sum(net_amount), 0) as refunded_net_amount
    from {{ ref('fct_refunds') }}
    where customer_key is null
        {{- only_dirty('day', 'refunded_on') }}
    group by refunded_on
),

sessions as (
    select started_on as event_on, count(*) as session_count
    from {{ ref('fct_sessions') }}
    where customer_key is null
        {{- only_dirty('day', 'started_on') }}
    group by started_on
),

tickets as (
    select created_on as event_on, count(*) as ticket_count
    from {{ ref('fct_tickets') }}
    where customer_key is null
        {{- only_dirty('day', 'created_on') }}
    group by created_on
)

select
    event_on,
    coalesce(order_count, 0) as order_count,
    coalesce(refund_count, 0) as refund_count,
    coalesce(session_count, 0) as session_count,
    coalesce(ticket_count, 0) as ticket_count,
    coalesce(gross_amount, 0) as gross_amount,
    coalesce(refunded_amount, 0) as refunded_amount,
    coalesce(refunded_net_amount, 0) as refunded_net_amount,
    coalesce(net_before_refunds_amount, 0) - coalesce(refunded_net_amount, 0) as net_amount,
    coalesce(cancelled_amount, 0) as cancelled_amount
from orders
full join refunds using (event_on)
full join sessions using (event_on)
full join tickets using (event_on)
