{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['measure', 'quintile']}) }}

{%- set measures = ['recency_days', 'order_count', 'monetary_amount'] %}

with customers as (
    select cadences.recency_days, orders.order_count, orders.net_amount as monetary_amount
    from {{ ref('int_purchase_cadences__measured') }} as cadences
    inner join {{ ref('int_customer_orders__summed') }} as orders using (customer_key)
),

{% for measure in measures -%}
{{ measure }}_cuts as (
    select
        '{{ measure }}' as measure,
        percentile_disc(array[0.2, 0.4, 0.6, 0.8]) within group (order by {{ measure }})::numeric[] as upper_bounds,
        count({{ measure }}) as customer_count
    from customers
),

{% endfor -%}
cuts as (
    {%- for measure in measures %}
    select * from {{ measure }}_cuts
    {{- ' union all' if not loop.last }}
    {%- endfor %}
)

select
    cuts.measure,
    listed.quintile,
    {{ as_of_on() }} as as_of_on,
    listed.upper_bound,
    cuts.customer_count
from cuts
cross join lateral unnest(cuts.upper_bounds) with ordinality as listed(upper_bound, quintile)
where cuts.customer_count >= {{ parameter('rfm_minimum_customer_count') }}
