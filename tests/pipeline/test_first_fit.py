"""The first fit happens by itself; a shop with too little history says what is missing."""

from __future__ import annotations

import pytest

from customer360 import wake, warehouse
from customer360.churn import first_fit
from customer360.publication.build import build
from customer360.run import run_everything
from customer360.settings import Settings
from tests.pipeline.churn_shop import simulated_records
from tests.pipeline.shop import load_all, rows

pytestmark = pytest.mark.builds

SHOP = {"orders_per_day": 0.03, "rate_shape": 0.8, "dropout": 0.15, "seed": 21}


def test_a_shop_with_too_little_history_says_what_is_missing_and_is_fitted_once_a_backfill_brings_it(
    settings: Settings,
) -> None:
    records = simulated_records(settings.today(), customers=400, days=300, acquisition_days=250, **SHOP)
    last = sorted(records, key=lambda record: str(record["ordered_at"]))
    late = [record for record in last if record["ordered_at"] >= last[-1]["ordered_at"][:8] + "01"][-300:]
    load_all(settings, late, is_history=True)
    build(settings, "test")
    # The sweep wakes the fit, which wakes the daily pass, but not for longer than a few minutes.
    waiting = wake.what_waits(settings)
    assert (waiting.is_fit_due, waiting.is_daily_due) == (True, False)
    assert wake.is_daily_due(settings)
    with warehouse.connect("owner", settings) as connection:
        connection.execute(
            "update ops.publications set published_at = published_at - %s * interval '1 minute'",
            [first_fit.AWAITED_MINUTES],
        )
    waiting = wake.what_waits(settings)
    assert (waiting.is_fit_due, waiting.is_daily_due) == (True, True)

    run_everything(settings)
    [(status, why)] = rows(settings, "select status, why from marts.churn_model_versions")
    assert status == "too_little_history"
    assert "needs 91" in why
    assert not first_fit.is_due(settings)

    load_all(settings, records, is_history=True)
    run_everything(settings)
    versions = rows(settings, "select status, horizon_days from marts.churn_model_versions order by 1")
    assert versions == [("fitted", 91), ("too_little_history", 91)]
    unscored = rows(
        settings,
        "select count(*) from marts.customer_churn where recency_days <= 365 and churn_probability is null",
    )
    assert unscored == [(0,)]
    for table in ("vip_history", "service_recovery_plan"):
        [(count,)] = rows(settings, f"select count(*) from marts.{table}")
        assert count > 0, table
    assert not first_fit.is_due(settings)


def test_a_handful_of_customers_waits_for_the_weekly_fit(settings: Settings) -> None:
    load_all(settings, simulated_records(settings.today(), customers=20, days=300, **SHOP), is_history=True)
    run_everything(settings)
    assert not first_fit.is_due(settings)
    assert rows(settings, "select count(*) from marts.churn_model_versions") == [(0,)]
