{{ config(
    tags=['live'],
    meta={'scope': 'customer', 'scope_key': 'customer_key', 'primary_key': ['customer_key']}
) }}

with items as (
    select customer_key, category, brand, quantity, returned_quantity, kept_quantity, kept_amount
    from {{ ref('fct_order_items') }}
    where customer_key is not null and is_valid
        {{- only_dirty('customer', 'customer_key') }}
),

totals as (
    select
        customer_key,
        sum(quantity) as item_quantity,
        sum(returned_quantity) as returned_quantity,
        sum(kept_quantity) as kept_quantity,
        count(distinct category) filter (where kept_quantity > 0) as category_count,
        count(distinct brand) filter (where kept_quantity > 0) as brand_count
    from items
    group by customer_key
),

-- Favourite: most kept spend, then most kept pieces, then the alphabet, so that the answer never depends on chance.
{%- for what in ['category', 'brand'] %}
favourite_{{ what }} as (
    select distinct on (customer_key) customer_key, {{ what }} as favourite_{{ what }}
    from items
    where {{ what }} is not null
    group by customer_key, {{ what }}
    having sum(kept_quantity) > 0
    order by customer_key, sum(kept_amount) desc nulls last, sum(kept_quantity) desc, {{ what }}
){{ ',' if not loop.last }}
{%- endfor %}

select
    customer_key,
    item_quantity,
    returned_quantity,
    kept_quantity,
    category_count,
    brand_count,
    favourite_category,
    favourite_brand
from totals
left join favourite_category using (customer_key)
left join favourite_brand using (customer_key)
