{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

-- A category is entered on the first day that it is bought, unless everything was new that day.
with entries as (
    select
        customer_key,
        category,
        entered_on
    from (
        select
            customer_key,
            category,
            min(ordered_on) as entered_on,
            min(min(ordered_on)) over (partition by customer_key) as first_on
        from {{ ref('fct_order_items') }}
        where is_valid
            and category is not null
            and ordered_on <= {{ as_of_on() }}
            and customer_key in (
                select customer_key from {{ ref('int_purchase_cadences__measured') }} where purchase_day_count_365d > 0
            )
        group by customer_key, category
    ) as categories
    where entered_on > first_on and {{ in_last(365, 'entered_on') }}
),

prices as (
    select
        customer_key,
        percentile_cont({{ parameter('risk_high_price_percentile') }}::double precision) within group (order by unit_price)
            as high_price
    from {{ ref('fct_order_items') }}
    where customer_key in (select customer_key from entries)
        and is_valid
        and unit_price is not null
        and ordered_on <= {{ as_of_on() }}
    group by customer_key
),

-- Found before the prices are joined: they are a quarter of the lines.
new_lines as materialized (
    select items.customer_key, items.unit_price
    from {{ ref('fct_order_items') }} as items
    inner join entries
        on entries.customer_key = items.customer_key
        and entries.category = items.category
        and entries.entered_on = items.ordered_on
    where items.unit_price is not null and items.is_valid
),

new_categories as (
    select
        new_lines.customer_key,
        count(*) as new_category_line_count,
        count(*) filter (where new_lines.unit_price > prices.high_price) as dear_line_count
    from new_lines
    inner join prices on prices.customer_key = new_lines.customer_key
    group by new_lines.customer_key
),

orders as (
    select
        order_key,
        customer_key,
        is_late,
        delivered_at is not null and promised_delivery_at is not null
            and {{ by_as_of('delivered_at') }} as is_judged
    from {{ ref('fct_orders') }}
    where customer_key is not null and is_valid and {{ in_last(365, 'ordered_on') }}
),

asked as (
    select distinct orders.order_key
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('fct_tickets') }} as tickets
        on tickets.customer_key = orders.customer_key
        and tickets.created_at <= orders.ordered_at
        and tickets.created_at > orders.ordered_at - {{ parameter('risk_ticket_window_days') }} * interval '1 day'
    where orders.is_valid and {{ in_last(365, 'orders.ordered_on') }}
),

bought as (
    select
        orders.customer_key,
        count(*) as order_count,
        count(*) filter (where orders.is_judged) as promised_delivered_count,
        count(*) filter (where orders.is_judged and orders.is_late) as late_count,
        count(asked.order_key) as asked_order_count,
        sum(items.bought_quantity) as bought_quantity,
        sum(items.returned_quantity) as returned_quantity
    from orders
    left join {{ ref('int_order_items__totalled') }} as items using (order_key)
    left join asked using (order_key)
    group by orders.customer_key
),

risks as (
    select
        bought.customer_key,
        bought.order_count,
        bought.bought_quantity,
        bought.promised_delivered_count,
        coalesce(new_categories.new_category_line_count, 0) as new_category_line_count,
        {{ rate('dear_line_count', 'new_category_line_count') }} as risk_financial,
        {{ rate('late_count', 'promised_delivered_count') }} as risk_time,
        {{ rate('returned_quantity', 'bought_quantity') }} as risk_product,
        {{ rate('asked_order_count', 'order_count') }} as risk_psychological
    from bought
    left join new_categories using (customer_key)
)

select
    customer_key,
    risk_financial,
    risk_time,
    risk_product,
    risk_psychological,
    round(
        (coalesce(risk_financial, 0) + coalesce(risk_time, 0) + coalesce(risk_product, 0) + coalesce(risk_psychological, 0))
        / num_nonnulls(risk_financial, risk_time, risk_product, risk_psychological), 6
    ) as perceived_risk_index,
    order_count as risk_order_count,
    bought_quantity as risk_bought_quantity,
    promised_delivered_count as risk_delivered_count,
    new_category_line_count
from risks
