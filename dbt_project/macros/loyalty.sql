{#
  The value that a row of the seed loyalty_parameters has on as_of_on, or, `of` a table that has a column of that name
  (month_ends()), on the day of its row. No threshold stands in the models' SQL.
#}
{% macro parameter(name, of=none) -%}
    {%- if of -%} {{ of }}.{{ name }}
    {%- else -%} (select value from {{ ref('int_loyalty_parameters__applied') }} where parameter = '{{ name }}')
    {%- endif -%}
{%- endmacro %}

{# Days that usually pass between two purchases: the population's median is one more gap, which draws those with few. #}
{% macro expected_gap_days(first_on, last_on, median_gap_days, purchase_day_count) -%}
    round((({{ last_on }} - {{ first_on }}) + {{ median_gap_days }}) / {{ purchase_day_count }}, 4)
{%- endmacro %}

{# Purchase days per day of the last 90 over those of the 270 before; null where those were none. #}
{% macro purchase_trend(day_count_90d, day_count_prior_270d) -%}
    round(({{ day_count_90d }} / 90.0) / nullif({{ day_count_prior_270d }} / 270.0, 0), 4)
{%- endmacro %}

{# The rule of the seed lifecycle_stages that holds, in a query with these columns; `of` as in parameter(). #}
{% macro stage_rule(of=none, order_probability='null::double precision') -%}
    case
        -- Without a probability (no model, or out of its population) the gap alone decides.
        when is_late and coalesce({{ order_probability }} < {{ parameter('dormant_maximum_order_probability', of) }}, true)
            then 'dormant'
        when purchase_day_count >= 2
            and (is_late or purchase_trend < {{ parameter('decline_trend_below', of) }})
            then 'decline'
        when purchase_day_count = 0 then 'establishment'
        when purchase_day_count = 1 then 'exploration'
        when purchase_day_count < {{ parameter('mature_minimum_purchase_days', of) }}
            or purchase_trend > {{ parameter('growth_trend_above', of) }}
            then 'formation'
        else 'stable'
    end
{%- endmacro %}

{# The rung of the ladder, in a query with these columns; `of` as in parameter(). #}
{% macro ladder_rung(of=none) -%}
    case
        when purchase_day_count = 0 then 'prospect'
        when purchase_day_count = 1 then 'purchaser'
        -- Without an attitude nobody climbs past client, whoever may have come on a recommendation.
        when answer_count < {{ parameter('supporter_minimum_answer_count', of) }}
            or mean_satisfaction < {{ parameter('supporter_minimum_satisfaction', of) }}
            or open_complaint_count > 0
            then 'client'
        when referral_count >= {{ parameter('partner_minimum_referral_count', of) }} then 'partner'
        when referral_count > 0 then 'advocate'
        else 'supporter'
    end
{%- endmacro %}

{# The figures behind ladder_rung(). #}
{% macro ladder_evidence() -%}
    format(
        'purchase days: %s; CSAT answers in 365 d: %s, mean %s; open complaints: %s; referred customers in 365 d: %s',
        purchase_day_count, answer_count, coalesce(mean_satisfaction::text, 'none'), open_complaint_count, referral_count
    )
{%- endmacro %}

{# Orders that were placed with the coupon of a customer: whose it was, and who used it. #}
{% macro referral_coupons() -%}
    select
        lower(substr(staged.coupon_code, length(prefixes.prefix) + 1)) as referrer_id,
        orders.customer_key as referred_customer_key,
        orders.ordered_on
    from {{ ref('fct_orders') }} as orders
    {#- The fact's coupon is masked, and the id in it may look like a phone number. #}
    inner join {{ ref('stg_orders') }} as staged using (order_key)
    inner join {{ ref('referral_coupons') }} as prefixes
        on starts_with(staged.coupon_code, prefixes.prefix) and orders.ordered_on >= prefixes.valid_from
    where orders.customer_key is not null and orders.is_valid
{%- endmacro %}

{# Whether a ticket waits for its resolution at the end of a day. Of a later record the resolution may lie ahead. #}
{% macro is_waiting_on(day) -%}
    (is_open or resolved_at >= ({{ day }} + 1)::timestamp at time zone '{{ var("business_timezone") }}')
{%- endmacro %}

{# The half open window (as_of_on - days, as_of_on]. #}
{% macro in_last(days, date) -%}
    ({{ date }} > {{ as_of_on() }} - {{ days }} and {{ date }} <= {{ as_of_on() }})
{%- endmacro %}

{# Share of the measured others that lie below, 0 to 1; ties share the lower place; null stays null. #}
{% macro share_below(measure) -%}
    case when {{ measure }} is not null then
        round((percent_rank() over (partition by {{ measure }} is null order by {{ measure }}))::numeric, 6)
    end
{%- endmacro %}

{# `part / whole`, null where the whole is below its minimum: a ratio of nothing is not measured. #}
{% macro rate(part, whole, minimum=1) -%}
    case when {{ whole }} >= {{ minimum }} then round(({{ part }})::numeric / nullif({{ whole }}, 0), 6) end
{%- endmacro %}

{# A bound of the Wilson score interval of `hits` in `trials`: honest for small numbers, never outside [0, 1]. #}
{% macro wilson_bound(hits, trials, side) -%}
    {%- set z = parameter('interval_z') -%}
    case when {{ trials }} > 0 then
        round(((
            {{ hits }}::numeric / {{ trials }} + {{ z }} * {{ z }} / (2 * {{ trials }})
            {{ '-' if side == 'low' else '+' }} {{ z }} * sqrt(
                {{ hits }}::numeric / {{ trials }} * (1 - {{ hits }}::numeric / {{ trials }}) / {{ trials }}
                + {{ z }} * {{ z }} / (4 * {{ trials }}::numeric * {{ trials }}))
        ) / (1 + {{ z }} * {{ z }} / {{ trials }}))::numeric, 6)
    end
{%- endmacro %}

{# Hours within which a ticket of this priority is to be resolved. #}
{% macro sla_hours(priority) -%}
    case {{ priority }}
        {%- for level in ['low', 'high', 'urgent'] %}
        when '{{ level }}' then {{ parameter('sla_' ~ level ~ '_hours') }}
        {%- endfor %}
        else {{ parameter('sla_normal_hours') }}
    end
{%- endmacro %}

{# Business hours within which a ticket of this priority is to have its `kind`: first_response or resolution. #}
{% macro service_hours(kind, priority) -%}
    case {{ priority }}
        {%- for level in ['low', 'high', 'urgent'] %}
        when '{{ level }}' then {{ parameter('service_' ~ kind ~ '_' ~ level ~ '_business_hours') }}
        {%- endfor %}
        else {{ parameter('service_' ~ kind ~ '_normal_business_hours') }}
    end
{%- endmacro %}

{# Seconds that support was open up to a time; `day` is the row of int_business_days__counted of the time's date. #}
{% macro open_seconds(day, time) -%}
    ({{ day }}.open_seconds_before + least(
        greatest(extract(epoch from {{ time }} - {{ day }}.opens_at), 0), {{ day }}.open_seconds
    ))
{%- endmacro %}

{# The first moment after as_of_on, in business time. #}
{% macro end_of_day() -%}
    (({{ as_of_on() }} + 1)::timestamp at time zone '{{ var("business_timezone") }}')
{%- endmacro %}

{# Whether a time lies on or before as_of_on: a comparison with a constant, where a business date is a conversion per row. #}
{% macro by_as_of(time) -%}
    ({{ time }} < {{ end_of_day() }})
{%- endmacro %}

{# in_last() of a time's business date, likewise. #}
{% macro time_in_last(days, time) -%}
    (
        {{ time }} >= (({{ as_of_on() }} - {{ days }} + 1)::timestamp at time zone '{{ var("business_timezone") }}')
        and {{ time }} < {{ end_of_day() }}
    )
{%- endmacro %}

{# Whether a complaint of fct_tickets waits longer than its priority allows, at the end of as_of_on. #}
{% macro is_complaint_past_sla() -%}
    (
        is_complaint and is_open and first_resolved_at is null and created_on <= {{ as_of_on() }}
        and created_at + {{ sla_hours('priority') }} * interval '1 hour' < {{ end_of_day() }}
    )
{%- endmacro %}

{#
  For models that read whole tables. The planner cannot know how many rows are left after a comparison with a parameter,
  and one nested loop over two long lists that it took for short ones lasts longer than all the rest of the day's pass.
  The tables live for a day and are read whole: a small sample says enough of them.
  `many_groups`: nor that nearly every row is a group of its own; hashing them goes to the disk in pieces, sorting does not.
#}
{% macro plan_for_whole_tables(many_groups=false) -%}
    set local enable_nestloop = off; set local work_mem = '128MB'; set local default_statistics_target = 10
    {%- if many_groups %}; set local enable_hashagg = off{% endif %}
{%- endmacro %}

{#
  CTEs up to `tier_changes`: each day on which a customer's points of 365 days, or what they are measured by, may have
  changed, with the points and the height of the tier from then on. All changes of a day have those of its end.
#}
{% macro tier_changes() -%}
{%- set tiers = ['silver', 'gold', 'platinum'] -%}
-- The thresholds of each period in which none of them changes.
thresholds as (
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
        running.points_365d,
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

-- A change of height with what was before it (9: nothing was), packed into one number that a maximum can find.
tier_changes as (
    select
        *,
        case when height is distinct from earlier_height then changed_day * 10 + coalesce(earlier_height, 9) end
            as height_change
    from compared
)
{%- endmacro %}

{# The names of tier_changes()' heights, by height + 1. #}
{% macro tier_names() -%}
    (array['base', 'silver', 'gold', 'platinum'])
{%- endmacro %}
