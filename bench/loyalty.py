"""The daily pass of large shops: 200,000 customers with a year of records, and with three years.

    python -m bench loyalty          or: python -m bench.loyalty [--customers 200000] [--shop a_year]

Prints one JSON object. The year's shop has per customer what the demonstration's sample has (4.7 orders, 9.4 sessions,
0.7 tickets); the other one twice as much, over three years. The facts are made in the warehouse and the live tables are
built from them; then two days running get their daily pass, with gate, journals and publication. The second one is
measured: it is an ordinary day, on which nearly every row of the daily tables changes and the journals get little.
Target: under 60 s on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

from bench.at_rest import let_rest
from bench.model_times import slowest_models
from customer360 import warehouse
from customer360.models import runner
from customer360.progress import Silent
from customer360.publication import daily
from customer360.publication.build import published_tables
from customer360.publication.publish import publish
from customer360.settings import Settings
from customer360.warehouse import Connection, embedded_server, query
from customer360.warehouse.run_log import recorded

TARGET_SECONDS = 60


@dataclass(frozen=True)
class Density:
    """How far a shop's records reach back, and about how many a customer has."""

    days: int
    orders: float
    sessions: float
    tickets: float


SHOPS = {"a_year": Density(365, 4.75, 9.4, 0.7), "three_years": Density(1095, 10, 20, 1)}
_FACTS = ("fct_orders", "fct_order_items", "fct_refunds", "fct_sessions", "fct_tickets")
# Live tables of the customers that the daily pass reads or renews; their models read the facts and identity alone.
_LIVE = (
    "int_customers__ordered", "int_customers__kept", "int_customers__supported", "int_customers__visited",
    "customer_360",
)  # fmt: skip


def main() -> None:
    """Build the shop, make two daily passes, print the figures of the second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--shop", choices=SHOPS, action="append", help="Only this shop.")
    chosen = parser.parse_args()
    found = {name: measure(chosen.customers, SHOPS[name]) for name in chosen.shop or SHOPS}
    print(json.dumps({**found, "target_seconds": TARGET_SECONDS, "load": os.getloadavg()[0]}, indent=2))


def measure(customers: int, density: Density) -> dict[str, object]:
    """Build a shop, make two daily passes, return the figures of the second."""
    with tempfile.TemporaryDirectory(prefix="c360-bench-", ignore_cleanup_errors=True) as home:
        settings = Settings(home=Path(home))
        try:
            warehouse.set_up(settings)
            today = settings.today()
            counts = make_shop(settings, customers, today, density)
            one_pass(settings, today - timedelta(days=1))
            let_rest(settings)  # as autovacuum has done before the next day's pass
            return {**counts, **one_pass(settings, today)}
        finally:
            embedded_server.stop(settings, immediate=True)


def one_pass(settings: Settings, day: date) -> dict[str, object]:
    """One daily pass as the product makes it: seconds up to the end of each stage, and its slowest models."""
    started = time.perf_counter()
    with recorded(settings, "daily", "bench", as_of_on=day) as run:
        summary = daily._refresh(settings, run, day, Silent())
    seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 1),
        "stages": {stage: round(at, 1) for stage, at in summary.seconds.items()},
        "rows": sum(change.added + change.changed + change.removed for change in summary.tables.values()),
        "slowest_models": slowest_models(settings, summary.run_id),
    }


def make_shop(settings: Settings, customers: int, today: date, density: Density) -> dict[str, int]:
    """Fill the fact tables with the records up to ``today``, build the customers' live tables; returns row counts."""
    tables = {table.name: table for table in runner.model_tables(settings) if table.name in _FACTS}
    with warehouse.connect("transformer", settings) as connection:
        for name, table in tables.items():
            columns = ", ".join(f"{column} {kind}" for column, kind in table.columns.items())
            connection.execute(query(f"create table candidate.{name} ({columns})"))
        for statement in _SHOP.split(";\n"):
            if statement.strip():
                for name, value in {"customers": customers, "today": today.isoformat(), **asdict(density)}.items():
                    statement = statement.replace(f"{{{name}}}", str(value))
                connection.execute(query(statement))
        for name in _FACTS:
            connection.execute(query(f"create index on candidate.{name} (customer_key)"))
            connection.execute(query(f"create index on candidate.{name} ({table_key(name)})"))
        connection.execute("analyze")
        counts = {name: count(connection, f"candidate.{name}") for name in _FACTS}
    with recorded(settings, "build", "bench") as run:
        runner.run_models(settings, list(_LIVE), run_id=run.run_id, full_refresh=True)
        published = [table for table in published_tables(settings) if table.name == "customer_360"]
        publish(settings, published, run_id=run.run_id, kind="daily")
    return {"customers": customers, **counts}


def table_key(name: str) -> str:
    """The id column of a fact table."""
    return {"fct_sessions": "session_key", "fct_tickets": "ticket_key"}.get(name, "order_key")


def count(connection: Connection, table: str) -> int:
    """The rows of a table."""
    return int(warehouse.scalar(connection, f"select count(*) from {table}"))


# Uneven on purpose: how often and how long people buy differs as in real shops, a third of the deliveries is late.
_SHOP = """
select setseed(0.42);
create table identity.customers as
select k as customer_key, 1 as identifier_count, 1::numeric(5, 4) as identity_confidence,
    timestamptz '{today}' - interval '{days} days' as first_seen_at
from generate_series(1::bigint, {customers}) as k;
create table identity.identifiers as
select 'customer_id' as identifier_type, 'C' || customer_key as identifier, customer_key from identity.customers;
create temporary table drawn as
select row_number() over () as id, customer_key, random() as u, random() as v, random() as w, random() as q,
    timestamptz '{today}' - interval '{days} days' * (1 - (start + (1 - start) * random()) * life) as ordered_at
from (
    select customer_key, random() * 0.8 as start, 0.3 + 0.7 * random() as life,
        case when random() < 0.1 then 0 else 1 + floor(-{orders} * ln(random()))::integer end as orders
    from identity.customers
) as people
cross join lateral generate_series(1, orders);
insert into candidate.fct_orders (
    order_key, customer_key, ordered_at, ordered_on, updated_at, status, is_cancelled, is_valid, sales_channel,
    payment_method, coupon_code, country, currency, exchange_rate, original_total_amount, original_refunded_amount,
    total_amount, discount_amount, tax_amount, shipping_amount, refunded_amount, refunded_net_amount, gross_amount,
    net_amount, cancelled_amount, item_count, is_returns_unknown, promised_delivery_at, delivered_at, is_late, batch_id)
select 'O' || id, customer_key, ordered_at, ordered_at::date, ordered_at,
    case when u < 0.03 then 'cancelled' else 'delivered' end, u < 0.03, u >= 0.03,
    (array['web', 'app', 'store', 'phone'])[1 + floor(v * 4)::integer], 'card',
    case when w < 0.1 then 'SAVE10' when w < 0.101 then 'REF-C' || (1 + floor(q * 100))::integer end, 'US', 'USD', 1,
    total, 0, total, case when w < 0.25 then total / 10 else 0 end, total * 0.19, 5 * (v >= 0.5)::integer, 0, 0,
    total * (u >= 0.03)::integer, (total * 0.81 - 5 * (v >= 0.5)::integer) * (u >= 0.03)::integer,
    total * (u < 0.03)::integer, 2, false, ordered_at + interval '4 days',
    case when u < 0.995 then ordered_at + interval '1 day' * (1 + q * 4.5) end,
    case when u < 0.995 then q * 4.5 > 3 end, 1
from (select drawn.*, round((20 - 80 * ln(u * 0.999 + 0.0005))::numeric, 2) as total from drawn) as priced;
insert into candidate.fct_order_items (
    order_key, line_number, customer_key, ordered_on, sku, category, brand, quantity, returned_quantity, kept_quantity,
    unit_price, list_price, unit_cost, discount_amount, kept_amount, is_valid, batch_id)
select order_key, line, customer_key, ordered_on, 'S' || category || brand, 'category ' || category, 'brand ' || brand,
    1, returned, (1 - returned) * is_valid::integer, price, price * 1.15, price * 0.6, 0,
    (1 - returned) * price * is_valid::integer, is_valid, 1
from (
    select order_key, customer_key, ordered_on, is_valid, line, total_amount / 2 as price,
        1 + floor(random() * 6)::integer as category, (random() < 0.07)::integer as returned,
        case when random() < 0.6 then 1 else 1 + floor(random() * 4)::integer end as brand
    from candidate.fct_orders cross join generate_series(1, 2) as line
) as lines;
insert into candidate.fct_refunds (
    order_key, refund_number, refund_id, customer_key, refunded_at, refunded_on, currency, amount, net_amount,
    original_amount, reason, batch_id)
select order_key, 1, 'R', customer_key, delivered_at + interval '10 days', (delivered_at + interval '10 days')::date,
    'USD', total_amount / 2, net_amount / 2, total_amount / 2, 'came back', 1
from candidate.fct_orders
where is_valid and delivered_at < timestamptz '{today}' - interval '10 days' and hashtext(order_key) % 20 = 0;
update candidate.fct_orders as orders
set refunded_amount = refunds.amount, refunded_net_amount = refunds.net_amount,
    original_refunded_amount = refunds.amount, net_amount = orders.net_amount - refunds.net_amount
from candidate.fct_refunds as refunds where refunds.order_key = orders.order_key;
insert into candidate.fct_sessions (
    session_key, customer_key, started_at, started_on, ended_at, updated_at, engaged_seconds, session_seconds,
    page_views, product_views, searches, add_to_carts, checkouts_started, device_type, batch_id)
select 'V' || visit, customer_key, at, at::date, at + interval '10 minutes', at, 300, 600, 9, 4, 1,
    (random() < 0.3)::integer, 0, 'mobile', 1
from (
    select visit, 1 + floor(random() * {customers})::bigint as customer_key,
        timestamptz '{today}' - interval '{days} days' * random() as at
    from generate_series(1, ({sessions} * {customers})::integer) as visit
) as visits;
insert into candidate.fct_tickets (
    ticket_key, customer_key, created_at, created_on, updated_at, status, channel, category, priority,
    first_response_at, first_response_hours, first_resolved_at, first_resolution_hours, resolved_at,
    final_resolution_hours, replies, reopens, satisfaction, satisfaction_at, is_open, is_complaint, batch_id)
select 'T' || number, customer_key, at, at::date, at, case when is_open then 'open' else 'solved' end, channel,
    category, priority, at + u * interval '20 hours', u * 20,
    case when not is_open then at + v * interval '90 hours' end, case when not is_open then v * 90 end,
    case when not is_open then at + v * interval '90 hours' end, case when not is_open then v * 90 end,
    1, (w < 0.1)::integer,
    case when not is_open and q < 0.5 then round((q * 10)::numeric) / 5 end,
    case when not is_open and q < 0.5 then at + interval '3 days' end,
    is_open, category = 'complaint' or (not is_open and q < 0.2), 1
from (
    select number, 1 + floor(random() * {customers})::bigint as customer_key, random() < 0.02 as is_open,
        timestamptz '{today}' - interval '{days} days' * random() as at,
        random() as u, random() as v, random() as w, random() as q,
        (array['email', 'phone', 'chat'])[1 + floor(random() * 3)::integer] as channel,
        (array['complaint', 'question', 'return', 'delivery'])[1 + floor(random() * 4)::integer] as category,
        (array['low', 'normal', 'high', 'urgent'])[1 + floor(random() * 4)::integer] as priority
    from generate_series(1, ({tickets} * {customers})::integer) as number
) as tickets;
"""


if __name__ == "__main__":
    main()
