{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with
{{ tier_changes() }},

-- The height after the last change, and the latest change of height: a single pass finds both.
followed as (
    select
        customer_key,
        sum(points) as points_365d,
        max(changed_day * 10 + height) % 10 as height,
        max(height_change) as latest_change
    from tier_changes
    group by customer_key
)

select
    customer_key,
    {{ tier_names() }}[height + 1] as tier,
    '1990-01-01'::date + latest_change / 10 as tier_since_on,
    {{ tier_names() }}[nullif(latest_change % 10, 9) + 1] as previous_tier,
    points_365d::bigint as points_365d,
    format('%s points in 365 days', points_365d::bigint) as tier_reason
from followed
