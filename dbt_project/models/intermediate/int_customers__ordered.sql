{{ config(
    tags=['live'],
    meta={'scope': 'customer', 'scope_key': 'customer_key', 'primary_key': ['customer_key']}
) }}

{%- set channels = ['web', 'app', 'store', 'phone', 'marketplace'] %}

with orders as (
    select
        customer_key,
        count(*) filter (where is_valid) as order_count,
        count(*) filter (where is_cancelled) as cancelled_order_count,
        count(*) filter (where status = 'returned') as returned_order_count,
        count(*) filter (where exchange_rate is null) as unconverted_order_count,
        count(distinct ordered_on) filter (where is_valid) as purchase_day_count,
        min(ordered_at) filter (where is_valid) as first_order_at,
        max(ordered_at) filter (where is_valid) as last_order_at,
        min(ordered_on) filter (where is_valid) as first_order_on,
        max(ordered_on) filter (where is_valid) as last_order_on,
        coalesce(sum(gross_amount), 0) as gross_amount,
        coalesce(sum(discount_amount) filter (where not is_cancelled), 0) as discount_amount,
        coalesce(sum(tax_amount) filter (where not is_cancelled), 0) as tax_amount,
        coalesce(sum(shipping_amount) filter (where not is_cancelled), 0) as shipping_amount,
        coalesce(sum(refunded_amount), 0) as refunded_amount,
        coalesce(sum(refunded_net_amount), 0) as refunded_net_amount,
        coalesce(sum(net_amount), 0) as net_amount,
        coalesce(sum(cancelled_amount), 0) as cancelled_amount,
        count(*) filter (where is_valid and discount_amount > 0) as discounted_order_count,
        count(*) filter (where is_valid and coupon_code is not null) as coupon_order_count,
        count(*) filter (where is_returns_unknown) as returns_unknown_order_count,
        {%- for channel in channels %}
        count(*) filter (where is_valid and sales_channel = '{{ channel }}') as {{ channel }}_order_count,
        coalesce(sum(net_amount) filter (where sales_channel = '{{ channel }}'), 0) as {{ channel }}_net_amount,
        {%- endfor %}
        count(*) filter (where is_valid and delivered_at is not null) as delivered_order_count,
        count(*) filter (where is_valid and is_late is not null) as promised_delivery_count,
        count(*) filter (where is_valid and is_late) as late_order_count,
        avg(extract(epoch from delivered_at - ordered_at) / 86400) filter (where is_valid) as average_delivery_days
    from {{ ref('fct_orders') }}
    where customer_key is not null
        {{- only_dirty('customer', 'customer_key') }}
    group by customer_key
),

-- fct_orders marks the customers of an order before this runs; reading both tables keeps that order of work.
refunds as (
    select customer_key, count(*) as refund_count, max(refunded_at) as last_refunded_at
    from {{ ref('fct_refunds') }}
    where customer_key is not null
        {{- only_dirty('customer', 'customer_key') }}
    group by customer_key
)

select
    orders.customer_key,
    order_count,
    cancelled_order_count,
    returned_order_count,
    unconverted_order_count,
    purchase_day_count,
    first_order_at,
    last_order_at,
    first_order_on,
    last_order_on,
    gross_amount,
    discount_amount,
    tax_amount,
    shipping_amount,
    refunded_amount,
    refunded_net_amount,
    net_amount,
    cancelled_amount,
    coalesce(refund_count, 0) as refund_count,
    last_refunded_at,
    discounted_order_count,
    coupon_order_count,
    returns_unknown_order_count,
    {%- for channel in channels %}
    {{ channel }}_order_count,
    {{ channel }}_net_amount,
    {%- endfor %}
    delivered_order_count,
    promised_delivery_count,
    late_order_count,
    round(average_delivery_days, 4) as average_delivery_days
from orders
left join refunds using (customer_key)
