"""`c360 verify` proves what holds, and sees red when it does not."""

from __future__ import annotations

import pytest

from customer360 import warehouse
from customer360.publication.daily import refresh_daily
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline.shop import load, order

pytestmark = pytest.mark.builds


def test_a_sound_warehouse_is_proved_sound(shop: Settings) -> None:
    report = verify(shop)
    assert [check for check in report.checks if not check.holds] == []
    money = {one.currency: (one.raw, one.attributed, one.unattributed, one.cancelled) for one in report.money}
    assert {currency: [float(x) for x in amounts] for currency, amounts in money.items()} == {
        "EUR": [55, 55, 0, 0],
        "USD": [86.99, 70, 7, 9.99],
    }


@pytest.mark.slow
def test_what_many_runs_made_is_what_one_whole_build_makes(shop: Settings) -> None:
    report = verify(shop, full=True)
    assert [check for check in report.checks if not check.holds] == []
    compared = report.checks[-1].counted
    assert "marts.customer_360: without" in compared
    assert "marts.customer_loyalty: not" in compared

    refresh_daily(shop, trigger="test")
    report = verify(shop, full=True)
    assert [check for check in report.checks if not check.holds] == []
    assert "without" not in report.checks[-1].counted
    assert "not compared" not in report.checks[-1].counted
    with warehouse.connect("owner", shop) as connection:
        assert warehouse.scalar(connection, "select count(*) from pg_namespace where nspname ~ '^verify_full'") == 0


@pytest.mark.parametrize(
    ("damage", "broken", "named"),
    [
        ("delete from raw.orders where order_id = 'o3'", "every landed row is accounted for", "rows in raw"),
        (
            "delete from marts.fct_orders where order_id = 'o3'",
            "each order of raw is in marts.fct_orders",
            "lost o3",
        ),
        (
            "update marts.fct_orders set original_total_amount = 1 where order_id = 'o3'",
            "money: raw = attributed + unattributed + cancelled + deleted, less refunds",
            "USD: 6.0000",
        ),
        (
            "update marts.customer_360 set gross_amount = gross_amount + 1 where customer_key = 1",
            "control totals = recount; facts = customers + unattributed",
            "gross_amount of customers",
        ),
        ("update marts.fct_tickets set replies = 9", "marts = candidate", "marts.fct_tickets: t1"),
        (
            "delete from marts.customer_360 where customer_key = 1",
            "every customer exists",
            "marts.fct_orders: 1",
        ),
        ("delete from staging.stg_web_sessions where session_id = 's2'", "is in staging.stg_web_sessions", "lost s2"),
    ],
)
def test_damage_is_found_and_named(shop: Settings, damage: str, broken: str, named: str) -> None:
    with warehouse.admin(shop) as connection:
        connection.execute(warehouse.query(damage))
    report = verify(shop)
    assert not report.holds
    (found,) = [check for check in report.checks if broken in check.name and not check.holds]
    assert any(named in row for row in found.broken), found.broken
    assert found.next_step


def test_what_waits_is_told_and_is_no_fault(shop: Settings) -> None:
    load(shop, "orders", [order("o9", customer_id="c9")])
    report = verify(shop)
    assert report.holds
    assert "1 batches and 0 keys wait" in next(c.counted for c in report.checks if "not published yet" in c.name)


@pytest.mark.parametrize(
    "damage", ["update {} set net_amount = net_amount + 1", "delete from {} where customer_key = 1"]
)
def test_a_journal_that_is_not_what_was_written_is_found(shop: Settings, damage: str) -> None:
    refresh_daily(shop, trigger="test")
    assert verify(shop).holds
    with warehouse.admin(shop) as connection:
        connection.execute(warehouse.query(damage.format("marts.customer_360_history")))
    (found,) = [check for check in verify(shop).checks if not check.holds]
    assert found.name.startswith("published journals")
    assert found.broken[0].startswith("marts.customer_360_history: ")


def test_a_pass_that_wrote_its_journals_and_was_cut_off_is_told_and_is_no_fault(shop: Settings) -> None:
    refresh_daily(shop, trigger="test")
    with warehouse.admin(shop) as connection:
        connection.execute("insert into ops.runs (kind, trigger, state) values ('daily', 'test', 'failed')")
        connection.execute("update state.customer_360_history set net_amount = net_amount + 1")
    report = verify(shop)
    assert report.holds
    (told,) = [check.counted for check in report.checks if check.name.startswith("published journals")]
    assert "not compared, a daily pass was cut off" in told
