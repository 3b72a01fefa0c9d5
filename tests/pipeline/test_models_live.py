"""The live models: what an order, a refund, a session, a ticket counts for; corrections leave nothing behind."""

from __future__ import annotations

import random
import time
from decimal import Decimal
from typing import Any

import pytest

from customer360 import warehouse
from customer360.models import runner
from customer360.settings import Settings
from tests.pipeline.models_shop import build, claim, finish, mark_batch_dirty, one, rows, run_daily, run_live
from tests.pipeline.shop import Record, at, load, load_all, order, session, ticket


def line(sku: str, quantity: float = 1, price: str = "50.00", **fields: Any) -> Record:
    return {"sku": sku, "quantity": quantity, "unit_price": price, **fields}


def refund(refund_id: str, day: float, amount: str) -> Record:
    return {"refund_id": refund_id, "refunded_at": at(day), "amount": amount}


def customer(settings: Settings, key: int) -> dict[str, Any]:
    return one(settings, f"select * from candidate.customer_360 where customer_key = {key}")


def test_money_is_net_of_tax_shipping_and_the_refunds_share_of_them(settings: Settings) -> None:
    build(
        settings,
        [
            # 100 charged, of which 80 are goods: a refund of 50 takes back 40 of them.
            order("o1", customer_id="c1", tax_amount=15, shipping_amount=5, refunds=[refund("r1", 40, "50")]),
            # Cancelled: counts nowhere else, and neither does its refund.
            order("o2", customer_id="c1", total="30", status="cancelled", refunds=[refund("r2", 1, "30")]),
            order("o3", customer_id="c1", total="0", discount_amount=20),
        ],
    )
    found = customer(settings, 1)
    assert (found["order_count"], found["cancelled_order_count"], found["purchase_day_count"]) == (1, 1, 1)
    assert (found["gross_amount"], found["refunded_amount"], found["refunded_net_amount"]) == (100, 50, 40)
    assert (found["net_amount"], found["cancelled_amount"], found["average_order_amount"]) == (40, 30, 100)
    assert rows(settings, "select refund_id, refunded_on::text from candidate.fct_refunds") == [("r1", "2026-04-10")]
    days = "select revenue_on::text, gross_amount::int, refunded_amount::int, net_amount::int, cancelled_amount::int"
    assert rows(settings, f"{days} from candidate.fct_daily_revenue order by 1") == [
        ("2026-03-01", 100, 0, 80, 30),
        ("2026-04-10", 0, 50, -40, 0),
    ]


def test_a_business_day_ends_in_the_business_time_zone_also_when_clocks_change(settings: Settings) -> None:
    berlin = settings.with_(business_timezone="Europe/Berlin")
    times = {
        "o1": "2026-03-28T22:59:00+00:00",  # 23:59 in winter time
        "o2": "2026-03-28T23:01:00+00:00",  # 00:01
        "o3": "2026-03-29T21:59:00+00:00",  # 23:59 in summer time: the day had 23 hours
        "o4": "2026-03-29T22:01:00+00:00",
    }
    build(berlin, [order(o, customer_id="c1") | {"ordered_at": t, "updated_at": t} for o, t in times.items()])
    assert rows(settings, "select order_id, ordered_on::text from candidate.fct_orders order by 1") == [
        ("o1", "2026-03-28"),
        ("o2", "2026-03-29"),
        ("o3", "2026-03-29"),
        ("o4", "2026-03-30"),
    ]
    assert customer(settings, 1)["purchase_day_count"] == 3


def test_an_order_without_a_rate_is_counted_and_in_no_sum(settings: Settings) -> None:
    build(
        settings,
        [
            order("o1", customer_id="c1", currency="EUR", total="10", refunds=[refund("r1", 0, "5")])
            | {"ordered_at": "2024-06-01T00:00:00Z", "updated_at": "2024-06-02T00:00:00Z"},
            order("o2", customer_id="c1", currency="AED", total="10", refunds=[refund("r2", 0, "5")]),
        ],
    )
    rate = Decimal("1.0852")  # of the Friday before, for the refund two years later too
    found = customer(settings, 1)
    assert (found["order_count"], found["unconverted_order_count"]) == (2, 1)
    assert (found["gross_amount"], found["net_amount"], found["average_order_amount"]) == (
        10 * rate,
        5 * rate,
        10 * rate,
    )
    assert rows(
        settings,
        "select total_amount, net_amount, original_total_amount from candidate.fct_orders where currency = 'AED'",
    ) == [(None, None, 10)]


def test_a_correction_takes_back_what_the_order_has_lost(settings: Settings) -> None:
    """Items, refunds, the old day and the old customer: a merge by key would leave each of them behind."""
    build(
        settings,
        [
            order("o1", customer_id="c1", items=[line("a"), line("b")], refunds=[refund("r1", 3, "10")]),
            order("o2", customer_id="c1", day=-1),
        ],
    )
    corrected = order("o1", version=5, customer_id="c2", items=[line("a")]) | {"ordered_at": at(-2)}
    build(settings, [corrected])
    assert rows(settings, "select order_id, line_number, customer_key from candidate.fct_order_items") == [("o1", 1, 2)]
    assert rows(settings, "select * from candidate.fct_refunds") == []
    assert rows(settings, "select revenue_on::text, gross_amount::int from candidate.fct_daily_revenue order by 1") == [
        ("2026-02-27", 100),
        ("2026-02-28", 100),
    ]
    assert (customer(settings, 1)["order_count"], customer(settings, 2)["order_count"]) == (1, 1)


@pytest.mark.builds
def test_a_customer_whose_last_record_moves_away_is_gone(settings: Settings) -> None:
    build(settings, [order("o1", customer_id="c1", email="a@example.org"), session("s1", customer_id="c1")])
    build(settings, [order("o1", version=1, customer_id="c2"), session("s1", customer_id="c2") | {"updated_at": at(1)}])
    assert rows(settings, "select customer_key, order_count, session_count from candidate.customer_360") == [(2, 1, 1)]
    assert rows(settings, "select * from candidate.customer_contacts") == []


@pytest.mark.builds
def test_a_ticket_counts_by_the_definitions(settings: Settings) -> None:
    build(
        settings,
        [
            ticket("thumbs", customer_id="c1", satisfaction_score=1, satisfaction_scale_max=1, version=1),
            ticket("ten", customer_id="c1", satisfaction_score=4, satisfaction_scale_max=10, version=2),
            ticket("five", customer_id="c1", satisfaction_score=3, satisfaction_scale_max=5, category="complaint"),
            ticket("eur", customer_id="c1", compensation_amount=10, currency="EUR"),
            ticket(
                "reopened",
                customer_id="c1",
                version=1,
                status="solved",
                first_response_at=at(0.25),
                resolved_at=at(0.5),
            ),
        ],
    )
    build(
        settings,
        [
            ticket(
                "reopened",
                customer_id="c1",
                version=4,
                status="solved",
                first_response_at=at(0.25),
                resolved_at=at(3),
                reopens=1,
            )
        ],
    )
    found = customer(settings, 1)
    assert (found["ticket_count"], found["open_ticket_count"], found["complaint_count"]) == (5, 4, 2)
    assert (found["average_first_response_hours"], found["average_first_resolution_hours"]) == (6, 12)
    assert (found["average_final_resolution_hours"], found["reopen_count"]) == (72, 1)
    assert found["satisfaction_answer_count"] == 3
    assert found["average_satisfaction"] == Decimal("0.6667")
    assert found["last_satisfaction"] == Decimal("0.4")
    assert found["compensation_amount"] > 10
    assert found["complaints_per_order"] is None  # no order to divide by


@pytest.mark.builds
def test_customers_and_the_unattributed_bucket_add_up_to_the_facts(settings: Settings) -> None:
    build(settings, SHOP)
    build(settings, [order("o3", version=1, customer_id="c9", total="77")])
    for fact, mine, nobodys in (
        ("sum(gross_amount) from candidate.fct_orders", "sum(gross_amount)", "sum(gross_amount)"),
        ("sum(net_amount) from candidate.fct_orders", "sum(net_amount)", "sum(net_amount)"),
        ("sum(cancelled_amount) from candidate.fct_orders", "sum(cancelled_amount)", "sum(cancelled_amount)"),
        ("sum(amount) from candidate.fct_refunds", "sum(refunded_amount)", "sum(refunded_amount)"),
        ("count(*) from candidate.fct_sessions", "sum(session_count)", "sum(session_count)"),
        ("count(*) from candidate.fct_tickets", "sum(ticket_count)", "sum(ticket_count)"),
    ):
        whole, customers, unattributed = rows(
            settings,
            f"select (select {fact}), (select {mine} from candidate.customer_360),"
            f" (select {nobodys} from candidate.unattributed_totals)",
        )[0]
        assert whole == customers + unattributed, fact
        assert customers, fact
    assert rows(settings, "select sum(net_amount) from candidate.fct_daily_revenue") == rows(
        settings, "select sum(net_amount) from candidate.fct_orders"
    )


@pytest.mark.slow
@pytest.mark.builds
def test_any_split_of_the_records_in_any_order_gives_what_one_full_build_gives(settings: Settings) -> None:
    chance = random.Random(360)
    records = [*SHOP, *CORRECTIONS, *chance.sample(SHOP, 4)]
    chance.shuffle(records)
    for part in (records[:5], records[5:13], records[13:]):
        build(settings, part)
    incremental = everything(settings)
    run_live(settings, full=True)
    assert everything(settings) == incremental
    assert incremental["customer_360"]


@pytest.mark.builds
def test_a_held_batch_leaves_every_table(settings: Settings) -> None:
    build(settings, SHOP)
    before = everything(settings)
    batch = load(settings, "orders", [order("o1", version=30, customer_id="c4", total="9999", items=[line("z", 9)])])
    build(settings)
    assert everything(settings) != before
    with warehouse.connect("transformer", settings) as connection:
        connection.execute("update ops.batches set state = 'held' where batch_id = %s", [batch])
        mark_batch_dirty(connection, "orders", batch)
    build(settings)
    assert everything(settings) == before


@pytest.mark.builds
def test_a_new_customer_has_no_daily_figures_until_the_daily_pass(settings: Settings) -> None:
    build(settings, [order("o1", customer_id="c1"), order("o2", customer_id="c1", day=10)])
    daily = "select customer_key, order_count_7d, as_of_on::text from candidate.customer_360 order by 1"
    assert rows(settings, daily) == [(1, None, None)]
    run_daily(settings, "2026-03-12")
    assert rows(settings, daily) == [(1, 1, "2026-03-12")]
    build(settings, [order("o3", customer_id="c2"), order("o4", customer_id="c1", day=11)])
    assert rows(settings, daily) == [(1, 1, "2026-03-12"), (2, None, None)]
    assert customer(settings, 1)["order_count"] == 3


@pytest.mark.builds
def test_windows_are_half_open(settings: Settings) -> None:
    build(settings, [session(f"s{day}", day=day, customer_id="c1") for day in (0, 1, 7, 8)])
    run_daily(settings, "2026-03-08")  # day 7: days 1 to 7 are within (as_of - 7, as_of], day 0 and tomorrow are not
    assert customer(settings, 1)["session_count_7d"] == 2
    assert customer(settings, 1)["session_count_30d"] == 3


@pytest.mark.slow  # whether the planner reads 2,000 rows by an index depends on when autovacuum has looked at them
def test_a_run_reads_what_is_dirty_and_not_the_base(settings: Settings) -> None:
    load_all(settings, [order(f"o{n}", customer_id=f"c{n}", items=[line("a")]) for n in range(1, 2001)])
    claim(settings)
    run_live(settings, full=True)
    finish(settings, full=True)
    with warehouse.connect("owner", settings) as connection:
        connection.execute("analyze raw.orders")
    before = scanned(settings)
    load(settings, "orders", [order(f"o{n}", version=1, customer_id=f"c{n}", items=[line("a")]) for n in range(1, 6)])
    claim(settings)
    runner.run_models(settings, ["tag:staging", "tag:live"], run_id=None)
    after = scanned(settings)
    read = {table: after[table] - before.get(table, 0) for table in after}
    assert read["fct_orders"]
    assert not {table: count for table, count in read.items() if count > 100}


def scanned(settings: Settings) -> dict[str, int]:
    """Rows read so far per table, once every other session has ended and so has told its own."""
    with warehouse.admin(settings) as connection:
        others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        while warehouse.scalar(connection, others):
            time.sleep(0.01)
        return dict(
            connection.execute(
                "select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_user_tables"
                " where schemaname in ('raw', 'staging', 'intermediate', 'candidate', 'marts')"
            ).fetchall()
        )


def everything(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the published tables, less what tells how a record arrived."""
    arrival = {"batch_id", "known_at"}
    found = {}
    for table in runner.model_tables(settings):
        if "live" in table.tags:
            columns = ", ".join(column for column in table.columns if column not in arrival)
            key = ", ".join(table.primary_key)
            found[table.name] = rows(settings, f"select {columns} from {table.schema}.{table.name} order by {key}")
    return found


SHOP = [
    order("o1", customer_id="c1", email="a@example.org", items=[line("a", category="x"), line("b", category="y")]),
    order("o2", customer_id="c1", day=3, currency="EUR", refunds=[refund("r1", 9, "20")], status="delivered"),
    order("o3", day=4, total="55", shipping_amount=5, refunds=[refund("r2", 5, "11")]),
    order("o4", day=4, total="44", status="cancelled"),
    order("o5", day=40, customer_id="c2", sales_channel="store", currency="CHF"),
    order("o6", day=40, customer_id="c2", status="cancelled"),
    session("s1", customer_id="c1", product_views=3, add_to_carts=1, order_id="o1"),
    session("s2", device="d2"),
    ticket("t1", customer_id="c1", order_id="o1", satisfaction_score=3, satisfaction_scale_max=5),
    ticket("t2", email="x@example.org"),
]
CORRECTIONS = [
    order("o1", version=100, customer_id="c3", items=[line("a", category="x", returned_quantity=1)]),
    order("o2", day=3, version=150, customer_id="c1", currency="EUR", status="delivered"),
    order("o3", day=4, version=2, customer_id="c2", total="56"),
    order("o3", day=4, version=2, customer_id="c4", total="57"),
    order("o6", day=41, version=3, customer_id="c2", status="paid", refunds=[refund("r3", 43, "1.5")]),
    session("s2", device="d2", customer_id="c2") | {"updated_at": at(2)},
    ticket("t1", version=7, customer_id="c3", status="solved", resolved_at=at(6), category="complaint"),
]
