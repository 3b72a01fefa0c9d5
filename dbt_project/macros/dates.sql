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
