{{ config(unique_key='order_id', indexes=[
    {'columns': ['order_id'], 'unique': true}, {'columns': ['customer_key']}, {'columns': ['batch_id']},
]) }}
with arrived as (
    select distinct on (order_id) *
    from {{ source('raw', 'orders') }}
    {%- if is_incremental() %}
    where batch_id > (select coalesce(max(batch_id), 0) from {{ this }})
    {%- endif %}
    order by order_id, updated_at desc, row_number desc
),
priced as (
    select
        arrived.batch_id, arrived.order_id, arrived.updated_at, arrived.ordered_at, arrived.status, arrived.total_amount,
        arrived.items, arrived.coupon_code, arrived.sales_channel, arrived.promised_delivery_at, arrived.delivered_at,
        arrived.refunds, who.customer_key,
        (arrived.ordered_at at time zone 'UTC')::date as ordered_on,
        arrived.status = 'cancelled' as is_cancelled,
        arrived.status <> 'cancelled' and arrived.total_amount > 0 as is_valid,
        coalesce(arrived.discount_amount, 0) as discount_amount,
        coalesce(arrived.tax_amount, 0) as tax_amount,
        coalesce(arrived.shipping_amount, 0) as shipping_amount,
        case when arrived.currency = 'USD' then 1 else rates.rate end as rate
    from arrived
    left join {{ source('identity', 'records') }} as who on who.record_type = 'order' and who.record_id = arrived.order_id
    left join {{ source('state', 'exchange_rates') }} as rates
        on rates.from_currency = arrived.currency and rates.to_currency = 'USD'
        and rates.valid_on = (arrived.ordered_at at time zone 'UTC')::date
),
refunded as (
    select
        order_id, count(*) as refund_count, max((refund ->> 'refunded_at')::timestamptz) as last_refunded_at,
        sum((refund ->> 'amount')::numeric) as original_amount,
        sum(round((refund ->> 'amount')::numeric * rate, 4)) as amount,
        sum(round((refund ->> 'amount')::numeric
            * coalesce((total_amount - tax_amount - shipping_amount) / nullif(total_amount, 0), 0) * rate, 4)) as net_amount
    from priced cross join lateral jsonb_array_elements(refunds) as refund
    where refunds is not null and not is_cancelled
    group by order_id
)
select
    batch_id, order_id, updated_at, customer_key, ordered_at, ordered_on, status, is_cancelled, is_valid, rate,
    total_amount, items, coupon_code, sales_channel, promised_delivery_at, delivered_at,
    round(total_amount * rate, 4) as total, round(discount_amount * rate, 4) as discount,
    round(tax_amount * rate, 4) as tax, round(shipping_amount * rate, 4) as shipping,
    coalesce(refunded.refund_count, 0) as refund_count, refunded.last_refunded_at,
    coalesce(refunded.original_amount, 0) as original_refunded,
    case when rate is not null then coalesce(refunded.amount, 0) end as refunded,
    case when rate is not null then coalesce(refunded.net_amount, 0) end as refunded_net,
    case when is_cancelled then 0 else
        round(total_amount * rate, 4) - round(tax_amount * rate, 4) - round(shipping_amount * rate, 4)
        - case when rate is not null then coalesce(refunded.net_amount, 0) end
    end as net
from priced
left join refunded using (order_id)
{%- if is_incremental() %}
where not exists (
    select from {{ this }} as known where known.order_id = priced.order_id and known.updated_at > priced.updated_at
)
{%- endif %}
