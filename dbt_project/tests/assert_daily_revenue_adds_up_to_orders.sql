-- Orders on their day and refunds on theirs come to the same net revenue as the orders themselves.
with days as (
    select coalesce(sum(gross_amount), 0) as gross_amount, coalesce(sum(net_amount), 0) as net_amount
    from {{ ref('fct_daily_revenue') }}
),

orders as (
    select coalesce(sum(gross_amount), 0) as gross_amount, coalesce(sum(net_amount), 0) as net_amount
    from {{ ref('fct_orders') }}
)

select * from days
except
select * from orders
