{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with customers as (
    select
        cadences.customer_key,
        cadences.purchase_day_count_365d,
        -- How often one buys depends on what one buys: a customer is compared with those of the same first category.
        cadences.recency_days > {{ parameter('late_gap_ratio') }} * cadences.expected_gap_days as is_late,
        coalesce(shares.primary_category, 'unknown') as comparison_category
    from {{ ref('int_purchase_cadences__measured') }} as cadences
    left join {{ ref('int_purchase_shares__measured') }} as shares using (customer_key)
),

segments as (
    select
        comparison_category,
        percentile_cont(0.5) within group (order by purchase_day_count_365d)::numeric as segment_median_purchase_days
    from customers
    where purchase_day_count_365d > 0
    group by comparison_category
),

judged as (
    select
        known.customer_key,
        customers.comparison_category,
        segments.segment_median_purchase_days,
        coalesce(customers.purchase_day_count_365d, 0) > 0
            and customers.purchase_day_count_365d >= segments.segment_median_purchase_days as has_high_behaviour,
        coalesce(customers.is_late, false) as is_late,
        satisfactions.satisfaction_ratio >= {{ parameter('attitude_minimum_satisfaction_ratio') }} as has_high_attitude
    from {{ source('identity', 'customers') }} as known
    left join customers using (customer_key)
    left join segments using (comparison_category)
    left join {{ ref('int_satisfactions__measured') }} as satisfactions using (customer_key)
)

select
    customer_key,
    comparison_category as loyalty_segment,
    comparison_category,
    segment_median_purchase_days,
    has_high_behaviour,
    has_high_attitude,
    case
        when has_high_attitude is null then 'behavioural_only'
        when has_high_behaviour and has_high_attitude then 'true'
        when has_high_behaviour then 'spurious'
        when has_high_attitude then 'latent'
        else 'none'
    end as loyalty_quadrant,
    case
        when comparison_category is null then null
        when has_high_attitude is null then 'attitude_unknown'
        when has_high_behaviour and not is_late then case when has_high_attitude then 'true' else 'spurious' end
        when has_high_attitude then 'latent'
        else 'none'
    end as current_loyalty_quadrant
from judged
