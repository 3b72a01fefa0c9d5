{#
  The past before the first daily pass, from the records as they are known now (docs/decisions/0011).

  CTE `month_ends`: one row per month end before the first row of the journals, as many as history_months says and no
  earlier than the first record, with the value that each of these loyalty parameters had on that day.
#}
{% macro month_ends(parameters=[]) -%}
listed_month_ends as (
    select (first_month - months_ago * interval '1 month')::date - 1 as month_end_on
    from (
        select date_trunc('month', min(valid_from_on)::timestamp) as first_month
        from {{ source('loyalty_journals', 'lifecycle_stage_history') }}
    ) as first_pass
    cross join generate_series(0, {{ var('history_months') }} - 1) as months_ago
),

month_ends as (
    select
        month_end_on
        {%- for name in parameters %},
        (
            select value from {{ ref('int_loyalty_parameters__dated') }} as dated
            where dated.parameter = '{{ name }}' and month_end_on >= dated.valid_from_on and month_end_on < dated.valid_to_on
        ) as {{ name }}
        {%- endfor %}
    from listed_month_ends
    where month_end_on >= (select {{ business_date('min(first_seen_at)') }} from {{ source('identity', 'customers') }})
)
{%- endmacro %}

{# CTE `known_customers`: who had been seen by each month end. #}
{% macro known_customers() -%}
known_customers as (
    select month_ends.month_end_on, seen.customer_key
    from (
        select customer_key, {{ business_date('first_seen_at') }} as first_seen_on from {{ source('identity', 'customers') }}
    ) as seen
    inner join month_ends on seen.first_seen_on <= month_ends.month_end_on
)
{%- endmacro %}
