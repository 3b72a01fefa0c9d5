{{ config(tags=['history'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['month_end_on', 'customer_key']}) }}

with
{{ month_ends() }},

{{ tier_changes() }},

-- Each change holds until the next one; of the changes of one day only the last has a day to hold for.
followed as (
    select
        customer_key,
        changed_on,
        lead(changed_on, 1, 'infinity'::date) over (partition by customer_key order by changed_on) as until_on,
        points_365d,
        height,
        max(height_change) over (partition by customer_key order by changed_on) as latest_change
    from tier_changes
)

select
    month_ends.month_end_on,
    followed.customer_key,
    {{ tier_names() }}[followed.height + 1] as tier,
    '1990-01-01'::date + followed.latest_change / 10 as reached_on,
    format('%s points in 365 days', followed.points_365d::bigint) as why
from followed
inner join month_ends
    on month_ends.month_end_on >= followed.changed_on and month_ends.month_end_on < followed.until_on
