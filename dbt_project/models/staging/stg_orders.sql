{{ config(
    tags=['staging'],
    meta={
        'scope': 'order', 'scope_key': 'order_key', 'primary_key': ['order_key'],
        'indexes': ['(order_key) where contact_preferences is not null'],
    }
) }}

with
{{ latest_versions('orders') }}

select
    {{ record_columns('orders', 'raw') }},
    record.updated_at,
    record.ordered_at,
    {% if is_as_of() %}coalesce(status_record.status, 'placed') as status{% else %}record.status{% endif %},
    record.currency,
    record.total_amount,
    coalesce(record.discount_amount, 0) as discount_amount,
    coalesce(record.shipping_amount, 0) as shipping_amount,
    coalesce(record.tax_amount, 0) as tax_amount,
    record.customer_id,
    record.email,
    record.phone,
    record.anonymous_id,
    record.items,
    {% if is_as_of() -%}
    case when not latest.is_history then {{ dated_refunds() }} else (
        select jsonb_agg(refund order by refund_number)
        from jsonb_array_elements({{ dated_refunds() }}) with ordinality as listed(refund, refund_number)
        where (refund ->> 'refunded_at')::timestamptz <= {{ known_until() }}
    ) end as refunds,
    {%- else -%}
    {{ dated_refunds() }} as refunds,
    {%- endif %}
    record.promised_delivery_at,
    {{ once_known('delivered_at') }} as delivered_at,
    coalesce(record.sales_channel, 'web') as sales_channel,
    record.payment_method,
    record.coupon_code,
    record.country,
    record.region,
    record.contact_preferences,
    record.extra,
    {{ version_columns('orders', 'raw') }}
from latest
inner join {{ source('raw', 'orders') }} as record on record.ctid = latest.row_id
{%- if is_as_of() %}
left join {{ source('raw', 'orders') }} as status_record on status_record.ctid = latest.status_row_id
{%- endif %}
{{ frozen_behind('orders') }}

union all

select
    {{ record_columns('orders', 'frozen') }},
    frozen.updated_at,
    frozen.ordered_at,
    frozen.status,
    frozen.currency,
    frozen.total_amount,
    frozen.discount_amount,
    frozen.shipping_amount,
    frozen.tax_amount,
    raw.id_of_key(customer_id_map.identifier) as customer_id,
    email_map.identifier as email,
    phone_map.identifier as phone,
    frozen.anonymous_id,
    frozen.items,
    frozen.refunds,
    frozen.promised_delivery_at,
    frozen.delivered_at,
    frozen.sales_channel,
    frozen.payment_method,
    frozen.coupon_code,
    frozen.country,
    frozen.region,
    frozen.contact_preferences,
    null::jsonb as extra,
    {{ version_columns('orders', 'frozen') }}
from {{ source('retention', 'frozen_orders') }} as frozen
{{- frozen_identifiers(['customer_id', 'email', 'phone']) }}
where {{ is_frozen_ahead('orders') }}
