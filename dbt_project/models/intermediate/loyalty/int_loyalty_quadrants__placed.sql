{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with customers as (
    select
        cadences.customer_key,
        cadences.purchase_day_count_365d,
        -- How often one buys depends on what one buys: a customer is compared with those of the same first category.
        coalesce(shares.primary_category, 'unknown') as loyalty_segment
    from {{ ref('int_purchase_cadences__measured') }} as cadences
    left join {{ ref('int_purchase_shares__measured') }} as shares using (customer_key)
),

segments as (
    select
        loyalty_segment,
        percentile_cont(0.5) within group (order by purchase_day_count_365d)::numeric as segment_median_purchase_days
    from customers
    where purchase_day_count_365d > 0
    group by loyalty_segment
),

judged as (
    select
        known.customer_key,
        customers.loyalty_segment,
        segments.segment_median_purchase_days,
        coalesce(customers.purchase_day_count_365d, 0) > 0
            and customers.purchase_day_count_365d >= segments.segment_median_purchase_days as has_high_behaviour,
        satisfactions.satisfaction_ratio >= {{ parameter('attitude_minimum_satisfaction_ratio') }} as has_high_attitude
    from {{ source('identity', 'customers') }} as known
    left join customers using (customer_key)
    left join segments using (loyalty_segment)
    left join {{ ref('int_satisfactions__measured') }} as satisfactions using (customer_key)
)

select
    customer_key,
    loyalty_segment,
    segment_median_purchase_days,
    has_high_behaviour,
    has_high_attitude,
    case
        when has_high_attitude is null then 'behavioural_only'
        when has_high_behaviour and has_high_attitude then 'true'
        when has_high_behaviour then 'spurious'
        when has_high_attitude then 'latent'
        else 'none'
    end as loyalty_quadrant
from judged
