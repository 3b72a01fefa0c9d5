"""What a reader finds on the day of installation: a past before it, and what stands behind every figure.

The past is what a daily pass of each month end gives for the records of now; a figure is the sum of its rows, the
quotient of its parts, or what its rule gives.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from customer360 import kill_points, warehouse
from customer360.explanation import ExplanationError, covered, explain
from customer360.explanation.declared import CUSTOMER_360, FACTS, NOT_FIGURES, OF_CUSTOMERS
from customer360.models import runner
from customer360.models.runner import model_tables
from customer360.publication import loyalty_journals, reconstruction
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.publication.reconstruction import HISTORIES, ReconstructionError, reconstruct
from customer360.settings import Settings, get_settings
from tests.pipeline.conftest import copy_of
from tests.pipeline.shop import load_all, rows
from tests.pipeline.year_of_a_shop import make_records

pytestmark = pytest.mark.builds

# What the journals are written from, as a daily pass of that date would.
TODAY_OF = {history.name: history for history in loyalty_journals.HISTORIES}
DAILY = ["+int_loyalty_tiers__reached,tag:daily", "+int_lifecycle_stages__assigned,tag:daily",
         "+int_relationship_ladders__climbed,tag:daily"]  # fmt: skip


def of_a_daily_pass(settings: Settings, day: date) -> dict[str, dict[int, tuple[Any, ...]]]:
    """What a daily pass of ``day`` would have journalled of the customers who had been seen by then."""
    runner.run_models(settings, DAILY, run_id=None, full_refresh=True, variables={"as_of_on": day.isoformat()})
    found = {}
    with warehouse.connect("owner", settings) as connection:
        for history in HISTORIES:
            journal = TODAY_OF[history.journal]
            statement = f"""
                select today.* from ({journal.today}) as today
                inner join identity.customers as seen using (customer_key)
                where (seen.first_seen_at at time zone '{settings.business_timezone}')::date <= '{day}'
            """
            cursor = connection.execute(warehouse.query(statement))
            names = [journal.status if column.name == "status" else column.name for column in cursor.description or ()]
            places = [names.index(name) for name in history.columns]
            found[history.name] = {row[0]: tuple(row[place] for place in places) for row in cursor}
    return found


def reconstructed(settings: Settings, day: date) -> dict[str, dict[int, tuple[Any, ...]]]:
    return {
        history.name: {
            key: tuple(values)
            for key, *values in rows(
                settings,
                f"select customer_key, {', '.join(history.columns)} from {history.view} "
                f"where month_end_on = '{day}' and is_reconstructed",
            )
        }
        for history in HISTORIES
    }


def month_ends(settings: Settings) -> list[date]:
    return [day for (day,) in rows(settings, f"select distinct month_end_on from {HISTORIES[1].view} order by 1")]


def agree(settings: Settings, days: list[date]) -> dict[str, set[Any]]:
    """Compare month ends with daily passes of their dates; returns the statuses that were seen."""
    seen: dict[str, set[Any]] = {history.name: set() for history in HISTORIES}
    past = {day: reconstructed(settings, day) for day in days}
    for day in days:
        expected = of_a_daily_pass(settings, day)
        for name, customers in expected.items():
            assert past[day][name] == customers, (name, day)
            seen[name] |= {values[0] for values in customers.values()}
    return seen


@pytest.fixture
def settings(year_shop: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A shop of the day of installation, of this test alone, with its past not worked out yet."""
    with copy_of(year_shop, tmp_path / "landing") as own:
        yield own


def test_a_month_end_is_what_a_daily_pass_of_that_date_would_have_journalled(settings: Settings) -> None:
    done = reconstruct(settings)
    assert all(one.row_count > 100 and not one.was_done for one in done)
    days = month_ends(settings)
    assert len(days) >= 12
    seen = agree(settings, [days[4], days[-2]])
    assert seen["loyalty_tier"] == {"base", "silver", "gold", "platinum"}
    assert seen["lifecycle_stage"] == {"exploration", "formation", "stable", "decline"}
    assert {"prospect", "purchaser", "client", "supporter"} <= seen["relationship_ladder"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_any_month_end_of_any_shop_is_what_a_daily_pass_gives(embedded: Settings, tmp_path: Path, seed: int) -> None:
    zone = ["UTC", "Pacific/Auckland", "America/Los_Angeles"][seed % 3]
    with copy_of(embedded.with_(business_timezone=zone), tmp_path / "landing") as shop:
        load_all(shop, make_records(seed, shop.today(), customers=60))
        build(shop, "test")
        refresh_daily(shop, trigger="test")
        reconstruct(shop)
        assert len(agree(shop, month_ends(shop))["relationship_ladder"]) > 3


def test_the_journal_speaks_from_its_first_day_on(settings: Settings) -> None:
    reconstruct(settings)
    first, today = month_ends(settings)[-1], settings.today()
    later = (today + timedelta(days=70)).replace(day=1) - timedelta(days=1)
    with warehouse.connect("publisher", settings) as connection:  # passes of later days have come
        connection.execute(
            "insert into ops.publications (run_id, kind, as_of_on) select max(run_id), 'daily', %s from ops.runs",
            [later],
        )
    shown = rows(settings, f"select month_end_on, is_reconstructed from {HISTORIES[0].view}")
    assert {day for day, is_past in shown if is_past} == {day for day, _ in shown if day < today} >= {first}
    assert {day for day, is_past in shown if not is_past} == {day for day, _ in shown if day >= today} >= {later}
    twice = f"select customer_key, month_end_on from {HISTORIES[0].view} group by 1, 2 having count(*) > 1"
    assert rows(settings, twice) == []


def test_what_is_done_is_not_done_twice(settings: Settings) -> None:
    assert reconstruction.is_due(settings)
    reconstruct(settings)
    assert not reconstruction.is_due(settings)
    assert all(one.was_done for one in reconstruct(settings))
    assert reconstruction.is_due(settings.with_(history_months=3))


@pytest.mark.slow
def test_a_backfill_makes_it_due(settings: Settings) -> None:
    reconstruct(settings)
    assert not any(one.was_done for one in reconstruct(settings, again=True))
    old = make_records(5, settings.today() - timedelta(days=100), customers=1)
    ids = ("order_id", "ticket_id", "session_id")
    renamed = [record | {name: f"new{record[name]}" for name in ids if name in record} for record in old]
    load_all(settings, [record | {"customer_id": "new"} for record in renamed], is_history=True)
    build(settings, "test")
    assert reconstruction.is_due(settings)
    before = rows(settings, f"select count(distinct customer_key) from {HISTORIES[1].view} where is_reconstructed")
    refresh_daily(settings, trigger="test")
    reconstruct(settings)
    assert not reconstruction.is_due(settings)
    after = rows(settings, f"select count(distinct customer_key) from {HISTORIES[1].view} where is_reconstructed")
    assert after[0][0] == before[0][0] + 1


def test_a_command_that_was_cut_off_goes_on_where_it_was(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[str] = []

    def dies(point: str) -> None:
        if point == "history.modelled" and passed:
            raise KeyboardInterrupt
        if point == "history.reconstructed":
            passed.append(point)

    monkeypatch.setattr(reconstruction, "reach", dies)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(settings)
    monkeypatch.setattr(reconstruction, "reach", kill_points.reach)
    assert [one.was_done for one in reconstruct(settings)] == [True, False, False]


def test_without_a_daily_pass_there_is_no_past_and_the_command_says_why(
    embedded: Settings, settings: Settings, terminal_of: Callable[..., Callable[..., tuple[int, str, str]]]
) -> None:
    assert not reconstruction.is_due(embedded)
    with pytest.raises(ReconstructionError, match="No daily pass was made yet"):
        reconstruct(embedded)
    code, _, errors = terminal_of(embedded)("history", "reconstruct")
    assert code == 1
    assert "c360 run" in errors
    code, out, _ = terminal_of(settings)("history", "reconstruct", "--json")
    assert code == 0
    assert '"history": "loyalty_tier"' in out


def test_no_model_of_a_build_or_a_daily_pass_reads_the_reconstructed_past() -> None:
    past = {history.model for history in HISTORIES}
    tables = {table.name: table for table in model_tables(get_settings())}
    assert past <= set(tables)
    for path in (runner.PROJECT / "models").rglob("*.sql"):
        if path.stem not in past:
            text = path.read_text()
            assert not {"__reconstructed", "_by_month"} & set(re.findall("__reconstructed|_by_month", text)), path


# ---- what stands behind a figure -------------------------------------------------------------------------------------

KEYS = {
    "fct_orders": "order_key", "fct_refunds": "order_key || ':' || refund_number",
    "fct_order_items": "order_key || ':' || line_number", "fct_sessions": "session_key", "fct_tickets": "ticket_key",
}  # fmt: skip


def customers(settings: Settings, count: int) -> list[str]:
    """Keys of customers, the busiest and the quietest among them."""
    found = [
        str(key) for (key,) in rows(settings, "select customer_key from marts.customer_360 order by order_count, 1")
    ]
    return [found[int(place)] for place in np.linspace(0, len(found) - 1, count)]


def test_every_column_of_customer_360_is_explained_or_has_its_reason() -> None:
    (table,) = (one for one in model_tables(get_settings()) if one.name == "customer_360")
    assert set(CUSTOMER_360) | set(NOT_FIGURES) == set(table.columns)
    assert not set(CUSTOMER_360) & set(NOT_FIGURES)
    columns = {one.name: set(one.columns) for one in model_tables(get_settings())}
    for name, declared in covered().items():
        assert set(declared) <= columns[name], name
    assert len(CUSTOMER_360) > 100
    assert set(KEYS) == set(FACTS)


@pytest.mark.parametrize("table", OF_CUSTOMERS)
def test_what_a_customers_figure_is_made_of_adds_up_to_it(year_shop: Settings, table: str) -> None:
    ways: Counter[str] = Counter()
    lines = 0
    for key in customers(year_shop, 2):
        for column in OF_CUSTOMERS[table]:
            told = explain(year_shop, table, column, key)
            assert told.agrees, (column, key, told.value, told.recounted)
            ways[told.how] += 1
            for term in told.terms:
                if told.how in {"sum", "ratio"}:
                    known = [row.value for row in term.rows if row.value is not None]
                    assert sum(known) == (term.value or 0), (column, key)
                lines += sum(row.line is not None and row.file is not None for row in term.rows)
    assert ways["sum"] or table == "customer_churn"
    assert lines > 20 or table == "customer_churn"
    assert (
        set(ways)
        >= {
            "customer_360": {"sum", "ratio", "pick", "choice", "rule", "score"},
            "customer_loyalty": {"sum", "rule", "rank"},
            "customer_churn": {"rule", "score"},
        }[table]
    )


def test_each_row_of_a_sum_names_the_line_that_landed_it(year_shop: Settings) -> None:
    key = customers(year_shop, 2)[-1]
    told = explain(year_shop, "customer_360", "net_amount", key)
    landed = rows(
        year_shop,
        "select order_key, batch_id, row_number from raw.orders join marts.fct_orders using (order_key, batch_id) "
        f"where customer_key = {key}",
        "transformer",
    )
    (term,) = told.terms
    assert {(row.key, row.batch_id, row.line) for row in term.rows} == set(landed)
    assert len(landed) > 3


def test_a_figure_of_a_fact_is_its_terms_or_the_line_that_landed_it(year_shop: Settings) -> None:
    seen: Counter[str] = Counter()
    for table, key in KEYS.items():
        columns = {one.name: one.columns for one in model_tables(get_settings())}[table]
        amounts = [name for name, kind in columns.items() if kind.startswith(("numeric", "bigint"))]
        for (one,) in rows(year_shop, f"select {key} from marts.{table} order by md5({key}) limit 2"):
            for column in amounts:
                told = explain(year_shop, f"marts.{table}", column, one)
                assert told.agrees, (table, column, one)
                seen[told.how] += 1
                assert all(row.line for term in told.terms for row in term.rows)
    assert seen["sum"] >= 9
    assert seen["line"] > 40


def test_ranks_show_their_population_and_rules_their_parameters(year_shop: Settings) -> None:
    key = customers(year_shop, 2)[-1]
    rank = explain(year_shop, "customer_loyalty", "m_score", key)
    assert rank.population["customer_count"] > 20
    assert len(rank.population["cut_points"]) >= 4
    place = explain(year_shop, "customer_loyalty", "value_rank", key)
    assert place.population["customers_above"] == place.value - 1
    tier = explain(year_shop, "customer_360", "tier", key)
    assert [one["parameter"] for one in tier.parameters] == [
        "tier_silver_minimum_points", "tier_gold_minimum_points", "tier_platinum_minimum_points",
    ]  # fmt: skip
    assert all(one["source"] for one in tier.parameters)


def test_what_changed_since_the_daily_pass_shows(
    year_shop: Settings, terminal_of: Callable[..., Callable[..., tuple[int, str, str]]], tmp_path: Path
) -> None:
    key = customers(year_shop, 2)[-1]
    with copy_of(year_shop, tmp_path / "landing") as shop:
        typed = terminal_of(shop)
        code, out, _ = typed("explain", "customer_360", "net_amount", key, "--json")
        assert code == 0
        told = json.loads(out)
        assert sum(Decimal(row["value"]) for row in told["terms"][0]["rows"]) == Decimal(told["value"])
        code, out, _ = typed("explain", "customer_360", "average_order_amount", key)
        assert code == 0
        assert "numerator" in out and "denominator" in out  # noqa: PT018 - one picture of both
        with warehouse.connect("publisher", shop) as connection:
            connection.execute(
                "update marts.customer_360 set net_amount = net_amount + 1 where customer_key = %s", [key]
            )
        code, out, _ = typed("explain", "customer_360", "net_amount", key)
        assert code == 1
        assert "Counted now" in out


@pytest.mark.parametrize(
    ("table", "column", "key", "said"),
    [
        ("customers", "net_amount", "1", "Name one of customer_360"),
        ("customer_360", "revenue", "1", "no column 'revenue'"),
        ("customer_360", "identity_confidence", "1", "c360 identity show"),
        ("customer_360", "net_amount", "999999", "has the key 999999"),
        ("customer_360", "net_amount", "one", "is no customer_key"),
        ("fct_orders", "net_amount", "none", "has the key 'none'"),
        ("fct_order_items", "quantity", "none", "order_key:line_number"),
    ],
)
def test_what_cannot_be_explained_says_what_can(
    year_shop: Settings, table: str, column: str, key: str, said: str
) -> None:
    with pytest.raises(ExplanationError) as told:
        explain(year_shop, table, column, key)
    assert said in f"{told.value} {told.value.next_step}"


def test_an_explanation_takes_no_longer_than_a_blink(year_shop: Settings) -> None:
    took = []
    for key in customers(year_shop, 3):
        for column in list(CUSTOMER_360)[::6]:
            began = time.perf_counter()
            explain(year_shop, "customer_360", column, key)
            took.append(time.perf_counter() - began)
    assert float(np.quantile(took, 0.95)) < 0.3
