{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['lot']}) }}

with parameters as (
    select * from {{ ref('int_loyalty_parameters__dated') }}
),

-- Periods in which both terms of earning stay as they are.
terms as (
    select
        rate.value as points_per_amount,
        expiry.value::integer as expire_after_days,
        greatest(rate.valid_from_on, expiry.valid_from_on) as valid_from_on,
        least(rate.valid_to_on, expiry.valid_to_on) as valid_to_on
    from parameters as rate
    inner join parameters as expiry
        on expiry.valid_from_on < rate.valid_to_on and expiry.valid_to_on > rate.valid_from_on
    where rate.parameter = 'points_per_amount' and expiry.parameter = 'points_expire_after_days'
),

orders as (
    select
        orders.order_key as lot,
        orders.customer_key,
        {{ net_basis('orders.total_amount', 'orders.tax_amount', 'orders.shipping_amount') }} as net_amount,
        case
            when orders.delivered_at is not null then {{ business_date('orders.delivered_at') }}
            when orders.status in ('paid', 'shipped', 'delivered', 'returned') or orders.sales_channel = 'store'
                then orders.ordered_on + lag.value::integer
        end as earned_on
    from {{ ref('fct_orders') }} as orders
    inner join parameters as lag
        on lag.parameter = 'points_earn_lag_days'
        and orders.ordered_on >= lag.valid_from_on and orders.ordered_on < lag.valid_to_on
    where orders.customer_key is not null
        and orders.is_valid
        and orders.exchange_rate is not null
        and (orders.delivered_at is null or {{ by_as_of('orders.delivered_at') }})
    -- A fence: without it the planner works the day of earning out again for each comparison with it.
    offset 0
)

select
    orders.lot,
    orders.customer_key,
    orders.net_amount,
    terms.points_per_amount,
    floor(orders.net_amount * terms.points_per_amount)::bigint as points,
    orders.earned_on,
    orders.earned_on + terms.expire_after_days as expires_on
from orders
inner join terms on orders.earned_on >= terms.valid_from_on and orders.earned_on < terms.valid_to_on
where orders.earned_on <= {{ as_of_on() }} and orders.net_amount * terms.points_per_amount >= 1
