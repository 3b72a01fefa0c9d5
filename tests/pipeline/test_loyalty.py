"""Loyalty through the whole pipeline: from landed records to marts, today and on a past day."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from customer360 import warehouse
from customer360.models import runner
from customer360.publication import loyalty_journals
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.publication.reconstruction import reconstruct
from customer360.run import run_everything
from customer360.settings import PROJECT_ROOT, Settings
from tests.pipeline.shop import at, load_all, order, rows, ticket

pytestmark = pytest.mark.builds

# The tables of the second list of loyalty.md; the journals among them are in loyalty_journals.TABLES.
TABLES = (
    "customer_loyalty", "rfm_cut_points", "retention_cohorts", "customer_concentration", "complaint_recovery",
    "retention_value", "relationship_levels", "service_recovery_plan", "customer_alert_precision",
    "ticket_service_levels",
)  # fmt: skip


def tea(brand: str = "A", quantity: int = 1, returned: int = 0) -> list[dict[str, object]]:
    return [
        {
            "sku": "t", "category": "tea", "brand": brand, "quantity": quantity, "unit_price": "50.00",
            "list_price": "60.00", "returned_quantity": returned,
        }
    ]  # fmt: skip


SHOP = [
    # Three times A; the second order came a day late and a quarter of it went back.
    order(
        "o1", day=0, customer_id="c1", status="delivered", items=tea(), delivered_at=at(2), promised_delivery_at=at(3),
    ),
    order(
        "o2", day=10, version=9, customer_id="c1", status="delivered", items=tea(quantity=2, returned=1),
        delivered_at=at(14), promised_delivery_at=at(13),
        refunds=[{"refund_id": "r1", "refunded_at": at(18), "amount": "25.00"}],
    ),
    order("o3", day=20, customer_id="c1", status="delivered", items=tea(), delivered_at=at(22)),
    order("o4", day=5, customer_id="c2", status="cancelled"),
    ticket("t1", day=15, customer_id="c1", category="complaint", status="open"),
]  # fmt: skip

ONE = """
    select purchase_day_count, max_brand_run, is_tucker_loyal, primary_brand, lifecycle_stage is not null,
        points_balance, tier
    from marts.customer_loyalty where order_count > 0
"""


def test_the_daily_pass_publishes_loyalty_and_explains_every_point(settings: Settings) -> None:
    load_all(settings, SHOP)
    build(settings, "test")
    first = refresh_daily(settings, trigger="test")
    assert rows(settings, ONE) == [(3, 3, True, "A", True, 275, "silver")]
    assert rows(settings, "select kind, points from marts.loyalty_points_ledger order by posting_id") == [
        ("earn", 100), ("earn", 100), ("claw_back", -25), ("earn", 100),
    ]  # fmt: skip
    assert rows(settings, "select points_balance from marts.loyalty_points_balance") == [(275,)]
    published = {name for (name,) in rows(settings, "select tablename from pg_tables where schemaname = 'marts'")}
    assert {*TABLES, *(table.name for table in loyalty_journals.TABLES)} <= published
    assert first.tables["marts.loyalty_tier_history"].added == 1
    assert rows(settings, "select rule, closed_on from marts.customer_alerts order by rule") == [
        ("complaint_past_sla", None), ("high_past_value_at_risk", None),
    ]  # fmt: skip
    assert refresh_daily(settings, trigger="test").tables == {}

    load_all(settings, [order("o3", day=20, version=30, customer_id="c1", status="cancelled")])
    build(settings, "test")
    refresh_daily(settings, trigger="test")
    assert rows(settings, "select points_balance, tier from marts.customer_loyalty where order_count > 0") == [
        (175, "base")
    ]
    assert rows(settings, "select kind, points, why from marts.loyalty_points_ledger order by posting_id")[4:] == [
        ("earn", -100, "corrected")
    ]


@pytest.mark.slow
def test_a_later_record_changes_no_earlier_day(settings: Settings) -> None:
    day = date(2026, 3, 17)
    load_all(settings, SHOP, is_history=True)
    build(settings, "test")
    refresh_daily(settings, trigger="test")
    reconstruct(settings)  # or the next run would, and that is no change by the past day

    def past() -> dict[str, list[tuple[object, ...]]]:
        untouched = live(settings)
        run_everything(settings, as_of=day)  # c360 run --as-of
        assert live(settings) == untouched
        return {name: rows(settings, f"select * from asof_20260317.{name} order by 1, 2") for name in TABLES}

    before = past()
    # Two purchase days by then; the refund and the order of later days are not known yet.
    figures = "select purchase_day_count, points_balance, recency_days from asof_20260317.customer_loyalty"
    assert rows(settings, f"{figures} where order_count > 0") == [(2, 200, 6)]
    load_all(
        settings,
        [
            order("o1", day=0, version=99, customer_id="c1", status="cancelled"),
            order("o5", day=3, customer_id="c1", items=tea("B")),
            ticket("t2", day=4, customer_id="c1", category="complaint"),
        ],
    )
    build(settings, "test")
    refresh_daily(settings, trigger="test")
    assert past() == before


def live(settings: Settings) -> dict[str, tuple[object, ...]]:
    """A fingerprint of every table of marts, of the journals in state, and the publications."""
    named = rows(
        settings,
        """
        select table_schema || '.' || table_name from information_schema.tables
        where table_schema in ('marts', 'marts_pii', 'state') and table_name <> 'population_statistics'
            and table_name <> 'data_status'  -- it tells ages
        union all select 'ops.publications'
        """,
        "owner",
    )
    assert {"marts.customer_loyalty", "state.loyalty_points_ledger", "marts_pii.customer_contacts"} <= {
        name for (name,) in named
    }
    counted = "select count(*), md5(string_agg(one::text, '|' order by one::text)) from {} as one"
    return {name: rows(settings, counted.format(name), "owner")[0] for (name,) in named}


def test_a_parameter_changes_results_from_its_date_on_and_nowhere_before(settings: Settings) -> None:
    load_all(settings, SHOP)
    build(settings, "test")
    eve, later = date(2026, 3, 19), date(2026, 3, 24)
    before = {day: judged(settings, day) for day in (eve, later)}
    assert before == {eve: (2, None, 175, "base"), later: (3, True, 275, "silver")}
    with warehouse.connect("transformer", settings) as connection:
        connection.execute(
            """
            insert into staging.loyalty_parameters (parameter, value, valid_from, source) values
                ('brand_loyalty_minimum_run', 4, '2026-03-20', 'a test'),
                ('points_per_amount', 2, '2026-03-20', 'a test'),
                ('tier_silver_minimum_points', 400, '2026-03-20', 'a test')
            """
        )
    assert judged(settings, eve) == before[eve]
    # What was earned before the day keeps its rate: 100 + 75, and twice 100.
    assert judged(settings, later) == (3, False, 375, "base")


def judged(settings: Settings, day: date) -> tuple[object, ...]:
    """Purchase days, three in a row, points and tier of the one customer, as models say for a day."""
    runner.run_models(
        settings,
        ["+int_brand_runs__found,tag:daily", "+int_loyalty_tiers__reached,tag:daily", "int_loyalty_points__balanced"],
        run_id=None,
        full_refresh=True,
        variables={"as_of_on": day.isoformat()},
    )
    found = rows(
        settings,
        """
        select purchase_day_count::int, is_tucker_loyal, points_balance::int, tier
        from intermediate.int_purchase_cadences__measured
        inner join intermediate.int_brand_runs__found using (customer_key)
        inner join intermediate.int_loyalty_points__balanced using (customer_key)
        inner join intermediate.int_loyalty_tiers__reached using (customer_key)
        """,
        "transformer",
    )
    assert len(found) == 1
    return found[0]


def test_every_parameter_is_in_the_seed_and_used() -> None:
    seed = (PROJECT_ROOT / "dbt_project" / "seeds" / "loyalty_parameters.csv").read_text().splitlines()[1:]
    listed = {line.split(",")[0] for line in seed}
    always = {line.split(",")[0] for line in seed if re.search(r",1995-01-01,", line)}
    assert listed == always, "a parameter without a value from the first day on is null before it"
    text = "\n".join(path.read_text() for path in Path(PROJECT_ROOT / "dbt_project").rglob("*.sql"))
    named = set(re.findall(r"parameter\('([a-z0-9_]+)'\)", text))
    assert len(named) > 50
    assert named <= listed
    rules = re.findall(r"'([a-z_]+)'", text.split("set rules = [")[1].split("]")[0])
    built = {f"alert_{rule}_{what}_days" for rule in rules for what in ("due", "cooldown")}
    built |= {f"sla_{level}_hours" for level in ("low", "normal", "high", "urgent")}
    built |= {
        f"service_{kind}_{level}_business_hours"
        for kind in ("first_response", "resolution")
        for level in ("low", "normal", "high", "urgent")
    }
    built |= {f"tier_{tier}_minimum_points" for tier in ("silver", "gold", "platinum")}
    unused = {name for name in listed - named - built if f"'{name}'" not in text}
    assert unused == set()
