-- One row per customer: the live columns of marts.customer_360 from Parquet of the raw rows and of who is who.
-- Variable: here (the folder). Written for bench/increment.py's base.
with rates as (
    select currency, valid_on, rate::decimal(18, 10) as rate from read_parquet(getvariable('here') || '/rates.parquet')
),
who as (select * from read_parquet(getvariable('here') || '/records.parquet')),
latest_orders as (
    select * from read_parquet(getvariable('here') || '/orders.parquet')
    qualify row_number() over (partition by order_id order by updated_at desc, row_number desc) = 1
),
orders as (
    select o.* exclude (discount_amount, tax_amount, shipping_amount), who.customer_key,
        case when o.currency = 'USD' then 1::decimal(18, 10) else rates.rate end as rate,
        o.ordered_at::date as ordered_on, status = 'cancelled' as is_cancelled,
        status <> 'cancelled' and total_amount > 0 as is_valid,
        coalesce(discount_amount, 0) as discount_amount, coalesce(tax_amount, 0) as tax_amount,
        coalesce(shipping_amount, 0) as shipping_amount
    from latest_orders as o
    left join who on who.record_type = 'order' and who.record_id = o.order_id
    left join rates on rates.currency = o.currency and rates.valid_on = o.ordered_at::date
),
refunds as (
    select order_id, customer_key, refund.refunded_at::timestamptz as refunded_at,
        refund.amount as original_amount, round(refund.amount * rate, 4) as amount,
        round(refund.amount * coalesce((total_amount - tax_amount - shipping_amount) / nullif(total_amount, 0), 0) * rate, 4)
            as net_amount
    from (
        select order_id, customer_key, rate, total_amount, tax_amount, shipping_amount, unnest(from_json(refunds,
            '[{"refund_id": "VARCHAR", "refunded_at": "VARCHAR", "amount": "DECIMAL(18,4)"}]')) as refund
        from orders where refunds is not null and not is_cancelled
    )
),
refunds_of_orders as (
    select order_id, sum(original_amount) as original_amount, sum(amount) as amount, sum(net_amount) as net_amount
    from refunds group by order_id
),
converted as (
    select orders.*, round(total_amount * rate, 4) as total, round(discount_amount * rate, 4) as discount,
        round(tax_amount * rate, 4) as tax, round(shipping_amount * rate, 4) as shipping,
        case when rate is not null then coalesce(r.amount, 0) end as refunded,
        case when rate is not null then coalesce(r.net_amount, 0) end as refunded_net,
        coalesce(r.original_amount, 0) as original_refunded,
        case when is_cancelled then 0 else total - tax - shipping - refunded_net end as net
    from orders left join refunds_of_orders as r using (order_id)
),
ordered as (
    select customer_key,
        count(*) filter (is_valid) as order_count, count(*) filter (is_cancelled) as cancelled_order_count,
        count(*) filter (status = 'returned') as returned_order_count,
        count(*) filter (rate is null) as unconverted_order_count,
        count(distinct ordered_on) filter (is_valid) as purchase_day_count,
        min(ordered_at) filter (is_valid) as first_order_at, max(ordered_at) filter (is_valid) as last_order_at,
        min(ordered_on) filter (is_valid) as first_order_on, max(ordered_on) filter (is_valid) as last_order_on,
        coalesce(sum(total) filter (not is_cancelled), 0) as gross_amount,
        coalesce(sum(discount) filter (not is_cancelled), 0) as discount_amount,
        coalesce(sum(tax) filter (not is_cancelled), 0) as tax_amount,
        coalesce(sum(shipping) filter (not is_cancelled), 0) as shipping_amount,
        coalesce(sum(refunded), 0) as refunded_amount, coalesce(sum(refunded_net), 0) as refunded_net_amount,
        coalesce(sum(net), 0) as net_amount, coalesce(sum(total) filter (is_cancelled), 0) as cancelled_amount,
        count(*) filter (is_valid and discount > 0) as discounted_order_count,
        count(*) filter (is_valid and coupon_code is not null) as coupon_order_count,
        count(*) filter (is_valid and sales_channel = 'web') as web_order_count,
        coalesce(sum(net) filter (sales_channel = 'web'), 0) as web_net_amount,
        count(*) filter (is_valid and sales_channel = 'app') as app_order_count,
        coalesce(sum(net) filter (sales_channel = 'app'), 0) as app_net_amount,
        count(*) filter (is_valid and sales_channel = 'store') as store_order_count,
        coalesce(sum(net) filter (sales_channel = 'store'), 0) as store_net_amount,
        count(*) filter (is_valid and sales_channel = 'phone') as phone_order_count,
        coalesce(sum(net) filter (sales_channel = 'phone'), 0) as phone_net_amount,
        count(*) filter (is_valid and sales_channel = 'marketplace') as marketplace_order_count,
        coalesce(sum(net) filter (sales_channel = 'marketplace'), 0) as marketplace_net_amount,
        count(*) filter (is_valid and delivered_at is not null) as delivered_order_count,
        count(*) filter (is_valid and delivered_at is not null and promised_delivery_at is not null)
            as promised_delivery_count,
        count(*) filter (is_valid and delivered_at > promised_delivery_at) as late_order_count,
        round(avg((epoch(delivered_at) - epoch(ordered_at)) / 86400) filter (is_valid), 4) as average_delivery_days
    from converted where customer_key is not null group by customer_key
),
refunded as (
    select customer_key, count(*) as refund_count, max(refunded_at) as last_refunded_at
    from refunds where customer_key is not null group by customer_key
),
lines as (
    select customer_key, item.category as category, item.brand as brand, item.quantity as quantity,
        case when status = 'returned' or (total_amount > 0 and original_refunded >= total_amount) then item.quantity
            else 0 end as returned,
        round(item.unit_price * (quantity - returned) * rate, 4) as kept_amount
    from (
        select customer_key, rate, status, total_amount, original_refunded, unnest(from_json(items,
            '[{"category": "VARCHAR", "brand": "VARCHAR", "quantity": "DECIMAL(18,4)", "unit_price": "DECIMAL(18,4)"}]'))
            as item
        from converted where is_valid and customer_key is not null
    )
),
kept as (
    select customer_key, sum(quantity) as item_quantity, sum(returned) as returned_quantity,
        sum(quantity - returned) as kept_quantity
    from lines group by customer_key
),
favourites as (
    select customer_key, first(category order by amount desc nulls last, pieces desc, category) as favourite_category,
        count(category) as category_count
    from (
        select customer_key, category, sum(kept_amount) as amount, sum(quantity - returned) as pieces
        from lines group by customer_key, category
    ) where pieces > 0 group by customer_key
),
favourite_brands as (
    select customer_key, first(brand order by amount desc nulls last, pieces desc, brand) as favourite_brand,
        count(brand) as brand_count
    from (
        select customer_key, brand, sum(kept_amount) as amount, sum(quantity - returned) as pieces
        from lines group by customer_key, brand
    ) where pieces > 0 group by customer_key
),
latest_sessions as (
    select * from read_parquet(getvariable('here') || '/web_sessions.parquet')
    qualify row_number() over (partition by session_id order by updated_at desc, row_number desc) = 1
),
visited as (
    select customer_key, count(*) as session_count, min(started_at) as first_session_at,
        max(started_at) as last_session_at, sum(engaged_seconds) as engaged_seconds,
        sum(epoch(ended_at) - epoch(started_at)) as session_seconds, sum(page_views) as page_view_count,
        sum(product_views) as product_view_count, sum(searches) as search_count, sum(add_to_carts) as add_to_cart_count,
        sum(checkouts_started) as checkout_started_count,
        count(*) filter (product_views > 0) as product_view_session_count,
        count(*) filter (add_to_carts > 0) as cart_session_count,
        count(*) filter (checkouts_started > 0) as checkout_session_count,
        count(order_id) as order_session_count
    from latest_sessions join who on record_type = 'session' and record_id = session_id
    where customer_key is not null group by customer_key
),
latest_tickets as (
    select *, min(resolved_at) over (partition by ticket_id) as first_resolved_at,
        satisfaction_score / satisfaction_scale_max as satisfaction
    from read_parquet(getvariable('here') || '/support_tickets.parquet')
    qualify row_number() over (partition by ticket_id order by updated_at desc, row_number desc) = 1
),
supported as (
    select customer_key, count(*) as ticket_count,
        count(*) filter (status not in ('solved', 'closed')) as open_ticket_count,
        count(*) filter (category = 'complaint' or coalesce(satisfaction <= 0.4, false)) as complaint_count,
        min(created_at) as first_ticket_at, max(created_at) as last_ticket_at,
        count(first_response_at) as answered_ticket_count,
        avg((epoch(first_response_at) - epoch(created_at)) / 3600) as average_first_response_hours,
        count(first_resolved_at) as resolved_ticket_count,
        avg((epoch(first_resolved_at) - epoch(created_at)) / 3600) as average_first_resolution_hours,
        avg((epoch(resolved_at) - epoch(created_at)) / 3600) as average_final_resolution_hours,
        sum(replies) as reply_count, sum(reopens) as reopen_count,
        count(satisfaction) as satisfaction_answer_count, avg(satisfaction) as average_satisfaction,
        coalesce(sum(compensation_amount), 0) as compensation_amount
    from latest_tickets join who on record_type = 'ticket' and record_id = ticket_id
    where customer_key is not null group by customer_key
)
select customer_key, identifier_count, identity_confidence, first_seen_at,
    coalesce(columns(ordered.* exclude (customer_key, first_order_at, last_order_at, first_order_on, last_order_on,
        average_delivery_days)), 0),
    first_order_at, last_order_at, first_order_on, last_order_on, average_delivery_days,
    round(gross_amount / nullif(order_count - unconverted_order_count, 0), 4) as average_order_amount,
    coalesce(refund_count, 0) as refund_count, last_refunded_at,
    coalesce(item_quantity, 0) as item_quantity, coalesce(returned_quantity, 0) as returned_quantity,
    coalesce(kept_quantity, 0) as kept_quantity, coalesce(category_count, 0) as category_count,
    coalesce(brand_count, 0) as brand_count, favourite_category, favourite_brand,
    coalesce(session_count, 0) as session_count, first_session_at, last_session_at, engaged_seconds,
    coalesce(session_seconds, 0) as session_seconds, coalesce(page_view_count, 0) as page_view_count,
    coalesce(product_view_count, 0) as product_view_count, coalesce(search_count, 0) as search_count,
    coalesce(add_to_cart_count, 0) as add_to_cart_count, coalesce(checkout_started_count, 0) as checkout_started_count,
    coalesce(product_view_session_count, 0) as product_view_session_count,
    coalesce(cart_session_count, 0) as cart_session_count,
    coalesce(checkout_session_count, 0) as checkout_session_count,
    coalesce(order_session_count, 0) as order_session_count,
    round(cart_session_count / nullif(product_view_session_count, 0), 4) as view_to_cart_rate,
    coalesce(ticket_count, 0) as ticket_count, coalesce(open_ticket_count, 0) as open_ticket_count,
    coalesce(complaint_count, 0) as complaint_count,
    round(coalesce(complaint_count, 0) / nullif(order_count, 0), 4) as complaints_per_order,
    first_ticket_at, last_ticket_at, coalesce(answered_ticket_count, 0) as answered_ticket_count,
    average_first_response_hours, coalesce(resolved_ticket_count, 0) as resolved_ticket_count,
    average_first_resolution_hours, average_final_resolution_hours, coalesce(reply_count, 0) as reply_count,
    coalesce(reopen_count, 0) as reopen_count, coalesce(satisfaction_answer_count, 0) as satisfaction_answer_count,
    average_satisfaction, coalesce(compensation_amount, 0) as compensation_amount,
    round(1 - late_order_count / nullif(promised_delivery_count, 0), 4) as on_time_rate
from read_parquet(getvariable('here') || '/customers.parquet')
left join ordered using (customer_key) left join refunded using (customer_key) left join kept using (customer_key)
left join favourites using (customer_key) left join favourite_brands using (customer_key)
left join visited using (customer_key) left join supported using (customer_key)
