{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with orders as (
    select
        orders.customer_key,
        orders.total_amount - orders.refunded_amount as money_amount,
        orders.shipping_amount = 0 and orders.sales_channel <> 'store' as is_shipped_free,
        items.kept_list_amount,
        items.returned_quantity,
        coalesce(items.is_list_price_known, false) and orders.exchange_rate is not null as is_measured,
        -- A parcel that never came stops counting its days when it is lost.
        least(
            greatest(
                coalesce({{ business_date('orders.delivered_at') }}, {{ as_of_on() }})
                    - {{ business_date('orders.promised_delivery_at') }},
                0
            ),
            case when orders.delivered_at is null then {{ parameter('delivery_lost_after_days') }} end
        ) as late_days
    from {{ ref('fct_orders') }} as orders
    left join {{ ref('int_order_items__totalled') }} as items using (order_key)
    where orders.customer_key is not null and orders.is_valid and {{ in_last(365, 'orders.ordered_on') }}
),

bought as (
    select
        customer_key,
        count(*) as order_count,
        count(*) filter (where is_measured) as measured_order_count,
        sum(kept_list_amount) filter (where is_measured) as kept_list_amount,
        count(*) filter (where is_measured and is_shipped_free) as free_shipping_count,
        sum(money_amount) filter (where is_measured) as money_amount,
        coalesce(sum(late_days) filter (where is_measured), 0) as late_days,
        coalesce(sum(returned_quantity) filter (where is_measured), 0) as returned_quantity
    from orders
    group by customer_key
),

tickets as (
    select
        customer_key,
        count(*) as contact_count,
        count(first_response_at) as answered_ticket_count,
        coalesce(sum(first_response_hours), 0) as waited_hours,
        coalesce(sum(reopens), 0) as reopening_count
    from {{ ref('fct_tickets') }}
    where customer_key is not null and {{ in_last(365, 'created_on') }}
    group by customer_key
),

priced as (
    select
        customer_key,
        round(measured_order_count::numeric / order_count, 6) as delivered_value_coverage,
        kept_list_amount
            + free_shipping_count * {{ parameter('price_of_free_shipping') }}
            + coalesce(answered_ticket_count, 0) * {{ parameter('price_of_answered_ticket') }} as value_total,
        money_amount as cost_money,
        late_days * {{ parameter('price_of_day_late') }}
            + coalesce(waited_hours, 0) * {{ parameter('price_of_hour_waiting') }} as cost_time,
        coalesce(contact_count, 0) * {{ parameter('price_of_contact') }}
            + coalesce(reopening_count, 0) * {{ parameter('price_of_reopening') }} as cost_energy,
        returned_quantity * {{ parameter('price_of_returned_piece') }} as cost_physical,
        measured_order_count > 0 as is_measured
    from bought
    left join tickets using (customer_key)
),

customers as (
    select
        customer_key,
        delivered_value_coverage,
        case when is_measured then round(value_total, 4) end as value_total,
        case when is_measured then round(cost_money, 4) end as cost_money,
        case when is_measured then round(cost_time, 4) end as cost_time,
        case when is_measured then round(cost_energy, 4) end as cost_energy,
        case when is_measured then round(cost_physical, 4) end as cost_physical
    from priced
),

delivered as (
    select *, value_total - cost_money - cost_time - cost_energy - cost_physical as delivered_value
    from customers
),

compared as (
    select *, case when cost_money > 0 then round(delivered_value / cost_money, 4) end as delivered_value_per_spend
    from delivered
)

select
    customer_key,
    delivered_value,
    value_total,
    cost_money,
    cost_time,
    cost_energy,
    cost_physical,
    {{ share_below('delivered_value') }} as delivered_value_percentile,
    delivered_value_per_spend,
    {{ share_below('delivered_value_per_spend') }} as delivered_value_per_spend_percentile,
    delivered_value_coverage
from compared
