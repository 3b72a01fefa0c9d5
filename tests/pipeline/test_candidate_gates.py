"""The candidate gate's rules over what a run touched: each holds of a sound shop, and each is seen red."""

from __future__ import annotations

import pytest

from customer360 import warehouse
from customer360.publication.build import published_tables
from customer360.settings import Settings
from expectations.candidate import suite_of

pytestmark = pytest.mark.builds

# What a run over a correction of these would do again.
DIRTY = """
    insert into ops.dirty values ('order', 'o1'), ('order', 'o3'), ('session', 's1'), ('ticket', 't1'),
        ('customer', '1'), ('day', '2026-03-01'), ('day', '2026-03-05')
"""
CUSTOMER_EXISTS = "the customer exists"
DAY_MOVED = "a day's revenue moved by what its changed orders and refunds did"
DAY_ADDS_UP = "a day's revenue is the sum of its orders and of the refunds made on it"
BUCKET_MOVED = "a day's bucket moved by the changed orders that belong, or belonged, to nobody"
BUCKET_ADDS_UP = "a day's bucket holds exactly the orders that belong to nobody"


def broken(settings: Settings, *, whole: bool) -> set[tuple[str, str]]:
    """Table and rule of everything that does not hold of the candidate tables."""
    found = set()
    with warehouse.connect("transformer", settings) as connection:
        for table in published_tables(settings):
            if not table.is_live:
                continue
            kind = "rebuild" if whole else "live"
            suite = suite_of(table.name, table.primary_key, scope=table.scope, scope_key=table.scope_key, kind=kind)
            for expectation in suite.expectations:
                rows = expectation.unexpected_rows_query.replace("{batch}", f"candidate.{table.name}")
                if expectation.severity == "critical" and connection.execute(warehouse.query(rows)).fetchall():
                    found.add((table.name, expectation.description))
    return found


@pytest.mark.parametrize("whole", [True, False])
def test_every_rule_holds_of_a_sound_shop(shop: Settings, whole: bool) -> None:
    assert broken(shop, whole=whole) == set()
    with warehouse.admin(shop) as connection:
        connection.execute(DIRTY)
    assert broken(shop, whole=whole) == set()


@pytest.mark.parametrize(
    ("damage", "live", "in_whole"),
    [
        (
            "update candidate.fct_orders set customer_key = 99 where order_id = 'o1'",
            ("fct_orders", CUSTOMER_EXISTS),
            ("fct_orders", CUSTOMER_EXISTS),
        ),
        (
            "delete from ops.dirty where scope in ('order', 'session');"
            "delete from candidate.customer_360 where customer_key = 1",
            ("fct_sessions", CUSTOMER_EXISTS),
            ("fct_sessions", CUSTOMER_EXISTS),
        ),
        (
            "update candidate.fct_daily_revenue set gross_amount = gross_amount + 1 where revenue_on = '2026-03-01'",
            ("fct_daily_revenue", DAY_MOVED),
            ("fct_daily_revenue", DAY_ADDS_UP),
        ),
        (
            "delete from candidate.fct_daily_revenue where revenue_on = '2026-03-05'",
            ("fct_daily_revenue", DAY_MOVED),
            ("fct_daily_revenue", DAY_ADDS_UP),
        ),
        (
            "update candidate.fct_orders set tax_amount = tax_amount + 1 where order_id = 'o1'",
            ("fct_daily_revenue", DAY_MOVED),
            ("fct_daily_revenue", DAY_ADDS_UP),
        ),
        (
            "delete from candidate.fct_refunds where order_id = 'o1'",
            ("fct_daily_revenue", DAY_MOVED),
            ("fct_daily_revenue", DAY_ADDS_UP),
        ),
        (
            "update candidate.unattributed_totals set order_count = order_count + 1 where order_count > 0",
            ("unattributed_totals", BUCKET_MOVED),
            ("unattributed_totals", BUCKET_ADDS_UP),
        ),
        (
            "update candidate.fct_orders set customer_key = 1 where order_id = 'o3'",
            ("unattributed_totals", BUCKET_MOVED),
            ("unattributed_totals", BUCKET_ADDS_UP),
        ),
    ],
)
def test_what_is_wrong_is_seen_in_a_run_and_in_a_whole_build(
    shop: Settings, damage: str, live: tuple[str, str], in_whole: tuple[str, str]
) -> None:
    with warehouse.admin(shop) as connection:
        connection.execute(DIRTY)
        for statement in damage.split(";"):
            connection.execute(warehouse.query(statement))
    assert live in broken(shop, whole=False)
    assert in_whole in broken(shop, whole=True)
