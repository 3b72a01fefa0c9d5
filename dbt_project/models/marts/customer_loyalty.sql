{{ config(
    tags=['daily'],
    meta={'primary_key': ['customer_key']}
) }}

with parameters as (
    select distinct on (parameter) parameter, value
    from {{ ref('loyalty_parameters') }}
    where valid_from_on <= {{ as_of_on() }}
    order by parameter, valid_from_on desc
),

year as (
    select
        customer_key,
        count(distinct ordered_on) as purchase_day_count_365d,
        coalesce(sum(net_amount), 0) as net_amount_365d
    from {{ ref('fct_orders') }}
    where customer_key is not null and is_valid
        and ordered_on > {{ as_of_on() }} - 365 and ordered_on <= {{ as_of_on() }}
    group by customer_key
),

customers as (
    select
        customers.customer_key,
        coalesce(ordered.purchase_day_count, 0) as purchase_day_count,
        coalesce(year.purchase_day_count_365d, 0) as purchase_day_count_365d,
        {{ as_of_on() }} - ordered.last_order_on as recency_days,
        coalesce(ordered.order_count, 0) as order_count,
        coalesce(ordered.net_amount, 0) as monetary_amount,
        coalesce(year.net_amount_365d, 0) as net_amount_365d
    from {{ source('identity', 'customers') }} as customers
    left join {{ ref('int_customers__ordered') }} as ordered using (customer_key)
    left join year using (customer_key)
)

select
    customer_key,
    {{ as_of_on() }} as as_of_on,
    purchase_day_count,
    purchase_day_count_365d,
    purchase_day_count_365d >= 2 as is_repeat_buyer,
    recency_days,
    order_count,
    monetary_amount,
    net_amount_365d,
    -- The highest tier whose threshold the last 365 days reach.
    coalesce((
        select replace(parameter, 'tier_from_amount_', '')
        from parameters
        where parameter like 'tier\_from\_amount\_%' and value <= net_amount_365d
        order by value desc, parameter
        limit 1
    ), 'none') as tier
from customers
