/*
source: shopify_csv
version: 1
feed: orders
namespace: shopify
title: "Shopify: the orders export of the admin (CSV)"
page: docs/sources/shopify_csv.md
shapes: [csv]
# The export has no time of the last change: what a newer file says of an order counts.
dated by: export
needs: [Name, Financial Status, Created at, Lineitem quantity, Lineitem price, Total]
columns:
  Name: text
  Email: text
  Financial Status: text
  Paid at: text
  Fulfillment Status: text
  Fulfilled at: text
  Currency: text
  Shipping: text
  Taxes: text
  Total: text
  Discount Code: text
  Discount Amount: text
  Created at: text
  Lineitem quantity: text
  Lineitem name: text
  Lineitem price: text
  Lineitem compare at price: text
  Lineitem sku: text
  Lineitem discount: text
  Billing Country: text
  Billing Province: text
  Billing Phone: text
  Shipping Country: text
  Shipping Province: text
  Shipping Phone: text
  Cancelled at: text
  Payment Method: text
  Refunded Amount: text
  Vendor: text
  Id: text
  Source: text
  Phone: text
ignores: [
  Accepts Marketing, Subtotal, Shipping Method, Lineitem requires shipping, Lineitem taxable,
  Lineitem fulfillment status, Billing Name, Billing Street, Billing Address1, Billing Address2, Billing Company,
  Billing City, Billing Zip, Billing Province Name, Shipping Name, Shipping Street, Shipping Address1,
  Shipping Address2, Shipping Company, Shipping City, Shipping Zip, Shipping Province Name, Notes, Note Attributes,
  Payment Reference, Payment References, Payment ID, Payment Terms Name, Next Payment Due At, Outstanding Balance,
  Employee, Location, Device ID, Tags, Risk Level, Tax 1 Name, Tax 1 Value, Tax 2 Name, Tax 2 Value, Tax 3 Name,
  Tax 3 Value, Tax 4 Name, Tax 4 Value, Tax 5 Name, Tax 5 Value, Receipt Number, Duties]
*/
with lines as (
    select
        *,
        -- An order's first line carries its totals; each further line repeats the name and adds one item.
        coalesce("Financial Status", "Total") is not null as is_first,
        sum(case when coalesce("Financial Status", "Total") is not null then 1 else 0 end)
            over (order by record_number) as order_number,
        -- A tip is a line of its own. It stays in the total, but it is no merchandise.
        amount("Lineitem quantity") > 0
            and not (filled("Lineitem sku") is null and lower("Lineitem name") in ('tip', 'tips')) as is_item
    from input
),

grouped as (
    select
        order_number,
        "Name" as name,
        bool_or(is_first) as has_first,
        list({
            'sku': coalesce(filled("Lineitem sku"), filled("Lineitem name"), 'unknown'),
            'category': case when "Lineitem name" ilike '%gift card%' then 'gift card' end,
            'brand': filled("Vendor"),
            'quantity': "Lineitem quantity",
            'unit_price': "Lineitem price",
            'list_price': case when amount("Lineitem compare at price") > 0 then "Lineitem compare at price" end,
            'discount_amount': "Lineitem discount"
        } order by record_number) filter (where is_item) as items
    from lines
    group by order_number, "Name"
),

orders as (
    select
        lines.*,
        grouped.items,
        coalesce(grouped.has_first, false) as has_first,
        lower(filled(lines."Financial Status")) as financial_status,
        lower(filled(lines."Source")) as origin,
        coalesce(filled(lines."Phone"), filled(lines."Billing Phone"), filled(lines."Shipping Phone")) as any_phone,
        time_of(lines."Created at", '%Y-%m-%d %H:%M:%S %z') as created_at,
        time_of(lines."Cancelled at", '%Y-%m-%d %H:%M:%S %z') as cancelled_at,
        greatest(
            try_strptime(lines."Created at", '%Y-%m-%d %H:%M:%S %z'),
            try_strptime(lines."Paid at", '%Y-%m-%d %H:%M:%S %z'),
            try_strptime(lines."Fulfilled at", '%Y-%m-%d %H:%M:%S %z'),
            try_strptime(lines."Cancelled at", '%Y-%m-%d %H:%M:%S %z')
        ) as last_known
    from lines
    left join grouped on lines.order_number = grouped.order_number and lines."Name" = grouped.name
)

select
    record_number,
    case
        when not is_first and has_first then 'continuation'
        when not is_first then 'aside: a further line of an order whose first line is missing'
        when filled("Id") is not null and not regexp_full_match("Id", '\d+')
            then 'aside: its Id was changed by a spreadsheet program'
        when "Payment Method" ilike '%bogus%' then 'aside: a test order'
        when regexp_full_match("Name", '#?D\d+') then 'aside: a draft order'
        when filled("Email") is null and any_phone is null then 'aside: no customer is known (no e-mail, no phone)'
        else 'record'
    end as outcome,
    [
        case when amount("Refunded Amount") > 0 then 'refunded_at: the latest time that the order states' end,
        case when filled("Id") is null then 'order_id: the Name, for want of an Id' end,
        case when origin is null then 'sales_channel: web' end
    ] as defaults,
    coalesce(filled("Id"), "Name") as order_id,
    time_text(greatest(exported_at()::timestamptz, last_known)) as updated_at,
    created_at as ordered_at,
    case
        when cancelled_at is not null or financial_status = 'voided' then 'cancelled'
        when financial_status = 'refunded' then 'returned'
        when financial_status not in (
            'paid', 'partially_paid', 'partially_refunded', 'pending', 'authorized', 'unpaid', 'expired'
        ) then "Financial Status"
        when lower("Fulfillment Status") = 'fulfilled' then 'shipped'
        when financial_status in ('paid', 'partially_paid', 'partially_refunded') then 'paid'
        when financial_status is not null then 'placed'
    end as status,
    "Currency" as currency,
    "Total" as total_amount,
    "Discount Amount" as discount_amount,
    "Shipping" as shipping_amount,
    "Taxes" as tax_amount,
    filled("Email") as email,
    any_phone as phone,
    items,
    case when amount("Refunded Amount") > 0 then [{
        'refund_id': coalesce(filled("Id"), "Name") || '-refunded',
        'refunded_at': time_text(last_known),
        'amount': "Refunded Amount"
    }] end as refunds,
    case
        when origin = 'pos' then 'store'
        when origin in ('iphone', 'android') then 'app'
        when origin = 'shopify_draft_order' then 'phone'
        when origin in ('amazon', 'ebay', 'facebook', 'instagram', 'google', 'walmart', 'tiktok') then 'marketplace'
        else 'web'
    end as sales_channel,
    "Payment Method" as payment_method,
    "Discount Code" as coupon_code,
    upper(coalesce(filled("Shipping Country"), filled("Billing Country"))) as country,
    coalesce(filled("Shipping Province"), filled("Billing Province")) as region
from orders
