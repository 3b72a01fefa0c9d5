{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables(many_groups=true) }}', meta={'primary_key': ['customer_key']}) }}

with brands as (
    select
        customer_key,
        category,
        brand,
        sum(kept_quantity) as kept_quantity,
        sum(kept_amount) as kept_amount,
        count(*) filter (where brand_place = 1) as led_occasion_count
    from {{ ref('int_brand_purchases__summed') }}
    where brand is not null and {{ in_last(365, 'purchase_on') }}
    group by customer_key, category, brand
),

shares as (
    select
        *,
        sum(led_occasion_count) over in_category as occasion_count,
        sum(kept_quantity) over in_category as category_quantity,
        sum(kept_amount) over in_category as category_amount
    from brands
    window in_category as (partition by customer_key, category)
),

-- The customer's first category is the one with the most occasions, then the most spend; its first brand the one with
-- the most pieces, then the most spend. The alphabet ends every tie, so that the answer never depends on chance.
primaries as (
    select distinct on (customer_key) *
    from shares
    order by
        customer_key, occasion_count desc, category_amount desc nulls last, category,
        kept_quantity desc, kept_amount desc nulls last, brand
)

select
    customer_key,
    category as primary_category,
    case when is_measured then brand end as primary_brand,
    case when is_measured then round(kept_quantity / category_quantity, 6) end as primary_brand_share,
    case when is_measured then round(kept_amount / nullif(category_amount, 0), 6) end as primary_brand_spend_share,
    occasion_count::bigint as occasion_count,
    category_quantity as primary_category_quantity,
    category_amount as primary_category_amount
from primaries
cross join lateral (
    select occasion_count >= {{ parameter('brand_minimum_occasion_count') }} as is_measured
) as minimum
