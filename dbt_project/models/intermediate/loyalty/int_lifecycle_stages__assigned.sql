{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

-- What was known before this day: a second pass of the same day must find what the first one found.
with before as (
    select distinct on (customer_key)
        customer_key,
        lifecycle_stage,
        previous_stage,
        valid_from_on,
        valid_to_on is null or valid_to_on >= {{ as_of_on() }} as is_open
    from {{ source('loyalty_journals', 'lifecycle_stage_history') }}
    where valid_from_on < {{ as_of_on() }}
    order by customer_key, valid_from_on desc, period_id desc
),

customers as (
    select
        known.customer_key,
        coalesce(cadences.purchase_day_count, 0) as purchase_day_count,
        cadences.recency_days > {{ parameter('late_gap_ratio') }} * cadences.expected_gap_days as is_late,
        cadences.purchase_trend,
        1 - churn.churn_probability as order_probability
    from {{ source('identity', 'customers') }} as known
    left join {{ ref('int_purchase_cadences__measured') }} as cadences using (customer_key)
    left join {{ ref('customer_churn') }} as churn using (customer_key)
),

ruled as (
    select
        customer_key,
        purchase_day_count,
        purchase_trend,
        {{ stage_rule(order_probability='order_probability') }} as stage_rule
    from customers
)

select
    ruled.customer_key,
    stages.stage_4 as lifecycle_stage,
    stages.stage_5 as lifecycle_stage_5,
    case
        when before.is_open and before.lifecycle_stage = stages.stage_4 then before.valid_from_on
        else {{ as_of_on() }}
    end as stage_since_on,
    case
        when before.is_open and before.lifecycle_stage = stages.stage_4 then before.previous_stage
        else before.lifecycle_stage
    end as previous_stage,
    ruled.stage_rule,
    ruled.purchase_trend
from ruled
left join {{ ref('lifecycle_stages') }} as stages on stages.rule = ruled.stage_rule
left join before using (customer_key)
