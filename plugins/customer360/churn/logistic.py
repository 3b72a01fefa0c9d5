"""Logistic regression over the churn features: stored as plain rows, scored with plain arithmetic, told in reasons.

A fitted model is a list of terms (feature, mean, scale, beta, population mean of z) and an intercept. With
z = clip((feature - mean) / scale, -6, 6) the calibrated log-odds of churn are intercept + sum(beta z), which SQL
computes to 1e-9 of this module. The contribution of a term is beta (z - mean z of the population); contributions add
up exactly: sum + intercept' = logit(p).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from customer360.churn.features import Family, ModelFeature

Floats = NDArray[np.float64]

Z_LIMIT = 6.0
"""A customer further out than six deviations is scored as one at six: an outlier is no evidence of the slope there."""

LOGIT_LIMIT = 13.0
"""Probabilities stay within 2e-6 of 0 and 1: nobody is certain, and logit(p) can be had back from p to 1e-9."""

INVERSE_PENALTY = 0.1
"""scikit-learn's C, on standardised features: a prior deviation of about 0.3 per coefficient. Immaterial from some
thousand customers on; with few of them it keeps thirty features from describing noise."""

MINIMUM_PER_CLASS = 20
"""Customers who churned, and who did not, without which a regression is refused."""

FOLDS = 5
MAXIMUM_TRAINING_ROWS = 200_000
"""More rows no longer move a coefficient by a visible amount; a deterministic sample is taken."""


@dataclass(frozen=True)
class Term:
    """One feature of a fitted model."""

    feature: ModelFeature
    mean: float
    scale: float
    beta: float
    population_mean_z: float = 0.0

    def z(self, frame: pd.DataFrame) -> Floats:
        """The standardised feature of each row, cut at ±Z_LIMIT."""
        return np.clip((self.feature.values(frame) - self.mean) / self.scale, -Z_LIMIT, Z_LIMIT)


@dataclass(frozen=True)
class LogisticModel:
    """A fitted model; after `calibrated` its log-odds are calibrated, after `centred` its contributions are centred."""

    terms: tuple[Term, ...]
    intercept: float

    @property
    def centred_intercept(self) -> float:
        """intercept': the log-odds of a customer who is average in everything."""
        return self.intercept + sum(term.beta * term.population_mean_z for term in self.terms)

    def log_odds(self, frame: pd.DataFrame) -> Floats:
        """Log-odds of churn, within +-`LOGIT_LIMIT`."""
        return np.clip(self._unlimited_log_odds(frame), -LOGIT_LIMIT, LOGIT_LIMIT)

    def probability(self, frame: pd.DataFrame) -> Floats:
        """Churn probability of every row, strictly between 0 and 1."""
        return expit(self.log_odds(frame))

    def contributions(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Contribution of each family to the log-odds, a column each: their sum + centred_intercept = logit(p).

        Where `LOGIT_LIMIT` cut the log-odds, all contributions of the customer are shortened alike.
        """
        families = list(dict.fromkeys(term.feature.family for term in self.terms))
        columns = {family.value: np.zeros(len(frame)) for family in families}
        for term in self.terms:
            columns[term.feature.family.value] += term.beta * (term.z(frame) - term.population_mean_z)
        unlimited = self._unlimited_log_odds(frame)
        limited = np.clip(unlimited, -LOGIT_LIMIT, LOGIT_LIMIT)
        distance = unlimited - self.centred_intercept
        share = (limited - self.centred_intercept) / np.where(distance == 0.0, 1.0, distance)
        shortened = np.where(limited == unlimited, 1.0, share)
        return pd.DataFrame({name: values * shortened for name, values in columns.items()}, index=frame.index)

    def calibrated(self, intercept: float, slope: float) -> LogisticModel:
        """The model whose log-odds are intercept + slope times the present ones: again a logistic model."""
        terms = tuple(replace(term, beta=term.beta * slope) for term in self.terms)
        return LogisticModel(terms, intercept + slope * self.intercept)

    def centred(self, population: pd.DataFrame) -> LogisticModel:
        """The same model with the mean z of `population`, so that contributions are told against its average."""
        terms = tuple(replace(term, population_mean_z=float(term.z(population).mean())) for term in self.terms)
        return LogisticModel(terms, self.intercept)

    def _unlimited_log_odds(self, frame: pd.DataFrame) -> Floats:
        total = np.full(len(frame), self.intercept)
        for term in self.terms:
            total += term.beta * term.z(frame)
        return total


@dataclass(frozen=True)
class Reason:
    """Why a score is high: a family, or "only one order", and what it adds to the log-odds of churn."""

    code: str
    contribution: float


ONLY_ONE_ORDER = "only_one_order"
"""Recency and frequency of a one-time buyer are one fact, not a story of silence."""

REASONS_SHOWN = 3


def reasons(contributions: pd.Series, is_one_time: bool) -> list[Reason]:
    """The up to three families that raise a customer's score most, greatest first; names break ties."""
    merged: dict[str, float] = {}
    for family, value in contributions.items():
        code = ONLY_ONE_ORDER if is_one_time and family in (Family.RECENCY, Family.FREQUENCY) else str(family)
        merged[code] = merged.get(code, 0.0) + float(value)
    raising = [Reason(code, value) for code, value in merged.items() if value > 0]
    return sorted(raising, key=lambda reason: (-reason.contribution, reason.code))[:REASONS_SHOWN]


def fit(frame: pd.DataFrame, labels: NDArray[np.int64], features: Sequence[ModelFeature]) -> LogisticModel:
    """Fit on the rows of `frame` (columns of int_customers__featured and bgnbd_logit); label 1 is churn.

    Features without variation are left out, so that a shop without sessions or tickets has no such terms.
    Raises ValueError where fewer than `MINIMUM_PER_CLASS` rows have either label: ask `is_learnable` first.
    """
    if not is_learnable(labels):
        raise ValueError(f"both labels must have at least {MINIMUM_PER_CLASS} rows; check is_learnable first")
    frame, labels = _sampled(frame, labels)
    terms, columns = [], []
    for feature in features:
        values = feature.values(frame)
        scale = float(values.std())
        if scale < 1e-9:
            continue
        term = Term(feature, float(values.mean()), scale, 0.0)
        terms.append(term)
        columns.append(term.z(frame))
    if not terms:
        share = float(labels.mean())
        return LogisticModel((), float(np.log(share / (1.0 - share))))
    coefficients, intercept = _regress(np.column_stack(columns), labels, INVERSE_PENALTY)
    fitted = tuple(replace(term, beta=float(beta)) for term, beta in zip(terms, coefficients, strict=True))
    return LogisticModel(fitted, intercept)


def is_learnable(labels: NDArray[np.int64]) -> bool:
    """Whether both labels are frequent enough to fit."""
    churned = int(labels.sum())
    return min(churned, len(labels) - churned) >= MINIMUM_PER_CLASS


def out_of_fold_log_odds(
    frame: pd.DataFrame, labels: NDArray[np.int64], features: Sequence[ModelFeature], rows: NDArray[np.bool_]
) -> Floats:
    """Log-odds of `rows`, each from a model that has not seen that customer in any snapshot.

    Folds are by customer_key, the same in every snapshot and every run. Where a fold's remainder is not learnable,
    the model of all rows stands in.
    """
    folds = _folds(frame["customer_key"])
    log_odds = np.zeros(len(frame))
    for fold in range(FOLDS):
        held_out = folds == fold
        if not (held_out & rows).any():
            continue
        seen = ~held_out if is_learnable(labels[~held_out]) else np.ones(len(frame), dtype=bool)
        model = fit(frame[seen], labels[seen], features)
        log_odds[held_out] = model.log_odds(frame[held_out])
    return log_odds[rows]


def platt(log_odds: Floats, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Platt's calibration (intercept, slope): a logistic regression of the labels on the log-odds.

    With one class only, or a slope that is not positive (the score does not rank at all), only the mean is matched, or
    nothing.
    """
    churned = int(labels.sum())
    if min(churned, len(labels) - churned) < 5:
        return 0.0, 1.0
    coefficients, intercept = _regress(log_odds[:, None], labels, 1e6)
    if coefficients[0] > 0:
        return intercept, float(coefficients[0])
    return _shift_to_mean(log_odds, float(labels.mean())), 1.0


def _shift_to_mean(log_odds: Floats, mean: float) -> float:
    """The number that, added to all log-odds, makes the mean probability `mean`; by bisection."""
    low, high = -2 * LOGIT_LIMIT, 2 * LOGIT_LIMIT
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(log_odds + middle).mean() < mean else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class BaselineModel:
    """One column, transformed and calibrated: p = expit(intercept + slope x). Hiatus and frequency are such models."""

    column: str
    intercept: float
    slope: float

    def probability(self, frame: pd.DataFrame) -> Floats:
        """Churn probability of every row, from this column alone."""
        log_odds = self.intercept + self.slope * baseline_input(frame, self.column)
        return expit(np.clip(log_odds, -LOGIT_LIMIT, LOGIT_LIMIT))


HIATUS_COLUMN = "recency_days"
FREQUENCY_COLUMN = "repeat_day_count"


def baseline_input(frame: pd.DataFrame, column: str) -> Floats:
    """sqrt(days) for hiatus, ln(1 + x) for frequency.

    The root lies between days and their logarithm: on daily groceries the logarithm calibrates best, on CDs plain
    days, and the root is within 0.002 of the better Brier score on both.
    """
    values = frame[column].to_numpy(dtype=np.float64)
    return np.sqrt(values) if column == HIATUS_COLUMN else np.log(1.0 + values)


def fit_baseline(frame: pd.DataFrame, labels: NDArray[np.int64], column: str) -> BaselineModel:
    """Calibrate one column on a snapshot. With one label only it is the constant (churned + 1/2) / (n + 1)."""
    inputs = baseline_input(frame, column)
    share = (labels.sum() + 0.5) / (len(labels) + 1.0)
    constant = BaselineModel(column, float(np.log(share / (1.0 - share))), 0.0)
    if len(labels) < 2 or labels.min() == labels.max() or np.ptp(inputs) == 0:
        return constant
    # Hardly a penalty for hundreds of customers; for ten it keeps the curve from becoming a step from 0 to 1.
    coefficients, intercept = _regress(inputs[:, None], labels, 1.0)
    return BaselineModel(column, intercept, float(coefficients[0]))


def _regress(inputs: Floats, labels: NDArray[np.int64], inverse_penalty: float) -> tuple[Floats, float]:
    # Newton steps on the full Hessian: a handful for any number of rows, where L-BFGS takes dozens.
    model = LogisticRegression(C=inverse_penalty, solver="newton-cholesky", max_iter=200, tol=1e-8)
    with warnings.catch_warnings():
        # Separable classes run to the penalty's bound within the iterations; the result is used as it stands.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs, labels)
    return model.coef_[0].astype(np.float64), float(model.intercept_[0])


def _sampled(frame: pd.DataFrame, labels: NDArray[np.int64]) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    if len(frame) <= MAXIMUM_TRAINING_ROWS:
        return frame, labels
    rows = np.sort(np.random.default_rng(0).choice(len(frame), MAXIMUM_TRAINING_ROWS, replace=False))
    return frame.iloc[rows], labels[rows]


def _folds(customer_key: pd.Series) -> NDArray[np.int64]:
    # Fibonacci hashing: the fold depends on the key alone, and neighbouring keys go to different folds.
    hashed = customer_key.to_numpy().astype(np.uint64) * np.uint64(11400714819323198485)
    return ((hashed >> np.uint64(32)) % np.uint64(FOLDS)).astype(np.int64)
