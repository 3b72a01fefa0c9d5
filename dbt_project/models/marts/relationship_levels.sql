{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['rfm_segment']}) }}

with segments as (
    select
        scores.rfm_segment,
        count(*) as customer_count,
        round(avg(coalesce(ranks.value_amount_365d, 0)), 4) as unit_value_amount
    from {{ ref('int_rfm__scored') }} as scores
    left join {{ ref('int_customer_values__ranked') }} as ranks using (customer_key)
    where scores.rfm_segment is not null
    group by scores.rfm_segment
),

ranked as (
    select
        *,
        ceil(3.0 * rank() over (order by customer_count) / count(*) over ())::integer as customer_count_tercile,
        ceil(3.0 * rank() over (order by unit_value_amount) / count(*) over ())::integer as unit_value_tercile
    from segments
)

select
    rfm_segment,
    customer_count,
    unit_value_amount,
    customer_count_tercile,
    unit_value_tercile,
    matrix.relationship_level
from ranked
left join {{ ref('relationship_level_matrix') }} as matrix using (customer_count_tercile, unit_value_tercile)
