{#
  The SQL of the version that serves, as its fit stored it (plugins/customer360/churn/scoring_sql.py): one expression
  per part, a family of features or a part of the value. Put into the model when it is built, so that the server
  compiles trees as CASE instead of joining 200,000 customers to a thousand nodes.
#}
{% macro served_churn_version() -%}
    select
        coalesce(max(model_version) filter (where decision = 'promoted'), max(model_version)) as model_version,
        bool_or(decision = 'promoted') as is_promoted,
        max(model_version) as newest_version
    from (
        {{ known_churn_versions() }}
    ) as versions
{%- endmacro %}

{# {'expressions': {part: SQL}, 'split_columns': [names]} of the version that serves; nothing while parsing. #}
{% macro churn_expressions() -%}
    {%- set told = {'expressions': {}, 'split_columns': []} -%}
    {%- if execute -%}
        {%- set rows = run_query(
            "select coalesce(jsonb_object_agg(part, jsonb_build_object('sql', expression, 'columns', split_columns)), '{}')::text as parts "
            ~ "from " ~ source('state', 'churn_model_expressions')
            ~ " where model_version = (select model_version from (" ~ served_churn_version() ~ ") as served)"
        ) -%}
        {%- set parts = fromjson(rows.columns[0].values()[0]) -%}
        {%- for name, part in parts.items() -%}
            {%- do told.expressions.update({name: part['sql']}) -%}
            {%- for column in part['columns'] if column not in told.split_columns -%}
                {%- do told.split_columns.append(column) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(told) }}
{%- endmacro %}

{#
  A quantile of what a customer brings in a year: nothing with probability `1 - buys_365d`, else exp(log_amount_365d) times
  what buyers deviate from it, interpolated between the stored percentiles (plugins/customer360/churn/value.py). Null where
  no second stage is fitted.
#}
{% macro value_quantile(level) -%}
    case
        when {{ level }} - (1 - buys_365d) <= 0 then 0
        when buys_365d is not null
            then exp(log_amount_365d + {{ interpolated('least(1, (' ~ level ~ ' - (1 - buys_365d)) / greatest(buys_365d, 1e-12)) * 100') }})
    end
{%- endmacro %}

{% macro interpolated(place) -%}
    (value_quantiles[1 + floor({{ place }})::integer]
        + ({{ place }} - floor({{ place }}))
        * (value_quantiles[least(2 + floor({{ place }})::integer, 101)] - value_quantiles[1 + floor({{ place }})::integer]))
{%- endmacro %}
