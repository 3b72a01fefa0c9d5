"""The base of bench/increment.py and what arrives on it, made in the warehouse: raw rows with their ledger entries."""

from __future__ import annotations

from customer360 import warehouse
from customer360.settings import Settings
from customer360.warehouse import query

_ORDER_FIELDS = (
    "order_id", "updated_at", "ordered_at", "status", "currency", "total_amount", "discount_amount", "shipping_amount",
    "tax_amount", "customer_id", "email", "phone", "anonymous_id", "items", "refunds", "promised_delivery_at",
    "delivered_at", "sales_channel", "payment_method", "coupon_code", "country", "region", "extra",
)  # fmt: skip

# Rows of people ``p``, numbered ``n``: everybody has an account, shown in most records, an address and two devices.
_ORDERS = """
select row_number() over (), 'O' || {offset} + n, ordered_at + interval '6 days', ordered_at,
    case when a < 0.03 then 'cancelled' when a < 0.05 then 'returned' else 'delivered' end,
    case when b < 0.95 then 'USD' when b < 0.999 then 'EUR' else 'XAU' end,
    total, case when c < 0.2 then 5 end, 4.5, round(total * 0.15, 2), 'C' || p,
    case when d < 0.9 then 'p' || p || '@mail.example' end, null, case when a < 0.6 then 'd' || p || '-' || n % 2 end,
    jsonb_build_array(
        jsonb_build_object('sku', 's' || n % 500, 'category', 'category ' || n % 11, 'brand', 'brand ' || n % 37,
            'quantity', 1 + n % 3, 'unit_price', 10, 'list_price', 12, 'unit_cost', 6),
        jsonb_build_object('sku', 't' || n % 500, 'category', 'category ' || n % 7, 'brand', 'brand ' || n % 5,
            'quantity', 1, 'unit_price', 20)),
    case when c > 0.95 then jsonb_build_array(jsonb_build_object('refund_id', 'r', 'amount', round(total / 4, 2),
        'refunded_at', ordered_at + interval '6 days')) end,
    ordered_at + interval '4 days', case when a < 0.97 then ordered_at + interval '1 day' * (1 + 4 * d) end,
    (array['web', 'app', 'store', 'phone'])[1 + floor(4 * b)::int], 'card', case when c < 0.1 then 'SAVE' end, 'US',
    null, null::jsonb
from (
    select n, p, a, b, c, d, round((20 - 60 * ln(e + 0.001))::numeric, 2) as total,
        date_trunc('second', now() - interval '1095 days' * f * {age}) as ordered_at
    from (select n, p, random() as a, random() as b, random() as c, random() as d, random() as e, random() as f
        from {source} as people) as drawn
) as made
"""
_SESSIONS = """
select row_number() over (), 'S' || {offset} + n, started_at + interval '20 minutes', 'd' || p || '-' || n % 2,
    started_at, started_at + interval '15 minutes', 1 + (a * 12)::int, (a * 6)::int,
    (b * 2)::int, (c < 0.2)::int, (c < 0.08)::int, (d * 900)::int, case when b < 0.5 then 'C' || p end,
    null, null, 'mobile', 'US', '/', null, 'mail', null, null,
    null::jsonb
from (
    select n, p, random() as a, random() as b, random() as c, random() as d,
        date_trunc('second', now() - interval '1095 days' * random() * {age}) as started_at
    from {source} as people
) as made
"""
_TICKETS = """
select row_number() over (), 'T' || {offset} + n, created_at + interval '3 days', created_at,
    case when a < 0.05 then 'open' else 'solved' end, 'email', case when b < 0.3 then 'complaint' else 'question' end,
    'C' || p, null, null, 'normal', created_at + interval '1 hour' * (1 + 20 * c),
    case when a >= 0.05 then created_at + interval '1 hour' * (22 + 40 * d) end, 2, (d < 0.1)::int, null,
    case when c < 0.5 then round((5 * b)::numeric) end, case when c < 0.5 then 5 end, case when d < 0.02 then 10 end,
    case when d < 0.02 then 'USD' end, null, null, null::jsonb
from (
    select n, p, random() as a, random() as b, random() as c, random() as d,
        date_trunc('second', now() - interval '1095 days' * random() * {age}) as created_at
    from {source} as people
) as made
"""
_ANYBODY = (
    "(select n, 1 + abs(hashint8extended(n, {seed})) % {{customers}} as p from generate_series(1, {{count}}) as n)"
)
_BASE = {
    "orders": _ORDERS.format(source=_ANYBODY.format(seed=1), offset=0, age=1),
    "web_sessions": _SESSIONS.format(source=_ANYBODY.format(seed=2), offset=0, age=1),
    "support_tickets": _TICKETS.format(source=_ANYBODY.format(seed=3), offset=0, age=1),
}


def make_base(settings: Settings, customers: int) -> dict[str, int]:
    """Fill raw and the ledger with three years of a shop; returns row counts."""
    counts = {"orders": 10 * customers, "web_sessions": 20 * customers, "support_tickets": customers}
    return {
        feed: _insert(settings, feed, _BASE[feed].format(customers=customers, count=count))
        for feed, count in counts.items()
    }


def _insert(settings: Settings, feed: str, select: str) -> int:
    """Load the rows of a query (the feed's fields, with a number before them) as one batch; returns how many."""
    with warehouse.connect("owner", settings) as connection:
        connection.execute("set local synchronous_commit = off")
        batch_id = warehouse.scalar(
            connection,
            """
            insert into ops.batches (feed, file_name, state, loaded_at)
            values (%s, 'of the benchmark', 'loaded', clock_timestamp()) returning batch_id
            """,
            [feed],
        )
        rows = f"select {batch_id}, made.* from ({select}) as made"
        count = connection.execute(query(f"insert into raw.{feed} {rows}")).rowcount
        connection.execute(
            "update ops.batches set landed_rows = %s, loaded_rows = %s where batch_id = %s", [count, count, batch_id]
        )
    return count


def land_nothing_new(settings: Settings) -> None:
    """One order that is known already."""
    fields = ", ".join(_ORDER_FIELDS)
    _insert(settings, "orders", f"select 1, {fields} from raw.orders where order_key = 'O5000' limit 1")


def land_increment(settings: Settings, customers: int, touched: int, number: int) -> list[str]:
    """New and corrected records of ``touched`` customers; returns their accounts."""
    new, corrections, visits = touched // 2, touched * 3 // 10, touched * 15 // 100
    asked = touched - new - corrections - visits
    # Customers far apart, others in each increment, each in one part of it.
    person = f"1 + (n * {customers // touched} + {number}) % {customers}"
    sets = [(0, new), (new, new + corrections), (new + corrections, touched - asked), (touched - asked, touched)]
    people = [f"(select n, {person} as p from generate_series({first}, {end - 1}) as n)" for first, end in sets]
    corrected = {"updated_at": "updated_at + interval '200 days'", "total_amount": "total_amount + 1"}
    offset = 1_000_000_000 + number * touched
    _insert(settings, "orders", _ORDERS.format(source=people[0], offset=offset, age="0.01"))
    _insert(
        settings,
        "orders",
        f"""
        select row_number() over (), {", ".join(corrected.get(name, name) for name in _ORDER_FIELDS)}
        from (
            select distinct on (customer_id) * from raw.orders
            where order_key in (select order_key from candidate.fct_orders where customer_key in (
                select customer_key from identity.identifiers
                where identifier_type = 'customer_id' and identifier in (select 'C' || p from {people[1]} as c)))
            order by customer_id, order_key
        ) as old where customer_id is not null
        """,
    )
    _insert(settings, "web_sessions", _SESSIONS.format(source=people[2], offset=offset, age="0.01"))
    _insert(settings, "support_tickets", _TICKETS.format(source=people[3], offset=offset, age="0.01"))
    with warehouse.connect("owner", settings) as connection:
        accounts = " union all ".join(f"select 'C' || p from {one} as c" for one in people)
        return [row[0] for row in connection.execute(query(accounts)).fetchall()]
