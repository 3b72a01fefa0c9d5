{{ config(
    tags=['live'],
    meta={'scope': 'day', 'scope_key': 'revenue_on', 'primary_key': ['revenue_on']}
) }}

with orders as (
    select
        ordered_on as revenue_on,
        count(*) filter (where is_valid) as order_count,
        count(*) filter (where is_cancelled) as cancelled_order_count,
        count(distinct customer_key) filter (where is_valid) as customer_count,
        count(*) filter (where exchange_rate is null) as unconverted_order_count,
        coalesce(sum(gross_amount), 0) as gross_amount,
        coalesce(sum(discount_amount) filter (where not is_cancelled), 0) as discount_amount,
        coalesce(sum(tax_amount) filter (where not is_cancelled), 0) as tax_amount,
        coalesce(sum(shipping_amount) filter (where not is_cancelled), 0) as shipping_amount,
        coalesce(sum(cancelled_amount), 0) as cancelled_amount
    from {{ ref('fct_orders') }}
    where true
        {{- only_dirty('day', 'ordered_on') }}
    group by ordered_on
),

refunds as (
    select
        refunded_on as revenue_on,
        count(*) as refund_count,
        coalesce(sum(amount), 0) as refunded_amount,
        coalesce(sum(net_amount), 0) as refunded_net_amount
    from {{ ref('fct_refunds') }}
    where true
        {{- only_dirty('day', 'refunded_on') }}
    group by refunded_on
)

select
    revenue_on,
    coalesce(order_count, 0) as order_count,
    coalesce(cancelled_order_count, 0) as cancelled_order_count,
    coalesce(customer_count, 0) as customer_count,
    coalesce(unconverted_order_count, 0) as unconverted_order_count,
    coalesce(refund_count, 0) as refund_count,
    coalesce(gross_amount, 0) as gross_amount,
    coalesce(discount_amount, 0) as discount_amount,
    coalesce(tax_amount, 0) as tax_amount,
    coalesce(shipping_amount, 0) as shipping_amount,
    coalesce(refunded_amount, 0) as refunded_amount,
    coalesce(refunded_net_amount, 0) as refunded_net_amount,
    coalesce(gross_amount - tax_amount - shipping_amount, 0) - coalesce(refunded_net_amount, 0) as net_amount,
    coalesce(cancelled_amount, 0) as cancelled_amount
from orders
full join refunds using (revenue_on)
