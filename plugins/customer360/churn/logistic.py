"""Regressions: of the labels on the churn features, on one column (the fallbacks), on log-odds (calibration)."""

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

from customer360.churn.features import FEATURE_BY_NAME, ModelFeature
from customer360.churn.model import LOGIT_LIMIT, ScoreModel, Term

Floats = NDArray[np.float64]

INVERSE_PENALTY = 0.05
"""scikit-learn's C, on standardised features: a prior deviation of about 0.2 per coefficient. Immaterial from some
thousand customers on; with few of them it keeps forty features from describing noise."""

MINIMUM_PER_CLASS = 20
"""Customers who churned, and who did not, without which a regression is refused."""

FOLDS = 4


def fit(
    frame: pd.DataFrame,
    labels: NDArray[np.int64],
    features: Sequence[ModelFeature],
    inverse_penalty: float = INVERSE_PENALTY,
) -> ScoreModel:
    """Fit on the rows of `frame` (columns of int_customers__featured and bgnbd_logit); label 1 is churn.

    Features without variation are left out, so that a shop without sessions or tickets has no such terms.
    Raises ValueError where fewer than `MINIMUM_PER_CLASS` rows have either label: ask `is_learnable` first.
    """
    if not is_learnable(labels):
        raise ValueError(f"both labels must have at least {MINIMUM_PER_CLASS} rows; check is_learnable first")
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
        return ScoreModel((), float(np.log(share / (1.0 - share))))
    coefficients, intercept = _regress(np.column_stack(columns), labels, inverse_penalty)
    fitted = tuple(replace(term, beta=float(beta)) for term, beta in zip(terms, coefficients, strict=True))
    return ScoreModel(fitted, intercept)


def is_learnable(labels: NDArray[np.int64]) -> bool:
    """Whether both labels are frequent enough to fit."""
    churned = int(labels.sum())
    return min(churned, len(labels) - churned) >= MINIMUM_PER_CLASS


def folds_of(customer_key: pd.Series) -> NDArray[np.int64]:
    """The fold of each row: by its customer alone, so the same in every snapshot and every run."""
    # Fibonacci hashing sends neighbouring keys to different folds.
    hashed = customer_key.to_numpy().astype(np.uint64) * np.uint64(11400714819323198485)
    return ((hashed >> np.uint64(32)) % np.uint64(FOLDS)).astype(np.int64)


def sampled_customers(customer_key: pd.Series, rows: int) -> NDArray[np.bool_]:
    """Which rows to keep so that about `rows` remain: all rows of a sample of the customers, always the same one."""
    if len(customer_key) <= rows:
        return np.ones(len(customer_key), dtype=bool)
    hashed = customer_key.to_numpy().astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
    return np.asarray((hashed >> np.uint64(40)) < np.uint64(rows / len(customer_key) * 2**24))


def fit_single(frame: pd.DataFrame, labels: NDArray[np.int64], feature: str) -> ScoreModel:
    """A regression on one feature and nearly no penalty: a fallback, calibrated."""
    return fit(frame, labels, (FEATURE_BY_NAME[feature],), inverse_penalty=1.0)


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
