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
        raw.masked_text(listed.item ->> 'category') as category,
        raw.masked_text(listed.item ->> 'brand') as brand,
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
        end as returned_quantity,
        round(
            case when is_cancelled then 0 else greatest(unit_price * quantity - discount_amount, 0) end * exchange_rate, 4
        ) as line_amount
    from lines
),

-- Refunds of one order that name the same article, or none, are shared together.
refunds as (
    select
        order_key,
        case when sku_source = 'refund' then sku end as named_sku,
        sum(amount) as amount,
        sum(net_amount) as net_amount
    from {{ ref('fct_refunds') }}
    where true
        {{- only_dirty('order', 'order_key') }}
    group by 1, 2
),

matched as (
    select
        kept.order_key,
        kept.line_number,
        refunds.named_sku,
        refunds.amount,
        refunds.net_amount,
        kept.line_amount,
        kept.line_amount * kept.returned_quantity / kept.quantity as returned_amount,
        coalesce(kept.sku = refunds.named_sku, false) as is_named
    from kept
    inner join refunds using (order_key)
),

-- What a refund names; else what came back; else every line: each by its amount, or alike where no line has one.
eligible as (
    select
        *,
        case
            when bool_or(is_named) over of_the_refunds then is_named
            when sum(returned_amount) over of_the_refunds > 0 then returned_amount > 0
            else true
        end as is_eligible,
        case
            when not bool_or(is_named) over of_the_refunds and sum(returned_amount) over of_the_refunds > 0 then returned_amount
            else line_amount
        end as natural_weight
    from matched
    window of_the_refunds as (partition by order_key, named_sku)
),

weighed as (
    select
        *,
        case
            when not is_eligible then 0
            when sum(natural_weight) filter (where is_eligible) over (partition by order_key, named_sku) > 0 then natural_weight
            else 1
        end as weight
    from eligible
),

-- Differences of a rounded running share: the parts add up to the refund, to the last decimal.
shared as (
    select
        *,
        sum(weight) over (partition by order_key, named_sku order by line_number)
            / sum(weight) over (partition by order_key, named_sku) as share_to_here,
        (sum(weight) over (partition by order_key, named_sku order by line_number) - weight)
            / sum(weight) over (partition by order_key, named_sku) as share_before
    from weighed
),

refunded as (
    select
        order_key,
        line_number,
        sum(round(amount * share_to_here, 4) - round(amount * share_before, 4)) as refunded_amount,
        sum(round(net_amount * share_to_here, 4) - round(net_amount * share_before, 4)) as refunded_net_amount
    from shared
    group by order_key, line_number
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
    line_amount,
    case when exchange_rate is not null then coalesce(refunded.refunded_amount, 0) end as refunded_amount,
    case when exchange_rate is not null then coalesce(refunded.refunded_net_amount, 0) end as refunded_net_amount,
    is_valid,
    batch_id
from kept
left join refunded using (order_key, line_number)
