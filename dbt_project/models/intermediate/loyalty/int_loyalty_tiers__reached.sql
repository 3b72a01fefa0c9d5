{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

{%- set tiers = ['silver', 'gold', 'platinum'] %}

-- The thresholds of each period in which none of them changes.
with thresholds as (
    select * from {{ ref('int_loyalty_parameters__dated') }} where parameter like 'tier\_%\_minimum\_points'
),

periods as (
    select starts.valid_from_on, lead(starts.valid_from_on, 1, 'infinity'::date) over (order by starts.valid_from_on) as valid_to_on
        {%- for tier in tiers %},
        (
            select value from thresholds
            where parameter = 'tier_{{ tier }}_minimum_points'
                and starts.valid_from_on >= thresholds.valid_from_on and starts.valid_from_on < thresholds.valid_to_on
        ) as {{ tier }}_minimum_points
        {%- endfor %}
    from (select distinct valid_from_on from thresholds) as starts
),

points as (
    select customer_key, earned_on as effective_on, points, earned_on + 365 as leaves_on
    from {{ ref('int_loyalty_lots__earned') }}
    union all
    select customer_key, effective_on, -points, earned_on + 365
    from {{ ref('int_loyalty_points__clawed_back') }}
    where effective_on < earned_on + 365
),

-- Each day on which a customer's points of 365 days, or what they are measured by, may change.
changes as (
    select customer_key, effective_on as changed_on, points from points
    union all
    select customer_key, leaves_on, -points from points where leaves_on <= {{ as_of_on() }}
    union all
    select customer_key, first_purchase_on, 0 from {{ ref('int_purchase_cadences__measured') }}
    union all
    select cadences.customer_key, periods.valid_from_on, 0
    from {{ ref('int_purchase_cadences__measured') }} as cadences
    inner join periods
        on periods.valid_from_on > cadences.first_purchase_on and periods.valid_from_on <= {{ as_of_on() }}
),

-- All changes of a day are peers in this order: each of them has the sum at the end of the day. Whole numbers are exact
-- in double precision, and summed several times faster than numerics.
running as (
    select
        customer_key,
        changed_on,
        points,
        sum(points::double precision) over (partition by customer_key order by changed_on) as points_365d
    from changes
),

tiered as (
    select
        running.customer_key,
        running.changed_on,
        running.points,
        case
            {%- for tier in tiers | reverse %}
            when running.points_365d >= periods.{{ tier }}_minimum_points then {{ tiers | length - loop.index0 }}
            {%- endfor %}
            else 0
        end as height
    from running
    inner join periods on running.changed_on >= periods.valid_from_on and running.changed_on < periods.valid_to_on
),

compared as (
    select
        *,
        changed_on - '1990-01-01'::date as changed_day,
        lag(height) over (partition by customer_key order by changed_on) as earlier_height
    from tiered
),

-- The height after the last change, and the day of the latest change of height with what was before it (9: nothing was),
-- each packed into one number: a single pass finds both.
followed as (
    select
        customer_key,
        sum(points) as points_365d,
        max(changed_day * 10 + height) % 10 as height,
        max(case when height is distinct from earlier_height then changed_day * 10 + coalesce(earlier_height, 9) end)
            as latest_change
    from compared
    group by customer_key
)

select
    customer_key,
    (array['base', 'silver', 'gold', 'platinum'])[height + 1] as tier,
    '1990-01-01'::date + latest_change / 10 as tier_since_on,
    (array['base', 'silver', 'gold', 'platinum'])[nullif(latest_change % 10, 9) + 1] as previous_tier,
    points_365d::bigint as points_365d,
    format('%s points in 365 days', points_365d::bigint) as tier_reason
from followed
