{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['value_segment']}) }}

-- The year before the last one says who was worth what, the last one who came back.
with amounts as (
    select customer_key, net_amount + refunded_net_amount as net_amount
    from {{ ref('fct_orders') }}
    where customer_key is not null
        and not is_cancelled
        and {{ in_last(730, 'ordered_on') }} and not {{ in_last(365, 'ordered_on') }}
    union all
    select customer_key, -net_amount
    from {{ ref('fct_refunds') }}
    where customer_key is not null and {{ in_last(730, 'refunded_on') }} and not {{ in_last(365, 'refunded_on') }}
),

buyers as (
    select distinct customer_key
    from {{ ref('int_purchase_days__listed') }}
    where {{ in_last(730, 'purchase_on') }} and not {{ in_last(365, 'purchase_on') }}
),

customers as (
    select buyers.customer_key, coalesce(sum(amounts.net_amount), 0) as net_amount
    from buyers
    left join amounts using (customer_key)
    group by buyers.customer_key
),

ranked as (
    select
        customers.*,
        rank() over (order by net_amount desc) as place,
        count(*) over () as all_count
    from customers
),

segmented as (
    select
        case
            when place <= ceil(all_count * {{ parameter('value_segment_high_share') }}) then 'high'
            when place <= ceil(all_count * {{ parameter('value_segment_medium_share') }}) then 'medium'
            else 'low'
        end as value_segment,
        ranked.net_amount,
        cadences.purchase_day_count_365d > 0 as is_retained
    from ranked
    inner join {{ ref('int_purchase_cadences__measured') }} as cadences using (customer_key)
),

counted as (
    select
        coalesce(value_segment, 'all') as value_segment,
        count(*) as customer_count,
        count(*) filter (where is_retained) as retained_customer_count,
        round(avg(net_amount), 4) as average_net_amount
    from segmented
    group by grouping sets ((value_segment), ())
    having count(*) > 0
),

measured as (
    select
        *,
        {{ rate('retained_customer_count', 'customer_count', parameter('retention_minimum_customer_count')) }}
            as retention_rate
    from counted
),

multiplied as (
    select
        *,
        retention_rate / (1 + {{ parameter('retention_discount_rate') }} - retention_rate) as multiple,
        -- A rate ends at 1: where five points more are not to be had, the uplift is what is left.
        least(retention_rate + {{ parameter('retention_uplift_points') }}, 1) as uplifted_rate
    from measured
)

select
    value_segment,
    customer_count,
    retained_customer_count,
    average_net_amount,
    retention_rate,
    round(multiple, 6) as margin_multiple,
    round(
        (uplifted_rate / (1 + {{ parameter('retention_discount_rate') }} - uplifted_rate)) / nullif(multiple, 0) - 1, 6
    ) as uplift_of_five_points
from multiplied
