{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables(many_groups=true) }}') }}

with kept as (
    select
        customer_key,
        category,
        ordered_on as purchase_on,
        brand,
        sum(kept_quantity) as kept_quantity,
        sum(kept_amount) as kept_amount
    from {{ ref('fct_order_items') }}
    where customer_key is not null
        and category is not null
        and is_valid
        and kept_quantity > 0
        and ordered_on <= {{ as_of_on() }}
    group by customer_key, category, ordered_on, brand
)

select
    customer_key,
    category,
    purchase_on,
    brand,
    kept_quantity,
    kept_amount,
    -- An unknown brand never speaks for an occasion that has a known one.
    row_number() over (
        partition by customer_key, category, purchase_on
        order by brand is null, kept_amount desc nulls last, kept_quantity desc, brand
    ) as brand_place
from kept
