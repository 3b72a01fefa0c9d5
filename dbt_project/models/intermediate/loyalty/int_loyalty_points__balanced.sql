{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with changes as (
    select customer_key, earned_on, expires_on, points from {{ ref('int_loyalty_lots__earned') }}
    union all
    select customer_key, earned_on, expires_on, -points from {{ ref('int_loyalty_points__clawed_back') }}
),

customers as (
    select
        customer_key,
        sum(points) filter (where expires_on > {{ as_of_on() }}) as points_balance,
        sum(points) filter (
            where expires_on > {{ as_of_on() }}
                and expires_on <= {{ as_of_on() }} + {{ parameter('points_expiring_window_days') }}::integer
        ) as points_expiring_30d,
        sum(points) filter (where {{ in_last(365, 'earned_on') }}) as points_365d
    from changes
    group by customer_key
)

select
    cadences.customer_key,
    coalesce(points_balance, 0)::bigint as points_balance,
    coalesce(points_expiring_30d, 0)::bigint as points_expiring_30d,
    coalesce(points_365d, 0)::bigint as points_365d
from {{ ref('int_purchase_cadences__measured') }} as cadences
left join customers using (customer_key)
