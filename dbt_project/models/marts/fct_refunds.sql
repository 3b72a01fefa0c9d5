{{ config(
    tags=['live'],
    meta={
        'scope': 'order', 'scope_key': 'order_key', 'primary_key': ['order_key', 'refund_number'],
        'touches': {'day': 'refunded_on'},
        'indexes': ['(customer_key)'], 'cluster_by': 'customer_key',
    }
) }}

with orders as (
    select
        order_key, source, order_id, currency, total_amount, tax_amount, shipping_amount, refunds, items, batch_id,
        {{ business_date('ordered_at') }} as ordered_on
    from {{ ref('stg_orders') }}
    where refunds is not null
        and status <> 'cancelled'
        and is_deleted is not true
        {{- only_dirty('order', 'order_key') }}
),

rates as (
    {{ exchange_rates() }}
),

refunds as (
    select
        orders.order_key,
        orders.source,
        orders.order_id,
        listed.refund_number,
        listed.refund ->> 'refund_id' as refund_id,
        (listed.refund ->> 'refunded_at')::timestamptz as refunded_at,
        (listed.refund ->> 'amount')::numeric as amount,
        listed.refund ->> 'reason' as reason,
        listed.refund ->> 'sku' as named_sku,
        case when jsonb_array_length(orders.items) = 1 then orders.items -> 0 ->> 'sku' end as only_sku,
        -- The share of a refund that is net revenue: tax and shipping come back in proportion.
        coalesce({{ net_basis('total_amount', 'tax_amount', 'shipping_amount') }} / nullif(total_amount, 0), 0)
            as net_share,
        orders.total_amount,
        orders.tax_amount,
        orders.shipping_amount,
        orders.currency,
        orders.ordered_on,
        orders.batch_id
    from orders
    cross join lateral jsonb_array_elements(orders.refunds) with ordinality as listed(refund, refund_number)
),

priced as (
    select
        refunds.*,
        {{ rate_or_one('refunds.currency') }} as exchange_rate
    from refunds
    left join rates on {{ rate_of('refunds.currency', 'refunds.ordered_on') }}
),

converted as (
    select
        refunds.*,
        round(refunds.amount * refunds.exchange_rate, 4) as reporting_amount,
        round(refunds.amount * refunds.net_share * refunds.exchange_rate, 4) as reporting_net_amount,
        round(refunds.total_amount * refunds.exchange_rate, 4) as reporting_total_amount,
        {{ net_basis(
            'round(refunds.total_amount * refunds.exchange_rate, 4)',
            'round(refunds.tax_amount * refunds.exchange_rate, 4)',
            'round(refunds.shipping_amount * refunds.exchange_rate, 4)',
        ) }} as reporting_net_basis
    from priced as refunds
),

summed as (
    select
        *,
        sum(reporting_amount) over in_order as running_amount,
        sum(reporting_net_amount) over in_order as running_net_amount
    from converted
    window in_order as (partition by order_key order by refund_number)
),

-- Rounding lets refunds exceed what was charged by a cent: the last one counts as far as there is something left.
limited as (
    select
        *,
        {{ within_sum('reporting_amount', 'running_amount', 'reporting_total_amount') }} as limited_amount,
        {{ within_sum('reporting_net_amount', 'running_net_amount', 'reporting_net_basis') }} as limited_net_amount
    from summed
)

select
    refunds.order_key,
    refunds.source,
    refunds.order_id,
    refunds.refund_number,
    refunds.refund_id,
    order_customers.customer_key,
    refunds.refunded_at,
    {{ business_date('refunds.refunded_at') }} as refunded_on,
    refunds.currency,
    refunds.limited_amount as amount,
    least(refunds.limited_net_amount, refunds.limited_amount) as net_amount,
    refunds.amount as original_amount,
    raw.masked_text(refunds.reason) as reason,
    coalesce(refunds.named_sku, refunds.only_sku) as sku,
    case when refunds.named_sku is not null then 'refund' when refunds.only_sku is not null then 'only_line' end as sku_source,
    refunds.batch_id
from limited as refunds
left join {{ source('identity', 'order_customers') }} as order_customers using (order_key)
