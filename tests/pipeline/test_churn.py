"""Churn in the warehouse: features as of a day, scores that Python gives too, statuses, the journal, explanations."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from customer360 import warehouse
from customer360.churn import bgnbd, fitting, protocol, snapshots, versions
from customer360.churn.explain import NoScoreError, explain
from customer360.churn.features import FEATURE_COLUMN_NAMES, Family, features_as_of
from customer360.churn.snapshots import NothingBuiltError, SnapshotsBusyError, WarehouseSource, scratch_schemas
from customer360.churn.value import Lifetime
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.settings import Settings
from tests.pipeline.churn_shop import as_reference, day, eventful_records, keys_of, simulated_records
from tests.pipeline.shop import load_all, rows

pytestmark = pytest.mark.builds

FAMILIES = [family.value for family in Family]
SNAPSHOT = date(2025, 10, 1)


def taken(settings: Settings, on: date) -> pd.DataFrame:
    with scratch_schemas(settings):
        return WarehouseSource(settings, settings.today()).features(on)


def expect_equal(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    expected = expected.sort_values("customer_key").reset_index(drop=True)
    assert len(expected) > 50
    assert tuple(found.columns) == FEATURE_COLUMN_NAMES
    for name in FEATURE_COLUMN_NAMES:
        pd.testing.assert_series_equal(
            found[name], expected[name], check_dtype=False, rtol=1e-9, atol=1e-12, check_names=False, obj=name
        )


def test_features_as_of_a_day_are_those_of_the_reference_and_what_comes_later_changes_none(settings: Settings) -> None:
    records = eventful_records(customers=150, days=400, seed=3)
    load_all(settings, records, is_history=True)
    build(settings, "test")
    before = taken(settings, SNAPSHOT)
    expect_equal(before, features_as_of(as_reference(records, keys_of(settings)), SNAPSHOT))
    varied = ["cancelled_share", "returned_share", "session_count_28d", "has_open_ticket", "is_last_order_troubled"]
    assert (before[varied].nunique() > 1).all(), "the shop lacks some of these, so that nothing was compared"

    later = [record for record in records if "ordered_at" in record][:40]
    corrections = [{**order, "total_amount": "999", "updated_at": day(380), "status": "cancelled"} for order in later]
    new = [{**order, "order_id": f"new-{order['order_id']}", "ordered_at": day(274)} for order in later]
    load_all(settings, corrections)
    load_all(settings, [{**order, "updated_at": day(275)} for order in new], is_history=True)
    build(settings, "test")
    pd.testing.assert_frame_equal(taken(settings, SNAPSHOT), before)
    assert rows(settings, "select nspname from pg_namespace where nspname like 'churn_snapshot%'", "owner") == []


def test_two_fits_at_once_do_not_share_their_scratch_schemas(settings: Settings) -> None:
    with pytest.raises(NothingBuiltError), scratch_schemas(settings):
        pass
    with warehouse.connect("transformer", settings, autocommit=True) as connection:
        connection.execute("create table candidate.fct_orders (order_id text)")
    with scratch_schemas(settings), pytest.raises(SnapshotsBusyError), scratch_schemas(settings):
        pass


# --- one shop, before and after its first fit ---


@pytest.fixture(scope="module")
def unfitted_and_fitted(module_settings: Settings) -> tuple[Settings, pd.DataFrame]:
    """A shop with a promoted version, and how its customer_churn looked before the first fit."""
    settings = module_settings
    records = simulated_records(
        settings.today(), customers=700, days=700, orders_per_day=0.02, rate_shape=0.8, dropout=0.15,
        acquisition_days=400, seed=21,
    )  # fmt: skip
    load_all(settings, records, is_history=True)
    build(settings, "test")
    refresh_daily(settings)
    unfitted = churn_table(settings)
    summary = fitting.fit(settings, "test")
    assert summary.is_promoted, summary
    assert summary.picture is not None
    assert summary.picture.read_text().startswith("<svg")
    refresh_daily(settings)
    return settings, unfitted


@pytest.fixture
def shop(unfitted_and_fitted: tuple[Settings, pd.DataFrame]) -> Settings:
    return unfitted_and_fitted[0]


def churn_table(settings: Settings) -> pd.DataFrame:
    with warehouse.connect("bi_reader", settings) as connection:
        cursor = connection.execute("select * from marts.customer_churn order by customer_key")
        names = [column.name for column in cursor.description or []]
        return pd.DataFrame(cursor.fetchall(), columns=names)


def test_without_a_fit_there_is_the_hiatus_and_no_probability(
    unfitted_and_fitted: tuple[Settings, pd.DataFrame],
) -> None:
    _, unfitted = unfitted_and_fitted
    active = unfitted[unfitted["recency_days"] <= 365]
    assert len(active) > 300
    assert set(active["model_status"]) == {"not_scored"}
    assert set(active["model_status_reason"]) == {"never_fitted"}
    assert unfitted["churn_probability"].isna().all()
    assert unfitted["is_late_vs_expected_gap"].notna().all()
    assert (unfitted["is_late_vs_own_cadence"].notna() == (unfitted["purchase_day_count"] >= 2)).all()


def test_sql_gives_the_scores_that_python_gives_from_the_same_stored_rows(shop: Settings) -> None:
    published = churn_table(shop)
    with warehouse.connect("transformer", shop) as connection:
        frame = snapshots.read_features(connection, "intermediate")
        version = int(published["model_version"].dropna().iloc[0])
        model, orders = versions.load_primary(connection, version), versions.load_order_models(connection, version)
    parameters = orders.bgnbd.parameters
    assert model is not None
    assert parameters is not None
    assert orders.mbgnbd.parameters is not None
    churn = published.set_index("customer_key").loc[frame["customer_key"]].reset_index()
    x, t_x, T = bgnbd.purchase_summary(frame)
    frame = orders.with_logits(frame, 91)
    scored = protocol.in_population(frame)
    assert 300 < scored.sum() < len(frame)

    def close(column: str, expected: Any, tolerance: float = 1e-9) -> None:
        assert np.abs(churn[column].astype(float).to_numpy() - expected)[scored].max() < tolerance, column

    close("churn_probability", model.probability(frame))
    for family, contribution in model.contributions(frame).items():
        close(f"{family}_contribution", contribution.to_numpy())
    close("probability_alive", bgnbd.probability_alive(parameters, x, t_x, T))
    close("probability_of_order", bgnbd.probability_of_order(parameters, x, t_x, T, 13.0))
    close("expected_orders", bgnbd.expected_orders(parameters, x, t_x, T, 13.0))
    close("expected_orders_365d", bgnbd.expected_orders(parameters, x, t_x, T, bgnbd.WEEKS_PER_YEAR), 1e-8)


def test_sql_gives_the_value_and_the_interval_that_python_gives(
    unfitted_and_fitted: tuple[Settings, pd.DataFrame],
) -> None:
    shop, _ = unfitted_and_fitted
    source = WarehouseSource(shop, shop.today())
    with scratch_schemas(shop):
        plan = protocol.plan_snapshots(source.first_ordered_on, source.last_complete_on)
        assert plan is not None
        version = protocol.fit_version(source, plan)
    worth = version.worth.model
    assert worth is not None, version.worth.figures
    published = churn_table(shop)
    with warehouse.connect("transformer", shop) as connection:
        frame = snapshots.read_features(connection, "intermediate")
    orders = protocol.OrderModels(version.bgnbd, version.mbgnbd)
    frame = orders.with_logits(frame, 91)
    lifetime = Lifetime(version.bgnbd, version.mbgnbd, version.gammagamma, worth.lifetime.window_days)
    model = replace(worth, lifetime=lifetime)
    churn = published.set_index("customer_key").loc[frame["customer_key"]].reset_index()
    year = model.year(frame)
    low, high = model.interval(frame, year)
    expected = {"_low": low, "_high": high}
    if version.worth.is_serving:
        expected[""] = model.expected(frame, year)
    else:
        by_gammagamma = churn["expected_orders_365d"].astype(float) * churn["expected_order_amount"].astype(float)
        found = churn["expected_value_365_amount"].astype(float).to_numpy()
        assert np.abs(found - by_gammagamma).max() < 1e-2
    for end, values in expected.items():
        found = churn[f"expected_value_365{end}_amount"].astype(float).to_numpy()
        # Published to four digits after the point.
        assert np.abs(found - values).max() < 1e-4 * max(1.0, values.max()), end
    assert (low <= high).all()
    [(status, coverage, one_time)] = rows(
        shop, "select value_status, value_coverage, value_coverage_one_time from marts.churn_model_versions"
    )
    assert status == version.worth.figures["serves"]
    assert 0.7 <= coverage <= 1
    assert one_time == pytest.approx(version.worth.figures["coverage_by_segment"]["1"])


def test_a_sample_has_the_features_that_its_customers_have_among_everybody(shop: Settings) -> None:
    on = shop.today() - timedelta(days=100)
    with scratch_schemas(shop):
        everybody = WarehouseSource(shop, shop.today()).features(on)
    with scratch_schemas(shop):
        sample = WarehouseSource(shop, shop.today(), sampled_above=500, sampled_customers=200).features(on)
    assert 100 < len(sample) < 300 < len(everybody)
    of_them = everybody.set_index("customer_key").loc[sample["customer_key"]].reset_index()
    # The median gap is that of the customers there are.
    own = [name for name in FEATURE_COLUMN_NAMES if name not in ("expected_gap_days", "overdue_ratio")]
    pd.testing.assert_frame_equal(sample[own], of_them[own])


def test_published_contributions_add_up_to_the_published_score(shop: Settings) -> None:
    [(customers, worst)] = rows(
        shop,
        f"""
        select count(*), max(abs(baseline_log_odds + {" + ".join(f"{name}_contribution" for name in FAMILIES)}
            - ln(churn_probability / (1 - churn_probability))))
        from marts.customer_churn where churn_probability is not null
        """,
    )
    assert customers > 300
    assert worst < 1e-9


def test_reasons_raise_the_score_greatest_first_and_one_time_buyers_have_only_one_order(shop: Settings) -> None:
    churn = churn_table(shop)
    scored = churn[churn["churn_probability"].notna()]
    for first, second in ((1, 2), (2, 3)):
        both = scored.dropna(subset=[f"reason_{second}_contribution"])
        assert (both[f"reason_{first}_contribution"] >= both[f"reason_{second}_contribution"]).all()
    assert (scored["reason_1_contribution"].dropna() > 0).all()
    codes = scored[["reason_1_code", "reason_2_code", "reason_3_code"]]
    is_one_time = scored["purchase_day_count"] == 1
    assert is_one_time.sum() > 10
    assert not codes[is_one_time].isin(["recency", "frequency"]).any(axis=None)
    assert not codes[~is_one_time].isin(["only_one_order"]).any(axis=None)
    assert codes[is_one_time].isin(["only_one_order"]).any(axis=None)


def test_statuses_bands_and_lateness_say_what_they_rest_on(shop: Settings) -> None:
    churn = churn_table(shop)
    gone = churn["recency_days"] > 365
    assert gone.any()
    assert set(churn.loc[gone, "model_status"]) == {"out_of_population"}
    assert churn.loc[gone, "churn_probability"].isna().all()
    assert set(churn.loc[~gone, "model_status"]) == {"primary"}
    assert churn.loc[~gone, "model_status_reason"].isna().all()
    numbers = churn.select_dtypes("number")
    assert np.isfinite(numbers[numbers.notna()].fillna(0)).all(axis=None)
    by_band = churn[~gone].groupby("churn_band")["churn_probability"].agg(["min", "max"])
    assert by_band.loc["low", "max"] < 0.5 <= by_band.loc["medium", "min"]
    assert by_band.loc["medium", "max"] < 0.8 <= by_band.loc["high", "min"]
    expected = churn["recency_days"].astype(float) > 2 * churn["expected_gap_days"].astype(float)
    near = np.isclose(churn["recency_days"].astype(float), 2 * churn["expected_gap_days"].astype(float), atol=0.02)
    assert (churn["is_late_vs_expected_gap"][~near] == expected[~near]).all()
    # One order shows no rhythm of its own: late by the population's median is no lateness against the own cadence.
    returned = churn["purchase_day_count"] >= 2
    assert (churn["is_late_vs_own_cadence"][~near & returned] == expected[~near & returned]).all()
    assert not returned.all()
    assert churn.loc[~returned, "is_late_vs_own_cadence"].isna().all()
    assert churn.loc[~returned, "is_late_vs_expected_gap"].any()


def test_the_version_and_its_evaluation_are_published(shop: Settings) -> None:
    assert rows(shop, "select decision, is_serving, snapshot_count from marts.churn_model_versions") == [
        ("promoted", True, 13)
    ]
    models = dict(rows(shop, "select model, count(*) from marts.churn_model_evaluation group by model"))
    assert models == {"primary": 4, "bgnbd": 4, "hiatus": 4, "frequency": 4, "ablation_orders": 1}
    [(low, compared)] = rows(
        shop,
        "select auc_difference_low, compared_with from marts.churn_model_evaluation"
        " where model = 'primary' and segment = 'all'",
    )
    assert low > 0
    assert compared == "hiatus"


def test_a_second_pass_of_a_day_changes_nothing_and_adds_nothing_to_the_journal(shop: Settings) -> None:
    journal = "select customer_key, as_of_on, model_status, recorded_at from marts.customer_churn_history order by 1"
    before, entries = churn_table(shop), rows(shop, journal)
    assert len(entries) == len(before)
    refresh_daily(shop)
    pd.testing.assert_frame_equal(churn_table(shop), before)
    assert rows(shop, journal) == entries


def test_an_explanation_tells_facts_and_adds_up(shop: Settings) -> None:
    key = int(churn_table(shop).query("churn_probability > 0.8 and purchase_day_count > 2")["customer_key"].iloc[0])
    told = explain(shop, key)
    by_family = pd.DataFrame(told["features"]).groupby("family")["contribution"].sum()
    assert len(by_family) > 0
    for family, contribution in by_family.items():
        assert contribution == pytest.approx(told[f"{family}_contribution"], abs=1e-9)
    assert told["reasons"]
    assert any("days" in reason["because"] for reason in told["reasons"])
    with pytest.raises(NoScoreError, match="No customer has the key 999999"):
        explain(shop, 999_999)


def test_a_merged_key_is_explained_by_its_present_customer(shop: Settings) -> None:
    key = int(churn_table(shop)["customer_key"].iloc[0])
    with warehouse.connect("transformer", shop) as connection:
        connection.execute(
            "insert into state.customer_key_crosswalk (customer_key, present_customer_key, reason)"
            " values (888888, %s, 'merged')",
            [key],
        )
    told = explain(shop, 888_888)
    assert (told["asked_for_key"], told["customer_key"]) == (888_888, key)


def test_the_horizon_set_by_hand_holds_for_later_fits(shop: Settings) -> None:
    with warehouse.connect("transformer", shop) as connection:
        assert versions.horizon_in_force(connection, date(2025, 6, 1)) == 91
        versions.set_horizon(connection, 56, date(2025, 6, 1))
        assert versions.horizon_in_force(connection, date(2025, 5, 31)) == 91
        assert versions.horizon_in_force(connection, date(2026, 1, 1)) == 56
        connection.rollback()


# --- shops that cannot be learned, through the command line ---


@pytest.mark.slow
def test_ten_customers_are_judged_without_a_crash_and_the_baseline_serves(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from customer360.cli import churn as commands

    monkeypatch.setattr(commands, "get_settings", lambda: settings)
    records = simulated_records(
        settings.today(), customers=10, days=200, orders_per_day=0.05, rate_shape=1.0, dropout=0.1, seed=5
    )
    load_all(settings, records, is_history=True)
    build(settings, "test")
    run = CliRunner().invoke(commands.churn_app, ["fit", "--json", "--horizon-days", "28"])
    assert run.exit_code == 0, run.output
    report = json.loads(run.stdout)
    assert report["status"] == "too_few_customers"
    assert report["decision"] == "not_fitted"
    assert {"auc", "brier", "ece", "n", "churn_rate"} <= set(report["primary"])
    table = churn_table(settings)
    scored = table[table["recency_days"] <= 365]
    assert set(scored["model_status"]) <= {"hiatus", "frequency"}
    assert set(scored["model_status_reason"]) == {"too_few_customers"}
    assert scored["churn_probability"].between(0, 1, inclusive="neither").all()
    told = CliRunner().invoke(commands.churn_app, ["explain", str(int(table["customer_key"].iloc[0]))])
    assert ", too_few_customers" in told.output


def test_one_day_of_data_has_too_little_history_and_says_so(settings: Settings) -> None:
    today = settings.today()
    records = simulated_records(today, customers=60, days=1, orders_per_day=0.1, rate_shape=1.0, dropout=0.1, seed=6)
    load_all(settings, records, is_history=True)
    build(settings, "test")
    report = fitting.evaluate(settings)
    assert report["status"] == "too_little_history"
    assert report["bgnbd_status"] == "too_little_history"
    assert report["primary"]["auc"] is None
    assert report["primary"]["n"] == 60
    json.dumps(report, allow_nan=False)
