"""The protocol: choose snapshots, learn on the early ones, calibrate on the last but one, test once on the last.

No leakage (churn.md): features of a snapshot s come from rows that had happened and were known by the end of s; the
label of s is read from (s, s + H]; every window used for learning ends on or before the test snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from customer360.churn import bgnbd, evaluation, gammagamma, logistic
from customer360.churn.features import (
    ABLATION,
    BGNBD_LOGIT,
    FEATURE_COLUMN_NAMES,
    FROM_ORDERS,
    Family,
    features_of,
)
from customer360.churn.statuses import FitStatus, PromotionDecision

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

DEFAULT_HORIZON_DAYS = 91
"""Thirteen whole weeks: a quarter in which every weekday occurs equally often."""

SHORTER_HORIZONS_DAYS = (56, 28)
"""Tried in this order where the history is too short for the horizon asked for."""

MINIMUM_SNAPSHOTS = 3
"""One to train, one to calibrate, one to test."""

MAXIMUM_SNAPSHOTS = 4
"""Each costs a build of the features as of that day; on a year of groceries a fourth moves the AUC by 0.001, an
eighth by nothing more."""

MINIMUM_HISTORY_DAYS = 28
"""Days of orders before the first snapshot, without which recency and frequency mean little."""

POPULATION_RECENCY_DAYS = 365
"""Who has not ordered for longer is out of the population: no score, status `out_of_population`."""

MINIMUM_POPULATION = 50
"""Customers below which no regression is tried: the AUC of so few is known to about 0.15 either way."""

MAXIMUM_DRIFT = 0.05
"""Promotion needs |mean predicted - realised| up to this."""


class FeatureSource(Protocol):
    """Where the protocol gets its facts: the warehouse, or a reference in memory."""

    @property
    def first_ordered_on(self) -> date | None:
        """Day of the very first valid order, None in a shop without one."""

    @property
    def last_complete_on(self) -> date:
        """Last day whose orders are all there: the day before `--as-of`."""

    def features(self, as_of_on: date) -> pd.DataFrame:
        """The columns of `int_customers__featured` as of a day, one row per customer with a valid order by then."""

    def ordering_customers(self, after: date, until: date) -> frozenset[int]:
        """Keys (as used in `features`) of customers with an order on a day in (after, until].

        Orders with an amount above 0 count, also those that were cancelled later.
        """


@dataclass(frozen=True)
class SnapshotPlan:
    """The snapshots of one evaluation, oldest first; the last one is the test."""

    requested_horizon_days: int
    horizon_days: int
    snapshots: tuple[date, ...]

    @property
    def test_on(self) -> date:
        """The newest snapshot's date: the model is tested on it."""
        return self.snapshots[-1]

    @property
    def calibrate_on(self) -> date:
        """The date of the last snapshot but one: the probabilities are calibrated on it."""
        return self.snapshots[-2]

    @property
    def learn_on(self) -> tuple[date, ...]:
        """Dates of the snapshots that the model learns from, oldest first."""
        return self.snapshots[:-1]


def plan_snapshots(
    first_ordered_on: date | None,
    last_complete_on: date,
    horizon_days: int = DEFAULT_HORIZON_DAYS,
    test_at: date | None = None,
) -> SnapshotPlan | None:
    """The plan with the longest horizon up to the one asked for that the history carries, or None (too little history).

    The test is at `test_at`, else at the last complete day - H. Raises ValueError for a horizon below one day.
    """
    if horizon_days < 1:
        raise ValueError(f"the horizon must be at least one day, not {horizon_days}")
    if first_ordered_on is None:
        return None
    for horizon in (horizon_days, *(shorter for shorter in SHORTER_HORIZONS_DAYS if shorter < horizon_days)):
        window = timedelta(days=horizon)
        test_on = test_at or last_complete_on - window
        if test_on + window > last_complete_on:
            continue
        earliest = first_ordered_on + timedelta(days=MINIMUM_HISTORY_DAYS)
        snapshots = [test_on - window * back for back in range(MAXIMUM_SNAPSHOTS)]
        usable = tuple(sorted(snapshot for snapshot in snapshots if snapshot >= earliest))
        if len(usable) >= MINIMUM_SNAPSHOTS:
            return SnapshotPlan(horizon_days, horizon, usable)
    return None


def in_population(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether a customer is scored: last valid order at most `POPULATION_RECENCY_DAYS` before the day."""
    return (frame["recency_days"] <= POPULATION_RECENCY_DAYS).to_numpy()


@dataclass(frozen=True)
class Snapshot:
    """The population of one day with its labels: 1 where no order came within the horizon."""

    as_of_on: date
    frame: pd.DataFrame
    labels: Labels


def take_snapshot(source: FeatureSource, as_of_on: date, horizon_days: int) -> Snapshot:
    """Features as of a day and what happened in the H days after it."""
    return snapshot_of(source, as_of_on, horizon_days, complete_features(source, as_of_on))


def complete_features(source: FeatureSource, as_of_on: date) -> pd.DataFrame:
    """Everybody's features as of a day; ValueError where the source leaves out a column."""
    frame = source.features(as_of_on)
    missing = set(FEATURE_COLUMN_NAMES) - set(frame.columns)
    if missing:
        raise ValueError(f"the feature source leaves out {', '.join(sorted(missing))}")
    return frame


def snapshot_of(source: FeatureSource, as_of_on: date, horizon_days: int, everybody: pd.DataFrame) -> Snapshot:
    """The population among `everybody` with its labels."""
    frame = everybody[in_population(everybody)].reset_index(drop=True)
    ordered = source.ordering_customers(as_of_on, as_of_on + timedelta(days=horizon_days))
    return Snapshot(as_of_on, frame, labels_of(frame["customer_key"], ordered))


def labels_of(customer_key: pd.Series, ordered: frozenset[int]) -> Labels:
    """1 for customers who did not order."""
    return (~customer_key.isin(ordered)).to_numpy().astype(np.int64)


@dataclass(frozen=True)
class FittedVersion:
    """Everything that scoring needs of one version, and how it did on its test."""

    plan: SnapshotPlan
    bgnbd: bgnbd.BgNbdFit
    gammagamma: gammagamma.GammaGammaFit
    hiatus: logistic.BaselineModel
    frequency: logistic.BaselineModel
    primary: logistic.LogisticModel | None
    primary_status: FitStatus
    primary_families: tuple[Family, ...]
    evaluation: dict[str, Any]
    decision: PromotionDecision

    @property
    def requested_horizon_days(self) -> int:
        """The horizon that was asked for, in days."""
        return self.plan.requested_horizon_days


def fit_version(source: FeatureSource, plan: SnapshotPlan) -> FittedVersion:
    """Run the whole protocol of a plan: fit, calibrate, test once, decide."""
    learn = [take_snapshot(source, day, plan.horizon_days) for day in plan.learn_on]
    everybody = complete_features(source, plan.test_on)
    test = snapshot_of(source, plan.test_on, plan.horizon_days, everybody)
    return fit_on_snapshots(plan, learn, test, everybody)


def fit_on_snapshots(
    plan: SnapshotPlan, learn: list[Snapshot], test: Snapshot, everybody: pd.DataFrame
) -> FittedVersion:
    """The protocol on snapshots that were taken: separate so that canaries can tamper with them.

    BG/NBD and Gamma-Gamma are fitted once, on `everybody` with an order by the test day (also who has long left):
    they use no labels, and what they know ends where the test window begins.
    """
    dropout = fit_bgnbd(everybody)
    value = fit_gammagamma(everybody)
    learn = [with_bgnbd_logit(snapshot, dropout, plan.horizon_days) for snapshot in learn]
    test = with_bgnbd_logit(test, dropout, plan.horizon_days)
    calibrate = learn[-1]
    hiatus = logistic.fit_baseline(calibrate.frame, calibrate.labels, logistic.HIATUS_COLUMN)
    frequency = logistic.fit_baseline(calibrate.frame, calibrate.labels, logistic.FREQUENCY_COLUMN)

    candidates, status = _fit_ablation(learn)
    chosen = _chosen(candidates, calibrate.labels)
    primary = candidates[chosen].model.centred(test.frame) if chosen else None
    families = next((families for name, families in ABLATION if name == chosen), ())
    report = _evaluate(plan, test, dropout, hiatus, frequency, primary, candidates)
    decision = promotion_decision(report) if primary else PromotionDecision.NOT_FITTED
    report["primary"]["status"] = status.value
    report["primary"]["families"] = [family.value for family in families]
    report["status"] = status.value
    report["decision"] = decision.value
    report["bgnbd_status"] = dropout.status.value
    report["gammagamma_status"] = value.status.value
    return FittedVersion(plan, dropout, value, hiatus, frequency, primary, status, tuple(families), report, decision)


def fit_bgnbd(frame: pd.DataFrame) -> bgnbd.BgNbdFit:
    """BG/NBD on everybody in a feature frame."""
    return bgnbd.fit(*purchase_summary(frame))


def fit_gammagamma(frame: pd.DataFrame) -> gammagamma.GammaGammaFit:
    """Gamma-Gamma on the repeat buyers in a feature frame; in a shop without any, the shop's mean order value."""
    repeats = frame["repeat_mean_order_amount"].to_numpy(dtype=np.float64, na_value=np.nan)
    fitted = gammagamma.fit(frame["repeat_day_count"], repeats)
    if fitted.parameters is None and len(frame):
        mean = float(np.average(frame["mean_order_amount"], weights=frame["purchase_day_count"]))
        parameters = gammagamma.shop_mean_only(mean) if mean > 0 else None
        return gammagamma.GammaGammaFit(fitted.status, parameters, fitted.customer_count, None)
    return fitted


def purchase_summary(frame: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """x, t_x and T of BG/NBD, in weeks, from a feature frame."""
    days = frame[["repeat_day_count", "repeat_span_days", "tenure_days"]].to_numpy(dtype=np.float64)
    return days[:, 0], days[:, 1] / bgnbd.DAYS_PER_WEEK, days[:, 2] / bgnbd.DAYS_PER_WEEK


def bgnbd_churn_probability(fit: bgnbd.BgNbdFit, frame: pd.DataFrame, horizon_days: int) -> Floats | None:
    """1 - P(order in H) by BG/NBD, or None where it is not fitted."""
    if fit.parameters is None:
        return None
    horizon_weeks = horizon_days / bgnbd.DAYS_PER_WEEK
    return 1.0 - bgnbd.probability_of_order(fit.parameters, *purchase_summary(frame), horizon_weeks)


def bgnbd_logit(fit: bgnbd.BgNbdFit, frame: pd.DataFrame, horizon_days: int) -> Floats:
    """logit(1 - P(order in H)), kept within the limits of a score; 0 for everybody where BG/NBD is not fitted."""
    probability = bgnbd_churn_probability(fit, frame, horizon_days)
    if probability is None:
        return np.zeros(len(frame))
    kept = np.clip(probability, LOGIT_PROBABILITY_FLOOR, 1.0 - LOGIT_PROBABILITY_FLOOR)
    return np.log(kept / (1.0 - kept))


LOGIT_PROBABILITY_FLOOR = 1e-6
"""BG/NBD probabilities are kept this far from 0 and 1 before their logit is taken, here and in SQL."""


def with_bgnbd_logit(snapshot: Snapshot, fit: bgnbd.BgNbdFit, horizon_days: int) -> Snapshot:
    """The snapshot with one more feature: the log odds of churn within the horizon, by BG/NBD."""
    frame = snapshot.frame.assign(**{BGNBD_LOGIT: bgnbd_logit(fit, snapshot.frame, horizon_days)})
    return Snapshot(snapshot.as_of_on, frame, snapshot.labels)


@dataclass(frozen=True)
class _Candidate:
    """One set of families: the calibrated model, and its out-of-fold answers on the calibration snapshot."""

    model: logistic.LogisticModel
    calibration_probability: Floats


def _fit_ablation(learn: list[Snapshot]) -> tuple[dict[str, _Candidate], FitStatus]:
    """A calibrated model for each growing set of families that adds a feature; none where nothing can be learned.

    Platt's calibration is read from the last snapshot before the test, on log-odds of models that had not seen the
    customer: what a model says of its own training rows is too sure.
    """
    frame = pd.concat([snapshot.frame for snapshot in learn], ignore_index=True)
    labels = np.concatenate([snapshot.labels for snapshot in learn])
    if len(np.unique(labels)) < 2:
        return {}, FitStatus.ONE_CLASS
    if len(learn[-1].labels) < MINIMUM_POPULATION or not logistic.is_learnable(labels):
        return {}, FitStatus.TOO_FEW_CUSTOMERS
    calibrate = learn[-1]
    is_calibration = np.arange(len(frame)) >= len(frame) - len(calibrate.frame)
    candidates: dict[str, _Candidate] = {}
    for name, families in ABLATION:
        features = features_of(families)
        model = logistic.fit(frame, labels, features)
        if len(families) > len(FROM_ORDERS) and families[-1] not in {term.feature.family for term in model.terms}:
            continue
        log_odds = logistic.out_of_fold_log_odds(frame, labels, features, is_calibration)
        intercept, slope = logistic.platt(log_odds, calibrate.labels)
        probability = expit(np.clip(intercept + slope * log_odds, -logistic.LOGIT_LIMIT, logistic.LOGIT_LIMIT))
        candidates[name] = _Candidate(model.calibrated(intercept, slope), probability)
    return candidates, FitStatus.FITTED


def _chosen(candidates: Mapping[str, _Candidate], labels: Labels) -> str | None:
    """The set of families that serves: the smallest, unless a larger one lowers the log loss beyond its standard error.

    Judged on the calibration snapshot, out of fold: the test is used once, for the verdict.
    """
    chosen: str | None = None
    for name, candidate in candidates.items():
        if chosen is None:
            chosen = name
            continue
        gain = evaluation.log_losses(labels, candidates[chosen].calibration_probability) - evaluation.log_losses(
            labels, candidate.calibration_probability
        )
        if len(gain) > 1 and gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
            chosen = name
    return chosen


def _evaluate(
    plan: SnapshotPlan,
    test: Snapshot,
    dropout: bgnbd.BgNbdFit,
    hiatus: logistic.BaselineModel,
    frequency: logistic.BaselineModel,
    primary: logistic.LogisticModel | None,
    candidates: Mapping[str, _Candidate],
) -> dict[str, Any]:
    """The report: one object per model under its name, and what they have in common beside them."""
    frame, labels = test.frame, test.labels
    recency = frame["recency_days"].to_numpy(dtype=np.float64)
    scored = {
        "hiatus": evaluation.Scored(hiatus.probability(frame), recency),
        "frequency": evaluation.Scored(
            frequency.probability(frame), -frame["repeat_day_count"].to_numpy(dtype=np.float64)
        ),
    }
    by_bgnbd = bgnbd_churn_probability(dropout, frame, plan.horizon_days)
    if by_bgnbd is not None:
        scored["bgnbd"] = evaluation.Scored(by_bgnbd)
    if primary is not None:
        primary_model, scored["primary"] = "logistic", evaluation.Scored(primary.probability(frame))
    else:
        # Without a regression the first of the fallbacks is what serves, and what is judged.
        primary_model = "bgnbd" if "bgnbd" in scored else "hiatus"
        scored["primary"] = scored[primary_model]

    reports: dict[str, Any] = evaluation.evaluate(labels, scored, frame["purchase_day_count"].to_numpy())
    reports["primary"]["model"] = primary_model
    reports["primary"]["auc_difference_to_hiatus"] = evaluation.auc_difference(
        labels, scored["primary"].rank_by, recency
    )
    reports["ablation"] = _ablation_report(candidates, test)
    reports["horizon_days"] = plan.horizon_days
    reports["requested_horizon_days"] = plan.requested_horizon_days
    reports["snapshots"] = [snapshot.isoformat() for snapshot in plan.snapshots]
    reports["test_on"] = plan.test_on.isoformat()
    return reports


def _ablation_report(candidates: Mapping[str, _Candidate], test: Snapshot) -> list[dict[str, Any]]:
    """For each set of families its AUC and Brier on the test, and what the AUC gained over the set before it."""
    steps: list[dict[str, Any]] = []
    previous: Floats | None = None
    for name, candidate in candidates.items():
        probability = candidate.model.probability(test.frame)
        steps.append(
            {
                "families": name,
                "feature_count": len(candidate.model.terms),
                "auc": evaluation.auc(test.labels, probability),
                "brier": evaluation.brier(test.labels, probability),
                "auc_gain": None if previous is None else evaluation.auc_difference(test.labels, probability, previous),
            }
        )
        previous = probability
    return steps


def promotion_decision(report: Mapping[str, Any]) -> PromotionDecision:
    """Promote only what beats hiatus for sure and whose mean is right (churn.md)."""
    primary = report["primary"]
    low = primary["auc_difference_to_hiatus"]["low"]
    if low is None or low <= 0.0:
        return PromotionDecision.NOT_BETTER_THAN_HIATUS
    if abs(primary["mean_predicted"] - primary["churn_rate"]) > MAXIMUM_DRIFT:
        return PromotionDecision.DRIFT
    return PromotionDecision.PROMOTED
