{{ config(
    tags=['live'],
    meta={'scope': 'day', 'scope_key': 'revenue_on', 'primary_key': ['revenue_on'], 'moves': true}
) }}

{%- set counts = [
    'placed_order_count', 'order_count', 'cancelled_order_count', 'customer_count', 'unconverted_order_count',
    'refund_count',
] %}
{%- set amounts = [
    'gross_amount', 'discount_amount', 'tax_amount', 'shipping_amount', 'refunded_amount', 'refunded_net_amount',
    'cancelled_amount', 'net_before_refunds_amount',
] %}

with orders as (
    {{ moved_rows('fct_orders', 'order', 'order_key', [
        'customer_key', 'ordered_on', 'is_valid', 'is_cancelled', 'exchange_rate', 'gross_amount', 'discount_amount', 'tax_amount',
        'shipping_amount', 'cancelled_amount', 'net_amount', 'refunded_net_amount',
    ]) }}
),

-- Only a changed order can give a day a buyer or take one from it.
changed_buyers as (
    select distinct
        ordered_on,
        customer_key
    from orders
    where is_valid and customer_key is not null
),

buyers as (
    {%- if is_scoped() %}
    {%- for sign, facts in [(1, ref('fct_orders')), (-1, published('fct_orders'))] %}
    select
        {{ sign }} as sign,
        ordered_on
    from changed_buyers
    where exists (
        select from {{ facts }} as fact
        where fact.customer_key = changed_buyers.customer_key
            and fact.ordered_on = changed_buyers.ordered_on
            and fact.is_valid
    )
    {{- ' union all' if not loop.last }}
    {%- endfor %}
    {%- else %}
    select
        1 as sign,
        ordered_on
    from changed_buyers
    {%- endif %}
),

refunds as (
    {{ moved_rows('fct_refunds', 'order', 'order_key', ['refunded_on', 'amount', 'net_amount']) }}
),

moved as (
    select
        ordered_on as revenue_on,
        sign as placed_order_count,
        case when is_valid then sign else 0 end as order_count,
        case when is_cancelled then sign else 0 end as cancelled_order_count,
        0 as customer_count,
        case when exchange_rate is null then sign else 0 end as unconverted_order_count,
        0 as refund_count,
        sign * gross_amount as gross_amount,
        case when not is_cancelled then sign * discount_amount end as discount_amount,
        case when not is_cancelled then sign * tax_amount end as tax_amount,
        case when not is_cancelled then sign * shipping_amount end as shipping_amount,
        0 as refunded_amount,
        0 as refunded_net_amount,
        sign * cancelled_amount as cancelled_amount,
        sign * (net_amount + refunded_net_amount) as net_before_refunds_amount
    from orders
    union all
    select refunded_on, 0, 0, 0, 0, 0, sign, 0, 0, 0, 0, sign * amount, sign * net_amount, 0, 0
    from refunds
    union all
    select ordered_on, 0, 0, 0, sign, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    from buyers
    {{- published_totals(['revenue_on'] + counts + amounts[:-1] + ['net_amount + refunded_net_amount']) }}
),

days as (
    select
        revenue_on,
        {%- for count in counts %}
        sum({{ count }})::bigint as {{ count }},
        {%- endfor %}
        {%- for amount in amounts %}
        coalesce(sum({{ amount }}), 0) as {{ amount }}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from moved
    group by revenue_on
    having sum(placed_order_count) > 0 or sum(refund_count) > 0
)

select
    revenue_on,
    placed_order_count,
    order_count,
    cancelled_order_count,
    customer_count,
    unconverted_order_count,
    refund_count,
    gross_amount,
    discount_amount,
    tax_amount,
    shipping_amount,
    refunded_amount,
    refunded_net_amount,
    net_before_refunds_amount - refunded_net_amount as net_amount,
    cancelled_amount
from days
