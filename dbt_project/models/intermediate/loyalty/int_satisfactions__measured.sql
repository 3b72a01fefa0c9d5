{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with promised as (
    select
        customer_key,
        ordered_on,
        {{ business_date('promised_delivery_at') }} as promised_on,
        {{ business_date('delivered_at') }} as delivered_on,
        status
    from {{ ref('fct_orders') }}
    where customer_key is not null
        and is_valid
        and promised_delivery_at is not null
        and ordered_on <= {{ as_of_on() }}
),

deliveries as (
    select
        customer_key,
        delivered_on as experienced_on,
        greatest((promised_on - ordered_on)::double precision, same_day) / greatest((delivered_on - ordered_on)::double precision, same_day)
            as ratio
    from promised
    cross join lateral (
        select {{ parameter('delivery_same_day_as_days') }}::double precision as same_day
    ) as counted
    where delivered_on <= {{ as_of_on() }}
    union all
    -- A lost parcel has no days to divide by: it is as bad as a delivery can be.
    select
        customer_key,
        promised_on + {{ parameter('delivery_lost_after_days') }}::integer,
        {{ parameter('satisfaction_minimum_ratio') }}::double precision
    from promised
    where (delivered_on is null or delivered_on > {{ as_of_on() }})
        and status not in ('delivered', 'returned')
        and promised_on + {{ parameter('delivery_lost_after_days') }}::integer <= {{ as_of_on() }}
),

answers as (
    select
        customer_key,
        {{ business_date('satisfaction_at') }} as experienced_on,
        satisfaction,
        -- What the channel's customers were used to when this one answered.
        avg(satisfaction) over (
            partition by channel
            order by {{ business_date('satisfaction_at') }} - '1970-01-01'::date
            range between {{ parameter('satisfaction_channel_window_days') }}::integer - 1 preceding and current row
        ) as expected_satisfaction
    from {{ ref('fct_tickets') }}
    where satisfaction is not null and {{ by_as_of('satisfaction_at') }}
),

experiences as (
    select 'delivery' as component, customer_key, experienced_on, ratio from deliveries
    union all
    select 'service', customer_key, experienced_on, (satisfaction / nullif(expected_satisfaction, 0))::double precision
    from answers
    where customer_key is not null
),

weighted as (
    select
        component,
        customer_key,
        ln(least(
            greatest(ratio, {{ parameter('satisfaction_minimum_ratio') }}::double precision),
            {{ parameter('satisfaction_maximum_ratio') }}::double precision
        )) as log_ratio,
        exp(
            ln(0.5::double precision) * ({{ as_of_on() }} - experienced_on)
            / {{ parameter('satisfaction_half_life_days') }}::double precision
        ) as weight
    from experiences
    where ratio is not null
),

components as (
    select customer_key, component, sum(weight * log_ratio) / sum(weight) as log_ratio
    from weighted
    group by customer_key, component
),

customers as (
    select
        customer_key,
        exp(max(log_ratio) filter (where component = 'delivery')) as delivery_ratio,
        exp(max(log_ratio) filter (where component = 'service')) as service_ratio,
        exp(avg(log_ratio)) as satisfaction_ratio,
        count(*) as satisfaction_component_count
    from components
    group by customer_key
),

tickets as (
    select
        customer_key,
        (array_agg(satisfaction order by satisfaction_at desc, satisfaction) filter (
            where satisfaction is not null and {{ by_as_of('satisfaction_at') }}
        ))[1] as last_csat,
        count(*) filter (where is_resolved) as resolved_ticket_count_365d,
        count(*) filter (where is_resolved and satisfaction is not null) as answered_csat_count_365d
    from (
        select *, {{ time_in_last(365, 'first_resolved_at') }} as is_resolved from {{ ref('fct_tickets') }}
    ) as told
    where customer_key is not null
    group by customer_key
),

measured as (
    select
        customer_key,
        round(delivery_ratio::numeric, 4) as delivery_satisfaction_ratio,
        round(service_ratio::numeric, 4) as service_satisfaction_ratio,
        round(satisfaction_ratio::numeric, 4) as satisfaction_ratio,
        coalesce(satisfaction_component_count, 0) as satisfaction_component_count,
        last_csat,
        coalesce(resolved_ticket_count_365d, 0) as resolved_ticket_count_365d,
        {{ rate('answered_csat_count_365d', 'resolved_ticket_count_365d', parameter('csat_minimum_resolved_ticket_count')) }}
            as csat_response_rate
    from customers
    full join tickets using (customer_key)
)

select
    customer_key,
    delivery_satisfaction_ratio,
    service_satisfaction_ratio,
    satisfaction_ratio,
    case
        when satisfaction_ratio > {{ parameter('satisfaction_high_above') }} then 'highly_satisfied'
        when satisfaction_ratio >= {{ parameter('satisfaction_low_below') }} then 'satisfied'
        when satisfaction_ratio is not null then 'dissatisfied'
    end as satisfaction_level,
    satisfaction_component_count,
    last_csat,
    csat_response_rate,
    resolved_ticket_count_365d
from measured
