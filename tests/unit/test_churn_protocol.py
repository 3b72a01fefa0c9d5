"""The protocol: snapshots whose learning windows end by the test day, canaries for leaks, shops of every odd kind."""

from __future__ import annotations

import json
import warnings
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from customer360.churn import protocol
from customer360.churn.protocol import SnapshotPlan, plan_snapshots, promotion_decision
from customer360.churn.statuses import FitStatus, PromotionDecision
from tests.unit.churn_shops import HistorySource, cdnow_source, no_events, simulated_lines, source_of

FIRST = date(2022, 1, 1)


def fitted(source: HistorySource, **options: Any) -> protocol.FittedVersion:
    plan = plan_snapshots(source.first_ordered_on, source.last_complete_on, **options)
    assert plan is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        version = protocol.fit_version(source, plan)
    json.dumps(version.evaluation, allow_nan=False)
    return version


# --- snapshots ---


def test_the_test_is_the_last_day_whose_window_is_complete_and_all_learning_ends_by_then() -> None:
    plan = plan_snapshots(FIRST, date(2024, 1, 1), horizon_days=91)
    assert plan is not None
    assert plan.test_on == date(2024, 1, 1) - timedelta(days=91)
    assert len(plan.learn_on) == protocol.MAXIMUM_LEARNING
    for earlier, later in zip(plan.learn_on, plan.learn_on[1:], strict=False):
        assert later - earlier == timedelta(days=91 // protocol.SNAPSHOTS_PER_HORIZON)
    assert all(day + timedelta(days=91) <= plan.test_on for day in plan.learn_on)
    assert plan.calibrate_on == plan.test_on - timedelta(days=91)


def test_the_test_day_can_be_chosen() -> None:
    plan = plan_snapshots(date(1997, 1, 1), date(1998, 6, 30), horizon_days=91, test_at=date(1997, 9, 30))
    assert plan is not None
    assert plan.test_on == date(1997, 9, 30)
    assert plan.calibrate_on == date(1997, 7, 1)
    assert plan.learn_on[0] >= date(1997, 1, 29)


def test_an_earlier_test_day_learns_only_from_windows_that_had_ended_by_then() -> None:
    plan = plan_snapshots(FIRST, date(2024, 1, 1), horizon_days=80)
    assert plan is not None
    earlier = plan.before(plan.test_on - timedelta(days=80))
    assert earlier is not None
    assert len(earlier.learn_on) >= protocol.MINIMUM_LEARNING
    assert all(day + timedelta(days=80) <= earlier.test_on for day in earlier.learn_on)
    assert plan.before(plan.learn_on[0]) is None


@pytest.mark.parametrize(("history_days", "horizon"), [(400, 91), (232, 91), (231, 56), (154, 56), (153, 28), (91, 28)])
def test_a_short_history_gets_a_shorter_horizon(history_days: int, horizon: int) -> None:
    plan = plan_snapshots(FIRST, FIRST + timedelta(days=history_days))
    assert plan is not None
    assert plan.horizon_days == horizon
    assert plan.requested_horizon_days == 91
    assert len(plan.learn_on) >= protocol.MINIMUM_LEARNING
    assert history_days >= protocol.history_needed_days(horizon)


@pytest.mark.parametrize("history_days", [0, 1, 60, 90])
def test_a_history_shorter_than_that_has_no_plan(history_days: int) -> None:
    assert plan_snapshots(FIRST, FIRST + timedelta(days=history_days)) is None


def test_a_shop_without_an_order_has_no_plan_and_a_horizon_below_a_day_is_refused() -> None:
    assert plan_snapshots(None, FIRST) is None
    with pytest.raises(ValueError, match="at least one day"):
        plan_snapshots(FIRST, FIRST, horizon_days=0)


def test_a_test_day_whose_window_is_not_over_is_never_used() -> None:
    assert plan_snapshots(FIRST, date(2024, 1, 1), test_at=date(2023, 12, 20)) is None


# --- population and labels ---


def test_label_1_means_no_order_within_the_horizon_after_the_day() -> None:
    lines = pd.DataFrame(
        [
            (1, "2024-01-01"), (1, "2024-03-01"),  # on the day itself: known, no answer to the label
            (2, "2024-02-01"), (2, "2024-03-02"),  # the first day of the window
            (3, "2024-02-01"), (3, "2024-03-29"),  # the last day of the window
            (4, "2024-02-01"), (4, "2024-03-30"),  # a day too late
            (5, "2024-03-15"),  # not yet a customer
        ],
        columns=["customer_key", "ordered_on"],
    ).assign(amount=10.0)  # fmt: skip
    lines["ordered_on"] = pd.to_datetime(lines["ordered_on"])
    snapshot = protocol.take_snapshot(source_of(lines), date(2024, 3, 1), 28)
    assert dict(zip(snapshot.frame["customer_key"], snapshot.labels, strict=True)) == {1: 1, 2: 0, 3: 0, 4: 1}


def test_an_order_cancelled_later_counts_as_an_order_in_the_label() -> None:
    lines = pd.DataFrame({"customer_key": [1, 1], "ordered_on": pd.to_datetime(["2024-01-01", "2024-02-10"])})
    source = source_of(lines.assign(amount=10.0))
    source.history.orders.loc[1, "is_cancelled"] = True
    snapshot = protocol.take_snapshot(source, date(2024, 2, 1), 28)
    assert snapshot.labels.tolist() == [0]


def test_who_has_not_ordered_for_over_a_year_is_out_of_the_population() -> None:
    lines = pd.DataFrame({"customer_key": [1, 2], "ordered_on": pd.to_datetime(["2023-01-01", "2023-01-02"])})
    frame = source_of(lines.assign(amount=10.0)).features(date(2024, 1, 2))
    assert dict(zip(frame["customer_key"], protocol.in_population(frame), strict=True)) == {1: False, 2: True}


def test_a_source_that_leaves_out_a_column_is_told_which() -> None:
    class Incomplete(HistorySource):
        def features(self, as_of_on: date) -> pd.DataFrame:
            return super().features(as_of_on).drop(columns=["recency_days", "late_share"])

    with pytest.raises(ValueError, match="leaves out late_share, recency_days"):
        protocol.take_snapshot(Incomplete(no_events(), FIRST), FIRST, 28)


# --- canaries ---

TEST_AT = date(1997, 9, 30)


@pytest.fixture(scope="module")
def cdnow_snapshots() -> tuple[SnapshotPlan, list[protocol.Snapshot], pd.DataFrame]:
    source = cdnow_source()
    plan = plan_snapshots(source.first_ordered_on, source.last_complete_on, 91, TEST_AT)
    assert plan is not None
    snapshots = [protocol.take_snapshot(source, day, plan.horizon_days) for day in plan.snapshots]
    return plan, snapshots, source.features(plan.test_on)


@pytest.mark.slow
def test_shuffled_labels_are_ranked_no_better_than_by_a_coin(
    cdnow_snapshots: tuple[SnapshotPlan, list[protocol.Snapshot], pd.DataFrame],
) -> None:
    plan, snapshots, everybody = cdnow_snapshots
    random = np.random.default_rng(0)
    shuffled = [
        protocol.Snapshot(snapshot.as_of_on, snapshot.frame, random.permutation(snapshot.labels))
        for snapshot in snapshots
    ]
    version = protocol.fit_on_snapshots(plan, shuffled[:-1], shuffled[-1], everybody)
    assert 0.47 <= version.evaluation["primary"]["auc"] <= 0.53
    assert version.evaluation["primary"]["brier_skill"] < 0.01


@pytest.mark.slow
def test_features_of_the_day_after_the_window_are_seen_as_the_leak_they_are(
    cdnow_snapshots: tuple[SnapshotPlan, list[protocol.Snapshot], pd.DataFrame],
) -> None:
    plan, snapshots, everybody = cdnow_snapshots
    source = cdnow_source()
    leaking = []
    for snapshot in snapshots:
        now = source.features(snapshot.as_of_on + timedelta(days=plan.horizon_days)).set_index("customer_key")
        leaked = now.loc[snapshot.frame["customer_key"]].reset_index()
        leaking.append(protocol.Snapshot(snapshot.as_of_on, leaked, snapshot.labels))
    version = protocol.fit_on_snapshots(plan, leaking[:-1], leaking[-1], everybody)
    assert version.evaluation["primary"]["auc"] > 0.98


# --- promotion ---


def report(
    auc_high: float = 0.02, brier_high: float = 0.01, mean_predicted: float = 0.6, n: int = 5_000
) -> dict[str, Any]:
    gains = {"auc": {"high": auc_high}, "brier": {"high": brier_high}}
    behind_none = {"auc": {"high": 0.1}, "brier": {"high": None}}
    return {
        "primary": {
            "auc": 0.7,
            "n": n,
            "differences": {"hiatus": behind_none, "bgnbd": gains},
            "mean_predicted": mean_predicted,
            "churn_rate": 0.6,
        }
    }


@pytest.mark.parametrize(
    ("figures", "decision"),
    [
        ({}, PromotionDecision.PROMOTED),
        ({"auc_high": 0.0, "brier_high": 0.0}, PromotionDecision.PROMOTED),
        ({"auc_high": -0.001}, PromotionDecision.BEHIND_A_FALLBACK),
        ({"brier_high": -0.001}, PromotionDecision.BEHIND_A_FALLBACK),
        ({"mean_predicted": 0.649}, PromotionDecision.PROMOTED),
        ({"mean_predicted": 0.66}, PromotionDecision.DRIFT),
        ({"mean_predicted": 0.54}, PromotionDecision.DRIFT),
        ({"mean_predicted": 0.66, "n": 100}, PromotionDecision.PROMOTED),  # ± 0.098 is chance
    ],
)
def test_what_is_behind_no_fallback_and_right_on_the_mean_is_promoted(
    figures: dict[str, Any], decision: PromotionDecision
) -> None:
    assert promotion_decision(report(**figures)) is decision


def test_a_drift_says_from_which_churn_rate_to_which() -> None:
    lines = simulated_lines(**{**ORDINARY, "dropout": 0.0, "acquisition_days": 60})
    closed = lines[lines["ordered_on"] < "2025-02-15"]
    random = np.random.default_rng(1)
    source = source_of(closed[(closed["ordered_on"] < "2024-12-15") | (random.random(len(closed)) < 0.25)])
    source.last_complete_on = date(2025, 3, 20)
    version = fitted(source)
    assert version.decision is PromotionDecision.DRIFT
    primary = version.evaluation["primary"]
    assert f"{primary['mean_predicted']:.1%} would not order" in version.why
    assert f"{primary['churn_rate']:.1%} did not" in version.why
    assert f"it was {version.evaluation['calibration_churn_rate']:.1%}" in version.why


def test_the_candidate_with_the_lowest_log_loss_out_of_fold_serves() -> None:
    version = fitted(source_of(simulated_lines(**ORDINARY)))
    rows = version.evaluation["candidates"]
    assert {row["model"] for row in rows} == {kind.value for kind in protocol.Kind}
    [chosen] = [row for row in rows if row["is_chosen"]]
    assert chosen["model"] == version.evaluation["primary"]["model"]
    assert chosen["calibration_log_loss"] <= min(row["calibration_log_loss"] for row in rows) + 0.01
    assert chosen["auc"] == pytest.approx(version.evaluation["primary"]["auc"])


# --- sessions and tickets must earn their place ---


def shop_with_sessions(effect: float) -> HistorySource:
    """Customers who are about to stay browse more, if `effect` is above 0; else browsing tells nothing."""
    lines = simulated_lines(
        customers=1_200, days=480, orders_per_day=0.02, rate_shape=2.0, dropout=0.2, acquisition_days=200, seed=9
    )
    source = source_of(lines)
    random = np.random.default_rng(10)
    last = lines.groupby("customer_key")["ordered_on"].max()
    visits = []
    for key, last_on in last.items():
        for day in pd.date_range("2024-01-01", periods=48, freq="10D"):
            is_active = day <= last_on
            if random.random() < 0.3 + effect * (0.5 if is_active else -0.25):
                visits.append({"customer_key": key, "started_on": day, "known_on": day})
    sessions = pd.DataFrame(visits)
    sessions["session_id"] = [f"s{number}" for number in range(len(sessions))]
    sessions["product_views"], sessions["add_to_carts"], sessions["order_id"] = 3, 0, None
    history = type(source.history)(source.history.orders, source.history.refunds, sessions, source.history.tickets)
    return HistorySource(history, source.last_complete_on)


@pytest.mark.slow
def test_sessions_that_tell_something_are_used_and_the_ablation_shows_what_they_gain() -> None:
    version = fitted(shop_with_sessions(effect=1.0))
    assert [step["families"] for step in version.evaluation["ablation"]] == ["orders", "orders_sessions"]
    gain = version.evaluation["ablation"][1]["auc_gain"]
    assert gain["low"] > 0
    assert "sessions" in version.evaluation["primary"]["families"]


@pytest.mark.slow
def test_sessions_that_tell_nothing_are_left_out() -> None:
    version = fitted(shop_with_sessions(effect=0.0))
    assert len(version.evaluation["ablation"]) == 2
    assert "sessions" not in version.evaluation["primary"]["families"]


# --- odd shops ---

ORDINARY: dict[str, Any] = {
    "customers": 900,
    "days": 480,
    "orders_per_day": 0.02,
    "rate_shape": 0.8,
    "dropout": 0.15,
    "acquisition_days": 300,
    "seed": 21,
}


def test_an_ordinary_shop_gets_a_promoted_version_that_beats_hiatus() -> None:
    version = fitted(source_of(simulated_lines(**ORDINARY)))
    assert version.primary_status is FitStatus.FITTED
    assert version.decision is PromotionDecision.PROMOTED
    for name in ("primary", "bgnbd", "hiatus", "frequency"):
        assert {"auc", "brier", "ece", "n", "churn_rate", "segments"} <= set(version.evaluation[name])
    assert version.evaluation["primary"]["model"] in {kind.value for kind in protocol.Kind}
    assert version.evaluation["primary"]["auc"] > version.evaluation["hiatus"]["auc"]
    assert "Promoted: not behind hiatus, frequency, BG/NBD" in version.why
    days = version.evaluation["test_days"]["days"]
    assert [day["test_on"] for day in days] == sorted((day["test_on"] for day in days), reverse=True)
    assert len(days) >= 2


@pytest.mark.parametrize(
    "shop",
    [
        {"customers": 150, "orders_per_day": 0.6, "rate_shape": 2.0, "dropout": 0.004, "acquisition_days": 1},
        {"customers": 400, "orders_per_day": 0.05, "dropout": 0.05, "value_deviation": 2.5},
        {"customers": 800, "dropout": 0.0, "acquisition_days": 100},
        {"customers": 1_500, "days": 122, "orders_per_day": 0.03, "acquisition_days": 90},
    ],
    ids=["hundreds_of_orders_each", "wholesalers", "nobody_leaves", "four_months"],
)
def test_shops_unlike_cdnow_are_fitted_and_never_worse_than_hiatus(shop: dict[str, Any]) -> None:
    version = fitted(source_of(simulated_lines(**{**ORDINARY, **shop})))
    assert version.primary is not None
    assert version.bgnbd.is_usable
    primary, hiatus = version.evaluation["primary"], version.evaluation["hiatus"]
    assert primary["auc"] > hiatus["auc"] - 0.005
    assert abs(primary["mean_predicted"] - primary["churn_rate"]) < 0.05


@pytest.mark.slow
def test_a_shop_that_nobody_leaves_says_so() -> None:
    version = fitted(source_of(simulated_lines(**{**ORDINARY, "dropout": 0.0})))
    assert version.bgnbd.status is FitStatus.NO_DROPOUT
    assert version.evaluation["bgnbd_status"] == "no_dropout"


@pytest.mark.parametrize(
    ("shop", "status", "bgnbd_status", "model"),
    [
        ({"customers": 10}, FitStatus.TOO_FEW_CUSTOMERS, FitStatus.TOO_FEW_CUSTOMERS, "hiatus"),
        ({"customers": 25}, FitStatus.TOO_FEW_CUSTOMERS, FitStatus.FITTED, "bgnbd"),
        ({"first_dropout": 1.0}, FitStatus.ONE_CLASS, FitStatus.NO_REPEAT_BUYERS, "hiatus"),
    ],
    ids=["ten_customers", "twenty_five_customers", "everyone_bought_once"],
)
def test_a_shop_that_cannot_be_learned_says_why_and_its_fallback_is_judged(
    shop: dict[str, Any], status: FitStatus, bgnbd_status: FitStatus, model: str
) -> None:
    version = fitted(source_of(simulated_lines(**{**ORDINARY, **shop})))
    assert version.primary is None
    assert version.primary_status is status
    assert version.bgnbd.status is bgnbd_status
    assert version.evaluation["primary"]["model"] in {model, version.fallback}
    assert version.evaluation["ablation"] == []
    assert version.decision is PromotionDecision.NOT_FITTED


def test_a_shop_without_repeats_still_has_a_value_of_an_order() -> None:
    version = fitted(source_of(simulated_lines(**{**ORDINARY, "first_dropout": 1.0})))
    assert version.gammagamma.parameters is not None
    assert version.gammagamma.parameters.gamma > 0


def test_a_shop_that_everybody_left_before_the_test_is_judged_without_a_crash() -> None:
    lines = simulated_lines(**{**ORDINARY, "acquisition_days": 30})
    early = lines[lines["ordered_on"] <= "2024-02-15"]
    source = source_of(early)
    source.last_complete_on = date(2025, 4, 1)
    version = fitted(source)
    assert version.evaluation["primary"]["auc"] is None
    assert version.decision in (PromotionDecision.NOT_FITTED, PromotionDecision.NOT_TESTABLE)
