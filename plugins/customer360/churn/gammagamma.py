"""Gamma-Gamma: what a customer's next order is worth.

Source: P. Fader, B. Hardie (2013), The Gamma-Gamma Model of Monetary Value; and Fader, Hardie & Lee (2005), RFM and
CLV, Journal of Marketing Research 42. Order values vary around a customer's mean, which varies over customers; the
mean of a customer seen rarely is drawn to the shop's. It assumes that value and frequency are independent; the
correlation is reported beside every fit.

x counts a customer's repeat purchase days and m is the mean value of those days, in the reporting currency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from customer360.churn.statuses import FitStatus

Floats = NDArray[np.float64]

MINIMUM_REPEAT_BUYERS = 10
"""Three parameters from fewer means than this are noise."""

LARGEST_MEAN_RATIO = 2.0
"""A fitted mean further than this factor from the observed one is made by the tail of wholesalers, not by the data."""


@dataclass(frozen=True)
class GammaGammaParameters:
    """Expected order value = (gamma p + p x m) / (p x + q - 1), in the reporting currency."""

    p: float
    q: float
    gamma: float


@dataclass(frozen=True)
class GammaGammaFit:
    """The outcome of a fit. `parameters` is there whenever any customer has a positive value, fitted or not."""

    status: FitStatus
    parameters: GammaGammaParameters | None
    customer_count: int
    frequency_correlation: float | None


def fit(x: ArrayLike, m: ArrayLike) -> GammaGammaFit:
    """Fit by maximum likelihood on the customers with x > 0 and m > 0; the others are left out, not refused.

    Where the fit cannot be had (too few repeat buyers) or has no usable mean (wholesalers: `heavy_tailed`), the
    parameters are those of plain shrinkage, (shop's mean + x m) / (x + 1), so that the same formula scores.
    """
    xs, ms = np.asarray(x, dtype=np.float64), np.asarray(m, dtype=np.float64)
    usable = (xs > 0) & np.isfinite(ms) & (ms > 0)
    xs, ms = xs[usable], ms[usable]
    count = len(xs)
    if count == 0:
        return GammaGammaFit(FitStatus.NO_REPEAT_BUYERS, None, 0, None)
    shop_mean = float((xs * ms).sum() / xs.sum())
    shrinkage = GammaGammaParameters(p=1.0, q=2.0, gamma=shop_mean)
    correlation = _correlation(xs, ms)
    if count < MINIMUM_REPEAT_BUYERS:
        return GammaGammaFit(FitStatus.TOO_FEW_CUSTOMERS, shrinkage, count, correlation)
    fitted = _maximise(xs, ms)
    if fitted is None:
        return GammaGammaFit(FitStatus.NOT_CONVERGED, shrinkage, count, correlation)
    if not _has_usable_mean(fitted, float(ms.mean())):
        return GammaGammaFit(FitStatus.HEAVY_TAILED, shrinkage, count, correlation)
    return GammaGammaFit(FitStatus.FITTED, fitted, count, correlation)


def shop_mean_only(mean_value: float) -> GammaGammaParameters:
    """Parameters under which a customer without repeats is worth the shop's mean order; for shops without repeats."""
    return GammaGammaParameters(p=1.0, q=2.0, gamma=mean_value)


def expected_order_value(parameters: GammaGammaParameters, x: ArrayLike, m: ArrayLike) -> Floats:
    """Expected value of one purchase day (Fader, Hardie & Lee 2005, equation 5); m counts only where x > 0."""
    xs, ms = np.asarray(x, dtype=np.float64), np.asarray(m, dtype=np.float64)
    known = (xs > 0) & np.isfinite(ms) & (ms > 0)
    xs, ms = np.where(known, xs, 0.0), np.where(known, ms, 0.0)
    p, q, gamma = parameters.p, parameters.q, parameters.gamma
    return (gamma * p + p * xs * ms) / (p * xs + q - 1.0)


def log_likelihood(parameters: GammaGammaParameters, x: ArrayLike, m: ArrayLike) -> float:
    """Log-likelihood of the mean values (Fader & Hardie 2013, equation 1a), summed over customers with x > 0, m > 0."""
    xs, ms = np.asarray(x, dtype=np.float64), np.asarray(m, dtype=np.float64)
    return float(_log_density(parameters.p, parameters.q, parameters.gamma, xs, ms).sum())


def _log_density(p: float, q: float, gamma: float, x: Floats, m: Floats) -> Floats:
    shape = p * x
    return (
        gammaln(shape + q)
        - gammaln(shape)
        - gammaln(q)
        + q * math.log(gamma)
        + (shape - 1.0) * np.log(m)
        + shape * np.log(x)
        - (shape + q) * np.log(x * m + gamma)
    )


def _maximise(x: Floats, m: Floats) -> GammaGammaParameters | None:
    # Any currency looks alike once values are divided by their median.
    unit = float(np.median(m))
    scaled = m / unit

    def loss(theta: Floats) -> tuple[float, Floats]:
        p, q, gamma = np.exp(theta)
        shape, total = p * x, x * scaled + gamma
        d_p = x * (digamma(shape + q) - digamma(shape) + np.log(scaled) + np.log(x) - np.log(total))
        d_q = digamma(shape + q) - digamma(q) + math.log(gamma) - np.log(total)
        d_gamma = q / gamma - (shape + q) / total
        gradient = -np.array([p * d_p.mean(), q * d_q.mean(), gamma * d_gamma.mean()])
        return -float(_log_density(p, q, gamma, x, scaled).mean()), gradient

    bounds = [(math.log(1e-2), math.log(1e4))] * 3
    results = [
        minimize(
            loss,
            np.log([p, q, max(q - 1.0, 0.5) / p]),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8},
        )
        for p, q in ((1.0, 2.0), (6.0, 4.0), (0.3, 10.0))
    ]
    best = min(results, key=lambda result: float(result.fun))
    if not np.isfinite(best.fun) or not np.isfinite(best.x).all():
        return None
    p, q, gamma = (float(value) for value in np.exp(best.x))
    return GammaGammaParameters(p, q, gamma * unit)


def _has_usable_mean(parameters: GammaGammaParameters, observed_mean: float) -> bool:
    if parameters.q <= 1.0:
        return False
    ratio = parameters.p * parameters.gamma / (parameters.q - 1.0) / observed_mean
    return 1.0 / LARGEST_MEAN_RATIO <= ratio <= LARGEST_MEAN_RATIO


def _correlation(x: Floats, m: Floats) -> float | None:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(m) == 0:
        return None
    return float(np.corrcoef(x, m)[0, 1])
