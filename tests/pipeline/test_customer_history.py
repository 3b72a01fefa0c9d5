"""customer_360_history: what was known of a customer on any day, never restated."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from customer360 import warehouse
from customer360.models.runner import journal_tables
from customer360.publication import customer_history
from customer360.publication.build import build
from customer360.publication.customer_history import record
from customer360.publication.daily import refresh_daily
from customer360.publication.loyalty_journals import JournalOrderError
from customer360.settings import Settings
from customer360.warehouse import query
from expectations.marts import customer_360_history
from tests.pipeline.shop import load_all, order

pytestmark = pytest.mark.builds

DAY = date(2026, 6, 30)
NEXT = DAY + timedelta(days=1)

CANDIDATE = """
    create table candidate.customer_360 (customer_key bigint, tier text, order_count bigint, net_amount numeric(18,4));
    create table candidate.customer_loyalty (customer_key bigint, lifecycle_stage text);
    create table candidate.customer_churn (customer_key bigint, churn_band text);
    grant select on all tables in schema candidate to {owner}
"""
PERIODS = """
    select customer_key, tier, order_count, net_amount::int, valid_from_on::text, valid_to_on::text, closed_because
    from state.customer_360_history order by period_id
"""


def rows(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    with warehouse.connect("owner", settings) as connection:
        return connection.execute(query(statement)).fetchall()


def execute(settings: Settings, statement: str, role: warehouse.Role = "transformer") -> None:
    with warehouse.connect(role, settings) as connection:
        connection.execute(query(statement))


def know(settings: Settings, **customers: tuple[str, int, int]) -> None:
    """Say what today's tables hold of each customer: tier, orders, net revenue."""
    values = ", ".join(f"({key[1:]}, '{tier}', {count}, {net})" for key, (tier, count, net) in customers.items())
    execute(settings, f"truncate candidate.customer_360; insert into candidate.customer_360 values {values}")


@pytest.fixture
def shop(settings: Settings) -> Settings:
    """A warehouse with the tables that the journal is made from, empty."""
    execute(settings, CANDIDATE.replace("{owner}", warehouse.role_name("owner", settings)))
    return settings


def test_a_change_closes_a_period_and_opens_the_next_and_a_second_pass_nothing(shop: Settings) -> None:
    know(shop, c1=("base", 1, 100), c2=("gold", 9, 900))
    assert record(shop, DAY) == customer_history.Recorded(opened=2, closed=0)
    assert record(shop, DAY) == customer_history.Recorded(opened=0, closed=0)
    know(shop, c1=("silver", 2, 250), c2=("gold", 9, 900))
    assert record(shop, NEXT) == customer_history.Recorded(opened=1, closed=1)
    assert record(shop, NEXT) == customer_history.Recorded(opened=0, closed=0)
    assert rows(shop, PERIODS) == [
        (1, "base", 1, 100, "2026-06-30", "2026-07-01", "changed"),
        (2, "gold", 9, 900, "2026-06-30", None, None),
        (1, "silver", 2, 250, "2026-07-01", None, None),
    ]


def test_each_day_has_one_answer_also_when_a_day_was_passed_twice(shop: Settings) -> None:
    for day, net in ((DAY, 100), (NEXT, 200), (NEXT, 300), (NEXT + timedelta(days=1), 400)):
        know(shop, c1=("base", 1, net))
        record(shop, day)
    known = """
        select day::date::text, array_agg(net_amount::int)
        from generate_series(date '2026-06-30', date '2026-07-03', '1 day') as day
        join state.customer_360_history on valid_from_on <= day and (valid_to_on is null or valid_to_on > day)
        group by day order by day
    """
    assert rows(shop, known) == [
        ("2026-06-30", [100]),
        ("2026-07-01", [300]),
        ("2026-07-02", [400]),
        ("2026-07-03", [400]),
    ]


def test_a_customer_who_is_no_more_has_no_open_period_and_a_returning_one_has(shop: Settings) -> None:
    know(shop, c1=("base", 1, 100), c2=("base", 1, 10))
    record(shop, DAY)
    know(shop, c1=("base", 2, 110))
    record(shop, NEXT)
    know(shop, c1=("base", 1, 100), c2=("base", 1, 10))
    record(shop, NEXT + timedelta(days=1))
    assert rows(shop, f"select * from ({PERIODS}) as p where customer_key = 2") == [
        (2, "base", 1, 10, "2026-06-30", "2026-07-01", "customer_gone"),
        (2, "base", 1, 10, "2026-07-02", None, None),
    ]


def test_what_was_known_is_not_written_after_what_was_known_later(shop: Settings) -> None:
    know(shop, c1=("base", 1, 100))
    record(shop, NEXT)
    with pytest.raises(JournalOrderError, match="2026-07-01"):
        record(shop, DAY)


@pytest.mark.slow
def test_a_correction_is_known_from_the_next_pass_on_and_published(settings: Settings) -> None:
    load_all(settings, [order("o1", customer_id="c1"), order("o2", customer_id="c2")])
    build(settings, "test")
    assert refresh_daily(settings, trigger="test").tables["marts.customer_360_history"].added == 2
    assert "marts.customer_360_history" not in refresh_daily(settings, trigger="test").tables
    load_all(settings, [order("o1", version=150, customer_id="c1", total="80.00")])
    build(settings, "test")
    change = refresh_daily(settings, trigger="test").tables["marts.customer_360_history"]
    assert (change.added, change.changed, change.removed) == (1, 1, 0)
    published = "select customer_key, order_count, net_amount::int, closed_because from marts.customer_360_history"
    assert rows(settings, f"{published} order by period_id") == [
        (1, 1, 100, "changed"),
        (2, 1, 100, None),
        (1, 1, 80, None),
    ]
    told = "select outcome from ops.gate_results where suite = 'marts.customer_360_history'"
    assert set(rows(settings, told)) == {("passed",)}


@pytest.mark.parametrize(
    ("damage", "broken"),
    [
        (
            "insert into marts.customer_360_history select 99, customer_key, tier, lifecycle_stage, churn_band, "
            "order_count, net_amount, valid_from_on from marts.customer_360_history where customer_key = 1",
            "a customer has one open period",
        ),
        (
            "insert into marts.customer_360_history select 99, customer_key, tier, lifecycle_stage, churn_band, "
            "order_count, net_amount, valid_from_on from marts.customer_360_history where customer_key = 1",
            "the periods of a customer do not overlap",
        ),
        ("update marts.customer_360_history set net_amount = 1", "the open periods are what customer_360 says today"),
        ("delete from marts.customer_360_history", "the open periods are what customer_360 says today"),
    ],
)
def test_the_gate_sees_a_journal_that_is_wrong(shop: Settings, damage: str, broken: str) -> None:
    with warehouse.admin(shop) as connection:
        connection.execute(
            query(
                """
                create table marts.customer_360 (
                    customer_key bigint, tier text, order_count bigint, net_amount numeric);
                insert into marts.customer_360 values (1, 'base', 1, 100);
                create table marts.customer_360_history (like state.customer_360_history);
                alter table marts.customer_360_history alter opened_at drop not null;
                insert into marts.customer_360_history
                select 1, customer_key, tier, null, null, order_count, net_amount, '2026-06-30' from marts.customer_360;
                """
            )
        )
        assert not broken_rules(shop)
        connection.execute(query(damage))
    assert broken in broken_rules(shop)


def broken_rules(settings: Settings) -> set[str]:
    """The rules of the marts gate that do not hold."""
    found = set()
    rules: list[Any] = customer_360_history.suite().expectations  # of the kind that has a query
    with warehouse.admin(settings) as connection:
        for expectation in rules:
            rows_query = expectation.unexpected_rows_query.replace("{batch}", "marts.customer_360_history")
            if connection.execute(query(rows_query)).fetchall():
                found.add(expectation.description)
    return found


def test_its_columns_are_documented_as_the_warehouse_has_them(settings: Settings) -> None:
    (declared,) = (table for table in journal_tables(settings) if table.name == "customer_360_history")
    found = rows(
        settings,
        """
        select attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum)
        from pg_attribute where attrelid = 'state.customer_360_history'::regclass and attnum > 0 order by attnum
        """,
    )
    kinds = {"timestamptz": "timestamp with time zone"}
    assert found == [
        (name, kinds.get(kind, kind), declared.column_descriptions[name]) for name, kind in declared.columns.items()
    ]
    assert rows(settings, "select obj_description('state.customer_360_history'::regclass)") == [(declared.description,)]
