"""What a customer is worth: the net revenue of the next year with an 80 % interval, learned in two stages.

The first stage asks whether the customer buys within the window (trees on the log-odds), the second for how much: trees
on the logarithm of the revenue of those who did, as a multiple of what BG/NBD and Gamma-Gamma expect of a buyer (the
base).
The expected value is P(buys) x base x exp(second stage) x a factor that makes the totals right (Duan 1983, "Smearing
estimate"). The interval comes from the same distribution: nothing with probability 1 - P(buys), else the second stage
times what buyers with about as many purchase days deviated from it, out of fold: of a one-time buyer's next revenue
less is known than of a regular's.

The window is 365 days where two such windows lie in the history; otherwise the churn horizon, and the result is
extended to 365 days (`ValueModel.year`). BG/NBD x Gamma-Gamma stands beside it and serves where it explains more of the
test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from customer360.churn import bgnbd, gammagamma, logistic, trees
from customer360.churn.evaluation import SEGMENTS
from customer360.churn.features import FROM_ORDERS
from customer360.churn.model import ScoreModel

Floats = NDArray[np.float64]

YEAR_DAYS = 365
TRAINING_STEP_DAYS = 30
"""Training days of a year's window lie this far apart, and there are up to `TRAINING_DAYS` of them."""
TRAINING_DAYS = 2

LOW, HIGH = 0.1, 0.9
"""The ends of the interval. Where nothing at all is likelier than `LOW` the interval begins at 0 and ends at `HIGH` -
`LOW`: it would otherwise cover 90 %."""

PERCENTS = 101
"""Quantiles of what buyers deviated, stored at 0 to 100 %; between two of them the interval is interpolated."""

MINIMUM_BUYERS = 100
"""Buyers in the training windows without which no second stage is tried."""

EVERYBODY = "all"
MINIMUM_SEGMENT_BUYERS = 200
"""Buyers of a segment without which its deviations are those of everybody: the tenth below 10 % are then 20."""


@dataclass(frozen=True)
class ValuePlan:
    """The days of a value's fit: windows of learning end on or before the test day."""

    window_days: int
    learn_on: tuple[date, ...]
    test_on: date


def plan(first_ordered_on: date, last_complete_on: date, history_days: int, otherwise: ValuePlan) -> ValuePlan:
    """A year's window where `first_ordered_on` lies two years and `history_days` back, else the one given."""
    year = timedelta(days=YEAR_DAYS)
    test_on = last_complete_on - year
    days = [test_on - year - timedelta(days=TRAINING_STEP_DAYS * back) for back in range(TRAINING_DAYS)]
    learn_on = tuple(sorted(day for day in days if day >= first_ordered_on + timedelta(days=history_days)))
    return ValuePlan(YEAR_DAYS, learn_on, test_on) if learn_on else otherwise


@dataclass(frozen=True)
class Window:
    """Everybody as of a day, `bgnbd_logit` included, and the net revenue that each brought in the window after it."""

    frame: pd.DataFrame
    amounts: Floats


@dataclass(frozen=True)
class Lifetime:
    """The lifetime models of a version: what stands beside the two stages, what they build on and are extended by."""

    dropout: bgnbd.BgNbdFit
    modified: bgnbd.BgNbdFit
    """MBG/NBD: as it knows that a one-time buyer may have left, its probability of an order grows less over a year."""
    value: gammagamma.GammaGammaFit
    window_days: int

    def expected(self, frame: pd.DataFrame) -> Floats | None:
        """Expected net revenue of the window, or None where either model is not fitted."""
        orders, amounts = self._orders(frame, self.window_days), self._order_amount(frame)
        return None if orders is None or amounts is None else orders * amounts

    def log_base(self, frame: pd.DataFrame) -> Floats:
        """ln of what a buyer is expected to bring: at least one order; 0 where nothing is fitted."""
        orders, amounts = self._orders(frame, self.window_days), self._order_amount(frame)
        if amounts is None:
            return np.zeros(len(frame))
        at_least_one = np.ones(len(frame)) if orders is None else np.maximum(orders, 1.0)
        return np.log(at_least_one * np.maximum(amounts, SMALLEST_ORDER_AMOUNT))

    def extension(self, frame: pd.DataFrame) -> Floats:
        """What a year brings as a multiple of the window, by BG/NBD's expected orders, otherwise by their days."""
        by_days = np.full(len(frame), YEAR_DAYS / self.window_days)
        window, year = self._orders(frame, self.window_days), self._orders(frame, YEAR_DAYS)
        if window is None or year is None:
            return by_days
        return np.where(window > 0, year / np.where(window > 0, window, 1.0), by_days)

    def extended(self, frame: pd.DataFrame, probability: Floats) -> Floats:
        """P(buys in a year) from that of the window: as MBG/NBD's log-odds grow, else as by independent windows."""
        parameters = self.modified.parameters
        if parameters is None:
            return 1.0 - (1.0 - probability) ** (YEAR_DAYS / self.window_days)
        summary = bgnbd.purchase_summary(frame)
        window, year = (
            bgnbd.probability_of_order(parameters, *summary, days / bgnbd.DAYS_PER_WEEK)
            for days in (self.window_days, YEAR_DAYS)
        )
        return expit(logit(_inside(probability)) + logit(_inside(year)) - logit(_inside(window)))

    def _orders(self, frame: pd.DataFrame, days: int) -> Floats | None:
        parameters = self.dropout.parameters
        if parameters is None:
            return None
        return bgnbd.expected_orders(parameters, *bgnbd.purchase_summary(frame), days / bgnbd.DAYS_PER_WEEK)

    def _order_amount(self, frame: pd.DataFrame) -> Floats | None:
        if self.value.parameters is None:
            return None
        repeats = frame["repeat_mean_order_amount"].to_numpy(dtype=np.float64, na_value=np.nan)
        return gammagamma.expected_order_value(self.value.parameters, frame["repeat_day_count"], repeats)


def _inside(probability: Floats) -> Floats:
    return np.clip(probability, 1e-6, 1.0 - 1e-6)


SMALLEST_ORDER_AMOUNT = 0.01


@dataclass(frozen=True)
class Prospect:
    """What customers may bring within some days: P(buys), and ln of a buyer's revenue before the factor."""

    probability: Floats
    log_amount: Floats


@dataclass(frozen=True)
class ValueModel:
    """Both stages. `buys` gives log-odds of buying, `amount` the logarithm of a buyer's revenue over the base."""

    lifetime: Lifetime
    buys: ScoreModel
    amount: ScoreModel
    factor: float
    quantiles: Mapping[str, Floats]
    """ln(realised / exp(amount)) of buyers, out of fold, at 0, 1, ... 100 %; by segment, `EVERYBODY` always there."""

    def expected(self, frame: pd.DataFrame, prospect: Prospect | None = None) -> Floats:
        """Expected net revenue of the window, or of another prospect."""
        prospect = prospect or self.window(frame)
        return prospect.probability * np.exp(prospect.log_amount) * self.factor

    def interval(self, frame: pd.DataFrame, prospect: Prospect | None = None) -> tuple[Floats, Floats]:
        """Ends of the 80 % interval of the window, or of another prospect."""
        prospect = prospect or self.window(frame)
        nothing = 1.0 - prospect.probability
        begins_at_0 = nothing >= LOW
        low = np.where(begins_at_0, 0.0, self._quantile(np.full(len(frame), LOW), prospect, frame))
        high = self._quantile(np.where(begins_at_0, HIGH - LOW, HIGH), prospect, frame)
        return low, high

    def window(self, frame: pd.DataFrame) -> Prospect:
        """Of the days that the stages were learned for."""
        log_amount = self.lifetime.log_base(frame) + self.amount.log_odds_unlimited(frame)
        limited = np.clip(log_amount, -LARGEST_LOG_AMOUNT, LARGEST_LOG_AMOUNT)
        return Prospect(expit(self.buys.log_odds(frame)), limited)

    def year(self, frame: pd.DataFrame) -> Prospect:
        """Of 365 days: more customers buy than in the window, and those who do bring more.

        What is expected grows as BG/NBD's expected orders do; what the growth of P(buys) does not account for, each
        buyer brings.
        """
        window = self.window(frame)
        if self.lifetime.window_days == YEAR_DAYS:
            return window
        probability = self.lifetime.extended(frame, window.probability)
        growth = self.lifetime.extension(frame) * window.probability / probability
        return Prospect(probability, window.log_amount + np.log(growth))

    def _quantile(self, level: Floats, prospect: Prospect, frame: pd.DataFrame) -> Floats:
        nothing = 1.0 - prospect.probability
        inside = (level - nothing) / np.maximum(prospect.probability, 1e-12)
        place = np.clip(inside, 0.0, 1.0) * (PERCENTS - 1)
        log_ratio = np.interp(place, np.arange(PERCENTS), self.quantiles[EVERYBODY])
        for segment, rows in _segments(frame):
            if segment in self.quantiles:
                log_ratio[rows] = np.interp(place[rows], np.arange(PERCENTS), self.quantiles[segment])
        return np.where(inside <= 0.0, 0.0, np.exp(prospect.log_amount + log_ratio))


def _segments(frame: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each segment of purchase days with its rows."""
    days = frame["purchase_day_count"].to_numpy()
    for segment, least, greatest in SEGMENTS:
        yield segment, (days >= least) & (days <= greatest)


LARGEST_LOG_AMOUNT = 27.0
"""exp(27) is 5e11: more than any customer brings, and far from what the published type cannot hold."""


@dataclass(frozen=True)
class ValueFit:
    """What a fit came to, and its figures on the test."""

    model: ValueModel | None
    figures: dict[str, Any]

    @property
    def is_serving(self) -> bool:
        """Whether the expected value is the two stages'; the interval is theirs wherever they are fitted."""
        return bool(self.figures["serves"] == "two_stage")


def not_fitted(status: str) -> ValueFit:
    """No second model: BG/NBD x Gamma-Gamma serves, without an interval."""
    names = ("window_days", "test_on", "r_squared", "r_squared_gammagamma", "coverage", "coverage_by_segment", "n")
    return ValueFit(None, {"status": status, "serves": "gammagamma", **dict.fromkeys(names)})


@dataclass(frozen=True)
class Windows:
    """What a value is learned from and judged on. `lifetime` is fitted on everybody as of the test day."""

    days: ValuePlan
    learn: tuple[Window, ...]
    test: Window
    lifetime: Lifetime


def fit(windows: Windows) -> ValueFit:
    """Fit both stages on the learning windows and judge them on the test."""
    days, test, lifetime = windows.days, windows.test, windows.lifetime
    frame = pd.concat([window.frame for window in windows.learn], ignore_index=True)
    amounts = np.concatenate([window.amounts for window in windows.learn])
    has_bought = amounts > 0
    if has_bought.sum() < MINIMUM_BUYERS or (~has_bought).sum() < logistic.MINIMUM_PER_CLASS:
        return not_fitted("too_few_buyers")
    model = _fit_stages(lifetime, frame, amounts, len(windows.learn))
    realised = test.amounts
    low, high = model.interval(test.frame)
    expected = model.expected(test.frame)
    beside = lifetime.expected(test.frame)
    is_inside = (realised >= low) & (realised <= high)
    own, theirs = _r_squared(realised, expected), None if beside is None else _r_squared(realised, beside)
    is_better = own is not None and (theirs is None or own >= theirs)
    figures = {
        "status": "fitted",
        "serves": "two_stage" if is_better else "gammagamma",
        "window_days": days.window_days,
        "test_on": days.test_on.isoformat(),
        "n": len(realised),
        "r_squared": own,
        "r_squared_gammagamma": theirs,
        "coverage": float(is_inside.mean()) if len(realised) else None,
        "coverage_by_segment": {
            segment: float(is_inside[rows].mean()) if rows.any() else None for segment, rows in _segments(test.frame)
        },
        "mean_expected": float(expected.mean()) if len(expected) else None,
        "mean_realised": float(realised.mean()) if len(realised) else None,
        "share_bought": float((realised > 0).mean()) if len(realised) else None,
    }
    return ValueFit(model, figures)


def _fit_stages(lifetime: Lifetime, frame: pd.DataFrame, amounts: Floats, snapshots: int) -> ValueModel:
    kept = logistic.sampled_customers(frame["customer_key"], 120_000)
    frame, amounts = frame[kept].reset_index(drop=True), amounts[kept]
    has_bought = amounts > 0
    buys = trees.fit(frame, has_bought.astype(np.int64), FROM_ORDERS, snapshots)
    bought = frame[has_bought].reset_index(drop=True)
    base = lifetime.log_base(bought)
    log_amounts = np.log(amounts[has_bought]) - base
    amount = trees.fit_amount(bought, log_amounts, FROM_ORDERS, snapshots)
    folds = logistic.folds_of(bought["customer_key"])
    predicted = amount.log_odds_unlimited(bought)
    for fold in range(logistic.FOLDS):
        seen = folds != fold
        if seen.sum() > MINIMUM_BUYERS / 2 and (~seen).any():
            without = trees.fit_amount(bought[seen], log_amounts[seen], FROM_ORDERS, snapshots)
            predicted[~seen] = without.log_odds_unlimited(bought[~seen])
    deviation = log_amounts - predicted
    levels = np.linspace(0.0, 1.0, PERCENTS)
    quantiles = {EVERYBODY: np.quantile(deviation, levels)}
    for segment, rows in _segments(bought):
        if rows.sum() >= MINIMUM_SEGMENT_BUYERS:
            quantiles[segment] = np.quantile(deviation[rows], levels)
    factor = float(amounts[has_bought].sum() / np.exp(base + predicted).sum())
    return ValueModel(lifetime, buys, amount, factor, quantiles)


def _r_squared(realised: Floats, expected: Floats) -> float | None:
    if len(realised) < 2 or np.ptp(realised) == 0:
        return None
    return 1.0 - float(((realised - expected) ** 2).sum() / ((realised - realised.mean()) ** 2).sum())
