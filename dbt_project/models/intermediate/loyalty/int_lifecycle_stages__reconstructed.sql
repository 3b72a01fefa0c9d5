{{ config(tags=['history'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['month_end_on', 'customer_key']}) }}

{%- set parameters = [
    'late_gap_ratio', 'dormant_maximum_order_probability', 'decline_trend_below', 'mature_minimum_purchase_days',
    'growth_trend_above',
] %}

with
{{ month_ends(parameters) }},

{{ known_customers() }},

purchase_days as (
    select * from {{ ref('int_purchase_days__listed') }}
),

-- The median of all gaps known by a month end: gaps are whole days, so that a count of each is all that it takes.
gaps as (
    select
        (date_trunc('month', purchase_on::timestamp) + interval '1 month')::date - 1 as first_month_end_on,
        gap_days,
        count(*) as gap_count
    from purchase_days
    where gap_days is not null
    group by 1, 2
),

counted as (
    select
        month_ends.month_end_on,
        gaps.gap_days,
        sum(sum(gaps.gap_count)) over (partition by month_ends.month_end_on order by gaps.gap_days) as count_up_to,
        sum(sum(gaps.gap_count)) over (partition by month_ends.month_end_on) as total
    from gaps
    inner join month_ends on month_ends.month_end_on >= gaps.first_month_end_on
    group by month_ends.month_end_on, gaps.gap_days
),

medians as (
    select
        month_end_on,
        (
            min(gap_days) filter (where count_up_to > div(total - 1, 2)) + min(gap_days) filter (where count_up_to > div(total, 2))
        ) / 2.0 as median_gap_days
    from counted
    group by month_end_on
),

purchases as (
    select
        month_ends.month_end_on,
        purchase_days.customer_key,
        count(*) as purchase_day_count,
        count(*) filter (where purchase_days.purchase_on > month_ends.month_end_on - 90) as purchase_day_count_90d,
        count(*) filter (
            where purchase_days.purchase_on > month_ends.month_end_on - 360
                and purchase_days.purchase_on <= month_ends.month_end_on - 90
        ) as purchase_day_count_prior_270d,
        min(purchase_days.purchase_on) as first_purchase_on,
        max(purchase_days.purchase_on) as last_purchase_on
    from purchase_days
    inner join month_ends on purchase_days.purchase_on <= month_ends.month_end_on
    group by month_ends.month_end_on, purchase_days.customer_key
),

measured as (
    select
        month_end_on,
        known_customers.customer_key,
        coalesce(purchases.purchase_day_count, 0) as purchase_day_count,
        month_end_on - purchases.last_purchase_on as recency_days,
        {{ expected_gap_days(
            'purchases.first_purchase_on', 'purchases.last_purchase_on', 'medians.median_gap_days', 'purchases.purchase_day_count'
        ) }} as expected_gap_days,
        {{ purchase_trend('purchases.purchase_day_count_90d', 'purchases.purchase_day_count_prior_270d') }} as purchase_trend
    from known_customers
    left join purchases using (month_end_on, customer_key)
    left join medians using (month_end_on)
),

ruled as (
    select
        measured.month_end_on,
        measured.customer_key,
        {{ stage_rule(of='measured') }} as stage_rule
    from (
        select
            *,
            recency_days > late_gap_ratio * expected_gap_days as is_late
        from measured
        inner join month_ends using (month_end_on)
    ) as measured
)

select
    ruled.month_end_on,
    ruled.customer_key,
    stages.stage_4 as lifecycle_stage,
    stages.stage_5 as lifecycle_stage_5,
    'rule ' || ruled.stage_rule as why
from ruled
left join {{ ref('lifecycle_stages') }} as stages on stages.rule = ruled.stage_rule
