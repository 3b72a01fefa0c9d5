{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}


with line_discounts as (
    select order_key, sum(discount_amount) as discount_amount
    from {{ ref('fct_order_items') }}
    where discount_amount > 0 and is_valid and customer_key is not null and ordered_on <= {{ as_of_on() }}
    group by order_key
),

orders as (
    select
        orders.*,
        -- Some shops repeat the lines' discounts in the order's, some give only one of them.
        greatest(orders.discount_amount, coalesce(line_discounts.discount_amount, 0)) as given_discount_amount
    from {{ ref('fct_orders') }} as orders
    left join line_discounts using (order_key)
    where orders.customer_key is not null and not orders.is_cancelled and orders.ordered_on <= {{ as_of_on() }}
),

refunds as (
    select customer_key, sum(net_amount) as refunded_net_amount
    from {{ ref('fct_refunds') }}
    where customer_key is not null and refunded_on <= {{ as_of_on() }}
    group by customer_key
),

bought as (
    select
        customer_key,
        count(*) filter (where is_valid) as order_count,
        coalesce(sum(net_amount + refunded_net_amount), 0) as net_before_refunds_amount,
        count(*) filter (where is_valid and given_discount_amount > 0) as discounted_order_count,
        sum(given_discount_amount) filter (where is_valid and given_discount_amount > 0) as discount_amount,
        sum(net_amount + refunded_net_amount) filter (where is_valid and given_discount_amount > 0)
            as discounted_net_amount,
        count(*) filter (
            where is_valid and promised_delivery_at is not null and {{ by_as_of('delivered_at') }}
        ) as promised_delivered_count,
        count(*) filter (
            where is_valid and delivered_at <= promised_delivery_at and {{ by_as_of('delivered_at') }}
        ) as on_time_count,
        -- A promise is due when its day has come, delivered or not.
        count(*) filter (
            where is_valid
                and promised_delivery_at is not null
                and ({{ by_as_of('promised_delivery_at') }} or {{ by_as_of('delivered_at') }})
        ) as promise_due_count,
        count(*) filter (
            where is_valid
                and {{ time_in_last(180, 'promised_delivery_at') }}
                and (
                    delivered_at > promised_delivery_at
                    or delivered_at is null
                    and status not in ('delivered', 'returned')
                    and {{ business_date('promised_delivery_at') }} < {{ as_of_on() }}
                )
        ) as late_order_count_180d,
        count(*) filter (
            where is_valid and promised_delivery_at is not null and {{ time_in_last(180, 'promised_delivery_at') }}
        ) as promised_order_count_180d
    from orders
    group by customer_key
)

select
    customer_key,
    order_count,
    net_before_refunds_amount - coalesce(refunded_net_amount, 0) as net_amount,
    discounted_order_count,
    discount_amount,
    discounted_net_amount,
    promised_delivered_count,
    on_time_count,
    promise_due_count,
    late_order_count_180d,
    promised_order_count_180d
from bought
left join refunds using (customer_key)
