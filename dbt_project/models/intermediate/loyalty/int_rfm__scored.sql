{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

{%- set measures = {'r': 'recency_days', 'f': 'order_count', 'm': 'monetary_amount'} %}

with customers as (
    select
        cadences.customer_key,
        cadences.recency_days,
        orders.order_count,
        orders.net_amount as monetary_amount,
        coalesce(cadences.recency_days > {{ parameter('late_gap_ratio') }} * cadences.expected_gap_days, false) as is_late
    from {{ ref('int_purchase_cadences__measured') }} as cadences
    inner join {{ ref('int_customer_orders__summed') }} as orders using (customer_key)
),

cut_points as (
    select
        {%- for letter, measure in measures.items() %}
        {%- for quintile in range(1, 5) %}
        max(upper_bound) filter (where measure = '{{ measure }}' and quintile = {{ quintile }}) as {{ letter }}{{ quintile }}
        {{- ',' if not (loop.last and letter == 'm') }}
        {%- endfor %}
        {%- endfor %}
    from {{ ref('rfm_cut_points') }}
),

-- One point, and one more for each cut point passed: equal figures cannot get different scores.
passed as (
    select
        customers.*
        {%- for letter, measure in measures.items() %},
        (customers.{{ measure }} > {{ letter }}1)::integer + (customers.{{ measure }} > {{ letter }}2)::integer
            + (customers.{{ measure }} > {{ letter }}3)::integer + (customers.{{ measure }} > {{ letter }}4)::integer
            as {{ letter }}_passed
        {%- endfor %}
    from customers
    cross join cut_points
)

select
    passed.customer_key,
    passed.recency_days,
    passed.order_count,
    passed.monetary_amount,
    -- The longer ago, the lower the score.
    5 - passed.r_passed as r_score,
    1 + passed.f_passed as f_score,
    1 + passed.m_passed as m_score,
    segments.rfm_segment,
    current_segments.rfm_segment as current_rfm_segment
from passed
left join {{ ref('rfm_segments') }} as segments
    on segments.r_score = 5 - passed.r_passed and segments.f_score = 1 + passed.f_passed
-- Quintiles compare customers with each other. Whoever is late by the own cadence counts as one of the less recent.
left join {{ ref('rfm_segments') }} as current_segments
    on current_segments.r_score = least(5 - passed.r_passed, case when passed.is_late then 2 else 5 end)
    and current_segments.f_score = 1 + passed.f_passed
