{{ config(
    tags=['live'],
    meta={
        'scope': 'order', 'scope_key': 'order_key', 'primary_key': ['order_key', 'line_number'],
        'indexes': ['(customer_key)'], 'cluster_by': 'customer_key',
    }
) }}

with orders as (
    select
        staged.order_key,
        staged.source,
        staged.order_id,
        staged.items,
        facts.customer_key,
        facts.ordered_on,
        facts.is_valid,
        facts.is_cancelled,
        facts.exchange_rate,
        facts.batch_id,
        staged.items @? '$[*].returned_quantity ? (@ != null)' as says_what_came_back,
        facts.status = 'returned'
            or (facts.original_total_amount > 0 and facts.original_refunded_amount >= facts.original_total_amount)
            as is_all_returned
    from {{ ref('stg_orders') }} as staged
    inner join {{ ref('fct_orders') }} as facts using (order_key)
    where staged.items is not null
        {{- only_dirty('order', 'staged.order_key') }}
),

lines as (
    select
        orders.*,
        listed.line_number,
        listed.item ->> 'sku' as sku,
        listed.item ->> 'category' as category,
        listed.item ->> 'brand' as brand,
        (listed.item ->> 'quantity')::numeric as quantity,
        (listed.item ->> 'returned_quantity')::numeric as said_returned_quantity,
        (listed.item ->> 'unit_price')::numeric as unit_price,
        (listed.item ->> 'list_price')::numeric as list_price,
        (listed.item ->> 'unit_cost')::numeric as unit_cost,
        coalesce((listed.item ->> 'discount_amount')::numeric, 0) as discount_amount
    from orders
    cross join lateral jsonb_array_elements(orders.items) with ordinality as listed(item, line_number)
),

kept as (
    select
        lines.*,
        case
            when says_what_came_back then coalesce(said_returned_quantity, 0)
            when is_all_returned then quantity
            else 0
        end as returned_quantity
    from lines
)

select
    order_key,
    source,
    order_id,
    line_number,
    customer_key,
    ordered_on,
    sku,
    category,
    brand,
    quantity,
    returned_quantity,
    case when is_cancelled then 0 else quantity - returned_quantity end as kept_quantity,
    round(unit_price * exchange_rate, 4) as unit_price,
    round(list_price * exchange_rate, 4) as list_price,
    round(unit_cost * exchange_rate, 4) as unit_cost,
    round(discount_amount * exchange_rate, 4) as discount_amount,
    -- What the kept pieces cost the customer: the line's discount belongs to its pieces in equal parts.
    case
        when is_cancelled then 0 * exchange_rate
        else round(
            greatest(unit_price - discount_amount / quantity, 0) * (quantity - returned_quantity) * exchange_rate, 4
        )
    end as kept_amount,
    is_valid,
    batch_id
from kept
