"""How good a churn score is, on customers and a window that it has not seen.

Every figure is a plain number or None, never NaN: a report is JSON and becomes rows of `marts.churn_model_evaluation`.
Label 1 is churn: no order in the window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

RESAMPLES = 500
"""Bootstrap resamples: the ends of a 95 % interval are then known to about 0.1 of its width."""

BINS = 10
SEGMENTS: tuple[tuple[str, int, int], ...] = (("1", 1, 1), ("2-3", 2, 3), ("4+", 4, 2**31))
"""Name, least and greatest number of purchase days."""

_PROBABILITY_FLOOR = 1e-6


@dataclass(frozen=True)
class Scored:
    """One model's answers on the test customers: churn probabilities, and what it ranks by if not by them."""

    probability: Floats
    ranking: Floats | None = None

    @property
    def rank_by(self) -> Floats:
        """The values by which customers are ranked: the ranking if there is one, else the probability."""
        return self.probability if self.ranking is None else self.ranking


def evaluate(
    labels: Labels, models: Mapping[str, Scored], purchase_day_count: NDArray[np.int64], resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """Per model name every figure of docs/churn.md, overall and under `segments`; one bootstrap gives AUC intervals.

    All models see the same resamples, so that their intervals can be compared.
    """
    reports = _figures(labels, models, resamples)
    for name in models:
        reports[name]["segments"] = {}
    for segment, least, greatest in SEGMENTS:
        rows = (purchase_day_count >= least) & (purchase_day_count <= greatest)
        part = {
            name: Scored(scored.probability[rows], None if scored.ranking is None else scored.ranking[rows])
            for name, scored in models.items()
        }
        for name, figures in _figures(labels[rows], part, resamples).items():
            reports[name]["segments"][segment] = figures
    return reports


def auc(labels: Labels, score: Floats) -> float | None:
    """Area under the ROC curve (ties count one half), or None where only one label occurs."""
    return _weighted_auc(labels, _positions(score), np.ones(len(labels)))


def auc_difference(
    labels: Labels, better: Floats, worse: Floats, resamples: int = RESAMPLES
) -> dict[str, float | None]:
    """AUC(better) - AUC(worse) on the same customers, with a paired 95 % bootstrap interval."""
    first, second = auc(labels, better), auc(labels, worse)
    if first is None or second is None:
        return {"difference": None, "low": None, "high": None}
    draws = _bootstrap(labels, [better, worse], resamples)
    low, high = _interval(draws[:, 0] - draws[:, 1])
    return {"difference": first - second, "low": low, "high": high}


def paired_differences(
    labels: Labels, scored: Scored, others: Mapping[str, Scored], resamples: int = RESAMPLES
) -> dict[str, dict[str, dict[str, float | None]]]:
    """By how much `scored` is better than each of the others: `auc` and `brier`, positive where it is.

    Each has difference, low and high, the ends of a paired 95 % interval over the same customers.
    """
    unknown: dict[str, float | None] = {"difference": None, "low": None, "high": None}
    if not len(labels) or labels.min() == labels.max():
        return {name: {"auc": dict(unknown), "brier": dict(unknown)} for name in others}
    areas = _bootstrap(labels, [scored.rank_by, *(other.rank_by for other in others.values())], resamples)
    own_error = (scored.probability - labels) ** 2
    differences: dict[str, dict[str, dict[str, float | None]]] = {}
    for place, (name, other) in enumerate(others.items(), start=1):
        ours, theirs = auc(labels, scored.rank_by), auc(labels, other.rank_by)
        low, high = _interval(areas[:, 0] - areas[:, place])
        gain = (other.probability - labels) ** 2 - own_error
        # The mean of thousands of customers is normal enough: no resampling is needed.
        margin = 1.96 * float(gain.std(ddof=1)) / math.sqrt(len(gain)) if len(gain) > 1 else 0.0
        differences[name] = {
            "auc": {"difference": (ours or 0.0) - (theirs or 0.0), "low": low, "high": high},
            "brier": {
                "difference": float(gain.mean()),
                "low": float(gain.mean()) - margin,
                "high": float(gain.mean()) + margin,
            },
        }
    return differences


def brier(labels: Labels, probability: Floats) -> float | None:
    """Mean squared error of the probabilities."""
    return float(np.mean((probability - labels) ** 2)) if len(labels) else None


def calibration_bins(labels: Labels, probability: Floats) -> list[dict[str, float | int]]:
    """At most ten bins of about equally many customers, by predicted probability; equal predictions share a bin."""
    if not len(labels):
        return []
    edges = np.unique(np.quantile(probability, np.linspace(0.0, 1.0, BINS + 1)))
    inside = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, max(len(edges) - 2, 0))
    bins: list[dict[str, float | int]] = []
    for index in np.unique(inside):
        rows = inside == index
        bins.append(
            {
                "lower": float(probability[rows].min()),
                "upper": float(probability[rows].max()),
                "n": int(rows.sum()),
                "mean_predicted": float(probability[rows].mean()),
                "realised": float(labels[rows].mean()),
            }
        )
    return bins


def expected_calibration_error(bins: list[dict[str, float | int]]) -> float | None:
    """Mean distance of predicted from realised over the bins, weighted by their customers."""
    total = sum(part["n"] for part in bins)
    if not total:
        return None
    return float(sum(part["n"] * abs(part["mean_predicted"] - part["realised"]) for part in bins) / total)


def top_decile_lift(labels: Labels, score: Floats) -> tuple[float | None, float | None]:
    """How many times the base rate the tenth with the highest scores churned, and the most that any score could reach.

    The ceiling is 1 / base rate as long as at least a tenth churned. Customers with equal scores at the boundary count
    in proportion.
    """
    count, churned = len(labels), int(labels.sum())
    if not churned:
        return None, None
    size = math.ceil(count / 10)
    base = churned / count
    threshold = np.sort(score)[count - size]
    above, tied = score > threshold, score == threshold
    found = labels[above].sum() + labels[tied].mean() * (size - above.sum())
    return float(found / size / base), float(min(1.0, churned / size) / base)


def _figures(labels: Labels, models: Mapping[str, Scored], resamples: int) -> dict[str, dict[str, Any]]:
    draws = _bootstrap(labels, [scored.rank_by for scored in models.values()], resamples)
    return {
        name: _figures_of_one(labels, scored, draws[:, index]) for index, (name, scored) in enumerate(models.items())
    }


def _figures_of_one(labels: Labels, scored: Scored, auc_draws: Floats) -> dict[str, Any]:
    probability = scored.probability
    count = len(labels)
    rate = float(labels.mean()) if count else None
    bins = calibration_bins(labels, probability)
    error = brier(labels, probability)
    no_skill = None if rate is None else rate * (1.0 - rate)
    low, high = _interval(auc_draws)
    lift, ceiling = top_decile_lift(labels, scored.rank_by)
    return {
        "n": count,
        "churn_rate": rate,
        "mean_predicted": float(probability.mean()) if count else None,
        "auc": auc(labels, scored.rank_by),
        "auc_low": low,
        "auc_high": high,
        "brier": error,
        "brier_skill": 1.0 - error / no_skill if error is not None and no_skill else None,
        "log_loss": _log_loss(labels, probability),
        "ece": expected_calibration_error(bins),
        "bins": bins,
        "top_decile_lift": lift,
        "top_decile_lift_ceiling": ceiling,
    }


def _log_loss(labels: Labels, probability: Floats) -> float | None:
    if not len(labels):
        return None
    return float(log_losses(labels, probability).mean())


def log_losses(labels: Labels, probability: Floats) -> Floats:
    """Log loss of each customer; probabilities are kept 1e-6 away from 0 and 1."""
    kept = np.clip(probability, _PROBABILITY_FLOOR, 1.0 - _PROBABILITY_FLOOR)
    return -np.where(labels == 1, np.log(kept), np.log(1.0 - kept))


def _positions(score: Floats) -> NDArray[np.int64]:
    """Rank of each score among the distinct scores: sorted once, so that every resample only counts."""
    return np.unique(score, return_inverse=True)[1].astype(np.int64)


def _weighted_auc(labels: Labels, positions: NDArray[np.int64], weights: Floats) -> float | None:
    if not len(labels):
        return None
    size = int(positions.max()) + 1
    churned = np.bincount(positions, weights * labels, minlength=size)
    stayed = np.bincount(positions, weights * (1 - labels), minlength=size)
    pairs = churned.sum() * stayed.sum()
    if pairs == 0:
        return None
    below = np.cumsum(stayed) - stayed
    return float((churned * (below + stayed / 2.0)).sum() / pairs)


def _bootstrap(labels: Labels, scores: list[Floats], resamples: int) -> Floats:
    """AUC of every score (columns) in every resample of the customers (rows); resamples with one label are left out."""
    if not len(labels) or labels.min() == labels.max():
        return np.empty((0, len(scores)))
    positions = [_positions(score) for score in scores]
    random = np.random.default_rng(360)
    draws = []
    for _ in range(resamples):
        weights = np.bincount(random.integers(0, len(labels), len(labels)), minlength=len(labels)).astype(np.float64)
        values = [_weighted_auc(labels, position, weights) for position in positions]
        draws.append([np.nan if value is None else value for value in values])
    table = np.array(draws, dtype=np.float64).reshape(-1, len(scores))
    return table[~np.isnan(table).any(axis=1)]


def _interval(draws: Floats) -> tuple[float | None, float | None]:
    # From fewer resamples than this no 2.5 % point can be read.
    if len(draws) < 40:
        return None, None
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
