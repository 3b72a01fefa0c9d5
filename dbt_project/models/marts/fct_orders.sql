{{ config(
    tags=['live'],
    meta={
        'scope': 'order', 'scope_key': 'order_key', 'primary_key': ['order_key'],
        'touches': {'customer': 'customer_key', 'day': 'ordered_on'},
        'indexes': ['(customer_key, ordered_on)'], 'cluster_by': 'customer_key',
    }
) }}

with orders as (
    select *, {{ business_date('ordered_at') }} as ordered_on, status = 'cancelled' as is_cancelled
    from {{ ref('stg_orders') }}
    where is_deleted is not true
        {{- only_dirty('order', 'order_key') }}
),

refunds as (
    select
        order_key,
        sum(amount) as refunded_amount,
        sum(net_amount) as refunded_net_amount,
        sum(original_amount) as original_refunded_amount
    from {{ ref('fct_refunds') }}
    where true
        {{- only_dirty('order', 'order_key') }}
    group by order_key
),

rates as (
    {{ exchange_rates() }}
),

priced as (
    select
        orders.*,
        {{ rate_or_one('orders.currency') }} as exchange_rate
    from orders
    left join rates on {{ rate_of('orders.currency', 'orders.ordered_on') }}
),

converted as (
    select
        orders.*,
        order_customers.customer_key,
        round(total_amount * exchange_rate, 4) as reporting_total_amount,
        round(discount_amount * exchange_rate, 4) as reporting_discount_amount,
        round(tax_amount * exchange_rate, 4) as reporting_tax_amount,
        round(shipping_amount * exchange_rate, 4) as reporting_shipping_amount,
        -- Without a rate the refunds are unknown in the reporting currency too, not zero.
        case when exchange_rate is not null then coalesce(refunds.refunded_amount, 0) end as refunded_amount,
        case when exchange_rate is not null then coalesce(refunds.refunded_net_amount, 0) end as refunded_net_amount,
        coalesce(refunds.original_refunded_amount, 0) as original_refunded_amount,
        {{ net_basis(
            'round(total_amount * exchange_rate, 4)',
            'round(tax_amount * exchange_rate, 4)',
            'round(shipping_amount * exchange_rate, 4)',
        ) }} as reporting_net_basis
    from priced as orders
    left join refunds using (order_key)
    left join {{ source('identity', 'order_customers') }} as order_customers using (order_key)
)

select
    order_key,
    source,
    order_id,
    customer_key,
    ordered_at,
    ordered_on,
    updated_at,
    status,
    is_cancelled,
    not is_cancelled and total_amount > 0 as is_valid,
    sales_channel,
    raw.masked_text(payment_method) as payment_method,
    raw.masked_text(coupon_code) as coupon_code,
    country,
    raw.masked_text(region) as region,
    currency,
    exchange_rate,
    total_amount as original_total_amount,
    original_refunded_amount,
    reporting_total_amount as total_amount,
    reporting_discount_amount as discount_amount,
    reporting_tax_amount as tax_amount,
    reporting_shipping_amount as shipping_amount,
    refunded_amount,
    refunded_net_amount,
    case when is_cancelled then 0 * exchange_rate else reporting_total_amount end as gross_amount,
    case
        when is_cancelled then 0 * exchange_rate
        else reporting_net_basis - refunded_net_amount
    end as net_amount,
    not is_cancelled and total_amount < tax_amount + shipping_amount as is_net_floored,
    case when is_cancelled then reporting_total_amount else 0 * exchange_rate end as cancelled_amount,
    jsonb_array_length(items)::bigint as item_count,
    -- feeds.md, kept items: no item says what came back, and the money says that only a part did.
    not is_cancelled
        and status <> 'returned'
        and original_refunded_amount > 0
        and original_refunded_amount < total_amount
        and not coalesce(items @? '$[*].returned_quantity ? (@ != null)', false) as is_returns_unknown,
    promised_delivery_at,
    delivered_at,
    delivered_at > promised_delivery_at as is_late,
    version_count,
    has_version_conflict,
    has_id_conflict,
    known_at,
    batch_id
from converted
