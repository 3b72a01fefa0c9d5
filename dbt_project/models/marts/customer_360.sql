{{ config(
    tags=['live', 'daily'],
    meta={'scope': 'customer', 'scope_key': 'customer_key', 'primary_key': ['customer_key']}
) }}

{%- set channels = ['web', 'app', 'store', 'phone', 'marketplace'] %}
{%- set windows = [7, 30, 90] %}

-- Every side is one small row per customer. The daily tables keep their last figures between two daily passes; a
-- customer who is new since then has NULLs there.
with customers as (
    select customer_key, identifier_count, identity_confidence, first_seen_at
    from {{ source('identity', 'customers') }}
    where true
        {{- only_dirty('customer', 'customer_key') }}
)

select
    customers.customer_key,
    customers.identifier_count::bigint as identifier_count,
    customers.identity_confidence::numeric(18, 4) as identity_confidence,
    customers.first_seen_at,

    coalesce(ordered.order_count, 0) as order_count,
    coalesce(ordered.cancelled_order_count, 0) as cancelled_order_count,
    coalesce(ordered.returned_order_count, 0) as returned_order_count,
    coalesce(ordered.unconverted_order_count, 0) as unconverted_order_count,
    coalesce(ordered.purchase_day_count, 0) as purchase_day_count,
    ordered.first_order_at,
    ordered.last_order_at,
    ordered.first_order_on,
    ordered.last_order_on,
    coalesce(ordered.gross_amount, 0) as gross_amount,
    coalesce(ordered.discount_amount, 0) as discount_amount,
    coalesce(ordered.tax_amount, 0) as tax_amount,
    coalesce(ordered.shipping_amount, 0) as shipping_amount,
    coalesce(ordered.refunded_amount, 0) as refunded_amount,
    coalesce(ordered.refunded_net_amount, 0) as refunded_net_amount,
    coalesce(ordered.net_amount, 0) as net_amount,
    coalesce(ordered.cancelled_amount, 0) as cancelled_amount,
    round(ordered.gross_amount / nullif(ordered.order_count - ordered.unconverted_order_count, 0), 4)
        as average_order_amount,
    coalesce(ordered.refund_count, 0) as refund_count,
    ordered.last_refunded_at,
    coalesce(ordered.discounted_order_count, 0) as discounted_order_count,
    coalesce(ordered.coupon_order_count, 0) as coupon_order_count,
    coalesce(ordered.returns_unknown_order_count, 0) as returns_unknown_order_count,
    {%- for channel in channels %}
    coalesce(ordered.{{ channel }}_order_count, 0) as {{ channel }}_order_count,
    coalesce(ordered.{{ channel }}_net_amount, 0) as {{ channel }}_net_amount,
    {%- endfor %}

    coalesce(kept.item_quantity, 0) as item_quantity,
    coalesce(kept.returned_quantity, 0) as returned_quantity,
    coalesce(kept.kept_quantity, 0) as kept_quantity,
    coalesce(kept.category_count, 0) as category_count,
    coalesce(kept.brand_count, 0) as brand_count,
    kept.favourite_category,
    kept.favourite_brand,
    kept.first_order_category,
    kept.first_order_sku,

    coalesce(visited.session_count, 0) as session_count,
    visited.first_session_at,
    visited.last_session_at,
    visited.first_touch_channel,
    visited.engaged_seconds,
    coalesce(visited.session_seconds, 0) as session_seconds,
    coalesce(visited.page_view_count, 0) as page_view_count,
    coalesce(visited.product_view_count, 0) as product_view_count,
    coalesce(visited.search_count, 0) as search_count,
    coalesce(visited.add_to_cart_count, 0) as add_to_cart_count,
    coalesce(visited.checkout_started_count, 0) as checkout_started_count,
    coalesce(visited.product_view_session_count, 0) as product_view_session_count,
    coalesce(visited.cart_session_count, 0) as cart_session_count,
    coalesce(visited.checkout_session_count, 0) as checkout_session_count,
    coalesce(visited.order_session_count, 0) as order_session_count,
    round(visited.cart_session_count::numeric / nullif(visited.product_view_session_count, 0), 4) as view_to_cart_rate,
    round(visited.order_session_count::numeric / nullif(visited.cart_session_count, 0), 4) as cart_to_order_rate,
    coalesce(visited.product_view_cart_session_count, 0) as product_view_cart_session_count,
    coalesce(visited.cart_order_session_count, 0) as cart_order_session_count,
    round(visited.product_view_cart_session_count::numeric / nullif(visited.product_view_session_count, 0), 4)
        as product_view_to_cart_rate,
    round(visited.cart_order_session_count::numeric / nullif(visited.cart_session_count, 0), 4) as cart_to_purchase_rate,

    coalesce(supported.ticket_count, 0) as ticket_count,
    coalesce(supported.open_ticket_count, 0) as open_ticket_count,
    coalesce(supported.complaint_count, 0) as complaint_count,
    coalesce(supported.open_complaint_count, 0) as open_complaint_count,
    round(coalesce(supported.complaint_count, 0)::numeric / nullif(ordered.order_count, 0), 4) as complaints_per_order,
    supported.first_ticket_at,
    supported.last_ticket_at,
    coalesce(supported.answered_ticket_count, 0) as answered_ticket_count,
    supported.average_first_response_hours,
    coalesce(supported.resolved_ticket_count, 0) as resolved_ticket_count,
    supported.average_first_resolution_hours,
    supported.average_final_resolution_hours,
    coalesce(supported.reply_count, 0) as reply_count,
    coalesce(supported.reopen_count, 0) as reopen_count,
    coalesce(supported.satisfaction_answer_count, 0) as satisfaction_answer_count,
    supported.average_satisfaction,
    supported.last_satisfaction,
    coalesce(supported.compensation_amount, 0) as compensation_amount,

    coalesce(ordered.delivered_order_count, 0) as delivered_order_count,
    coalesce(ordered.promised_delivery_count, 0) as promised_delivery_count,
    coalesce(ordered.late_order_count, 0) as late_order_count,
    round(1 - ordered.late_order_count::numeric / nullif(ordered.promised_delivery_count, 0), 4) as on_time_rate,
    ordered.average_delivery_days,

    {%- for days in windows %}
    windowed.order_count_{{ days }}d,
    windowed.net_amount_{{ days }}d,
    windowed.session_count_{{ days }}d,
    windowed.engaged_seconds_{{ days }}d,
    windowed.ticket_count_{{ days }}d,
    {%- endfor %}
    cadences.recency_days,
    case when windowed.as_of_on is not null then coalesce(tiers.tier, 'base') end as tier,
    churn.model_status as churn_model_status,
    churn.churn_probability,
    churn.is_late_vs_own_cadence,
    churn.is_late_vs_expected_gap,
    windowed.as_of_on
from customers
left join {{ ref('int_customers__ordered') }} as ordered using (customer_key)
left join {{ ref('int_customers__kept') }} as kept using (customer_key)
left join {{ ref('int_customers__visited') }} as visited using (customer_key)
left join {{ ref('int_customers__supported') }} as supported using (customer_key)
left join {{ ref('int_customers__windowed') }} as windowed using (customer_key)
left join {{ ref('int_purchase_cadences__measured') }} as cadences using (customer_key)
left join {{ ref('int_loyalty_tiers__reached') }} as tiers using (customer_key)
left join {{ ref('customer_churn') }} as churn using (customer_key)
