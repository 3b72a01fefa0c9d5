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

-- A customer is counted on the first purchase day of each month: the one before lies further back than the month's first.
-- Days are many and months few, so that days are summed before they become months.
active_days as (
    select cohorts.cohort_month, days.purchase_on, count(*) as active_customer_count
    from {{ ref('int_purchase_days__listed') }} as days
    inner join cohorts using (customer_key)
    where days.gap_days is null or days.gap_days >= extract(day from days.purchase_on)
    group by cohorts.cohort_month, days.purchase_on
),

activity as (
    select
        cohort_month,
        date_trunc('month', purchase_on)::date as activity_month,
        sum(active_customer_count)::bigint as active_customer_count
    from active_days
    group by 1, 2
),

earned_days as (
    select cohorts.cohort_month, orders.ordered_on as earned_on, sum(orders.net_amount + orders.refunded_net_amount) as net_amount
    from {{ ref('fct_orders') }} as orders
    inner join cohorts using (customer_key)
    where not orders.is_cancelled and orders.ordered_on <= {{ as_of_on() }}
    group by cohorts.cohort_month, orders.ordered_on
    union all
    select cohorts.cohort_month, refunds.refunded_on, -sum(refunds.net_amount)
    from {{ ref('fct_refunds') }} as refunds
    inner join cohorts using (customer_key)
    where refunds.refunded_on <= {{ as_of_on() }}
    group by cohorts.cohort_month, refunds.refunded_on
),

revenue as (
    select cohort_month, date_trunc('month', earned_on)::date as activity_month, sum(net_amount) as net_amount
    from earned_days
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
