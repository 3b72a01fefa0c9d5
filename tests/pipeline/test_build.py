"""The build: what was loaded is published, once, whatever happens on the way."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from customer360 import warehouse
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.settings import Settings
from customer360.warehouse import agreement
from tests.pipeline.shop import load_all, order, rows, session, ticket


def test_loaded_batches_are_published_and_then_nothing_is_due(settings: Settings) -> None:
    load_all(settings, [order("o1", customer_id="c1"), session("s1", customer_id="c1"), ticket("t1", customer_id="c1")])
    summary = build(settings, "test")
    assert (summary.state, summary.batch_count) == ("succeeded", 3)
    assert rows(settings, "select order_count, session_count, ticket_count from marts.customer_360") == [(1, 1, 1)]
    assert rows(settings, "select distinct state, publication_id from ops.batches") == [
        ("published", summary.publication_id)
    ]
    assert build(settings, "test").state == "idle"


@pytest.mark.builds
def test_the_daily_pass_fills_the_daily_columns_and_a_second_one_changes_nothing(settings: Settings) -> None:
    load_all(settings, [order("o1", customer_id="c1"), order("o2", customer_id="c2")])
    build(settings, "test")
    assert rows(settings, "select count(as_of_on) from marts.customer_360") == [(0,)]
    first = refresh_daily(settings, trigger="test")
    assert first.tables["marts.customer_loyalty"].added == 2
    assert rows(settings, "select distinct as_of_on from marts.customer_360") == [(settings.today(),)]
    second = refresh_daily(settings, trigger="test")
    assert second.tables == {}
    assert rows(settings, "select kind, as_of_on is not null from ops.publications order by publication_id") == [
        ("rebuild", False),
        ("daily", True),
        ("daily", True),
    ]


@pytest.mark.builds
def test_a_past_day_gets_a_schema_of_its_own_and_marts_stay(settings: Settings) -> None:
    load_all(settings, [order("o1", customer_id="c1"), order("o2", day=20, customer_id="c2")], is_history=True)
    build(settings, "test")
    refresh_daily(settings, trigger="test")
    before = rows(settings, "select * from marts.customer_loyalty order by 1")
    day = date(2026, 3, 11)
    summary = refresh_daily(settings, day, trigger="test")
    assert summary.kind == "as_of"
    assert rows(settings, "select c.as_of_on, c.recency_days from asof_20260311.customer_loyalty as c") == [(day, 10)]
    assert rows(settings, "select customer_key from asof_20260311.customer_360") == rows(
        settings, "select customer_key from marts.fct_orders where order_id = 'o1'"
    )
    assert rows(settings, "select * from marts.customer_loyalty order by 1") == before
    schemas = rows(settings, "select nspname from pg_namespace where nspname ~ 'making|asof' order by 1")
    assert schemas == [("asof_20260311",)]


def adopt(settings: Settings) -> None:
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        agreement.adopt(connection, settings)


def test_another_time_zone_or_reporting_currency_builds_everything_anew(settings: Settings) -> None:
    late = {"ordered_at": "2024-06-01T23:30:00Z", "updated_at": "2024-06-02T00:00:00Z"}
    load_all(settings, [order("o1", customer_id="c1", total="10.00", currency="EUR") | late])
    build(settings, "test")
    placed = "select ordered_on::text, total_amount from marts.fct_orders"
    assert rows(settings, placed) == [("2024-06-01", Decimal("10.8520"))]
    berlin = settings.with_(business_timezone="Europe/Berlin")
    adopt(berlin)
    assert build(berlin, "test").kind == "build"
    assert rows(settings, placed) == [("2024-06-02", Decimal("10.8520"))]
    assert rows(settings, "select revenue_on::text from marts.fct_daily_revenue") == [("2024-06-02",)]
    assert build(berlin, "test").state == "idle"
    euro = berlin.with_(reporting_currency="EUR")
    adopt(euro)
    build(euro, "test")
    assert rows(settings, placed) == [("2024-06-02", Decimal(10))]
    assert rows(settings, "select gross_amount from marts.customer_360") == [(Decimal(10),)]
    assert rows(settings, "select kind from ops.publications order by publication_id") == [("rebuild",)] * 3


def test_after_a_whole_build_the_rows_of_a_customer_lie_together(settings: Settings) -> None:
    made = [order(f"o{n}", customer_id=f"c{n % 7}") for n in range(70)]
    load_all(settings, made + [session(f"s{n}", customer_id=f"c{n % 7}") for n in range(70)])
    build(settings, "test")
    for table in ("candidate.fct_orders", "candidate.fct_sessions", "identity.records"):
        apart = f"""
            select count(*) from (
                select customer_key < lag(customer_key) over (order by ctid) as is_apart from {table}
            ) as neighbours where is_apart
        """
        assert rows(settings, apart, "owner") == [(0,)], table
        assert rows(settings, f"select count(*) >= 70 from {table}", "owner") == [(True,)], table


@pytest.mark.builds
def test_a_day_counts_a_buyer_once_until_their_last_order_of_it_is_gone(settings: Settings) -> None:
    buyers = "select customer_count, order_count from marts.fct_daily_revenue"
    load_all(settings, [order("o1", customer_id="c1"), order("o2", customer_id="c2")])
    build(settings, "test")
    assert rows(settings, buyers) == [(2, 2)]
    for record, counted in [
        (order("o3", customer_id="c1"), (2, 3)),
        (order("o1", customer_id="c1", version=1, status="cancelled"), (2, 2)),
        (order("o3", customer_id="c1", version=1, status="cancelled"), (1, 1)),
        (order("o3", customer_id="c2", version=2), (1, 2)),
    ]:
        load_all(settings, [record])
        build(settings, "test")
        assert rows(settings, buyers) == [counted]
