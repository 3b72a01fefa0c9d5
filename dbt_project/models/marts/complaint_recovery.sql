{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['severity', 'handling']}) }}

with complaints as (
    select
        tickets.customer_key,
        tickets.created_on as failed_on,
        case
            when orders.total_amount >= {{ parameter('complaint_major_amount') }} then 'major'
            when orders.total_amount is null and tickets.priority in ('high', 'urgent') then 'major'
            else 'minor'
        end as severity,
        case
            when tickets.first_resolved_at < {{ end_of_day() }}
                and tickets.first_resolution_hours <= {{ sla_hours('tickets.priority') }} then 'fast'
            when tickets.first_resolved_at < {{ end_of_day() }} then 'slow'
            -- Within its time limit it is neither yet.
            when tickets.created_at + {{ sla_hours('tickets.priority') }} * interval '1 hour' < {{ end_of_day() }}
                then 'unresolved'
        end as handling
    from {{ ref('fct_tickets') }} as tickets
    left join {{ ref('fct_orders') }} as orders on orders.order_key = tickets.order_key and orders.is_valid
    where tickets.customer_key is not null and tickets.is_complaint and tickets.created_on <= {{ as_of_on() }}
),

refunds as (
    select order_key, min(refunded_on) as refunded_on
    from {{ ref('fct_refunds') }}
    where refunded_on <= {{ as_of_on() }}
    group by order_key
),

failures as (
    select
        orders.customer_key,
        least(
            case
                when orders.is_late
                    or (orders.delivered_at is null and orders.status not in ('delivered', 'returned'))
                    then {{ business_date('orders.promised_delivery_at') }}
            end,
            refunds.refunded_on
        ) as failed_on,
        case when orders.total_amount >= {{ parameter('complaint_major_amount') }} then 'major' else 'minor' end as severity
    from {{ ref('fct_orders') }} as orders
    left join refunds using (order_key)
    where orders.customer_key is not null and orders.is_valid and orders.ordered_on <= {{ as_of_on() }}
),

silent as (
    select failures.customer_key, failures.failed_on, failures.severity, 'silent' as handling
    from failures
    where failures.failed_on + {{ parameter('complaint_silent_days') }}::integer <= {{ as_of_on() }}
        and not exists (
            select 1 from {{ ref('fct_tickets') }} as tickets
            where tickets.customer_key = failures.customer_key
                and tickets.created_on > failures.failed_on - {{ parameter('complaint_silent_days') }}::integer
                and tickets.created_on <= failures.failed_on + {{ parameter('complaint_silent_days') }}::integer
        )
),

told as (
    select * from complaints where handling is not null
    union all
    select * from silent
),

returns as (
    select distinct told.customer_key, told.failed_on
    from told
    inner join {{ ref('int_purchase_days__listed') }} as days
        on days.customer_key = told.customer_key
        and days.purchase_on > told.failed_on
        and days.purchase_on <= told.failed_on + {{ parameter('complaint_outcome_days') }}::integer
),

decided as (
    select
        told.severity,
        told.handling,
        case
            when told.failed_on + {{ parameter('complaint_outcome_days') }}::integer <= {{ as_of_on() }}
                then returns.customer_key is not null
        end as came_back
    from told
    left join returns using (customer_key, failed_on)
),

counted as (
    select
        benchmarks.severity,
        benchmarks.handling,
        benchmarks.came_back_rate as published_came_back_rate,
        count(decided.handling) as complaint_count,
        count(decided.came_back) as decided_complaint_count,
        count(*) filter (where decided.came_back) as came_back_count
    from {{ ref('complaint_benchmarks') }} as benchmarks
    left join decided using (severity, handling)
    group by benchmarks.severity, benchmarks.handling, benchmarks.came_back_rate
)

select
    severity,
    handling,
    complaint_count,
    decided_complaint_count,
    came_back_count,
    {{ rate('came_back_count', 'decided_complaint_count') }} as came_back_rate,
    {{ wilson_bound('came_back_count', 'decided_complaint_count', 'low') }} as came_back_rate_low,
    {{ wilson_bound('came_back_count', 'decided_complaint_count', 'high') }} as came_back_rate_high,
    published_came_back_rate
from counted
