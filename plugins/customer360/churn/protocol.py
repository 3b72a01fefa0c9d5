"""The protocol: choose snapshots, learn on the early ones, calibrate on the last of them, test once on the last.

No leakage (docs/churn.md, The protocol): features of a snapshot s come from rows that had happened and were known by
the end of s; the label of s is read from (s, s + H]; every window used for learning ends on or before the test
snapshot. The windows of learning may overlap each other (docs/decisions/0020).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from customer360.churn import bgnbd, evaluation, gammagamma, logistic, trees, value
from customer360.churn.bgnbd import BgNbdFit
from customer360.churn.features import (
    ABLATION,
    BGNBD_LOGIT,
    FEATURE_COLUMN_NAMES,
    FROM_ORDERS,
    MBGNBD_LOGIT,
    Family,
    features_of,
)
from customer360.churn.model import LOGIT_LIMIT, ScoreModel, mean_of
from customer360.churn.statuses import FitStatus, PromotionDecision
from customer360.progress import Progress, Silent

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

DEFAULT_HORIZON_DAYS = 91
"""Thirteen whole weeks: a quarter in which every weekday occurs equally often."""

SHORTER_HORIZONS_DAYS = (56, 28)
"""Tried in this order where the history is too short for the horizon asked for."""

SNAPSHOTS_PER_HORIZON = 4
"""Learning snapshots lie H / 4 apart: their label windows overlap, which leaks nothing and teaches more."""

MAXIMUM_LEARNING = 12
"""Learning snapshots at most: three horizons back. What lies further back moved no figure."""

MINIMUM_LEARNING = 2
"""Learning snapshots at least, beside the test."""

TEST_DAYS = 3
"""The figures are also reported for test days one and two horizons earlier, each learned from what lay before it."""

MINIMUM_HISTORY_DAYS = 28
"""Days of orders before the first snapshot, without which recency and frequency mean little."""

POPULATION_RECENCY_DAYS = 365
"""Who has not ordered for longer is out of the population: no score, status `out_of_population`."""

MINIMUM_POPULATION = 50
"""Customers below which no regression is tried: the AUC of so few is known to about 0.15 either way."""

MAXIMUM_DRIFT = 0.05
"""Promotion needs |mean predicted - realised| up to this, or within chance (two standard errors of the realised)."""

MAXIMUM_TRAINING_ROWS = 120_000
"""More rows no longer move a figure by a visible amount; the customers of a deterministic sample are taken."""

FALLBACKS = ("hiatus", "frequency", "bgnbd")
"""What serves where no version was ever promoted, and what a version must not be behind."""

AUC_GUARD = 0.005
"""A candidate whose AUC lies further than this below the best one's is not chosen, whatever its log loss."""


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

    def amounts(self, after: date, until: date) -> pd.Series:
        """Net revenue of the valid orders of a day in (after, until], by key (as used in `features`)."""


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

    @property
    def step_days(self) -> int:
        """Days between learning snapshots."""
        return max(self.horizon_days // SNAPSHOTS_PER_HORIZON, 1)

    def before(self, test_on: date) -> SnapshotPlan | None:
        """The plan whose test is one of the learning days, or None where too few lie a horizon before it."""
        window = timedelta(days=self.horizon_days)
        learn = tuple(day for day in self.snapshots if day + window <= test_on)
        if test_on not in self.snapshots or len(learn) < MINIMUM_LEARNING:
            return None
        return SnapshotPlan(self.requested_horizon_days, self.horizon_days, (*learn, test_on))


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
        step = timedelta(days=max(horizon // SNAPSHOTS_PER_HORIZON, 1))
        learn = [test_on - window - step * back for back in range(MAXIMUM_LEARNING)]
        usable = tuple(sorted(day for day in learn if day >= earliest))
        if len(usable) >= MINIMUM_LEARNING:
            return SnapshotPlan(horizon_days, horizon, (*usable, test_on))
    return None


def history_needed_days(horizon_days: int) -> int:
    """Days from the first valid order to the last complete day without which a horizon cannot be tested."""
    step = max(horizon_days // SNAPSHOTS_PER_HORIZON, 1)
    return MINIMUM_HISTORY_DAYS + 2 * horizon_days + step * (MINIMUM_LEARNING - 1)


def in_population(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether a customer is scored: last valid order at most `POPULATION_RECENCY_DAYS` before the day."""
    return (frame["recency_days"] <= POPULATION_RECENCY_DAYS).to_numpy()


@dataclass(frozen=True)
class Snapshot:
    """The population of one day with its labels: 1 where no order came within the horizon."""

    as_of_on: date
    frame: pd.DataFrame
    labels: Labels
    everybody: pd.DataFrame | None = None
    """Also those out of the population: what BG/NBD is fitted on where this day is a test."""


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
    return Snapshot(as_of_on, frame, labels_of(frame["customer_key"], ordered), everybody)


def labels_of(customer_key: pd.Series, ordered: frozenset[int]) -> Labels:
    """1 for customers who did not order."""
    return (~customer_key.isin(ordered)).to_numpy().astype(np.int64)


class Kind(StrEnum):
    """The candidates for the score; all of them are sums that SQL can do."""

    LOGISTIC = "logistic"
    TREES = "trees"
    MEAN = "mean"
    """The mean of the log-odds of the two above."""
    BGNBD = "bgnbd"
    MBGNBD = "mbgnbd"
    HIATUS = "hiatus"
    FREQUENCY = "frequency"


@dataclass(frozen=True)
class FittedVersion:
    """Everything that scoring needs of one version, and how it did on its test."""

    plan: SnapshotPlan
    bgnbd: BgNbdFit
    mbgnbd: BgNbdFit
    gammagamma: gammagamma.GammaGammaFit
    hiatus: logistic.BaselineModel
    frequency: logistic.BaselineModel
    primary: ScoreModel | None
    primary_status: FitStatus
    primary_families: tuple[Family, ...]
    evaluation: dict[str, Any]
    decision: PromotionDecision

    worth: value.ValueFit
    fallback: str
    """The best of hiatus, frequency and BG/NBD on the calibration snapshot: serves where no version was promoted."""

    @property
    def requested_horizon_days(self) -> int:
        """The horizon that was asked for, in days."""
        return self.plan.requested_horizon_days

    @property
    def why(self) -> str:
        """Which model was chosen, and why it was promoted or not, in words."""
        return str(self.evaluation["why"])


def fit_version(source: FeatureSource, plan: SnapshotPlan, progress: Progress | None = None) -> FittedVersion:
    """Run the whole protocol of a plan: fit, calibrate, test once, decide."""
    progress = progress or Silent()
    learn = [take_snapshot(source, day, plan.horizon_days) for day in plan.learn_on]
    everybody = complete_features(source, plan.test_on)
    test = snapshot_of(source, plan.test_on, plan.horizon_days, everybody)
    progress.stage("learn who leaves")
    version = fit_on_snapshots(plan, learn, test, everybody)
    progress.stage("learn what a customer is worth")
    worth = fit_worth(source, plan, {snapshot.as_of_on: snapshot.everybody for snapshot in (*learn, test)})
    return replace(version, worth=worth, evaluation={**version.evaluation, "value": worth.figures})


def fit_worth(source: FeatureSource, plan: SnapshotPlan, taken: Mapping[date, pd.DataFrame | None]) -> value.ValueFit:
    """What customers bring in a year, or in a horizon where two years are not known; judged on its own test day."""
    windows = value_windows(source, plan, taken)
    return value.fit(windows) if windows else value.not_fitted("too_few_buyers")


def value_windows(
    source: FeatureSource, plan: SnapshotPlan, taken: Mapping[date, pd.DataFrame | None]
) -> value.Windows | None:
    """The windows that a value is learned from and judged on, None in a shop without a customer on its test day.

    Separate from the fit so that canaries can tamper with them. `taken` are features by day, where they are known.
    """
    first_ordered_on = source.first_ordered_on
    if first_ordered_on is None:
        return None
    ended = tuple(day for day in plan.learn_on if day + timedelta(days=plan.horizon_days) <= plan.test_on)
    otherwise = value.ValuePlan(plan.horizon_days, ended[-SNAPSHOTS_PER_HORIZON:], plan.test_on)
    days = value.plan(first_ordered_on, source.last_complete_on, MINIMUM_HISTORY_DAYS, otherwise)
    if days.test_on + timedelta(days=days.window_days) > source.last_complete_on:
        days = otherwise

    def frame_of(day: date) -> pd.DataFrame:
        known = taken.get(day)
        return complete_features(source, day) if known is None else known

    everybody = frame_of(days.test_on)
    if not len(everybody):
        return None
    orders = fit_order_models(everybody)
    lifetime = value.Lifetime(orders.bgnbd, orders.mbgnbd, fit_gammagamma(everybody), days.window_days)

    def window(day: date, frame: pd.DataFrame) -> value.Window:
        frame = orders.with_logits(frame, plan.horizon_days)
        amounts = frame["customer_key"].map(source.amounts(day, day + timedelta(days=days.window_days)))
        return value.Window(frame, np.maximum(amounts.fillna(0.0).to_numpy(dtype=np.float64), 0.0))

    learn = tuple(window(day, frame_of(day)) for day in days.learn_on)
    return value.Windows(days, learn, window(days.test_on, everybody), lifetime)


def fit_on_snapshots(
    plan: SnapshotPlan, learn: list[Snapshot], test: Snapshot, everybody: pd.DataFrame
) -> FittedVersion:
    """The protocol on snapshots that were taken: separate so that canaries can tamper with them.

    BG/NBD, MBG/NBD and Gamma-Gamma are fitted once, on `everybody` with an order by the test day (also who has long
    left): they use no labels, and what they know ends where the test window begins.
    """
    orders = fit_order_models(everybody)
    order_value = fit_gammagamma(everybody)
    raw = learn
    learn = [with_logits(snapshot, orders, plan.horizon_days) for snapshot in learn]
    test = with_logits(test, orders, plan.horizon_days)
    fallbacks = _fallbacks(plan, learn[-1], orders.bgnbd)
    best = fallbacks.best(learn[-1])
    learned = _learn(learn, orders)
    chosen = learned.chosen
    primary = learned.candidates[chosen].model.centred(test.frame) if chosen else None
    rate = float(learn[-1].labels.mean()) if len(learn[-1].labels) else None
    report = _evaluate(plan, test, fallbacks, best, primary, learned, rate)
    decision = promotion_decision(report) if primary else PromotionDecision.NOT_FITTED
    report["primary"]["status"] = learned.status.value
    report["primary"]["families"] = [family.value for family in learned.families] if primary else []
    report["status"] = learned.status.value
    report["decision"] = decision.value
    report["bgnbd_status"] = orders.bgnbd.status.value
    report["gammagamma_status"] = order_value.status.value
    report["test_days"] = _test_days(plan, raw, learned, report)
    report["why"] = why(report, decision)
    families = learned.families if primary else ()
    hiatus, frequency = fallbacks.hiatus, fallbacks.frequency
    return FittedVersion(
        plan, orders.bgnbd, orders.mbgnbd, order_value, hiatus, frequency, primary, learned.status, families, report,
        decision, value.not_fitted("not_tried"), best,
    )  # fmt: skip


def fit_bgnbd(frame: pd.DataFrame) -> BgNbdFit:
    """BG/NBD on everybody in a feature frame."""
    return bgnbd.fit(*bgnbd.purchase_summary(frame))


@dataclass(frozen=True)
class OrderModels:
    """BG/NBD and MBG/NBD, fitted on everybody as of one day."""

    bgnbd: BgNbdFit
    mbgnbd: BgNbdFit

    def with_logits(self, frame: pd.DataFrame, horizon_days: int) -> pd.DataFrame:
        """The frame with two more columns: the log-odds of churn within the horizon by each."""
        return frame.assign(
            **{
                BGNBD_LOGIT: bgnbd_logit(self.bgnbd, frame, horizon_days),
                MBGNBD_LOGIT: bgnbd_logit(self.mbgnbd, frame, horizon_days),
            }
        )


def fit_order_models(frame: pd.DataFrame) -> OrderModels:
    """BG/NBD and MBG/NBD on everybody in a feature frame."""
    modified = bgnbd.fit(*bgnbd.purchase_summary(frame), is_modified=True)
    return OrderModels(fit_bgnbd(frame), modified)


def fit_gammagamma(frame: pd.DataFrame) -> gammagamma.GammaGammaFit:
    """Gamma-Gamma on the repeat buyers in a feature frame; in a shop without any, the shop's mean order value."""
    repeats = frame["repeat_mean_order_amount"].to_numpy(dtype=np.float64, na_value=np.nan)
    fitted = gammagamma.fit(frame["repeat_day_count"], repeats)
    if fitted.parameters is None and len(frame):
        mean = float(np.average(frame["mean_order_amount"], weights=frame["purchase_day_count"]))
        parameters = gammagamma.shop_mean_only(mean) if mean > 0 else None
        return gammagamma.GammaGammaFit(fitted.status, parameters, fitted.customer_count, None)
    return fitted


def bgnbd_churn_probability(fit: BgNbdFit, frame: pd.DataFrame, horizon_days: int) -> Floats | None:
    """1 - P(order in H) by BG/NBD, or None where it is not fitted."""
    if fit.parameters is None:
        return None
    horizon_weeks = horizon_days / bgnbd.DAYS_PER_WEEK
    return 1.0 - bgnbd.probability_of_order(fit.parameters, *bgnbd.purchase_summary(frame), horizon_weeks)


def bgnbd_logit(fit: BgNbdFit, frame: pd.DataFrame, horizon_days: int) -> Floats:
    """logit(1 - P(order in H)), kept within the limits of a score; 0 for everybody where BG/NBD is not fitted."""
    probability = bgnbd_churn_probability(fit, frame, horizon_days)
    if probability is None:
        return np.zeros(len(frame))
    kept = np.clip(probability, LOGIT_PROBABILITY_FLOOR, 1.0 - LOGIT_PROBABILITY_FLOOR)
    return np.log(kept / (1.0 - kept))


LOGIT_PROBABILITY_FLOOR = 1e-6
"""BG/NBD probabilities are kept this far from 0 and 1 before their logit is taken, here and in SQL."""


def with_logits(snapshot: Snapshot, orders: OrderModels, horizon_days: int) -> Snapshot:
    """The snapshot with two more features: the log-odds of churn within the horizon, by BG/NBD and by MBG/NBD."""
    return replace(snapshot, frame=orders.with_logits(snapshot.frame, horizon_days))


@dataclass(frozen=True)
class _Candidate:
    """A calibrated model, and its out-of-fold answers on the calibration snapshot."""

    model: ScoreModel
    calibration_probability: Floats


@dataclass(frozen=True)
class _Learned:
    """What learning came to: the candidates, the one chosen, and the regressions with growing sets of families."""

    status: FitStatus
    candidates: Mapping[Kind, _Candidate] = field(default_factory=dict)
    chosen: Kind | None = None
    families: tuple[Family, ...] = ()
    ablation: Mapping[str, _Candidate] = field(default_factory=dict)
    log_loss: Mapping[Kind, float] = field(default_factory=dict)
    """Of each candidate on the calibration snapshot, out of fold."""


class _Learning:
    """The rows of the learning snapshots, and every candidate fitted on them with its out-of-fold answers.

    Platt's calibration is read from the last snapshot before the test, on log-odds of models that had not seen the
    customer in any snapshot: what a model says of its own training rows is too sure.
    """

    def __init__(self, learn: list[Snapshot]) -> None:
        frame = pd.concat([snapshot.frame for snapshot in learn], ignore_index=True)
        labels = np.concatenate([snapshot.labels for snapshot in learn])
        sizes = [len(snapshot.labels) for snapshot in learn]
        is_calibration = np.repeat(np.arange(len(learn)) == len(learn) - 1, sizes)
        kept = logistic.sampled_customers(frame["customer_key"], MAXIMUM_TRAINING_ROWS)
        self.frame, self.labels = frame[kept].reset_index(drop=True), labels[kept]
        self.is_calibration = is_calibration[kept]
        self.calibration_labels = self.labels[self.is_calibration]
        self.folds = logistic.folds_of(self.frame["customer_key"])
        self.snapshots = len(learn)

    def candidate(self, fit: Callable[[pd.DataFrame, Labels], ScoreModel]) -> _Candidate:
        model = fit(self.frame, self.labels)
        log_odds = np.zeros(len(self.frame))
        for fold in range(logistic.FOLDS):
            held_out = (self.folds == fold) & self.is_calibration
            seen = self.folds != fold
            if not held_out.any():
                continue
            # Where the remainder is not learnable, the model of all rows stands in.
            learnable = logistic.is_learnable(self.labels[seen])
            without = fit(self.frame[seen], self.labels[seen]) if learnable else model
            log_odds[held_out] = without.log_odds(self.frame[held_out])
        return self.calibrated(model, log_odds[self.is_calibration])

    def calibrated(self, model: ScoreModel, log_odds: Floats) -> _Candidate:
        intercept, slope = logistic.platt(log_odds, self.calibration_labels)
        probability = expit(np.clip(intercept + slope * log_odds, -LOGIT_LIMIT, LOGIT_LIMIT))
        return _Candidate(model.calibrated(intercept, slope), probability)

    def of_kind(self, kind: Kind, families: tuple[Family, ...], known: Mapping[Kind, _Candidate]) -> _Candidate:
        """A candidate; the mean is made of the logistic and the trees, fitted here unless they are known."""
        match kind:
            case Kind.LOGISTIC:
                features = features_of(families)
                return self.candidate(lambda frame, labels: logistic.fit(frame, labels, features))
            case Kind.TREES:
                return self.candidate(lambda frame, labels: trees.fit(frame, labels, families, self.snapshots))
            case Kind.MEAN:
                parts = [known.get(part) or self.of_kind(part, families, {}) for part in (Kind.LOGISTIC, Kind.TREES)]
                log_odds = np.mean([logit(part.calibration_probability) for part in parts], axis=0)
                return self.calibrated(mean_of(parts[0].model, parts[1].model), log_odds)
            case _:
                feature = _SINGLE_FEATURE[kind]
                return self.candidate(lambda frame, labels: logistic.fit_single(frame, labels, feature))


_SINGLE_FEATURE = {Kind.BGNBD: "bgnbd", Kind.MBGNBD: "mbgnbd", Kind.HIATUS: "recency_root", Kind.FREQUENCY: "frequency"}


def _learn(learn: list[Snapshot], orders: OrderModels) -> _Learned:
    """Every candidate, and the one that serves; none where nothing can be learned."""
    labels = np.concatenate([snapshot.labels for snapshot in learn])
    if len(np.unique(labels)) < 2:
        return _Learned(FitStatus.ONE_CLASS)
    if len(learn[-1].labels) < MINIMUM_POPULATION or not logistic.is_learnable(labels):
        return _Learned(FitStatus.TOO_FEW_CUSTOMERS)
    learning = _Learning(learn)
    ablation: dict[str, _Candidate] = {}
    for name, families in ABLATION:
        candidate = learning.of_kind(Kind.LOGISTIC, families, {})
        if len(families) == len(FROM_ORDERS) or families[-1] in candidate.model.families:
            ablation[name] = candidate
    step = _smallest_that_serves(ablation, learning.calibration_labels)
    families = next(families for name, families in ABLATION if name == step)
    candidates = {Kind.LOGISTIC: ablation[step]}
    for kind in Kind:
        if kind is not Kind.LOGISTIC and _can_be_fitted(kind, orders):
            candidates[kind] = learning.of_kind(kind, families, candidates)
    chosen, losses = _chosen(candidates, learning.calibration_labels)
    return _Learned(FitStatus.FITTED, candidates, chosen, families, ablation, losses)


def _can_be_fitted(kind: Kind, orders: OrderModels) -> bool:
    needed = {Kind.BGNBD: orders.bgnbd, Kind.MBGNBD: orders.mbgnbd}.get(kind)
    return needed is None or needed.is_usable


def _smallest_that_serves(candidates: Mapping[str, _Candidate], labels: Labels) -> str:
    """The smallest set of families, unless a larger one lowers the log loss beyond its standard error.

    Judged on the calibration snapshot, out of fold: the test is used once, for the verdict.
    """
    chosen, *larger = candidates
    for name in larger:
        gain = evaluation.log_losses(labels, candidates[chosen].calibration_probability) - evaluation.log_losses(
            labels, candidates[name].calibration_probability
        )
        if len(gain) > 1 and gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
            chosen = name
    return chosen


def _chosen(candidates: Mapping[Kind, _Candidate], labels: Labels) -> tuple[Kind, dict[Kind, float]]:
    """The candidate with the lowest log loss on the calibration snapshot among those that rank about as well as any."""
    losses = {
        kind: float(evaluation.log_losses(labels, candidate.calibration_probability).mean())
        for kind, candidate in candidates.items()
    }
    areas = {
        kind: evaluation.auc(labels, candidate.calibration_probability) or 0.5 for kind, candidate in candidates.items()
    }
    ranking_well = [kind for kind in candidates if areas[kind] >= max(areas.values()) - AUC_GUARD]
    return min(ranking_well, key=lambda kind: losses[kind]), losses


@dataclass(frozen=True)
class _Fallbacks:
    """What serves where no version was ever promoted, and what a version must not be behind."""

    hiatus: logistic.BaselineModel
    frequency: logistic.BaselineModel
    bgnbd: BgNbdFit
    horizon_days: int

    def scored(self, frame: pd.DataFrame) -> dict[str, evaluation.Scored]:
        recency = frame["recency_days"].to_numpy(dtype=np.float64)
        repeats = frame["repeat_day_count"].to_numpy(dtype=np.float64)
        scored = {
            "hiatus": evaluation.Scored(self.hiatus.probability(frame), recency),
            "frequency": evaluation.Scored(self.frequency.probability(frame), -repeats),
        }
        by_bgnbd = bgnbd_churn_probability(self.bgnbd, frame, self.horizon_days)
        if by_bgnbd is not None:
            scored["bgnbd"] = evaluation.Scored(by_bgnbd)
        return scored

    def best(self, calibrate: Snapshot) -> str:
        """The one with the lowest log loss on a snapshot; BG/NBD before the others where they are level."""
        scored = self.scored(calibrate.frame)
        order = [name for name in ("bgnbd", "hiatus", "frequency") if name in scored]
        if not len(calibrate.labels):
            return order[0]
        return min(
            order,
            key=lambda name: float(evaluation.log_losses(calibrate.labels, scored[name].probability).mean()),
        )


def _fallbacks(plan: SnapshotPlan, calibrate: Snapshot, dropout: BgNbdFit) -> _Fallbacks:
    return _Fallbacks(
        logistic.fit_baseline(calibrate.frame, calibrate.labels, logistic.HIATUS_COLUMN),
        logistic.fit_baseline(calibrate.frame, calibrate.labels, logistic.FREQUENCY_COLUMN),
        dropout,
        plan.horizon_days,
    )


def _evaluate(
    plan: SnapshotPlan,
    test: Snapshot,
    fallbacks: _Fallbacks,
    best: str,
    primary: ScoreModel | None,
    learned: _Learned,
    calibration_churn_rate: float | None,
) -> dict[str, Any]:
    """The report: one object per model under its name, and what they have in common beside them."""
    frame, labels = test.frame, test.labels
    scored = fallbacks.scored(frame)
    others = dict(scored)
    if primary is not None and learned.chosen is not None:
        primary_model, scored["primary"] = learned.chosen.value, evaluation.Scored(primary.probability(frame))
    else:
        # Without a model the best of the fallbacks is what serves, and what is judged.
        primary_model = best
        scored["primary"] = scored[primary_model]

    reports: dict[str, Any] = evaluation.evaluate(labels, scored, frame["purchase_day_count"].to_numpy())
    reports["primary"]["model"] = primary_model
    reports["primary"]["differences"] = evaluation.paired_differences(labels, scored["primary"], others)
    reports["primary"]["auc_difference_to_hiatus"] = reports["primary"]["differences"]["hiatus"]["auc"]
    reports["ablation"] = _ablation_report(learned.ablation, test)
    reports["candidates"] = _candidate_report(learned, test)
    reports["horizon_days"] = plan.horizon_days
    reports["requested_horizon_days"] = plan.requested_horizon_days
    reports["snapshots"] = [snapshot.isoformat() for snapshot in plan.snapshots]
    reports["calibrated_on"] = plan.calibrate_on.isoformat()
    reports["calibration_churn_rate"] = calibration_churn_rate
    reports["test_on"] = plan.test_on.isoformat()
    return reports


def _candidate_report(learned: _Learned, test: Snapshot) -> list[dict[str, Any]]:
    """Each candidate: its log loss out of fold, by which it was chosen or not, and its figures on the test."""
    rows = []
    for kind, candidate in learned.candidates.items():
        probability = candidate.model.probability(test.frame)
        rows.append(
            {
                "model": kind.value,
                "is_chosen": kind is learned.chosen,
                "calibration_log_loss": learned.log_loss[kind],
                "auc": evaluation.auc(test.labels, probability),
                "brier": evaluation.brier(test.labels, probability),
            }
        )
    return rows


def _test_days(
    plan: SnapshotPlan, learn: list[Snapshot], learned: _Learned, report: Mapping[str, Any]
) -> dict[str, Any]:
    """AUC and Brier of the latest test day and of those one and two horizons earlier, their means and spread.

    Each earlier day is a test of its own: the chosen kind of model, learned from the windows that had ended by then.
    """
    primary = report["primary"]
    days = [{"test_on": plan.test_on.isoformat(), "n": primary["n"], "auc": primary["auc"], "brier": primary["brier"]}]
    taken = {snapshot.as_of_on: snapshot for snapshot in learn}
    for back in range(1, TEST_DAYS):
        test_on = plan.test_on - timedelta(days=plan.horizon_days * back)
        earlier = plan.before(test_on)
        test = taken.get(test_on)
        if earlier is None or test is None or test.everybody is None or learned.chosen is None:
            break
        orders = fit_order_models(test.everybody)
        snapshots = [with_logits(taken[day], orders, plan.horizon_days) for day in earlier.learn_on]
        labels = np.concatenate([snapshot.labels for snapshot in snapshots])
        if not logistic.is_learnable(labels) or not _can_be_fitted(learned.chosen, orders):
            break
        model = _Learning(snapshots).of_kind(learned.chosen, learned.families, {}).model
        test = with_logits(test, orders, plan.horizon_days)
        probability = model.probability(test.frame)
        days.append(
            {
                "test_on": test_on.isoformat(),
                "n": len(test.labels),
                "auc": evaluation.auc(test.labels, probability),
                "brier": evaluation.brier(test.labels, probability),
            }
        )
    figures: dict[str, Any] = {"days": days}
    for name in ("auc", "brier"):
        known = [day[name] for day in days if day[name] is not None]
        figures[f"{name}_mean"] = float(np.mean(known)) if known else None
        figures[f"{name}_spread"] = float(np.max(known) - np.min(known)) if known else None
    return figures


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
    """Promote what is not surely behind any fallback, in AUC or in Brier, and whose mean is right (docs/churn.md)."""
    primary = report["primary"]
    if primary["auc"] is None:
        return PromotionDecision.NOT_TESTABLE
    if fallbacks_ahead(primary["differences"]):
        return PromotionDecision.BEHIND_A_FALLBACK
    rate, count = primary["churn_rate"], primary["n"]
    by_chance = 2.0 * math.sqrt(rate * (1.0 - rate) / count)
    if abs(primary["mean_predicted"] - rate) > max(MAXIMUM_DRIFT, by_chance):
        return PromotionDecision.DRIFT
    return PromotionDecision.PROMOTED


def fallbacks_ahead(differences: Mapping[str, Any]) -> list[str]:
    """Fallbacks that are surely better: the paired 95 % interval of a gain lies below 0."""
    return [
        name
        for name, gains in differences.items()
        if any(gain["high"] is not None and gain["high"] < -1e-9 for gain in gains.values())
    ]


_MODEL_IN_WORDS = {
    "logistic": "the logistic regression",
    "trees": "the boosted trees",
    "mean": "the mean of logistic regression and boosted trees",
    "bgnbd": "BG/NBD",
    "mbgnbd": "MBG/NBD",
    "hiatus": "hiatus",
    "frequency": "frequency",
}


def why(report: Mapping[str, Any], decision: PromotionDecision) -> str:
    """One or two sentences: which model was chosen and why, and why it was promoted or not."""
    primary = report["primary"]
    model = _MODEL_IN_WORDS[primary["model"]]
    if decision is PromotionDecision.NOT_FITTED:
        return f"No model could be fitted ({primary['status']}): {model} serves."
    losses = {row["model"]: row["calibration_log_loss"] for row in report["candidates"]}
    others = [name for name in losses if name != primary["model"]]
    next_best = min(others, key=lambda name: losses[name])
    chosen = (
        f"Chosen: {model}, log loss {losses[primary['model']]:.4f} out of fold on {report['calibrated_on']}"
        f" ({_MODEL_IN_WORDS[next_best]}: {losses[next_best]:.4f})."
    )
    if decision is PromotionDecision.NOT_TESTABLE:
        return f"{chosen} Not promoted: on {report['test_on']} all customers ended alike, so that it cannot be tested."
    tested = f"Test on {report['test_on']}: AUC {primary['auc']:.4f}, Brier {primary['brier']:.4f}"
    if decision is PromotionDecision.BEHIND_A_FALLBACK:
        ahead = " and ".join(_MODEL_IN_WORDS[name] for name in fallbacks_ahead(primary["differences"]))
        return f"{chosen} Not promoted: behind {ahead}. {tested}."
    if decision is PromotionDecision.DRIFT:
        return (
            f"{chosen} Not promoted: drift. It predicted that {primary['mean_predicted']:.1%} would not order within"
            f" {report['horizon_days']} days of {report['test_on']}, and {primary['churn_rate']:.1%} did not; in the"
            f" window before, after {report['calibrated_on']}, it was {report['calibration_churn_rate']:.1%}. {tested}."
        )
    fallbacks = ", ".join(_MODEL_IN_WORDS[name] for name in primary["differences"])
    return f"{chosen} Promoted: not behind {fallbacks}. {tested}."
