{{ config(
    tags=['statistics'],
    meta={'primary_key': ['statistic']}
) }}

with purchase_days as (
    select distinct customer_key, ordered_on
    from {{ ref('fct_orders') }}
    where customer_key is not null and is_valid and ordered_on <= {{ as_of_on() }}
),

gaps as (
    select ordered_on - lag(ordered_on) over (partition by customer_key order by ordered_on) as gap_days
    from purchase_days
)

select 'median_gap_days' as statistic, percentile_cont(0.5) within group (order by gap_days) as value from gaps
