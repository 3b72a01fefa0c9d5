{# The business date of a time. #}
{% macro business_date(time) -%}
    ({{ time }} at time zone '{{ var("business_timezone") }}')::date
{%- endmacro %}

{# The business date that all daily tables of a run share. #}
{% macro as_of_on() -%}
    {%- if var('as_of_on') -%} '{{ var("as_of_on") }}'::date {%- else -%} {{ business_date('now()') }} {%- endif -%}
{%- endmacro %}

{# Hours from one time to another, to 4 decimals. #}
{% macro hours_between(start, finish) -%}
    round((extract(epoch from {{ finish }} - {{ start }}) / 3600)::numeric, 4)
{%- endmacro %}

{# The rows of a seed of dated parameters, each with the days on which its value holds: [valid_from_on, valid_to_on). #}
{% macro dated_parameters(seed) -%}
    select
        parameter,
        value,
        valid_from as valid_from_on,
        lead(valid_from, 1, 'infinity'::date) over (partition by parameter order by valid_from) as valid_to_on
    from {{ seed }}
{%- endmacro %}
