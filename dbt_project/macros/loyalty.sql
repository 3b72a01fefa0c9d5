{# The value that a row of the seed loyalty_parameters has on as_of_on. No threshold stands in the models' SQL. #}
{% macro parameter(name) -%}
    (select value from {{ ref('int_loyalty_parameters__applied') }} where parameter = '{{ name }}')
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
