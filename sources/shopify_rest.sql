/*
source: shopify_rest
version: 1
feed: orders
namespace: shopify
title: "Shopify: orders of the REST Admin API and of webhooks (versions 2024-01 to 2026-04), JSON"
page: docs/sources/shopify_rest.md
shapes: [json]
records: orders
needs: [id, financial_status, line_items, total_price]
unlike: [invoice_url]
columns:
  id: text
  name: text
  created_at: text
  updated_at: text
  cancelled_at: text
  test: text
  financial_status: text
  fulfillment_status: text
  currency: text
  total_price: text
  current_total_price: text
  total_tax: text
  total_discounts: text
  taxes_included: text
  total_price_set: {shop_money: {amount: text, currency_code: text}, presentment_money: {amount: text, currency_code: text}}
  total_shipping_price_set: {shop_money: {amount: text}}
  shipping_lines: [{price: text, tax_lines: [{price: text}]}]
  email: text
  contact_email: text
  phone: text
  customer:
    id: text
    email: text
    phone: text
    email_marketing_consent: {state: text, consent_updated_at: text}
    sms_marketing_consent: {state: text, consent_updated_at: text}
  source_name: text
  payment_gateway_names: [text]
  discount_codes: [{code: text}]
  shipping_address: {country_code: text, province_code: text, phone: text}
  billing_address: {country_code: text, province_code: text, phone: text}
  line_items:
    - id: text
      sku: text
      name: text
      title: text
      vendor: text
      quantity: text
      price: text
      gift_card: text
      tip: JSON
      discount_allocations: [{amount: text}]
  refunds:
    - id: text
      created_at: text
      processed_at: text
      note: text
      refund_line_items: [{line_item_id: text, quantity: text}]
      transactions: [{kind: text, status: text, amount: text, currency: text}]
  fulfillments: [{status: text, shipment_status: text, updated_at: text}]
ignores: [
  admin_graphql_api_id, app_id, browser_ip, buyer_accepts_marketing, cancel_reason, cart_token, checkout_id,
  checkout_token, client_details, closed_at, company, confirmation_number, confirmed, current_subtotal_price,
  current_subtotal_price_set, current_total_additional_fees_set, current_total_discounts, current_total_discounts_set,
  current_total_duties_set, current_total_price_set, current_total_tax, current_total_tax_set, customer_locale,
  device_id, discount_applications, duties_included, estimated_taxes, landing_site, landing_site_ref, location_id,
  merchant_business_entity_id, merchant_of_record_app_id, note, note_attributes, number, order_number,
  order_status_url, original_total_additional_fees_set, original_total_duties_set, payment_terms, po_number,
  presentment_currency, processed_at, reference, referring_site, source_identifier, source_url, subtotal_price,
  subtotal_price_set, tags, tax_exempt, tax_lines, token, total_cash_rounding_payment_adjustment_set,
  total_cash_rounding_refund_adjustment_set, total_discounts_set, total_line_items_price, total_line_items_price_set,
  total_outstanding, total_tax_set, total_tip_received, total_weight, user_id, gateway, processing_method]
*/
with money_of as (
    -- All amounts are in the shop's currency; a refund's transaction may be in the customer's, at the order's own rate.
    select
        record_number,
        id as order_id,
        coalesce(total_price_set.shop_money.currency_code, currency) as shop_currency,
        amount(coalesce(total_price_set.shop_money.amount, total_price)) as shop_total,
        coalesce(
            nullif(amount(total_price_set.presentment_money.amount), 0),
            amount(coalesce(total_price_set.shop_money.amount, total_price))
        ) as customer_total
    from input
),

refunds as (
    select
        record_number,
        unnest(refunds) as refund
    from input
),

transactions as (
    select
        record_number,
        refund.id as refund_id,
        unnest(refund.transactions) as transaction
    from refunds
),

paid_back as (
    select
        transactions.record_number,
        transactions.refund_id,
        sum(
            case
                when
                    transactions.transaction.currency is null
                    or transactions.transaction.currency = money_of.shop_currency
                    then cast(amount(transactions.transaction.amount) as decimal(24, 4))
                else cast(
                    divided(amount(transactions.transaction.amount) * money_of.shop_total, money_of.customer_total)
                    as decimal(24, 2)
                )
            end
        ) as amount
    from transactions
    inner join money_of on transactions.record_number = money_of.record_number
    where transactions.transaction.kind = 'refund' and transactions.transaction.status = 'success'
    group by transactions.record_number, transactions.refund_id
),

refunded as (
    select
        refunds.record_number,
        sum(paid_back.amount) as total,
        list({
            'refund_id': refunds.refund.id,
            'refunded_at': coalesce(refunds.refund.processed_at, refunds.refund.created_at),
            'amount': paid_back.amount::varchar,
            'reason': filled(refunds.refund.note)
        } order by refunds.refund.created_at, refunds.refund.id) as refunds
    from refunds
    -- A refund that only puts goods back has no transaction: it is no money.
    inner join paid_back
        on refunds.record_number = paid_back.record_number and refunds.refund.id = paid_back.refund_id
    where paid_back.amount > 0
    group by refunds.record_number
),

returned_lines as (
    select
        record_number,
        unnest(refund.refund_line_items) as line
    from refunds
),

returned as (
    select
        record_number,
        map_from_entries(list({'k': line_item_id, 'v': quantity})) as quantity_of
    from (
        select
            record_number,
            line.line_item_id as line_item_id,
            sum(amount(line.quantity)) as quantity
        from returned_lines
        where line.line_item_id is not null
        group by record_number, line.line_item_id
    )
    group by record_number
),

orders as (
    select
        input.*,
        money_of.shop_currency,
        money_of.shop_total,
        coalesce(refunded.total, 0) as refunded_total,
        refunded.refunds as paid_refunds,
        returned.quantity_of as returned_of,
        amount(input.current_total_price) as current_total,
        list_filter(
            coalesce(input.line_items, []), lambda item: amount(item.quantity) > 0 and coalesce(item.tip, 'null') = 'null'
        ) as goods,
        coalesce(
            filled(input.email), filled(input.contact_email), filled(input.customer.email)
        ) as any_email,
        coalesce(
            filled(input.phone), filled(input.customer.phone), filled(input.billing_address.phone),
            filled(input.shipping_address.phone)
        ) as any_phone,
        list_sum(list_transform(
            list_filter(coalesce(input.shipping_lines, []), lambda line: input.taxes_included = 'true'),
            lambda line: coalesce(
                list_sum(list_transform(line.tax_lines, lambda tax: cast(amount(tax.price) as decimal(18, 4)))), 0
            )
        )) as tax_in_shipping,
        list_max(list_transform(
            list_filter(coalesce(input.fulfillments, []), lambda one: one.shipment_status = 'delivered'),
            lambda one: one.updated_at
        )) as delivered_at
    from input
    inner join money_of on input.record_number = money_of.record_number
    left join refunded on input.record_number = refunded.record_number
    left join returned on input.record_number = returned.record_number
)

select
    record_number,
    case
        when test = 'true' and not contract_has('deleted') then 'aside: a test order'
        when any_email is null and any_phone is null and customer.id is null
            then 'aside: no customer is known (no account, no e-mail, no phone)'
        else 'record'
    end as outcome,
    test = 'true' as deleted,
    [case when source_name is null then 'sales_channel: web' end] as defaults,
    id as order_id,
    updated_at,
    created_at as ordered_at,
    case
        when cancelled_at is not null or financial_status = 'voided' then 'cancelled'
        when financial_status = 'refunded' then 'returned'
        when financial_status not in (
            'paid', 'partially_paid', 'partially_refunded', 'pending', 'authorized', 'unpaid', 'expired'
        ) then financial_status
        when fulfillment_status = 'fulfilled' and delivered_at is not null then 'delivered'
        when fulfillment_status = 'fulfilled' then 'shipped'
        when financial_status in ('paid', 'partially_paid', 'partially_refunded') then 'paid'
        when financial_status is not null then 'placed'
    end as status,
    shop_currency as currency,
    -- What is left of the order after edits and refunds, and what was paid back: what the customer was charged.
    case
        when current_total is null or current_total = amount(total_price) then shop_total
        else current_total + refunded_total
    end::decimal(24, 4)::varchar as total_amount,
    total_discounts as discount_amount,
    money(greatest(amount(total_shipping_price_set.shop_money.amount) - coalesce(tax_in_shipping, 0), 0))
        as shipping_amount,
    total_tax as tax_amount,
    customer.id as customer_id,
    any_email as email,
    any_phone as phone,
    case when len(goods) > 0 then list_transform(goods, lambda item: {
        'sku': coalesce(filled(item.sku), filled(item.name), filled(item.title), 'unknown'),
        'category': case when item.gift_card = 'true' then 'gift card' end,
        'brand': filled(item.vendor),
        'quantity': item.quantity,
        'unit_price': item.price,
        'discount_amount': coalesce(list_sum(list_transform(
            item.discount_allocations, lambda one: cast(amount(one.amount) as decimal(18, 4))
        )), 0)::decimal(18, 4)::varchar,
        'returned_quantity': least(coalesce(returned_of[item.id], 0), amount(item.quantity))::decimal(18, 4)::varchar
    }) end as items,
    paid_refunds as refunds,
    delivered_at,
    case
        when source_name = 'pos' then 'store'
        when source_name in ('iphone', 'android') then 'app'
        when source_name = 'shopify_draft_order' then 'phone'
        when source_name in ('amazon', 'ebay', 'facebook', 'instagram', 'google', 'walmart', 'tiktok') then 'marketplace'
        else 'web'
    end as sales_channel,
    payment_gateway_names[1] as payment_method,
    discount_codes[1].code as coupon_code,
    upper(coalesce(shipping_address.country_code, billing_address.country_code)) as country,
    coalesce(shipping_address.province_code, billing_address.province_code) as region,
    nullif(list_filter([
        case when customer.email_marketing_consent.state in ('subscribed', 'unsubscribed') then {
            'channel': 'email',
            'allowed': customer.email_marketing_consent.state = 'subscribed',
            'stated_at': customer.email_marketing_consent.consent_updated_at
        } end,
        case when customer.sms_marketing_consent.state in ('subscribed', 'unsubscribed') then {
            'channel': 'sms',
            'allowed': customer.sms_marketing_consent.state = 'subscribed',
            'stated_at': customer.sms_marketing_consent.consent_updated_at
        } end
    ], lambda one: one is not null), []) as contact_preferences
from orders
