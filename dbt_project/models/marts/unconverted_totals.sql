{{ config(
    tags=['live'],
    meta={'scope': 'day', 'scope_key': 'ordered_on', 'primary_key': ['ordered_on', 'currency'], 'moves': true}
) }}

with orders as (
    {{ moved_rows('fct_orders', 'order', 'order_key', [
        'ordered_on', 'currency', 'is_cancelled', 'original_total_amount',
    ], condition='exchange_rate is null') }}
),

moved as (
    select
        ordered_on,
        currency,
        sign as order_count,
        case when is_cancelled then 0 else sign * original_total_amount end as original_gross_amount
    from orders
    {{- published_totals(['ordered_on', 'currency', 'order_count', 'original_gross_amount']) }}
)

select
    ordered_on,
    currency,
    sum(order_count)::bigint as order_count,
    sum(original_gross_amount) as original_gross_amount
from moved
group by ordered_on, currency
having sum(order_count) > 0
