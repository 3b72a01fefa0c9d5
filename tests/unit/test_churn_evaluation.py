"""Every figure of the evaluation by hand or against scikit-learn, and the odd cases that must give None."""

from __future__ import annotations

import json
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from customer360.churn import evaluation
from customer360.churn.evaluation import Scored


def scored_customers(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    probability = np.round(random.beta(3, 1, n), 2)
    labels = (random.random(n) < probability).astype(np.int64)
    return labels, probability, random.integers(1, 8, n)


def test_figures_agree_with_scikit_learn() -> None:
    labels, probability, days = scored_customers(2_000)
    figures = evaluation.evaluate(labels, {"primary": Scored(probability)}, days, resamples=50)["primary"]
    assert figures["auc"] == pytest.approx(roc_auc_score(labels, probability), abs=1e-12)
    assert figures["brier"] == pytest.approx(brier_score_loss(labels, probability), abs=1e-12)
    assert figures["log_loss"] == pytest.approx(log_loss(labels, np.clip(probability, 1e-6, 1 - 1e-6)), abs=1e-9)
    base = labels.mean()
    assert figures["brier_skill"] == pytest.approx(1 - figures["brier"] / (base * (1 - base)), abs=1e-12)
    assert figures["n"] == 2_000
    assert figures["churn_rate"] == pytest.approx(base)
    assert figures["mean_predicted"] == pytest.approx(probability.mean())


def test_the_bootstrap_interval_holds_the_auc_and_has_the_width_of_theory() -> None:
    labels, probability, days = scored_customers(2_000)
    figures = evaluation.evaluate(labels, {"primary": Scored(probability)}, days)["primary"]
    area, churned = figures["auc"], int(labels.sum())
    stayed = len(labels) - churned
    # Hanley & McNeil (1982), standard error of the area.
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (churned - 1) * (q1 - area**2) + (stayed - 1) * (q2 - area**2)
    error = np.sqrt(variance / (churned * stayed))
    assert figures["auc_low"] < area < figures["auc_high"]
    assert figures["auc_high"] - figures["auc_low"] == pytest.approx(2 * 1.96 * error, rel=0.25)


def test_the_paired_difference_is_sharper_than_two_intervals() -> None:
    labels, probability, _ = scored_customers(2_000)
    noise = np.random.default_rng(1).normal(0, 0.05, len(labels))
    worse = probability + noise
    difference: dict[str, Any] = evaluation.auc_difference(labels, probability, worse)
    assert difference["difference"] == pytest.approx(
        roc_auc_score(labels, probability) - roc_auc_score(labels, worse), abs=1e-12
    )
    assert difference["low"] is not None
    assert difference["high"] is not None
    assert difference["low"] <= difference["difference"] <= difference["high"]
    alone = evaluation.evaluate(labels, {"primary": Scored(probability)}, np.ones(len(labels), dtype=int))["primary"]
    assert difference["high"] - difference["low"] < 0.5 * (alone["auc_high"] - alone["auc_low"])


def test_a_model_compared_with_itself_has_no_difference() -> None:
    labels, probability, _ = scored_customers(300)
    assert evaluation.auc_difference(labels, probability, probability) == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_calibration_bins_hold_everybody_once_and_ece_is_their_weighted_distance() -> None:
    labels, probability, _ = scored_customers(999)
    bins = evaluation.calibration_bins(labels, probability)
    assert 5 <= len(bins) <= evaluation.BINS
    assert sum(part["n"] for part in bins) == 999
    assert all(first["upper"] <= second["lower"] for first, second in pairwise(bins))
    by_hand = sum(part["n"] * abs(part["mean_predicted"] - part["realised"]) for part in bins) / 999
    assert evaluation.expected_calibration_error(bins) == pytest.approx(by_hand)


def test_equal_predictions_share_one_bin() -> None:
    labels = np.array([0, 1, 1, 1])
    bins = evaluation.calibration_bins(labels, np.full(4, 0.5))
    assert bins == [{"lower": 0.5, "upper": 0.5, "n": 4, "mean_predicted": 0.5, "realised": 0.75}]
    assert evaluation.expected_calibration_error(bins) == 0.25


def test_top_decile_lift_by_hand() -> None:
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0] * 2)
    score = np.where(np.arange(20) < 2, 1.0, 0.0)
    assert evaluation.top_decile_lift(labels, score) == (pytest.approx(5.0), pytest.approx(5.0))
    everybody_alike = np.zeros(20)
    assert evaluation.top_decile_lift(labels, everybody_alike)[0] == pytest.approx(1.0)


def test_the_ceiling_of_the_lift_falls_where_less_than_a_tenth_churned() -> None:
    labels = np.array([1] + [0] * 39)
    lift, ceiling = evaluation.top_decile_lift(labels, labels.astype(float))
    assert lift == ceiling == pytest.approx(10.0)


def test_segments_are_one_two_to_three_and_four_or_more_purchase_days() -> None:
    labels, probability, days = scored_customers(500)
    segments = evaluation.evaluate(labels, {"primary": Scored(probability)}, days, resamples=50)["primary"]["segments"]
    assert list(segments) == ["1", "2-3", "4+"]
    assert [segments[name]["n"] for name in segments] == [
        int((days == 1).sum()),
        int(((days == 2) | (days == 3)).sum()),
        int((days >= 4).sum()),
    ]
    assert segments["4+"]["auc"] == pytest.approx(roc_auc_score(labels[days >= 4], probability[days >= 4]))


def test_a_model_may_rank_by_something_else_than_its_probability() -> None:
    labels, probability, days = scored_customers(500)
    scored = Scored(np.full(500, labels.mean()), ranking=probability)
    figures = evaluation.evaluate(labels, {"hiatus": scored}, days, resamples=50)["hiatus"]
    assert figures["auc"] == pytest.approx(roc_auc_score(labels, probability))
    assert figures["brier_skill"] == pytest.approx(0.0)


@pytest.mark.parametrize("labels", [[], [1], [0, 0, 0], [1] * 30, [0, 1]])
def test_odd_populations_give_none_and_never_nan(labels: list[int]) -> None:
    values = np.array(labels, dtype=np.int64)
    probability = np.linspace(0.1, 1.0, len(values))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = evaluation.evaluate(
            values, {"primary": Scored(probability)}, np.ones(len(values), dtype=np.int64), resamples=60
        )
        evaluation.auc_difference(values, probability, -probability, resamples=60)
    json.dumps(report, allow_nan=False)
    if len(set(labels)) < 2:
        assert report["primary"]["auc"] is None
        assert report["primary"]["auc_low"] is None
        assert report["primary"]["brier_skill"] is None
