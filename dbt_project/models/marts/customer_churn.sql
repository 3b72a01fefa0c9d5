{{ config(
    tags=['daily'],
    meta={'primary_key': ['customer_key']}
) }}

-- The published baseline: the hiatus, against the customer's own rhythm. No probability is invented here.
with purchase_days as (
    select distinct customer_key, ordered_on
    from {{ ref('fct_orders') }}
    where customer_key is not null and is_valid and ordered_on <= {{ as_of_on() }}
),

gaps as (
    select customer_key, ordered_on - lag(ordered_on) over (partition by customer_key order by ordered_on) as gap_days
    from purchase_days
),

population as (
    select percentile_cont(0.5) within group (order by gap_days) as median_gap_days from gaps
),

customers as (
    select
        customer_key,
        count(*) as purchase_day_count,
        {{ as_of_on() }} - max(ordered_on) as days_since_last_order,
        (max(ordered_on) - min(ordered_on))::numeric / nullif(count(*) - 1, 0) as average_gap_days,
        -- (sum of gaps + population median) / (repeat purchases + 1): one-time buyers get the shop's rhythm.
        ((max(ordered_on) - min(ordered_on)) + max(median_gap_days)::numeric) / count(*) as expected_gap_days
    from purchase_days
    cross join population
    group by customer_key
)

select
    known.customer_key,
    {{ as_of_on() }} as as_of_on,
    case when customers.customer_key is null then 'out_of_population' else 'baseline_hiatus' end as model_status,
    coalesce(purchase_day_count, 0) as purchase_day_count,
    days_since_last_order,
    round(average_gap_days, 2) as average_gap_days,
    round(expected_gap_days, 2) as expected_gap_days,
    round(days_since_last_order / nullif(expected_gap_days, 0), 4) as gap_ratio,
    days_since_last_order > 2 * expected_gap_days as is_late_vs_own_cadence,
    null::double precision as churn_probability
from {{ source('identity', 'customers') }} as known
left join customers using (customer_key)
