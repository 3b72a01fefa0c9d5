"""The value of a year: canaries of the protocol, and an interval that holds for one-time buyers too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from customer360.churn import bgnbd, evaluation, protocol, value
from customer360.churn.statuses import FitStatus
from tests.unit.churn_shops import HistorySource, cdnow_lines, simulated_lines, source_of

SHOP: dict[str, Any] = {
    "customers": 3_000, "days": 480, "orders_per_day": 0.02, "rate_shape": 0.8, "dropout": 0.15,
    "acquisition_days": 300, "seed": 21,
}  # fmt: skip


@pytest.fixture(scope="module")
def source() -> HistorySource:
    return source_of(simulated_lines(**SHOP))


@pytest.fixture(scope="module")
def windows(source: HistorySource) -> value.Windows:
    plan = protocol.plan_snapshots(source.first_ordered_on, source.last_complete_on)
    assert plan is not None
    taken = protocol.value_windows(source, plan, {})
    assert taken is not None
    return taken


@pytest.fixture(scope="module")
def model(windows: value.Windows) -> value.ValueModel:
    fitted = value.fit(windows)
    assert fitted.model is not None
    return fitted.model


def tampered(windows: value.Windows, change: Callable[[value.Window, date], value.Window]) -> value.Windows:
    learn = tuple(change(window, day) for window, day in zip(windows.learn, windows.days.learn_on, strict=True))
    return replace(windows, learn=learn, test=change(windows.test, windows.days.test_on))


def auc_of_buying(fitted: value.ValueFit, test: value.Window) -> float:
    assert fitted.model is not None
    found = evaluation.auc((test.amounts > 0).astype(np.int64), fitted.model.window(test.frame).probability)
    assert found is not None
    return found


def test_windows_of_learning_end_on_or_before_the_test_day(windows: value.Windows) -> None:
    assert windows.days.learn_on
    for day in windows.days.learn_on:
        assert day + timedelta(days=windows.days.window_days) <= windows.days.test_on


def test_shuffled_amounts_are_explained_by_nothing(windows: value.Windows) -> None:
    random = np.random.default_rng(0)
    shuffled = tampered(windows, lambda window, _: replace(window, amounts=random.permutation(window.amounts)))
    fitted = value.fit(shuffled)
    assert fitted.figures["r_squared"] < 0.02
    assert 0.47 <= auc_of_buying(fitted, shuffled.test) <= 0.53
    # What cannot be predicted still has a distribution, and the interval is its middle.
    assert 0.75 <= fitted.figures["coverage"] <= 0.90


def test_features_of_the_day_after_the_window_are_seen_as_the_leak_they_are(
    source: HistorySource, windows: value.Windows
) -> None:
    logits = ["bgnbd_logit", "mbgnbd_logit"]

    def leaking(window: value.Window, day: date) -> value.Window:
        later = source.features(day + timedelta(days=windows.days.window_days)).set_index("customer_key")
        frame = later.loc[window.frame["customer_key"]].reset_index()
        frame[logits] = window.frame[logits].to_numpy()
        return replace(window, frame=frame)

    leaky = tampered(windows, leaking)
    fitted, honest = value.fit(leaky), value.fit(windows)
    assert auc_of_buying(fitted, leaky.test) > 0.98
    assert fitted.figures["r_squared"] > 0.8
    assert honest.figures["r_squared"] < 0.6


def test_an_order_after_the_day_changes_no_window(source: HistorySource, windows: value.Windows) -> None:
    later = pd.Timestamp(windows.days.test_on) + timedelta(days=windows.days.window_days + 1)
    orders = source.history.orders
    new = orders.head(50).assign(order_id=[f"new{n}" for n in range(50)], ordered_on=later, known_on=later)
    history = replace(source.history, orders=pd.concat([orders, new], ignore_index=True))
    plan = protocol.plan_snapshots(source.first_ordered_on, source.last_complete_on)
    assert plan is not None
    again = protocol.value_windows(HistorySource(history, source.last_complete_on), plan, {})
    assert again is not None
    for before, after in zip((*windows.learn, windows.test), (*again.learn, again.test), strict=True):
        pd.testing.assert_frame_equal(before.frame, after.frame)
        assert (before.amounts == after.amounts).all()


def test_a_year_is_the_window_extended(windows: value.Windows, model: value.ValueModel) -> None:
    frame = windows.test.frame
    window, year = model.window(frame), model.year(frame)
    assert windows.days.window_days == 91
    assert (year.probability > window.probability).all()
    expected = model.expected(frame) * model.lifetime.extension(frame)
    assert model.expected(frame, year) == pytest.approx(expected, rel=1e-9)
    low, high = model.interval(frame, year)
    assert (low <= high).all()
    whole_year = replace(model, lifetime=replace(model.lifetime, window_days=365))
    assert (whole_year.year(frame).probability == whole_year.window(frame).probability).all()


def test_without_a_lifetime_model_a_year_is_as_many_independent_windows(
    windows: value.Windows, model: value.ValueModel
) -> None:
    none = bgnbd.BgNbdFit(FitStatus.NOT_CONVERGED, None, None, 0, 0)
    bare = replace(model, lifetime=replace(model.lifetime, dropout=none, modified=none))
    window, year = bare.window(windows.test.frame), bare.year(windows.test.frame)
    assert year.probability == pytest.approx(1 - (1 - window.probability) ** (365 / 91))
    assert bare.lifetime.extension(windows.test.frame) == pytest.approx(365 / 91)


def test_a_segment_with_few_buyers_has_the_deviations_of_everybody(windows: value.Windows) -> None:
    def without_regulars(window: value.Window, _: date) -> value.Window:
        is_regular = (window.frame["purchase_day_count"] >= 4).to_numpy()
        return replace(window, amounts=np.where(is_regular, 0.0, window.amounts))

    fitted = value.fit(tampered(windows, without_regulars))
    assert fitted.model is not None
    assert set(fitted.model.quantiles) == {value.EVERYBODY, "1", "2-3"}
    low, high = fitted.model.interval(windows.test.frame)
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()


def coverage_of_the_year(lines: pd.DataFrame, learned_until: str) -> dict[str, tuple[float, float]]:
    """Per segment: share of the customers whose next 365 days fell inside, and share of those who bought nothing."""
    source = source_of(lines)
    today = pd.Timestamp(learned_until).date()
    past = HistorySource(source.history, today)
    plan = protocol.plan_snapshots(past.first_ordered_on, today)
    assert plan is not None
    fitted = protocol.fit_worth(past, plan, {}).model
    assert fitted is not None
    everybody = source.features(today)
    orders = protocol.fit_order_models(everybody)
    frame = orders.with_logits(everybody, plan.horizon_days)
    lifetime = value.Lifetime(
        orders.bgnbd, orders.mbgnbd, protocol.fit_gammagamma(everybody), fitted.lifetime.window_days
    )
    serving = replace(fitted, lifetime=lifetime)
    low, high = serving.interval(frame, serving.year(frame))
    brought = frame["customer_key"].map(source.amounts(today, today + timedelta(days=365))).fillna(0.0).to_numpy()
    days = frame["purchase_day_count"]
    parts = {"1": days == 1, "2-3": days.between(2, 3), "4+": days >= 4}
    inside = (brought >= low) & (brought <= high)
    return {name: (float(inside[rows].mean()), float((brought[rows] <= 0).mean())) for name, rows in parts.items()}


def test_the_interval_of_a_year_learned_from_months_covers_80_percent_of_every_segment() -> None:
    found = coverage_of_the_year(simulated_lines(**{**SHOP, "days": 800, "acquisition_days": 500}), "2025-02-08")
    for segment, (coverage, _) in found.items():
        assert 0.76 <= coverage <= 0.89, (segment, found)


@pytest.mark.slow
def test_the_interval_of_a_year_covers_cdnow_learned_from_half_a_year() -> None:
    found = coverage_of_the_year(cdnow_lines(), "1997-06-30")
    # 77 % of the one-time buyers brought nothing: an interval that begins at 0 covers them all.
    assert 0.77 <= found["1"][1] <= 0.78
    for segment, (coverage, _) in found.items():
        assert 0.78 <= coverage <= 0.88, (segment, found)
