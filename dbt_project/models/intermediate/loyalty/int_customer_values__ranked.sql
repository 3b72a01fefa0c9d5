{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with orders as (
    select
        orders.customer_key,
        orders.net_amount + orders.refunded_net_amount as net_before_refunds_amount,
        items.kept_cost_amount,
        coalesce(items.is_cost_known, false) as is_cost_known
    from {{ ref('fct_orders') }} as orders
    left join {{ ref('int_order_items__totalled') }} as items using (order_key)
    where orders.customer_key is not null
        and orders.is_valid
        and orders.exchange_rate is not null
        and {{ in_last(365, 'orders.ordered_on') }}
),

refunds as (
    select
        refunds.customer_key,
        refunds.net_amount,
        coalesce(items.is_cost_known, false) as is_cost_known
    from {{ ref('fct_refunds') }} as refunds
    left join {{ ref('int_order_items__totalled') }} as items using (order_key)
    where refunds.customer_key is not null
        and refunds.net_amount is not null
        and {{ in_last(365, 'refunds.refunded_on') }}
),

bought as (
    select
        customer_key,
        sum(net_before_refunds_amount) as net_before_refunds_amount,
        sum(net_before_refunds_amount) filter (where is_cost_known) as measured_amount,
        sum(net_before_refunds_amount - kept_cost_amount) filter (where is_cost_known) as margin_before_refunds_amount
    from orders
    group by customer_key
),

returned as (
    select
        customer_key,
        sum(net_amount) as refunded_net_amount,
        sum(net_amount) filter (where is_cost_known) as measured_refunded_net_amount
    from refunds
    group by customer_key
),

customers as (
    select
        customer_key,
        coalesce(net_before_refunds_amount, 0) - coalesce(refunded_net_amount, 0) as net_amount_365d,
        case
            when coalesce(margin_before_refunds_amount, measured_refunded_net_amount) is not null
                then coalesce(margin_before_refunds_amount, 0) - coalesce(measured_refunded_net_amount, 0)
        end as margin_amount_365d,
        round(measured_amount / nullif(net_before_refunds_amount, 0), 6) as margin_coverage,
        measured_amount,
        margin_before_refunds_amount,
        net_before_refunds_amount,
        coalesce(net_before_refunds_amount, 0) - coalesce(measured_amount, 0)
            - coalesce(refunded_net_amount, 0) + coalesce(measured_refunded_net_amount, 0) as unmeasured_net_amount
    from bought
    full join returned using (customer_key)
),

shop as (
    select
        round(coalesce(sum(measured_amount), 0) / nullif(sum(net_before_refunds_amount), 0), 6) as shop_margin_coverage,
        sum(margin_before_refunds_amount) / nullif(sum(measured_amount), 0) as shop_margin_rate
    from customers
),

valued as (
    select
        customers.*,
        shop.shop_margin_coverage,
        is_margin_used,
        -- The part without costs earns what the shop earns on the rest: a customer is not ranked by what is known of him.
        case
            when is_margin_used
                then round(coalesce(margin_amount_365d, 0) + unmeasured_net_amount * shop.shop_margin_rate, 4)
            else net_amount_365d
        end as value_amount_365d,
        case when is_margin_used then 'margin' else 'net_revenue' end as value_basis
    from customers
    cross join shop
    cross join lateral (
        select coalesce(shop.shop_margin_coverage >= {{ parameter('value_minimum_margin_coverage') }}, false)
            as is_margin_used
    ) as chosen
),

-- Equal values share their place and their share: no order among them that only a key could give.
ranked as (
    select
        *,
        rank() over (order by value_amount_365d desc) as value_rank,
        count(*) over () as valued_customer_count,
        sum(greatest(value_amount_365d, 0)) over (order by value_amount_365d desc) as cumulative_value_amount,
        sum(greatest(value_amount_365d, 0)) over () as total_positive_value_amount
    from valued
    where value_amount_365d is not null
)

select
    valued.customer_key,
    valued.net_amount_365d,
    valued.margin_amount_365d,
    valued.margin_coverage,
    valued.net_before_refunds_amount as net_before_refunds_amount_365d,
    valued.shop_margin_coverage,
    valued.is_margin_used,
    valued.value_amount_365d,
    valued.value_basis,
    ranked.total_positive_value_amount,
    ranked.valued_customer_count,
    case when ranked.total_positive_value_amount > 0 then ranked.value_rank end as value_rank,
    round(ranked.cumulative_value_amount / nullif(ranked.total_positive_value_amount, 0), 6) as cumulative_value_share,
    case
        when ranked.total_positive_value_amount > 0
            then ranked.value_rank <= ceil(ranked.valued_customer_count * {{ parameter('top_value_share') }})
    end as is_top20_value
from valued
left join ranked using (customer_key)
