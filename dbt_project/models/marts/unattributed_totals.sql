{{ config(
    tags=['live'],
    meta={'scope': 'day', 'scope_key': 'event_on', 'primary_key': ['event_on'], 'moves': true}
) }}

{%- set counts = ['order_count', 'refund_count', 'session_count', 'ticket_count'] %}
{%- set amounts = [
    'gross_amount', 'refunded_amount', 'refunded_net_amount', 'net_before_refunds_amount', 'cancelled_amount',
] %}
{%- set nobodys = 'customer_key is null' %}

with orders as (
    {{ moved_rows('fct_orders', 'order', 'order_key', [
        'ordered_on', 'gross_amount', 'net_amount', 'refunded_net_amount', 'cancelled_amount',
    ], condition=nobodys) }}
),

refunds as (
    {{ moved_rows('fct_refunds', 'order', 'order_key', ['refunded_on', 'amount', 'net_amount'], condition=nobodys) }}
),

sessions as (
    {{ moved_rows('fct_sessions', 'session', 'session_key', ['started_on'], condition=nobodys) }}
),

tickets as (
    {{ moved_rows('fct_tickets', 'ticket', 'ticket_key', ['created_on'], condition=nobodys) }}
),

moved as (
    select
        ordered_on as event_on,
        sign as order_count,
        0 as refund_count,
        0 as session_count,
        0 as ticket_count,
        sign * gross_amount as gross_amount,
        0 as refunded_amount,
        0 as refunded_net_amount,
        sign * (net_amount + refunded_net_amount) as net_before_refunds_amount,
        sign * cancelled_amount as cancelled_amount
    from orders
    union all
    select refunded_on, 0, sign, 0, 0, 0, sign * amount, sign * net_amount, 0, 0
    from refunds
    union all
    select started_on, 0, 0, sign, 0, 0, 0, 0, 0, 0
    from sessions
    union all
    select created_on, 0, 0, 0, sign, 0, 0, 0, 0, 0
    from tickets
    {{- published_totals(
        ['event_on'] + counts
        + ['gross_amount', 'refunded_amount', 'refunded_net_amount', 'net_amount + refunded_net_amount', 'cancelled_amount']
    ) }}
),

days as (
    select
        event_on,
        {%- for count in counts %}
        sum({{ count }})::bigint as {{ count }},
        {%- endfor %}
        {%- for amount in amounts %}
        coalesce(sum({{ amount }}), 0) as {{ amount }}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from moved
    group by event_on
    having sum(order_count) > 0 or sum(refund_count) > 0 or sum(session_count) > 0 or sum(ticket_count) > 0
)

select
    event_on,
    order_count,
    refund_count,
    session_count,
    ticket_count,
    gross_amount,
    refunded_amount,
    refunded_net_amount,
    net_before_refunds_amount - refunded_net_amount as net_amount,
    cancelled_amount
from days
