{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

{%- set components = [
    'purchase_day_count_365d', 'max_brand_run', 'primary_brand_share', 'value_amount_365d', 'satisfaction_ratio',
    'order_probability',
] %}

with customers as (
    select
        cadences.customer_key,
        cadences.purchase_day_count_365d,
        runs.max_brand_run,
        shares.primary_brand_share,
        ranks.value_amount_365d,
        satisfactions.satisfaction_ratio,
        1 - churn.churn_probability as order_probability
    from {{ ref('int_purchase_cadences__measured') }} as cadences
    left join {{ ref('int_brand_runs__found') }} as runs using (customer_key)
    left join {{ ref('int_purchase_shares__measured') }} as shares using (customer_key)
    left join {{ ref('int_customer_values__ranked') }} as ranks using (customer_key)
    left join {{ ref('int_satisfactions__measured') }} as satisfactions using (customer_key)
    left join {{ ref('customer_churn') }} as churn using (customer_key)
),

ranked as (
    select
        customer_key,
        {%- for component in components %}
        {{ share_below(component) }} as {{ component }}_rank
        {{- ',' if not loop.last }}
        {%- endfor %}
    from customers
),

counted as (
    select
        *,
        num_nonnulls({% for component in components %}{{ component }}_rank{{ ', ' if not loop.last }}{% endfor %}) as component_count
    from ranked
)

select
    customer_key,
    {%- for component in components %}
    {{ component }}_rank,
    {%- endfor %}
    case
        when component_count >= {{ parameter('loyalty_score_minimum_component_count') }} then
            round((
                {%- for component in components %}
                coalesce({{ component }}_rank, 0){{ ' +' if not loop.last }}
                {%- endfor %}
            ) / component_count, 6)
    end as loyalty_score,
    round(component_count / {{ components | length }}.0, 6) as loyalty_score_coverage
from counted
