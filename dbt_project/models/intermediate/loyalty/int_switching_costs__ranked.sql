{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with customers as (
    select
        cadences.customer_key,
        points.points_balance,
        {{ as_of_on() }} - cadences.first_purchase_on as tenure_days,
        repeats.cross_buy_category_count
    from {{ ref('int_purchase_cadences__measured') }} as cadences
    left join {{ ref('int_loyalty_points__balanced') }} as points using (customer_key)
    left join {{ ref('int_repeat_purchases__counted') }} as repeats using (customer_key)
),

ranked as (
    select
        customer_key,
        {{ share_below('points_balance') }} as points_rank,
        {{ share_below('tenure_days') }} as tenure_rank,
        {{ share_below('cross_buy_category_count') }} as cross_buy_rank
    from customers
)

select
    customer_key,
    case
        when component_count >= {{ parameter('switching_cost_minimum_component_count') }}
            then round((coalesce(points_rank, 0) + coalesce(tenure_rank, 0) + coalesce(cross_buy_rank, 0)) / component_count, 6)
    end as switching_cost_index,
    component_count
from ranked
cross join lateral (
    select num_nonnulls(points_rank, tenure_rank, cross_buy_rank) as component_count
) as counted
