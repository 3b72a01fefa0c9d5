{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with categories as (
    select customer_key, count(distinct category) as cross_buy_category_count
    from {{ ref('int_brand_purchases__summed') }}
    where {{ in_last(365, 'purchase_on') }}
    group by customer_key
)

select
    customers.customer_key,
    coalesce(cadences.purchase_day_count, 0) as purchase_day_count,
    coalesce(cadences.purchase_day_count_365d, 0) as purchase_day_count_365d,
    coalesce(cadences.purchase_day_count_365d, 0) >= {{ parameter('repeat_buyer_minimum_purchase_days') }}
        as is_repeat_buyer,
    -- Bought, and no item says in which category: not measured. Not bought: measured zero.
    case
        when coalesce(cadences.purchase_day_count_365d, 0) = 0 then 0
        else categories.cross_buy_category_count
    end as cross_buy_category_count
from {{ source('identity', 'customers') }} as customers
left join {{ ref('int_purchase_cadences__measured') }} as cadences using (customer_key)
left join categories using (customer_key)
