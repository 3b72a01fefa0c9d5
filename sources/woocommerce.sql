/*
source: woocommerce
version: 1
feed: orders
title: "WooCommerce: orders and refunds of the REST API (wc/v3) and of webhooks, JSON"
page: docs/sources/woocommerce.md
shapes: [json]
records: orders
beside: [refunds]
needs: [id, date_created_gmt]
unlike: [financial_status, requester_id]
columns:
  id: text
  status: text
  currency: text
  date_created_gmt: text
  date_modified_gmt: text
  total: text
  total_tax: text
  discount_total: text
  discount_tax: text
  shipping_total: text
  customer_id: text
  billing: {email: text, phone: text, country: text, state: text}
  shipping: {country: text, state: text}
  payment_method: text
  created_via: text
  coupon_lines: [{code: text}]
  meta_data: [{key: text, value: text}]
  line_items:
    - id: text
      name: text
      sku: text
      quantity: text
      subtotal: text
      subtotal_tax: text
      total: text
      total_tax: text
      meta_data: [{key: text, value: text}]
  refunds: [{id: text, reason: text, total: text}]
  amount: text
  refunded_by: text
  reason: text
ignores: [
  parent_id, number, order_key, version, prices_include_tax, date_created, date_modified, shipping_tax, cart_tax,
  customer_ip_address, customer_user_agent, customer_note, payment_method_title, transaction_id, date_paid,
  date_paid_gmt, date_completed, date_completed_gmt, cart_hash, tax_lines, shipping_lines, fee_lines,
  payment_url, is_editable, needs_payment, needs_processing, currency_symbol, _links, set_paid, new_order_email_sent,
  refunded_payment, api_refund, api_restock]
*/
with refund_resources as (
    -- A refund is a resource of its own: beside the orders of a page, or a record among them.
    select
        id,
        any_value(refunded_at) as refunded_at,
        any_value(amount) as amount,
        any_value(reason) as reason,
        any_value(line_items) as line_items
    from (
        select
            id,
            utc_time(date_created_gmt) as refunded_at,
            amount,
            reason,
            list_transform(line_items, lambda item: {
                'quantity': item.quantity, 'meta_data': item.meta_data
            }) as line_items
        from input
        where status is null
        union all
        select
            resource.id,
            utc_time(resource.date_created_gmt) as refunded_at,
            resource.amount,
            resource.reason,
            resource.line_items
        from (
            select from_json(record, '{"id":"VARCHAR","date_created_gmt":"VARCHAR","amount":"VARCHAR",
                "reason":"VARCHAR","line_items":[{"quantity":"VARCHAR",
                "meta_data":[{"key":"VARCHAR","value":"VARCHAR"}]}]}') as resource
            from refunds
        )
    )
    group by id
),

listed_refunds as (
    select
        record_number,
        utc_time(date_modified_gmt) as modified_at,
        unnest(refunds) as refund
    from input
    where status is not null
),

dated_refunds as (
    select
        listed_refunds.record_number,
        listed_refunds.refund.id as refund_id,
        coalesce(refund_resources.refunded_at, listed_refunds.modified_at) as refunded_at,
        refund_resources.id is null as is_undated,
        abs(coalesce(amount(refund_resources.amount), amount(listed_refunds.refund.total))) as amount,
        filled(coalesce(refund_resources.reason, listed_refunds.refund.reason)) as reason,
        refund_resources.line_items
    from listed_refunds
    left join refund_resources on listed_refunds.refund.id = refund_resources.id
),

refunded as (
    select
        record_number,
        bool_or(is_undated) as is_undated,
        list({
            'refund_id': refund_id,
            'refunded_at': refunded_at,
            'amount': money(amount),
            'reason': reason
        } order by refunded_at, refund_id) filter (where amount > 0) as refunds
    from dated_refunds
    group by record_number
),

returned_lines as (
    select
        record_number,
        unnest(line_items) as line
    from dated_refunds
),

returned as (
    select
        record_number,
        map_from_entries(list({'k': item_id, 'v': quantity})) as quantity_of
    from (
        select
            record_number,
            list_filter(line.meta_data, lambda one: one.key = '_refunded_item_id')[1].value as item_id,
            sum(abs(amount(line.quantity))) as quantity
        from returned_lines
        group by all
    )
    where item_id is not null
    group by record_number
),

orders as (
    select
        input.* exclude (refunds),
        refunded.refunds,
        coalesce(refunded.is_undated, false) as is_undated,
        returned.quantity_of as returned_of,
        listed.record_number is not null as is_listed_refund,
        list_filter(coalesce(input.line_items, []), lambda item: amount(item.quantity) > 0) as goods
    from input
    left join refunded on input.record_number = refunded.record_number
    left join returned on input.record_number = returned.record_number
    left join (
        select
            refund_id,
            min(record_number) as record_number
        from dated_refunds
        group by refund_id
    ) as listed on input.status is null and input.id = listed.refund_id
)

select
    record_number,
    case
        when status is null and is_listed_refund then 'continuation'
        when status is null and amount is not null then 'aside: a refund whose order is not in this file'
        when status in ('checkout-draft', 'auto-draft', 'draft') then 'aside: a draft of the checkout, never placed'
        when status = 'trash' and not contract_has('deleted') then 'aside: an order in the trash'
        when
            filled(billing.email) is null and filled(billing.phone) is null and coalesce(customer_id, '0') = '0'
            and status is not null
            then 'aside: no customer is known (no account, no e-mail, no phone)'
        else 'record'
    end as outcome,
    [
        case when is_undated then 'refunded_at: the order''s last change' end,
        case
            when coalesce(created_via, '') not in ('checkout', 'store-api', 'admin', 'pos', 'pos-rest-api')
                then 'sales_channel: web'
        end
    ] as defaults,
    id as order_id,
    utc_time(date_modified_gmt) as updated_at,
    utc_time(date_created_gmt) as ordered_at,
    case status
        when 'pending' then 'placed'
        when 'on-hold' then 'placed'
        when 'processing' then 'paid'
        when 'completed' then 'shipped'
        when 'cancelled' then 'cancelled'
        when 'failed' then 'cancelled'
        when 'refunded' then 'returned'
        when 'trash' then 'cancelled'
        else status
    end as status,
    status = 'trash' as deleted,
    currency,
    total as total_amount,
    money(amount(discount_total) + coalesce(amount(discount_tax), 0)) as discount_amount,
    shipping_total as shipping_amount,
    total_tax as tax_amount,
    nullif(customer_id, '0') as customer_id,
    filled(billing.email) as email,
    filled(billing.phone) as phone,
    case when len(goods) > 0 then list_transform(goods, lambda item: {
        'sku': coalesce(filled(item.sku), filled(item.name), 'unknown'),
        'quantity': item.quantity,
        'unit_price': money(divided(
            amount(item.subtotal) + coalesce(amount(item.subtotal_tax), 0), amount(item.quantity)
        )),
        'discount_amount': money(greatest(
            amount(item.subtotal) + coalesce(amount(item.subtotal_tax), 0) - amount(item.total)
            - coalesce(amount(item.total_tax), 0), 0
        )),
        'returned_quantity': case
            when refunds is null or not is_undated
                then money(least(coalesce(returned_of[item.id], 0), amount(item.quantity)))
        end
    }) end as items,
    refunds,
    case
        when created_via in ('pos', 'pos-rest-api') then 'store'
        when created_via = 'admin' then 'phone'
        else 'web'
    end as sales_channel,
    filled(payment_method) as payment_method,
    coupon_lines[1].code as coupon_code,
    upper(coalesce(filled(shipping.country), filled(billing.country))) as country,
    coalesce(filled(shipping.state), filled(billing.state)) as region,
    -- WooCommerce has no consent of its own: this is what Mailchimp's plug-in writes when the box was ticked.
    case when list_filter(
        meta_data, lambda one: one.key = 'mailchimp_woocommerce_is_subscribed'
    )[1].value in ('1', 'true') then [{
        'channel': 'email', 'allowed': true, 'stated_at': utc_time(date_created_gmt)
    }] end as contact_preferences
from orders
