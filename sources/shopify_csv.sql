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
  Accepts Marketing: text
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
  Subtotal, Shipping Method, Lineitem requires shipping, Lineitem taxable,
  Lineitem fulfillment status, Billing Name, Billing Street, Billing Address1, Billing Address2, Billing Company,
  Billing City, Billing Zip, Billing Province Name, Shipping Name, Shipping Street, Shipping Address1,
  Shipping Address2, Shipping Company, Shipping City, Shipping Zip, Shipping Province Name, Notes, Note Attributes,
  Payment Reference, Payment References, Payment ID, Payment Terms Name, Next Payment Due At, Outstanding Balance,
  Employee, Location, Device ID, Tags, Risk Level, Tax 1 Name, Tax 1 Value, Tax 2 Name, Tax 2 Value, Tax 3 Name,
  Tax 3 Value, Tax 4 Name, Tax 4 Value, Tax 5 Name, Tax 5 Value, Receipt Number, Duties]
*/
with lines as (
    -- An order's first line carries its totals; each further line repeats the name and adds one item.
    select
        record_number,
        name,
        is_first,
        is_item,
        max(case when is_first then record_number end)
            over (order by record_number rows unbounded preceding) as first_number
    from (
        select
            record_number,
            "Name" as name,
            coalesce("Financial Status", "Total") is not null as is_first,
            -- A tip is a line of its own. It stays in the total, but it is no merchandise.
            amount("Lineitem quantity") > 0
            and not (filled("Lineitem sku") is null and lower("Lineitem name") in ('tip', 'tips')) as is_item
        from input
    )
),

firsts as (
    select
        *,
        lower(filled("Financial Status")) as financial_status,
        lower(filled("Source")) as origin,
        coalesce(filled("Phone"), filled("Billing Phone"), filled("Shipping Phone")) as any_phone,
        filled("Cancelled at") is not null as is_cancelled,
        greatest(
            try_strptime("Created at", '%Y-%m-%d %H:%M:%S %z'),
            try_strptime("Paid at", '%Y-%m-%d %H:%M:%S %z'),
            try_strptime("Fulfilled at", '%Y-%m-%d %H:%M:%S %z'),
            try_strptime("Cancelled at", '%Y-%m-%d %H:%M:%S %z')
        ) as last_known
    from input
    where coalesce("Financial Status", "Total") is not null
),

owned as (
    select
        lines.record_number,
        lines.is_first,
        lines.is_item,
        orders.record_number as order_number
    from lines
    left join lines as orders on lines.first_number = orders.record_number and lines.name = orders.name
),

grouped as (
    select
        owned.order_number,
        list({
            'sku': coalesce(filled(lines."Lineitem sku"), filled(lines."Lineitem name"), 'unknown'),
            'category': case when lines."Lineitem name" ilike '%gift card%' then 'gift card' end,
            'brand': filled(lines."Vendor"),
            'quantity': lines."Lineitem quantity",
            'unit_price': lines."Lineitem price",
            'list_price': case
                when amount(lines."Lineitem compare at price") > 0 then lines."Lineitem compare at price"
            end,
            'discount_amount': lines."Lineitem discount"
        } order by owned.record_number) as items
    from owned
    inner join input as lines on owned.record_number = lines.record_number
    where owned.is_item and owned.order_number is not null
    group by owned.order_number
)

select
    firsts.record_number,
    case
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
    time_of("Created at", '%Y-%m-%d %H:%M:%S %z') as ordered_at,
    case
        when is_cancelled or financial_status = 'voided' then 'cancelled'
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
    grouped.items,
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
    coalesce(filled("Shipping Province"), filled("Billing Province")) as region,
    -- A box that was left empty is no statement.
    case when lower("Accepts Marketing") in ('yes', 'true') then [{
        'channel': 'email',
        'allowed': true,
        'stated_at': time_of("Created at", '%Y-%m-%d %H:%M:%S %z')
    }] end as contact_preferences
from firsts
left join grouped on firsts.record_number = grouped.order_number
union all by name
select
    record_number,
    case
        when order_number is not null then 'continuation'
        else 'aside: a further line of an order whose first line is missing'
    end as outcome
from owned
where not is_first
