{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with customers as (
    select
        *,
        purchase_day_count >= {{ parameter('promotion_minimum_purchase_days') }} as is_measured
    from {{ ref('int_customer_orders__summed') }}
    inner join {{ ref('int_purchase_cadences__measured') }} using (customer_key)
),

shares as (
    select
        customer_key,
        order_count,
        case when is_measured then {{ rate('discounted_order_count', 'order_count') }} end as promotion_share,
        -- Of what the discounted orders would have cost; no discount at all is a depth of zero.
        case
            when is_measured and discounted_order_count = 0 then 0
            when is_measured
                then round(discount_amount / nullif(discounted_net_amount + discount_amount, 0), 6)
        end as discount_depth,
        coalesce(discounted_net_amount + discount_amount, 0) as undiscounted_amount
    from customers
)

select
    customer_key,
    promotion_share,
    discount_depth,
    promotion_share >= {{ parameter('promotion_dependent_share') }} as is_promotion_dependent,
    undiscounted_amount
from shares
