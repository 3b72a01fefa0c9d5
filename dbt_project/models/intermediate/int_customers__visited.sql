{{ config(
    tags=['live'],
    meta={'scope': 'customer', 'scope_key': 'customer_key', 'primary_key': ['customer_key']}
) }}

select
    customer_key,
    count(*) as session_count,
    min(started_at) as first_session_at,
    max(started_at) as last_session_at,
    (array_agg(channel order by started_at, session_key))[1] as first_touch_channel,
    sum(engaged_seconds)::bigint as engaged_seconds,
    sum(session_seconds)::bigint as session_seconds,
    sum(page_views)::bigint as page_view_count,
    sum(product_views)::bigint as product_view_count,
    sum(searches)::bigint as search_count,
    sum(add_to_carts)::bigint as add_to_cart_count,
    sum(checkouts_started)::bigint as checkout_started_count,
    count(*) filter (where product_views > 0) as product_view_session_count,
    count(*) filter (where add_to_carts > 0) as cart_session_count,
    count(*) filter (where checkouts_started > 0) as checkout_session_count,
    count(*) filter (where order_id is not null) as order_session_count,
    count(*) filter (where product_views > 0 and add_to_carts > 0) as product_view_cart_session_count,
    count(*) filter (where add_to_carts > 0 and order_id is not null) as cart_order_session_count
from {{ ref('fct_sessions') }}
where customer_key is not null
    {{- only_dirty('customer', 'customer_key') }}
group by customer_key
