-- Up to as_of_on: orders of customers against the facts; net revenue of customers and of nobody against all there is.
with customers as (
    select sum(order_count) as order_count, sum(monetary_amount) as net_amount, max(as_of_on) as as_of_on
    from {{ ref('customer_loyalty') }}
),

nobody as (
    select coalesce(sum(unattributed.net_amount), 0) as net_amount
    from {{ ref('unattributed_totals') }} as unattributed
    cross join customers
    where unattributed.event_on <= customers.as_of_on
),

orders as (
    select
        count(*) filter (where is_valid and customer_key is not null) as order_count,
        coalesce(sum(facts.net_amount + facts.refunded_net_amount) filter (where not is_cancelled), 0) as net_amount
    from {{ ref('fct_orders') }} as facts
    cross join customers
    where ordered_on <= customers.as_of_on
),

refunds as (
    select coalesce(sum(refunds.net_amount), 0) as net_amount
    from {{ ref('fct_refunds') }} as refunds
    cross join customers
    where refunds.refunded_on <= customers.as_of_on
)

select
    customers.order_count,
    orders.order_count as fact_order_count,
    customers.net_amount + nobody.net_amount as net_amount,
    orders.net_amount - refunds.net_amount as fact_net_amount
from customers
cross join nobody
cross join orders
cross join refunds
where customers.as_of_on is not null
    and (
        customers.order_count <> orders.order_count
        or customers.net_amount + nobody.net_amount <> orders.net_amount - refunds.net_amount
    )
