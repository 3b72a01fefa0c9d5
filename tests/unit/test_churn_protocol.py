"""The protocol: snapshots that cannot overlap, canaries for leaks, and shops of every odd kind."""

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


def test_the_test_is_the_last_day_whose_window_is_complete_and_snapshots_never_overlap() -> None:
    plan = plan_snapshots(FIRST, date(2024, 1, 1), horizon_days=91)
    assert plan is not None
    assert plan.test_on == date(2024, 1, 1) - timedelta(days=91)
    assert len(plan.snapshots) == protocol.MAXIMUM_SNAPSHOTS
    for earlier, later in zip(plan.snapshots, plan.snapshots[1:], strict=False):
        assert later - earlier >= timedelta(days=plan.horizon_days)
    assert all(day + timedelta(days=91) <= plan.test_on for day in plan.learn_on)
    assert plan.calibrate_on == plan.snapshots[-2]


def test_the_test_day_can_be_chosen() -> None:
    plan = plan_snapshots(date(1997, 1, 1), date(1998, 6, 30), horizon_days=91, test_at=date(1997, 9, 30))
    assert plan == SnapshotPlan(91, 91, (date(1997, 4, 1), date(1997, 7, 1), date(1997, 9, 30)))


@pytest.mark.parametrize(
    ("history_days", "horizon"), [(400, 91), (301, 91), (300, 56), (196, 56), (195, 28), (122, 28), (112, 28)]
)
def test_a_short_history_gets_a_shorter_horizon(history_days: int, horizon: int) -> None:
    plan = plan_snapshots(FIRST, FIRST + timedelta(days=history_days))
    assert plan is not None
    assert plan.horizon_days == horizon
    assert plan.requested_horizon_days == 91
    assert len(plan.snapshots) >= protocol.MINIMUM_SNAPSHOTS


@pytest.mark.parametrize("history_days", [0, 1, 60, 111])
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
    assert version.decision is PromotionDecision.NOT_BETTER_THAN_HIATUS


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


def report(low: float | None, mean_predicted: float) -> dict[str, Any]:
    return {"primary": {"auc_difference_to_hiatus": {"low": low}, "mean_predicted": mean_predicted, "churn_rate": 0.6}}


@pytest.mark.parametrize(
    ("low", "mean_predicted", "decision"),
    [
        (0.01, 0.62, PromotionDecision.PROMOTED),
        (0.01, 0.649, PromotionDecision.PROMOTED),
        (0.01, 0.66, PromotionDecision.DRIFT),
        (0.01, 0.54, PromotionDecision.DRIFT),
        (0.0, 0.6, PromotionDecision.NOT_BETTER_THAN_HIATUS),
        (-0.01, 0.6, PromotionDecision.NOT_BETTER_THAN_HIATUS),
        (None, 0.6, PromotionDecision.NOT_BETTER_THAN_HIATUS),
    ],
)
def test_only_what_beats_hiatus_for_sure_and_is_right_on_the_mean_is_promoted(
    low: float | None, mean_predicted: float, decision: PromotionDecision
) -> None:
    assert promotion_decision(report(low, mean_predicted)) is decision


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


def test_sessions_that_tell_something_are_used_and_the_ablation_shows_what_they_gain() -> None:
    version = fitted(shop_with_sessions(effect=1.0))
    assert [step["families"] for step in version.evaluation["ablation"]] == ["orders", "orders_sessions"]
    gain = version.evaluation["ablation"][1]["auc_gain"]
    assert gain["low"] > 0
    assert "sessions" in version.evaluation["primary"]["families"]


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
    assert version.evaluation["primary"]["model"] == "logistic"
    assert version.evaluation["primary"]["auc"] > version.evaluation["hiatus"]["auc"]


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
    assert version.evaluation["primary"]["model"] == model
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
    assert version.decision in (PromotionDecision.NOT_FITTED, PromotionDecision.NOT_BETTER_THAN_HIATUS)
