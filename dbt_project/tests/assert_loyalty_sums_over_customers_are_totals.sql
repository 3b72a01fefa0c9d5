-- Orders and net revenue by customer and unattributed, up to as_of_on, against the facts.
with customers as (
    select sum(order_count) as order_count, sum(monetary_amount) as net_amount, max(as_of_on) as as_of_on
    from {{ ref('customer_loyalty') }}
),

orders as (
    select
        count(*) filter (where is_valid and customer_key is not null) as order_count,
        sum(facts.net_amount + facts.refunded_net_amount)
            filter (where not is_cancelled and customer_key is not null) as net_amount
    from {{ ref('fct_orders') }} as facts
    cross join customers
    where ordered_on <= customers.as_of_on
),

refunds as (
    select coalesce(sum(refunds.net_amount), 0) as net_amount
    from {{ ref('fct_refunds') }} as refunds
    cross join customers
    where refunds.customer_key is not null and refunds.refunded_on <= customers.as_of_on
)

select customers.order_count, orders.order_count as fact_order_count, customers.net_amount
from customers
cross join orders
cross join refunds
where customers.as_of_on is not null
    and (
        customers.order_count <> coalesce(orders.order_count, 0)
        or customers.net_amount <> coalesce(orders.net_amount, 0) - refunds.net_amount
    )
