{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['as_of_on']}) }}

with customers as (
    select
        value_amount_365d,
        greatest(value_amount_365d, 0) as positive_amount,
        is_top20_value,
        is_margin_used,
        row_number() over (order by value_amount_365d desc) as place,
        sum(greatest(value_amount_365d, 0)) over (order by value_amount_365d desc rows unbounded preceding)
            as running_amount,
        sum(greatest(value_amount_365d, 0)) over () as total_amount
    from {{ ref('int_customer_values__ranked') }}
    where value_amount_365d is not null
),

summed as (
    select
        count(*) as customer_count,
        coalesce(bool_or(is_margin_used), false) as is_margin_used,
        coalesce(sum(positive_amount), 0) as positive_value_amount,
        sum(positive_amount) filter (where is_top20_value) as top20_value_amount,
        count(*) filter (where is_top20_value) as top20_customer_count,
        -- Whoever is needed to reach the share: the places before which it was not reached yet.
        count(*) filter (
            where running_amount - positive_amount < {{ parameter('concentration_value_share') }} * total_amount
        ) as needed_customer_count,
        -- Gini of the places counted from the top: sum of (n + 1 - 2 place) x value / (n x total).
        sum((place * 2) * positive_amount) as weighted_amount,
        count(*) filter (where value_amount_365d < 0) as losing_customer_count
    from customers
)

select
    {{ as_of_on() }} as as_of_on,
    customer_count,
    case when is_margin_used then 'margin' else 'net_revenue' end as value_measure,
    positive_value_amount,
    top20_customer_count,
    round(top20_value_amount / nullif(positive_value_amount, 0), 6) as top20_value_share,
    case when positive_value_amount > 0 then round(needed_customer_count::numeric / customer_count, 6) end
        as customer_share_of_80_value,
    round(
        (customer_count + 1 - weighted_amount / nullif(positive_value_amount, 0)) / nullif(customer_count, 0), 6
    ) as gini_coefficient,
    round(losing_customer_count::numeric / nullif(customer_count, 0), 6) as losing_customer_share
from summed
