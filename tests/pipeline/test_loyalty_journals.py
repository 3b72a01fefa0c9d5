"""The journals of loyalty: every balance explained to the row, nothing restated, nothing doubled."""

from __future__ import annotations

from datetime import date, timedelta

import psycopg
import pytest

from customer360 import warehouse
from customer360.models import runner
from customer360.publication import loyalty_journals
from customer360.publication.loyalty_journals import JournalOrderError, LedgerError, record
from customer360.settings import Settings
from tests.pipeline.loyalty_tables import create, execute, put_claw_backs, put_lots, rows

DAY = date(2026, 6, 30)
NEXT = DAY + timedelta(days=1)
A = ("a", 1, 100, "2026-01-01", "2028-01-01")
POSTINGS = """
    select customer_key, kind, source_id, version, points, effective_on::text, why
    from state.loyalty_points_ledger order by posting_id
"""
BALANCES = """
    select customer_key, sum(points)::int from state.loyalty_points_ledger
    group by customer_key having sum(points) <> 0 order by customer_key
"""


@pytest.fixture
def shop(settings: Settings) -> Settings:
    """A warehouse with the daily models' tables, empty."""
    create(settings)
    return settings


def test_points_are_posted_once_however_often_the_pass_runs(shop: Settings) -> None:
    put_lots(shop, DAY, A)
    put_claw_backs(shop, DAY, ("a", "r1", "2026-02-01", 30))
    first = record(shop, DAY)
    again = record(shop, DAY)
    assert first.added["loyalty_points_ledger"] == 2
    assert again.added["loyalty_points_ledger"] == 0
    assert rows(shop, POSTINGS) == [
        (1, "earn", "a", 1, 100, "2026-01-01", "new"),
        (1, "claw_back", "a:r1", 1, -30, "2026-02-01", "new"),
    ]


def test_a_corrected_order_corrects_its_points_with_new_rows(shop: Settings) -> None:
    put_lots(shop, DAY, A)
    record(shop, DAY)
    before = rows(shop, "select * from state.loyalty_points_ledger")
    put_lots(shop, NEXT, ("a", 1, 80, "2026-01-01", "2028-01-01"))
    record(shop, NEXT)
    assert rows(shop, "select * from state.loyalty_points_ledger where posting_id = 1") == before
    assert rows(shop, POSTINGS)[1:] == [(1, "earn", "a", 2, -20, "2026-01-01", "corrected")]
    assert rows(shop, "select posted_on from state.loyalty_points_ledger where version = 2") == [(NEXT,)]


def test_an_order_delivered_on_another_day_moves_its_points_there(shop: Settings) -> None:
    put_lots(shop, DAY, A)
    record(shop, DAY)
    put_lots(shop, NEXT, ("a", 1, 100, "2026-01-05", "2028-01-05"))
    record(shop, NEXT)
    assert rows(shop, POSTINGS)[1:] == [
        (1, "earn", "a", 2, -100, "2026-01-01", "corrected"),
        (1, "earn", "a", 3, 100, "2026-01-05", "corrected"),
    ]
    assert rows(shop, BALANCES) == [(1, 100)]


def test_a_cancelled_order_loses_its_points(shop: Settings) -> None:
    put_lots(shop, DAY, A, ("b", 1, 50, "2026-02-01", "2028-02-01"))
    record(shop, DAY)
    execute(shop, "delete from intermediate.int_loyalty_lots__earned where lot = 'a'")
    execute(shop, "update intermediate.int_loyalty_points__balanced set points_balance = 50")
    record(shop, NEXT)
    assert rows(shop, POSTINGS)[2:] == [(1, "earn", "a", 2, -100, "2026-01-01", "corrected")]


def test_lots_expire_first_in_first_out_with_what_is_left_of_them(shop: Settings) -> None:
    old, young = ("old", 1, 100, "2024-06-30", "2026-06-30"), ("young", 1, 50, "2024-07-01", "2026-07-01")
    eve = DAY - timedelta(days=1)
    put_lots(shop, eve, old, young)
    put_claw_backs(shop, eve, ("old", "r", "2024-09-01", 30))
    record(shop, eve)
    assert rows(shop, BALANCES) == [(1, 120)]
    put_claw_backs(shop, DAY, ("old", "r", "2024-09-01", 30))
    record(shop, DAY)
    assert rows(shop, POSTINGS)[3:] == [(1, "expire", "old", 1, -70, "2026-06-30", "new")]
    assert rows(shop, BALANCES) == [(1, 50)]
    put_claw_backs(shop, NEXT, ("old", "r", "2024-09-01", 30))
    record(shop, NEXT)
    assert rows(shop, BALANCES) == []


def test_a_late_refund_of_an_expired_lot_posts_only_the_differences(shop: Settings) -> None:
    put_lots(shop, DAY, ("old", 1, 100, "2024-06-01", "2026-06-01"))
    record(shop, DAY)
    assert rows(shop, BALANCES) == []
    put_claw_backs(shop, NEXT, ("old", "r", "2024-09-01", 30))
    record(shop, NEXT)
    assert rows(shop, POSTINGS)[2:] == [
        (1, "claw_back", "old:r", 1, -30, "2024-09-01", "new"),
        (1, "expire", "old", 2, 30, "2026-06-01", "corrected"),
    ]
    assert rows(shop, BALANCES) == []


def test_a_merge_moves_open_lots_with_their_old_expiry_and_a_split_moves_them_back(shop: Settings) -> None:
    used_up, open_lot = ("used", 2, 40, "2024-01-01", "2026-01-01"), ("open", 2, 60, "2026-01-01", "2028-01-01")
    put_lots(shop, DAY, A, used_up, open_lot)
    record(shop, DAY)
    assert rows(shop, BALANCES) == [(1, 100), (2, 60)]
    put_lots(shop, NEXT, A, (used_up[0], 1, *used_up[2:]), (open_lot[0], 1, *open_lot[2:]))
    record(shop, NEXT)
    moved = "select customer_key, lot, version, points, expires_on::text from state.loyalty_points_ledger"
    assert rows(shop, f"{moved} where kind = 'transfer' order by posting_id") == [
        (2, "open", 1, -60, "2028-01-01"),
        (1, "open", 2, 60, "2028-01-01"),
    ]
    assert rows(shop, BALANCES) == [(1, 160)]
    put_lots(shop, NEXT, A, used_up, open_lot)
    record(shop, NEXT)
    assert rows(shop, BALANCES) == [(1, 100), (2, 60)]


def test_a_correction_after_a_merge_goes_to_the_present_customer(shop: Settings) -> None:
    put_lots(shop, DAY, ("b", 2, 60, "2026-01-01", "2028-01-01"))
    record(shop, DAY)
    put_lots(shop, NEXT, ("b", 1, 45, "2026-01-01", "2028-01-01"))
    record(shop, NEXT)
    assert rows(shop, BALANCES) == [(1, 45)]


def test_a_ledger_that_does_not_explain_a_balance_is_not_written(shop: Settings) -> None:
    put_lots(shop, DAY, A)
    execute(shop, "update intermediate.int_loyalty_points__balanced set points_balance = 99")
    with pytest.raises(LedgerError, match="1 customers"):
        record(shop, DAY)
    assert rows(shop, POSTINGS) == []


def test_no_posting_is_ever_edited(shop: Settings) -> None:
    put_lots(shop, DAY, A)
    record(shop, DAY)
    with (
        warehouse.connect("owner", shop) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="append-only"),
    ):
        connection.execute("update state.loyalty_points_ledger set points = 1")


def test_what_was_known_is_not_written_after_what_was_known_later(shop: Settings) -> None:
    put_lots(shop, DAY, A)
    record(shop, NEXT)
    with pytest.raises(JournalOrderError, match="2026-07-01"):
        record(shop, DAY)


TIERS = """
    select customer_key, previous_tier, tier, valid_from_on::text, valid_to_on::text, closed_because
    from state.loyalty_tier_history order by period_id
"""


def tier(shop: Settings, **tiers: str) -> None:
    values = ", ".join(
        f"({key.removeprefix('c')}, '{name}', 'points', date '2026-01-01')" for key, name in tiers.items()
    )
    execute(
        shop,
        f"""
        truncate intermediate.int_loyalty_tiers__reached, identity.customers;
        insert into intermediate.int_loyalty_tiers__reached values {values};
        insert into identity.customers select customer_key from intermediate.int_loyalty_tiers__reached
        """,
    )


def test_a_tier_period_is_closed_and_opened_and_never_restated(shop: Settings) -> None:
    tier(shop, c1="silver", c2="base")
    record(shop, DAY)
    tier(shop, c1="gold", c2="base")
    assert record(shop, NEXT).closed["loyalty_tier_history"] == 1
    again = record(shop, NEXT)
    assert again.added["loyalty_tier_history"] == again.closed["loyalty_tier_history"] == 0
    assert rows(shop, TIERS) == [
        (1, None, "silver", "2026-06-30", "2026-07-01", "changed"),
        (2, None, "base", "2026-06-30", None, None),
        (1, "silver", "gold", "2026-07-01", None, None),
    ]


def test_the_period_of_a_customer_who_is_no_more_is_closed(shop: Settings) -> None:
    tier(shop, c1="silver", c2="base")
    record(shop, DAY)
    tier(shop, c1="silver")
    record(shop, NEXT)
    assert rows(shop, TIERS)[1] == (2, None, "base", "2026-06-30", "2026-07-01", "customer_gone")


ALERTS = """
    select rule, opened_on::text, due_on::text, closed_on::text, closed_because
    from state.customer_alerts order by alert_id
"""


def raise_alerts(shop: Settings, *rules: str, last_purchase_on: str = "2026-01-01") -> None:
    raised = "intermediate.int_customer_alerts__raised"
    cadences = "intermediate.int_purchase_cadences__measured"
    values = "".join(
        f"insert into {raised} values (1, '{rule}', 'high', 'figures', '2026-06-01', 2, 30);" for rule in rules
    )
    execute(
        shop,
        f"""
        truncate {raised}, {cadences}, identity.customers;
        insert into identity.customers values (1);
        insert into {cadences} values (1, '{last_purchase_on}');
        {values}
        """,
    )


def test_an_alert_is_one_episode_however_long_its_rule_is_met(shop: Settings) -> None:
    raise_alerts(shop, "low_csat")
    for day in (DAY, DAY, NEXT):
        record(shop, day)
    assert rows(shop, ALERTS) == [("low_csat", "2026-06-30", "2026-07-02", None, None)]


@pytest.mark.parametrize(
    ("last_purchase_on", "because"), [("2026-07-01", "ordered_again"), ("2026-06-30", "window_passed")]
)
def test_an_alert_closes_with_its_reason(shop: Settings, last_purchase_on: str, because: str) -> None:
    raise_alerts(shop, "low_csat")
    record(shop, DAY)
    raise_alerts(shop, last_purchase_on=last_purchase_on)
    record(shop, NEXT)
    assert rows(shop, ALERTS) == [("low_csat", "2026-06-30", "2026-07-02", "2026-07-01", because)]


def test_a_rule_stays_silent_until_its_cool_down_has_passed(shop: Settings) -> None:
    raise_alerts(shop, "low_csat", "complaint_past_sla")
    record(shop, DAY)
    raise_alerts(shop)
    record(shop, NEXT)
    raise_alerts(shop, "low_csat")
    record(shop, NEXT + timedelta(days=29))
    assert len(rows(shop, ALERTS)) == 2
    record(shop, NEXT + timedelta(days=30))
    assert rows(shop, ALERTS)[2:] == [("low_csat", "2026-07-31", "2026-08-02", None, None)]


def test_the_days_statistics_are_kept(shop: Settings) -> None:
    execute(shop, "insert into intermediate.int_population_statistics__measured values ('median_gap_days', 20)")
    record(shop, DAY)
    assert rows(shop, "select as_of_on, statistic, value from state.population_statistics") == [
        (DAY, "median_gap_days", 20.0)
    ]


def test_every_journal_is_published_with_its_key() -> None:
    assert {table.name for table in loyalty_journals.TABLES} >= {"loyalty_points_ledger", "customer_alerts"}
    assert all(table.open_rows and table.source_schema == "state" for table in loyalty_journals.TABLES)


def test_the_documented_columns_are_those_of_the_journals(shop: Settings) -> None:
    documented = {table.name: table for table in runner.journal_tables(shop)}
    types = {"timestamp with time zone": "timestamptz"}
    for journal in loyalty_journals.TABLES:
        columns = rows(
            shop,
            f"""
            select attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum)
            from pg_attribute where attrelid = 'state.{journal.name}'::regclass and attnum > 0 order by attnum
            """,
        )
        table = documented[journal.name]
        assert table.primary_key == journal.primary_key
        assert [(name, types.get(kind, kind)) for name, kind, _ in columns] == list(table.columns.items())
        assert {name: text for name, _, text in columns} == table.column_descriptions
