{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['business_on']}) }}

with days as (
    select generate_series(
        (select least(min(created_on), {{ as_of_on() }}) from {{ ref('fct_tickets') }})::timestamp,
        ({{ as_of_on() }} + 1)::timestamp,
        interval '1 day'
    )::date as business_on
),

opened as (
    select
        days.business_on,
        (days.business_on + hours.opens_at) at time zone '{{ var("business_timezone") }}' as opens_at,
        case
            when closures.closed_on is not null then 0
            else extract(
                epoch from (days.business_on + hours.closes_at) at time zone '{{ var("business_timezone") }}'
                - (days.business_on + hours.opens_at) at time zone '{{ var("business_timezone") }}'
            )
        end as open_seconds
    from days
    left join lateral (
        select dated.opens_at, dated.closes_at
        from {{ ref('business_hours') }} as dated
        where dated.weekday = extract(isodow from days.business_on) and dated.valid_from <= days.business_on
        order by dated.valid_from desc
        limit 1
    ) as hours on true
    left join {{ ref('business_closures') }} as closures on closures.closed_on = days.business_on
)

select
    business_on,
    coalesce(opens_at, business_on::timestamp at time zone '{{ var("business_timezone") }}') as opens_at,
    coalesce(open_seconds, 0) as open_seconds,
    coalesce(
        sum(coalesce(open_seconds, 0)) over (order by business_on rows between unbounded preceding and 1 preceding), 0
    ) as open_seconds_before
from opened
