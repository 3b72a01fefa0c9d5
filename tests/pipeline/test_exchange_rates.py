"""Exchange rates through a run: currencies that the shop meets, files that are imported, money that waits."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from customer360.exchange import overview, rates
from customer360.publication.build import build
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline.shop import load, order, rows, ticket

pytestmark = pytest.mark.builds

FACTS = "select order_id, exchange_rate, total_amount from marts.fct_orders order by 1"
WAITING = (
    "select ordered_on::text, currency, order_count, original_gross_amount from marts.unconverted_totals order by 1, 2"
)


def holds(settings: Settings) -> None:
    report = verify(settings, full=True)
    assert [check for check in report.checks if not check.holds] == []


def test_currencies_are_converted_as_they_arrive_and_money_without_a_rate_waits(
    settings: Settings, tmp_path: Path
) -> None:
    load(settings, "orders", [order("home", customer_id="c1", total="10.00")])
    build(settings, "test")
    assert rows(settings, "select count(*) from state.exchange_rates", "owner") == [(0,)]

    load(settings, "orders", [order("euro", customer_id="c1", total="10.00", currency="EUR")])
    load(settings, "support_tickets", [ticket("t1", customer_id="c1", compensation_amount="10.00", currency="GBP")])
    load(settings, "orders", [order("dirham", customer_id="c1", total="10.00", currency="AED")])
    load(settings, "orders", [order("void", customer_id="c1", total="5.00", currency="AED", status="cancelled")])
    build(settings, "test")
    # 2026-03-01 is a Sunday: the rates are those of Friday.
    assert rows(settings, FACTS) == [
        ("dirham", None, None),
        ("euro", Decimal("1.1805"), Decimal("11.8050")),
        ("home", Decimal(1), Decimal(10)),
        ("void", None, None),
    ]
    (compensated,) = rows(settings, "select compensation_amount from marts.fct_tickets")
    assert 12 < compensated[0] < 15
    assert rows(settings, WAITING) == [("2026-03-01", "AED", 2, Decimal(10))]
    found = overview.overview(settings)
    assert [(one.currency, one.waiting_orders) for one in found.currencies] == [("AED", 2), ("EUR", 0), ("GBP", 0)]
    assert found.is_waiting
    holds(settings)

    file = tmp_path / "eurofxref.csv"
    file.write_text("Date,AED\n2026-02-27,4.3000\n")
    assert rates.import_file(settings, file).new_rates == 1
    assert rates.import_file(settings, file).new_rates == 0
    assert build(settings, "test").state != "idle"
    converted = {order_id: rate for order_id, rate, _ in rows(settings, FACTS)}
    assert abs(converted["dirham"] - Decimal("1.1805") / Decimal("4.3")) < Decimal("1e-9")
    assert rows(settings, WAITING) == []
    assert build(settings, "test").state == "idle"
    holds(settings)
    before = rows(settings, FACTS)
    build(settings, "test", full_refresh=True)
    assert rows(settings, FACTS) == before


@pytest.mark.slow
def test_a_rate_that_the_bank_corrected_moves_its_days_and_nothing_else(settings: Settings, tmp_path: Path) -> None:
    load(
        settings,
        "orders",
        [order(f"o{n}", day=n, customer_id=f"c{n}", total="10.00", currency="EUR") for n in range(4)],
    )
    build(settings, "test")
    before = {row[0]: row[1] for row in rows(settings, FACTS)}
    corrected = tmp_path / "eurofxref-hist.csv"
    corrected.write_text("Date,USD\n2026-03-03,2.0\n")
    assert rates.import_file(settings, corrected).changed_rates == 1
    build(settings, "test")
    after = {row[0]: row[1] for row in rows(settings, FACTS)}
    assert {order_id for order_id in after if after[order_id] != before[order_id]} == {"o2"}
    assert after["o2"] == 2
    holds(settings)


@pytest.mark.slow
def test_a_shops_own_rate_comes_first_until_its_file_ends_it(settings: Settings, tmp_path: Path) -> None:
    load(settings, "orders", [order(f"o{n}", day=n, customer_id="c1", total="10.00", currency="EUR") for n in (0, 5)])
    build(settings, "test")
    before = {row[0]: row[1] for row in rows(settings, FACTS)}
    own = tmp_path / "rates.csv"
    own.write_text(
        "from_currency,to_currency,valid_from_on,rate,source\nEUR,USD,2026-01-01,3,the shop\nEUR,USD,2026-03-04,,\n"
    )
    assert rates.import_file(settings, own).new_rates == 2
    assert rates.import_file(settings, own).new_rates == 0
    build(settings, "test")
    assert rows(settings, FACTS) == [("o0", Decimal(3), Decimal(30)), ("o5", before["o5"], before["o5"] * 10)]
    holds(settings)
    own.write_text("from_currency,to_currency,valid_from_on,rate\nEUR,USD,1999-01-01,\n")
    assert rates.import_file(settings, own).changed_rates == 2
    build(settings, "test")
    assert {row[0]: row[1] for row in rows(settings, FACTS)} == before
