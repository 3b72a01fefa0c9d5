{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['lot']}) }}

with parameters as (
    select * from {{ ref('int_loyalty_parameters__dated') }}
),

orders as (
    select
        orders.order_id as lot,
        orders.customer_key,
        orders.total_amount - orders.tax_amount - orders.shipping_amount as net_amount,
        case
            when orders.delivered_at is not null then {{ business_date('orders.delivered_at') }}
            when orders.status in ('paid', 'shipped', 'delivered', 'returned') or orders.sales_channel = 'store'
                then orders.ordered_on + lag.value::integer
        end as earned_on
    from {{ ref('fct_orders') }} as orders
    inner join parameters as lag
        on lag.parameter = 'points_earn_lag_days'
        and orders.ordered_on >= lag.valid_from_on and orders.ordered_on < lag.valid_to_on
    where orders.customer_key is not null and orders.is_valid and orders.exchange_rate is not null
)

select
    orders.lot,
    orders.customer_key,
    orders.net_amount,
    rate.value as points_per_amount,
    floor(orders.net_amount * rate.value)::bigint as points,
    orders.earned_on,
    orders.earned_on + expiry.value::integer as expires_on
from orders
inner join parameters as rate
    on rate.parameter = 'points_per_amount'
    and orders.earned_on >= rate.valid_from_on and orders.earned_on < rate.valid_to_on
inner join parameters as expiry
    on expiry.parameter = 'points_expire_after_days'
    and orders.earned_on >= expiry.valid_from_on and orders.earned_on < expiry.valid_to_on
where orders.earned_on <= {{ as_of_on() }} and orders.net_amount * rate.value >= 1
