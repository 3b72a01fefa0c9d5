{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['order_key']}) }}

-- The orders of the last 365 days, and the older ones that were refunded within them.
with refunded as (
    select distinct order_key
    from {{ ref('fct_refunds') }}
    where {{ in_last(365, 'refunded_on') }}
)

select
    order_key,
    sum(quantity) as bought_quantity,
    sum(returned_quantity) as returned_quantity,
    sum(kept_quantity) as kept_quantity,
    sum(kept_quantity * unit_cost) as kept_cost_amount,
    bool_and(unit_cost is not null or kept_quantity = 0) as is_cost_known,
    sum(kept_quantity * list_price) as kept_list_amount,
    bool_and(list_price is not null or kept_quantity = 0) as is_list_price_known
from {{ ref('fct_order_items') }}
where customer_key is not null
    and ({{ in_last(365, 'ordered_on') }} or order_key in (select order_key from refunded))
group by order_key
