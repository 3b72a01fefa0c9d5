{{ config(unique_key='customer_key', indexes=[{'columns': ['customer_key'], 'unique': true}]) }}
with built as (
    select greatest(
        (select max(batch_id) from {{ ref('orders') }}),
        (select max(batch_id) from {{ ref('sessions') }}),
        (select max(batch_id) from {{ ref('tickets') }})
    ) as batch_id
),
touched as materialized (
    {%- if is_incremental() %}
    {%- for table in ['orders', 'sessions', 'tickets'] %}
    select customer_key from {{ ref(table) }}
    where customer_key is not null and batch_id > (select max(built_batch_id) from {{ this }})
    {{ 'union' if not loop.last }}
    {%- endfor %}
    {%- else %}
    select customer_key from {{ source('identity', 'customers') }}
    {%- endif %}
),
ordered as (
    select
        customer_key,
        count(*) filter (where is_valid) as order_count, count(*) filter (where is_cancelled) as cancelled_order_count,
        count(*) filter (where status = 'returned') as returned_order_count,
        count(*) filter (where rate is null) as unconverted_order_count,
        count(distinct ordered_on) filter (where is_valid) as purchase_day_count,
        min(ordered_at) filter (where is_valid) as first_order_at, max(ordered_at) filter (where is_valid) as last_order_at,
        min(ordered_on) filter (where is_valid) as first_order_on, max(ordered_on) filter (where is_valid) as last_order_on,
        coalesce(sum(total) filter (where not is_cancelled), 0) as gross_amount,
        coalesce(sum(discount) filter (where not is_cancelled), 0) as discount_amount,
        coalesce(sum(tax) filter (where not is_cancelled), 0) as tax_amount,
        coalesce(sum(shipping) filter (where not is_cancelled), 0) as shipping_amount,
        coalesce(sum(refunded), 0) as refunded_amount, coalesce(sum(refunded_net), 0) as refunded_net_amount,
        coalesce(sum(net), 0) as net_amount, coalesce(sum(total) filter (where is_cancelled), 0) as cancelled_amount,
        count(*) filter (where is_valid and discount > 0) as discounted_order_count,
        count(*) filter (where is_valid and coupon_code is not null) as coupon_order_count,
        {%- for channel in ['web', 'app', 'store', 'phone', 'marketplace'] %}
        count(*) filter (where is_valid and sales_channel = '{{ channel }}') as {{ channel }}_order_count,
        coalesce(sum(net) filter (where sales_channel = '{{ channel }}'), 0) as {{ channel }}_net_amount,
        {%- endfor %}
        count(*) filter (where is_valid and delivered_at is not null) as delivered_order_count,
        count(*) filter (where is_valid and delivered_at is not null and promised_delivery_at is not null)
            as promised_delivery_count,
        count(*) filter (where is_valid and delivered_at > promised_delivery_at) as late_order_count,
        round(avg(extract(epoch from delivered_at - ordered_at) / 86400) filter (where is_valid), 4) as average_delivery_days,
        sum(refund_count)::bigint as refund_count, max(last_refunded_at) as last_refunded_at
    from touched inner join {{ ref('orders') }} using (customer_key)
    group by customer_key
),
lines as (
    select
        orders.customer_key, item ->> 'category' as category, item ->> 'brand' as brand,
        (item ->> 'quantity')::numeric as quantity,
        case when status = 'returned' or (total_amount > 0 and original_refunded >= total_amount)
            then (item ->> 'quantity')::numeric else 0 end as returned,
        (item ->> 'unit_price')::numeric * rate as price
    from touched
    inner join {{ ref('orders') }} as orders using (customer_key)
    cross join lateral jsonb_array_elements(items) as item
    where is_valid
),
kept as (
    select customer_key, sum(quantity) as item_quantity, sum(returned) as returned_quantity, sum(quantity - returned) as kept_quantity
    from lines group by customer_key
),
{%- for what in ['category', 'brand'] %}
favourite_{{ what }} as (
    select customer_key, count({{ what }}) as {{ what }}_count,
        (array_agg({{ what }} order by amount desc nulls last, pieces desc, {{ what }}))[1] as favourite_{{ what }}
    from (
        select customer_key, {{ what }}, sum(round(price * (quantity - returned), 4)) as amount, sum(quantity - returned) as pieces
        from lines group by customer_key, {{ what }}
    ) as summed where pieces > 0 group by customer_key
),
{%- endfor %}
visited as (
    select customer_key, count(*) as session_count, min(started_at) as first_session_at, max(started_at) as last_session_at,
        sum(engaged_seconds) as engaged_seconds, sum(extract(epoch from ended_at - started_at)) as session_seconds,
        sum(page_views) as page_view_count, sum(product_views) as product_view_count, sum(searches) as search_count,
        sum(add_to_carts) as add_to_cart_count, sum(checkouts_started) as checkout_started_count,
        count(*) filter (where product_views > 0) as product_view_session_count,
        count(*) filter (where add_to_carts > 0) as cart_session_count,
        count(*) filter (where checkouts_started > 0) as checkout_session_count, count(order_id) as order_session_count
    from touched inner join {{ ref('sessions') }} using (customer_key)
    group by customer_key
),
supported as (
    select customer_key, count(*) as ticket_count,
        count(*) filter (where status not in ('solved', 'closed')) as open_ticket_count,
        count(*) filter (where category = 'complaint' or coalesce(satisfaction <= 0.4, false)) as complaint_count,
        min(created_at) as first_ticket_at, max(created_at) as last_ticket_at,
        count(first_response_at) as answered_ticket_count,
        avg(extract(epoch from first_response_at - created_at) / 3600) as average_first_response_hours,
        count(first_resolved_at) as resolved_ticket_count,
        avg(extract(epoch from first_resolved_at - created_at) / 3600) as average_first_resolution_hours,
        avg(extract(epoch from resolved_at - created_at) / 3600) as average_final_resolution_hours,
        sum(replies) as reply_count, sum(reopens) as reopen_count, count(satisfaction) as satisfaction_answer_count,
        avg(satisfaction) as average_satisfaction, coalesce(sum(compensation_amount), 0) as compensation_amount
    from touched inner join {{ ref('tickets') }} using (customer_key)
    group by customer_key
)
{%- set zeros = [
    'order_count', 'cancelled_order_count', 'returned_order_count', 'unconverted_order_count', 'purchase_day_count',
    'gross_amount', 'discount_amount', 'tax_amount', 'shipping_amount', 'refunded_amount', 'refunded_net_amount', 'net_amount',
    'cancelled_amount', 'discounted_order_count', 'coupon_order_count', 'web_order_count', 'web_net_amount', 'app_order_count',
    'app_net_amount', 'store_order_count', 'store_net_amount', 'phone_order_count', 'phone_net_amount',
    'marketplace_order_count', 'marketplace_net_amount', 'delivered_order_count', 'promised_delivery_count',
    'late_order_count', 'refund_count', 'item_quantity', 'returned_quantity', 'kept_quantity', 'category_count', 'brand_count',
    'session_count', 'session_seconds', 'page_view_count', 'product_view_count', 'search_count', 'add_to_cart_count',
    'checkout_started_count', 'product_view_session_count', 'cart_session_count', 'checkout_session_count',
    'order_session_count', 'ticket_count', 'open_ticket_count', 'complaint_count', 'answered_ticket_count',
    'resolved_ticket_count', 'reply_count', 'reopen_count', 'satisfaction_answer_count', 'compensation_amount',
] %}
select
    customer_key, customers.identifier_count, customers.identity_confidence, customers.first_seen_at,
    {%- for column in zeros %}
    coalesce({{ column }}, 0) as {{ column }},
    {%- endfor %}
    first_order_at, last_order_at, first_order_on, last_order_on, average_delivery_days, last_refunded_at,
    round(gross_amount / nullif(order_count - unconverted_order_count, 0), 4) as average_order_amount,
    favourite_category, favourite_brand, first_session_at, last_session_at, engaged_seconds,
    round(cart_session_count::numeric / nullif(product_view_session_count, 0), 4) as view_to_cart_rate,
    round(coalesce(complaint_count, 0)::numeric / nullif(order_count, 0), 4) as complaints_per_order,
    first_ticket_at, last_ticket_at, average_first_response_hours, average_first_resolution_hours,
    average_final_resolution_hours, average_satisfaction,
    round(1 - late_order_count::numeric / nullif(promised_delivery_count, 0), 4) as on_time_rate,
    built.batch_id as built_batch_id
from touched
inner join {{ source('identity', 'customers') }} as customers using (customer_key)
cross join built
left join ordered using (customer_key)
left join kept using (customer_key)
left join favourite_category using (customer_key)
left join favourite_brand using (customer_key)
left join visited using (customer_key)
left join supported using (customer_key)
