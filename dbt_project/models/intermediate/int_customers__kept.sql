{{ config(
    tags=['live'],
    meta={'scope': 'customer', 'scope_key': 'customer_key', 'primary_key': ['customer_key']}
) }}

{#- Bits of grouping(category, brand): which of the two a row is summed over. #}
{%- set per_category = 1 %}
{%- set per_brand = 2 %}

with summed as (
    select
        customer_key,
        category,
        brand,
        grouping(category, brand) as level,
        sum(quantity) as item_quantity,
        sum(returned_quantity) as returned_quantity,
        sum(kept_quantity) as kept_quantity,
        sum(kept_amount) as kept_amount
    from {{ ref('fct_order_items') }}
    where customer_key is not null and is_valid
        {{- only_dirty('customer', 'customer_key') }}
    group by grouping sets ((customer_key, category), (customer_key, brand))
),

first_orders as (
    select distinct on (customer_key) customer_key, order_key
    from {{ ref('fct_orders') }}
    where customer_key is not null and is_valid
        {{- only_dirty('customer', 'customer_key') }}
    order by customer_key, ordered_at, order_key
),

first_items as (
    select distinct on (first_orders.customer_key) first_orders.customer_key, items.category as first_order_category, items.sku as first_order_sku
    from first_orders
    inner join {{ ref('fct_order_items') }} as items using (order_key)
    order by first_orders.customer_key, items.line_amount desc nulls last, items.line_number
)

select
    summed.customer_key,
    sum(item_quantity) filter (where level = {{ per_category }}) as item_quantity,
    sum(returned_quantity) filter (where level = {{ per_category }}) as returned_quantity,
    sum(kept_quantity) filter (where level = {{ per_category }}) as kept_quantity,
    {%- for what, level in [('category', per_category), ('brand', per_brand)] %}
    count({{ what }}) filter (where level = {{ level }} and kept_quantity > 0) as {{ what }}_count,
    {%- endfor %}
    -- Favourite: most kept spend, then most kept pieces, then the alphabet, so that the answer never depends on chance.
    {%- for what, level in [('category', per_category), ('brand', per_brand)] %}
    (array_agg({{ what }} order by kept_amount desc nulls last, kept_quantity desc, {{ what }}) filter (
        where level = {{ level }} and {{ what }} is not null and kept_quantity > 0
    ))[1] as favourite_{{ what }},
    {%- endfor %}
    max(first_items.first_order_category) as first_order_category,
    max(first_items.first_order_sku) as first_order_sku
from summed
left join first_items using (customer_key)
group by summed.customer_key
