"""BG/NBD and MBG/NBD: how often a customer orders, and whether they have left.

Source: P. Fader, B. Hardie, K. Lee (2005), "Counting Your Customers" the Easy Way: An Alternative to the Pareto/NBD
Model, Marketing Science 24 (2), 275-284. While alive a customer orders at rate lambda, Gamma(r, alpha) over customers;
after each order they leave with probability p, Beta(a, b) over customers. BG/NBD has no chance to leave after the first
order, so that every one-time buyer is alive; MBG/NBD has (E. Batislam, M. Denizel, A. Filiztekin 2007, Empirical
Validation and Comparison of Models for Customer Base Analysis, IJRM 24 (3), 201-209). Both are one formula in the
number of chances to leave: x, or x + 1.

A customer is summarised by x = purchase days - 1, t_x = weeks from the first to the last purchase day, T = weeks from
the first purchase day to the snapshot. **All times are weeks.** Several orders on one day are one purchase day: the
model has no two orders at the same time.

The SQL that scores (dbt_project) computes the same formulas from the stored parameters; where PostgreSQL's `exp` would
raise an overflow or underflow error, both sides clip the exponent at the same place (`EXPONENT_LIMIT`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeResult, minimize
from scipy.special import betaln, digamma, expit, gammaln

from customer360.churn.statuses import FitStatus

Floats = NDArray[np.float64]

DAYS_PER_WEEK = 7.0
WEEKS_PER_YEAR = 365.0 / DAYS_PER_WEEK

MINIMUM_CUSTOMERS = 20
"""Four parameters from fewer customers than this describe the sample, not the shop."""

MINIMUM_REPEAT_BUYERS = 5
"""Dropout and rate are only told apart by customers who came back."""

MINIMUM_HISTORY_WEEKS = 2.0
"""Less time since the very first order holds no rhythm of ordering."""

NO_DROPOUT_BELOW = 0.005
"""Under this mean dropout probability a/(a+b) no P(alive) is published (docs/churn.md).

P(order) keeps the fitted a and b:
on a year of groceries (2,469 households, 51 purchase days each, a/(a+b) = 0.0011) it ranks with AUC 0.884 and predicts
0.058 for 0.060 realised, where the model without dropout has 0.841 and 0.037. As a goes to 0 they become the same."""

EXPONENT_LIMIT = 700.0
"""exp(709) overflows and exp(-745) underflows, and PostgreSQL makes either an error."""

_SCREENED_CUSTOMERS = 2_000
"""Starting points are compared on at most this many customers, so that many starts cost little."""

_REFINED_STARTS = 3
"""If the best start does not converge on all customers, the next best are tried before giving up."""


@dataclass(frozen=True)
class BgNbdParameters:
    """The parameters of one fit, alpha in weeks."""

    r: float
    alpha: float
    a: float
    b: float
    is_modified: bool = field(default=False, kw_only=True)
    """MBG/NBD: the first order is a chance to leave too."""

    @property
    def mean_dropout(self) -> float:
        """Mean probability of leaving after an order, a / (a + b)."""
        return self.a / (self.a + self.b)

    def chances(self, x: Floats) -> Floats:
        """How often a customer with x repeats could have left."""
        return x + 1.0 if self.is_modified else x


@dataclass(frozen=True)
class BgNbdFit:
    """The outcome of a fit: `parameters` is None unless the status is `fitted` or `no_dropout`."""

    status: FitStatus
    parameters: BgNbdParameters | None
    log_likelihood: float | None
    customer_count: int
    repeat_buyer_count: int

    @property
    def is_usable(self) -> bool:
        """Whether the fit has parameters to score with."""
        return self.parameters is not None


def fit(x: ArrayLike, t_x: ArrayLike, T: ArrayLike, *, is_modified: bool = False) -> BgNbdFit:
    """Fit BG/NBD, or MBG/NBD, by maximum likelihood, from several starting points, within bounds.

    x counts repeat purchase days, t_x and T are weeks. Never raises for odd data and never returns NaN: a shop that
    cannot be fitted gets a status that says why. Raises ValueError only for input that is no customer summary at all
    (different lengths, negative or missing values, t_x > T).
    """
    xs, t_xs, Ts = _checked(x, t_x, T)
    customer_count, repeat_buyer_count = len(xs), int((xs > 0).sum())

    def unusable(status: FitStatus) -> BgNbdFit:
        return BgNbdFit(status, None, None, customer_count, repeat_buyer_count)

    if customer_count < MINIMUM_CUSTOMERS:
        return unusable(FitStatus.TOO_FEW_CUSTOMERS)
    if float(Ts.max()) < MINIMUM_HISTORY_WEEKS:
        return unusable(FitStatus.TOO_LITTLE_HISTORY)
    if repeat_buyer_count < MINIMUM_REPEAT_BUYERS:
        return unusable(FitStatus.NO_REPEAT_BUYERS)

    data = _Summaries.of(xs, t_xs, Ts, is_modified=is_modified)
    parameters = _maximise(data)
    if parameters is None:
        return unusable(FitStatus.NOT_CONVERGED)
    status = FitStatus.NO_DROPOUT if parameters.mean_dropout < NO_DROPOUT_BELOW else FitStatus.FITTED
    return BgNbdFit(status, parameters, log_likelihood(parameters, xs, t_xs, Ts), customer_count, repeat_buyer_count)


def purchase_summary(frame: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """x, t_x and T in weeks, from a frame with the columns of `int_customers__featured`."""
    days = frame[["repeat_day_count", "repeat_span_days", "tenure_days"]].to_numpy(dtype=np.float64)
    return days[:, 0], days[:, 1] / DAYS_PER_WEEK, days[:, 2] / DAYS_PER_WEEK


def log_likelihood(parameters: BgNbdParameters, x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> float:
    """Log-likelihood of the customers in weeks (Fader, Hardie & Lee 2005, equation 6; Batislam et al. 2007), summed."""
    xs, t_xs, Ts = _checked(x, t_x, T)
    r, alpha = parameters.r, parameters.alpha
    ordering = gammaln(r + xs) - gammaln(r) + r * math.log(alpha)
    a, b = parameters.a, parameters.b
    chances = parameters.chances(xs)
    staying = betaln(a, b + chances) - betaln(a, b)
    alive = -(r + xs) * np.log(alpha + Ts)
    left = np.log(a) - np.log(b + np.maximum(chances, 1.0) - 1.0) - (r + xs) * np.log(alpha + t_xs)
    return float(np.sum(ordering + staying + np.where(chances > 0, np.logaddexp(alive, left), alive)))


def probability_alive(parameters: BgNbdParameters, x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> Floats:
    """P(alive) = 1 / (1 + [n>0] a/(b+n-1) ((alpha+T)/(alpha+t_x))^(r+x)), n = x, or x + 1 where the model is modified.

    By BG/NBD 1 for every one-time buyer, which is why it is published and never used as the churn score.
    """
    xs, t_xs, Ts = _checked(x, t_x, T)
    chances = parameters.chances(xs)
    log_odds_left = (
        math.log(parameters.a)
        - np.log(parameters.b + np.maximum(chances, 1.0) - 1.0)
        + (parameters.r + xs) * np.log((parameters.alpha + Ts) / (parameters.alpha + t_xs))
    )
    return np.where(chances > 0, expit(-np.clip(log_odds_left, -EXPONENT_LIMIT, EXPONENT_LIMIT)), 1.0)


def probability_of_order(
    parameters: BgNbdParameters,
    x: ArrayLike,
    t_x: ArrayLike,
    T: ArrayLike,
    horizon_weeks: float,
) -> Floats:
    """P(at least one purchase day in the next `horizon_weeks`) = P(alive) (1 - ((alpha+T)/(alpha+T+H))^(r+x))."""
    xs, _, Ts = _checked(x, t_x, T)
    exponent = (parameters.r + xs) * np.log((parameters.alpha + Ts) / (parameters.alpha + Ts + horizon_weeks))
    silence = np.exp(np.maximum(exponent, -EXPONENT_LIMIT))
    return probability_alive(parameters, x, t_x, T) * (1.0 - silence)


def expected_orders(
    parameters: BgNbdParameters,
    x: ArrayLike,
    t_x: ArrayLike,
    T: ArrayLike,
    horizon_weeks: float,
) -> Floats:
    """Expected purchase days in the next `horizon_weeks` (equation 10 of the paper), finite for any x.

    The paper's closed form needs 2F1, which neither SQL has nor floating point likes for hundreds of orders. With
    s = r + x and z = H / (alpha + T), the same expectation is P(alive) times the mean of (1 - (1 + p z)^-s) / p over
    p ~ Beta(a, b + x), of MBG/NBD Beta(a, b + x + 1): a sum over `dropout_nodes`, which SQL can compute as well.
    """
    xs, _, Ts = _checked(x, t_x, T)
    shape, z = parameters.r + xs, horizon_weeks / (parameters.alpha + Ts)
    chances = parameters.chances(xs)
    nodes = dropout_nodes(parameters, largest_x=float(chances.max(initial=0.0)))
    conditional = np.zeros_like(xs)
    # One pass per distinct number of chances keeps the table of nodes x customers small.
    for distinct in np.unique(chances):
        rows = chances == distinct
        log_weight = nodes.log_weight + distinct * nodes.log_staying
        weight = np.exp(np.maximum(log_weight - log_weight.max(), -EXPONENT_LIMIT))
        per_node = _orders_given_dropout(nodes.dropout[:, None], shape[rows][None, :], z[rows][None, :])
        conditional[rows] = (weight[:, None] * per_node).sum(axis=0) / weight.sum()
    return probability_alive(parameters, x, t_x, T) * conditional


@dataclass(frozen=True)
class DropoutNodes:
    """A discrete stand-in for Beta(a, b): dropout probabilities p, ln(1 - p), and the logarithms of their weights.

    For a customer with x repeats the weight of a node is exp(log_weight + x * log_staying), up to a common factor.
    """

    dropout: Floats
    log_staying: Floats
    log_weight: Floats


def dropout_nodes(parameters: BgNbdParameters, largest_x: float) -> DropoutNodes:
    """Nodes whose weighted sums give means over Beta(a, b + x) for every x from 0 to `largest_x`.

    The trapezoidal rule in v = logit(p), where the density is p^a (1-p)^(b+x) and the integrand is analytic in a strip
    of half-width pi/2: its error falls like exp(-pi^2 / step), 3e-9 for a step of 1/2. Where a is large the density is
    about a Gaussian of deviation 1/sqrt(a), and a step of one deviation is as good. The two tails, where the integrand
    no longer changes, are summed as geometric series into the nodes p = 0 and p = 1.
    """
    a, b = parameters.a, parameters.b
    step = min(0.5, 1.0 / math.sqrt(max(a, 1.0)))
    left, right = -23.0, 30.0
    v = np.arange(left, right + step, step)
    log_dropout, log_staying = -np.logaddexp(0.0, -v), -np.logaddexp(0.0, v)
    log_weight = a * log_dropout + b * log_staying
    # A tail of ratio q^k, k = 1, 2, ... has the sum 1 / (1/q - 1) relative to its first inner node.
    tail_left = log_weight[0] - _log_expm1(a * step)
    tail_right = log_weight[-1] - _log_expm1(b * step)
    dropout = np.concatenate([[0.0], np.exp(log_dropout), [1.0]])
    log_staying = np.concatenate([[0.0], log_staying, [log_staying[-1]]])
    log_weight = np.concatenate([[tail_left], log_weight, [tail_right]])
    # A node matters if it has weight for the shortest or the longest history, or lies between those two.
    keep = np.zeros(len(dropout), dtype=bool)
    for x in (0.0, largest_x):
        at_x = log_weight + x * log_staying
        keep |= at_x > at_x.max() - 37.0  # e^-37 is 1e-16
    first, last = np.flatnonzero(keep)[[0, -1]]
    kept = slice(first, last + 1)
    return DropoutNodes(dropout[kept], log_staying[kept], log_weight[kept] - log_weight[kept].max())


def _log_expm1(exponent: float) -> float:
    """ln(e^t - 1) for t > 0, also where e^t overflows."""
    return exponent + math.log(-math.expm1(-exponent))


def _orders_given_dropout(p: Floats, shape: Floats, z: Floats) -> Floats:
    """(1 - (1 + p z)^-shape) / p, and its limit shape * z as p goes to 0."""
    # SQL has no expm1: below this the series is exact to 1e-13, above it the difference keeps nine digits.
    tiny = p * z * (shape + 2.0) < 1e-4
    series = shape * z * (1.0 - (shape + 1.0) * p * z / 2.0 + (shape + 1.0) * (shape + 2.0) * (p * z) ** 2 / 6.0)
    exact = -np.expm1(np.maximum(-shape * np.log1p(p * z), -EXPONENT_LIMIT)) / np.where(p > 0, p, 1.0)
    return np.where(tiny, series, exact)


def _checked(x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> tuple[Floats, Floats, Floats]:
    xs, t_xs, Ts = (np.atleast_1d(np.asarray(values, dtype=np.float64)) for values in (x, t_x, T))
    if not xs.shape == t_xs.shape == Ts.shape:
        raise ValueError(f"x, t_x and T must be equally long, got {len(xs)}, {len(t_xs)}, {len(Ts)}")
    is_summary = np.isfinite(xs) & np.isfinite(t_xs) & np.isfinite(Ts) & (xs >= 0) & (t_xs >= 0) & (t_xs <= Ts + 1e-9)
    if not is_summary.all():
        row = int(np.flatnonzero(~is_summary)[0])
        raise ValueError(f"row {row} is no customer summary: 0 <= x, 0 <= t_x <= T, all of them numbers")
    return xs, t_xs, Ts


@dataclass(frozen=True)
class _Summaries:
    """Equal customers counted once; times divided by the longest T, so that every shop looks alike to the optimiser."""

    x: Floats
    t_x: Floats
    T: Floats
    weight: Floats
    weeks: float
    is_modified: bool

    @classmethod
    def of(cls, x: Floats, t_x: Floats, T: Floats, *, is_modified: bool) -> _Summaries:
        weeks = float(T.max())
        rows, counts = np.unique(np.column_stack([x, t_x / weeks, T / weeks]), axis=0, return_counts=True)
        return cls(rows[:, 0], rows[:, 1], rows[:, 2], counts.astype(np.float64), weeks, is_modified)

    def screened(self) -> _Summaries:
        if len(self.x) <= _SCREENED_CUSTOMERS:
            return self
        rows = np.random.default_rng(0).choice(len(self.x), _SCREENED_CUSTOMERS, replace=False)
        return replace(self, x=self.x[rows], t_x=self.t_x[rows], T=self.T[rows], weight=self.weight[rows])


def _maximise(data: _Summaries) -> BgNbdParameters | None:
    """The best maximum over several starts, or None if none converged.

    The optimiser works on ln r, ln(r/alpha) (the mean rate, nearly independent of r), and for the dropout on the logit
    of its mean m = a/(a+b) and ln(a+b). In these a shop without dropout, or one with equal customers, runs along a
    flat direction to a bound instead of sending two parameters to infinity.
    """
    rate = math.log(float((data.weight * data.x).sum()) / max(float((data.weight * data.T).sum()), 1e-9))
    bounds = [(math.log(1e-3), math.log(1e3)), (rate - 8.0, rate + 8.0), (-14.0, 7.0), (math.log(1e-2), math.log(1e4))]
    starts = [
        [math.log(r), rate + faster, mean, total]
        for r in (0.3, 1.0, 5.0)
        for faster in (0.0, 1.0)
        for mean, total in ((-3.0, 2.0), (-0.7, 0.7))
    ]

    screened = data.screened()
    candidates = [_descend(screened, np.array(start), bounds) for start in starts]
    candidates.sort(key=lambda result: float(result.fun))
    for candidate in candidates[:_REFINED_STARTS]:
        best = candidate if screened is data else _descend(data, candidate.x, bounds)
        if _has_converged(best, bounds):
            return _parameters_from(best.x, data)
    return None


def _descend(data: _Summaries, start: Floats, bounds: list[tuple[float, float]]) -> OptimizeResult:
    return minimize(
        _mean_loss,
        start,
        args=(data,),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8},
    )


def _has_converged(result: OptimizeResult, bounds: list[tuple[float, float]]) -> bool:
    """True where the gradient that points into the box is nil: the line search may give up a hair before that."""
    lower, upper = np.array(bounds).T
    gradient = np.where(
        ((result.x <= lower) & (result.jac > 0)) | ((result.x >= upper) & (result.jac < 0)), 0, result.jac
    )
    return bool(np.isfinite(result.fun) and np.abs(gradient).max() < 1e-4)


def _parameters_from(theta: Floats, data: _Summaries) -> BgNbdParameters:
    r = math.exp(theta[0])
    alpha = r / math.exp(theta[1]) * data.weeks
    mean, total = float(expit(theta[2])), math.exp(theta[3])
    return BgNbdParameters(r, alpha, mean * total, (1.0 - mean) * total, is_modified=data.is_modified)


def _mean_loss(theta: Floats, data: _Summaries) -> tuple[float, Floats]:
    """Negative mean log-likelihood and its gradient in the optimiser's own coordinates."""
    x, t_x, T, weight = data.x, data.t_x, data.T, data.weight
    r = math.exp(theta[0])
    alpha = r / math.exp(theta[1])
    s = r + x
    value = gammaln(s) - gammaln(r) + r * math.log(alpha)
    d_r = digamma(s) - digamma(r) + math.log(alpha)
    d_alpha = np.full_like(x, r / alpha)
    log_T, log_t_x = np.log(alpha + T), np.log(alpha + t_x)
    mean, total = float(expit(theta[2])), math.exp(theta[3])
    a, b = mean * total, float(expit(-theta[2])) * total
    chances = x + 1.0 if data.is_modified else x
    could_leave = chances > 0
    before = np.where(could_leave, b + chances - 1.0, 1.0)
    alive = -s * log_T
    left = np.where(could_leave, math.log(a) - np.log(before) - s * log_t_x, -np.inf)
    either = np.logaddexp(alive, left)
    share_left = np.exp(left - either)
    share_alive = 1.0 - share_left
    value = value + betaln(a, b + chances) - betaln(a, b) + either
    d_r = d_r - share_alive * log_T - share_left * log_t_x
    d_alpha = d_alpha - s * (share_alive / (alpha + T) + share_left / (alpha + t_x))
    common = digamma(a + b) - digamma(a + b + chances)
    d_a = common + share_left / a
    d_b = common + digamma(b + chances) - digamma(b) - np.where(could_leave, share_left / before, 0.0)
    # a = m n, b = (1 - m) n with m = expit(theta_2), n = exp(theta_3)
    d_mean = (d_a - d_b) * total * mean * (1.0 - mean)
    gradient = [r * d_r + alpha * d_alpha, -alpha * d_alpha, d_mean, a * d_a + b * d_b]
    n = weight.sum()
    return float(-(weight * value).sum() / n), np.array([-(weight * g).sum() / n for g in gradient])
