{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['cohort_month', 'month_number']}) }}

with cohorts as (
    select customer_key, date_trunc('month', first_purchase_on)::date as cohort_month
    from {{ ref('int_purchase_cadences__measured') }}
),

sizes as (
    select cohort_month, count(*) as customer_count from cohorts group by cohort_month
),

-- Every month up to the running one, bought in or not: nobody active is a measured zero.
grid as (
    select
        sizes.cohort_month,
        sizes.customer_count,
        months.month::date as activity_month,
        (months.month + interval '1 month')::date <= {{ as_of_on() }} + 1 as has_ended
    from sizes
    cross join lateral generate_series(
        sizes.cohort_month::timestamp, date_trunc('month', {{ as_of_on() }}::timestamp), interval '1 month'
    ) as months(month)
),

activity as (
    select
        cohorts.cohort_month,
        date_trunc('month', days.purchase_on)::date as activity_month,
        count(distinct days.customer_key) as active_customer_count
    from {{ ref('int_purchase_days__listed') }} as days
    inner join cohorts using (customer_key)
    group by 1, 2
),

earned as (
    select customer_key, ordered_on as event_on, net_amount + refunded_net_amount as net_amount
    from {{ ref('fct_orders') }}
    where customer_key is not null and not is_cancelled and ordered_on <= {{ as_of_on() }}
    union all
    select customer_key, refunded_on, -net_amount
    from {{ ref('fct_refunds') }}
    where customer_key is not null and refunded_on <= {{ as_of_on() }}
),

revenue as (
    select
        cohorts.cohort_month,
        date_trunc('month', earned.event_on)::date as activity_month,
        sum(earned.net_amount) as net_amount
    from earned
    inner join cohorts using (customer_key)
    group by 1, 2
)

select
    grid.cohort_month,
    (
        extract(year from age(grid.activity_month, grid.cohort_month)) * 12
        + extract(month from age(grid.activity_month, grid.cohort_month))
    )::integer as month_number,
    grid.customer_count,
    case when grid.has_ended then coalesce(activity.active_customer_count, 0) end as active_customer_count,
    case
        when grid.has_ended then round(coalesce(activity.active_customer_count, 0)::numeric / grid.customer_count, 6)
    end as retention_rate,
    case when grid.has_ended then coalesce(revenue.net_amount, 0) end as net_amount
from grid
left join activity using (cohort_month, activity_month)
left join revenue using (cohort_month, activity_month)
