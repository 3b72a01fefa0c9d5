{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with cadences as (
    select *, date_trunc('month', first_purchase_on)::date as cohort_month
    from {{ ref('int_purchase_cadences__measured') }}
),

-- How long those who came in the same month took to come back, as far as they did.
cohorts as (
    select
        cohort_month,
        percentile_cont(0.5) within group (order by first_gap_days)::numeric as median_first_gap_days
    from cadences
    where first_gap_days is not null
    group by cohort_month
),

cycles as (
    select
        customer_key,
        category,
        max(purchase_on) as last_on,
        (max(purchase_on) - min(purchase_on))::numeric / (count(distinct purchase_on) - 1) as cycle_days
    from {{ ref('int_brand_purchases__summed') }}
    where brand_place = 1
    group by customer_key, category
    having count(distinct purchase_on) >= {{ parameter('next_category_minimum_occasion_count') }}
),

most_overdue as (
    select distinct on (customer_key) customer_key, category as next_category
    from cycles
    order by customer_key, ({{ as_of_on() }} - last_on) / cycle_days desc, category
),

timed as (
    select
        cadences.customer_key,
        cadences.last_purchase_on,
        case
            when cadences.purchase_day_count >= 2 then cadences.expected_gap_days
            else coalesce(cohorts.median_first_gap_days, cadences.population_median_gap_days)
        end as gap_days
    from cadences
    left join cohorts using (cohort_month)
)

select
    timed.customer_key,
    timed.last_purchase_on + round(timed.gap_days * {{ parameter('next_order_from_gap_share') }})::integer as next_order_from_on,
    timed.last_purchase_on + round(timed.gap_days * {{ parameter('next_order_to_gap_share') }})::integer as next_order_to_on,
    timed.last_purchase_on + round(timed.gap_days * {{ parameter('next_order_to_gap_share') }})::integer < {{ as_of_on() }}
        as is_next_order_overdue,
    most_overdue.next_category
from timed
left join most_overdue using (customer_key)
