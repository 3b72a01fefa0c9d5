{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with purchase_days as (
    select * from {{ ref('int_purchase_days__listed') }}
),

population as (
    select percentile_cont(0.5) within group (order by gap_days)::numeric as median_gap_days
    from purchase_days
),

customers as (
    select
        customer_key,
        count(*) as purchase_day_count,
        count(*) filter (where {{ in_last(365, 'purchase_on') }}) as purchase_day_count_365d,
        count(*) filter (where {{ in_last(90, 'purchase_on') }}) as purchase_day_count_90d,
        count(*) filter (where {{ in_last(360, 'purchase_on') }} and not {{ in_last(90, 'purchase_on') }})
            as purchase_day_count_prior_270d,
        min(purchase_on) as first_purchase_on,
        max(purchase_on) as last_purchase_on,
        max(gap_days) filter (where later_purchase_count = 0) as last_gap_days,
        max(gap_days) filter (where later_purchase_count = 1) as second_last_gap_days,
        max(gap_days) filter (where purchase_number = 2) as first_gap_days
    from purchase_days
    group by customer_key
)

select
    customer_key,
    purchase_day_count,
    purchase_day_count_365d,
    purchase_day_count_90d,
    purchase_day_count_prior_270d,
    first_purchase_on,
    last_purchase_on,
    {{ as_of_on() }} - last_purchase_on as recency_days,
    first_gap_days,
    last_gap_days,
    second_last_gap_days,
    round(median_gap_days, 4) as population_median_gap_days,
    {{ expected_gap_days('first_purchase_on', 'last_purchase_on', 'median_gap_days', 'purchase_day_count') }}
        as expected_gap_days,
    {{ purchase_trend('purchase_day_count_90d', 'purchase_day_count_prior_270d') }} as purchase_trend
from customers
cross join population
