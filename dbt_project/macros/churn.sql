{#
  Churn scoring. plugins/customer360/churn holds the same formulas in Python and says where they come from; a test
  compares the two to 1e-9. PostgreSQL makes an error of exp() over- or underflowing: exponents stay within 700.
#}
{% macro safe_exp(exponent) -%}
    exp(greatest(least({{ exponent }}, 700), -700))
{%- endmacro %}

{# ln(p / (1 - p)) of a probability kept 1e-6 away from 0 and 1. #}
{% macro logit_inside(probability) -%}
    ln(greatest(least({{ probability }}, 1 - 1e-6), 1e-6) / (1 - greatest(least({{ probability }}, 1 - 1e-6), 1e-6)))
{%- endmacro %}

{# Expected orders given the dropout probability p: (1 - (1 + p z)^-shape) / p, near p = 0 by its series. #}
{% macro orders_given_dropout(p, shape, z) -%}
    case
        when {{ p }} * {{ z }} * ({{ shape }} + 2) < 1e-4 then {{ shape }} * {{ z }} * (
            1 - ({{ shape }} + 1) * {{ p }} * {{ z }} / 2 + ({{ shape }} + 1) * ({{ shape }} + 2) * ({{ p }} * {{ z }}) ^ 2 / 6)
        else (1 - {{ safe_exp('-' ~ shape ~ ' * ln(1 + ' ~ p ~ ' * ' ~ z ~ ')') }}) / {{ p }}
    end
{%- endmacro %}

{# The one row of a version's parameter; null where the version has none. #}
{% macro parameter_of(model, parameter) -%}
    max(stored.value) filter (where stored.model = '{{ model }}' and stored.parameter = '{{ parameter }}')
{%- endmacro %}

{# The fits that were known: in the past (as-of builds) those of later are left out. #}
{% macro known_churn_versions() -%}
    select *
    from {{ source('state', 'churn_model_versions') }}
    where as_of_on <= {{ as_of_on() }}
        {%- if is_as_of() %} and fitted_at <= {{ known_until() }} {%- endif %}
{%- endmacro %}

{#
  The journal's own step: a row where the day's score differs from the customer's last row by as much as a reader
  would notice. Every day for everybody would be 73 million rows a year for 200,000 customers, nearly all the same.
  A second pass of the same day adds nothing; builds of the past write no journal.
#}
{% macro record_churn_history() -%}
    {%- if var('schema_prefix') -%} select 1
    {%- else -%}
    insert into {{ source('state', 'customer_churn_history') }} (
        customer_key, as_of_on, model_version, model_status, churn_probability, churn_band, is_late_vs_own_cadence,
        expected_value_365_amount
    )
    select
        churn.customer_key, churn.as_of_on, churn.model_version, churn.model_status, churn.churn_probability, churn.churn_band,
        churn.is_late_vs_own_cadence, churn.expected_value_365_amount
    from {{ ref('customer_churn') }} as churn
    left join (
        select distinct on (customer_key) * from {{ source('state', 'customer_churn_history') }}
        order by customer_key, as_of_on desc
    ) as last_row using (customer_key)
    where last_row.customer_key is null
        or (last_row.as_of_on < churn.as_of_on and (
            abs(coalesce(churn.churn_probability, -1) - coalesce(last_row.churn_probability, -1)) >= 0.02
            or (churn.model_status, churn.churn_band, churn.is_late_vs_own_cadence)
                is distinct from (last_row.model_status, last_row.churn_band, last_row.is_late_vs_own_cadence)))
    {%- endif -%}
{%- endmacro %}
