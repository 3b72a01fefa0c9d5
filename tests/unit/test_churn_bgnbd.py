"""BG/NBD: the literature's numbers, the package `lifetimes` as oracle, and shops that no textbook has."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import hyp2f1
from scipy.stats import beta as beta_distribution

from customer360.churn import bgnbd
from customer360.churn.bgnbd import BgNbdParameters
from customer360.churn.statuses import FitStatus
from tests.unit.churn_shops import cdnow_lines, cdnow_sample_lines, purchase_summaries, simulated_lines

LITERATURE = BgNbdParameters(r=0.2426, alpha=4.4136, a=0.7929, b=2.4259)
CALIBRATION_END = "1997-09-30"


@pytest.fixture(scope="module")
def sample() -> pd.DataFrame:
    return purchase_summaries(cdnow_sample_lines(), CALIBRATION_END)


@pytest.fixture(scope="module")
def sample_fit(sample: pd.DataFrame) -> bgnbd.BgNbdFit:
    return bgnbd.fit(sample["x"], sample["t_x"], sample["T"])


def fit_of(lines: pd.DataFrame, until: str | None = None) -> bgnbd.BgNbdFit:
    summaries = purchase_summaries(lines, until or str(lines["ordered_on"].max().date()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return bgnbd.fit(summaries["x"], summaries["t_x"], summaries["T"])


def test_the_modified_model_is_that_of_lifetimes_and_lets_one_time_buyers_leave(sample: pd.DataFrame) -> None:
    summaries = (sample["x"], sample["t_x"], sample["T"])
    fitted = bgnbd.fit(*summaries, is_modified=True)
    ours = fitted.parameters
    assert ours is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it sets options that pandas 3 no longer has
        from lifetimes import ModifiedBetaGeoFitter

        oracle = ModifiedBetaGeoFitter().fit(*summaries)
    theirs = BgNbdParameters(*(float(oracle.params_[name]) for name in ("r", "alpha", "a", "b")), is_modified=True)
    assert [ours.r, ours.alpha, ours.a, ours.b] == pytest.approx([theirs.r, theirs.alpha, theirs.a, theirs.b], rel=1e-3)
    assert fitted.log_likelihood is not None
    assert fitted.log_likelihood >= bgnbd.log_likelihood(theirs, *summaries) - 1e-6
    alive = bgnbd.probability_alive(theirs, *summaries)
    assert np.abs(alive - oracle.conditional_probability_alive(*summaries)).max() < 1e-9
    expected = oracle.conditional_expected_number_of_purchases_up_to_time(39, *summaries)
    assert np.abs(bgnbd.expected_orders(theirs, *summaries, 39.0) - expected).max() < 1e-6
    is_one_time = (sample["x"] == 0).to_numpy()
    assert (alive[is_one_time] < 0.7).all()


def test_the_cdnow_sample_gives_the_parameters_of_the_literature(sample_fit: bgnbd.BgNbdFit) -> None:
    assert sample_fit.customer_count == 2357
    assert sample_fit.repeat_buyer_count == 946
    assert sample_fit.status is FitStatus.FITTED
    assert sample_fit.parameters is not None
    fitted = sample_fit.parameters
    assert [fitted.r, fitted.alpha, fitted.a, fitted.b] == pytest.approx([0.243, 4.414, 0.793, 2.426], rel=0.01)
    assert sample_fit.log_likelihood == pytest.approx(-9582.43, abs=0.1)


def test_lifetimes_finds_the_same_maximum(sample: pd.DataFrame, sample_fit: bgnbd.BgNbdFit) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it sets options that pandas 3 no longer has
        from lifetimes import BetaGeoFitter

        oracle = BetaGeoFitter().fit(sample["x"], sample["t_x"], sample["T"])
    theirs = BgNbdParameters(*(float(oracle.params_[name]) for name in ("r", "alpha", "a", "b")))
    ours = sample_fit.parameters
    assert ours is not None
    assert [ours.r, ours.alpha, ours.a, ours.b] == pytest.approx([theirs.r, theirs.alpha, theirs.a, theirs.b], rel=0.01)
    # It rescales time, so that its own log-likelihood is another number: recomputed at its parameters.
    at_theirs = bgnbd.log_likelihood(theirs, sample["x"], sample["t_x"], sample["T"])
    assert sample_fit.log_likelihood == pytest.approx(at_theirs, abs=0.1)

    summaries = (sample["x"], sample["t_x"], sample["T"])
    alive = oracle.conditional_probability_alive(*summaries)
    assert bgnbd.probability_alive(theirs, *summaries) == pytest.approx(alive, abs=1e-9)
    orders = oracle.conditional_expected_number_of_purchases_up_to_time(39.0, *summaries)
    assert bgnbd.expected_orders(theirs, *summaries, 39.0) == pytest.approx(orders.to_numpy(), rel=1e-6)


@pytest.mark.parametrize(
    ("x", "t_x", "T", "alive", "order"),
    [(2, 30.43, 38.86, 0.7266, 0.5546), (1, 1.71, 38.86, 0.2124, 0.1167), (0, 0, 38.86, 1.0, 0.1443)],
)
def test_the_hand_values_come_out(x: int, t_x: float, T: float, alive: float, order: float) -> None:
    assert bgnbd.probability_alive(LITERATURE, x, t_x, T)[0] == pytest.approx(alive, abs=5e-4)
    assert bgnbd.probability_of_order(LITERATURE, x, t_x, T, 39.0)[0] == pytest.approx(order, abs=5e-4)


def test_all_of_cdnow_is_fitted_in_seconds_and_gains_on_the_sample_parameters() -> None:
    everybody = purchase_summaries(cdnow_lines(), CALIBRATION_END)
    fitted = bgnbd.fit(everybody["x"], everybody["t_x"], everybody["T"])
    assert fitted.parameters is not None
    at_literature = bgnbd.log_likelihood(LITERATURE, everybody["x"], everybody["t_x"], everybody["T"])
    assert fitted.log_likelihood is not None
    assert fitted.log_likelihood > at_literature


@pytest.mark.parametrize(
    "parameters",
    [
        LITERATURE,
        BgNbdParameters(r=2.0, alpha=1.0, a=70.0, b=9900.0),
        BgNbdParameters(r=0.5, alpha=3.0, a=0.02, b=15.0),
        BgNbdParameters(r=40.0, alpha=20.0, a=3.0, b=0.4),
    ],
)
@pytest.mark.parametrize(("x", "t_x", "T"), [(0, 0.0, 0.0), (0, 0.0, 60.0), (3, 20.0, 30.0), (250, 51.0, 52.0)])
def test_expected_orders_are_the_mean_over_the_dropout_probability(
    parameters: BgNbdParameters, x: int, t_x: float, T: float
) -> None:
    """Against an adaptive integral over p ~ Beta(a, b + x), which shares no code with the nodes."""
    horizon = 52.0
    shape, z = parameters.r + x, horizon / (parameters.alpha + T)
    dropout = beta_distribution(parameters.a, parameters.b + x)

    def orders_at_quantile(share: float) -> float:
        p = float(dropout.ppf(share))
        return shape * z if p * z * shape < 1e-8 else -math.expm1(-shape * math.log1p(p * z)) / p

    integral, error = quad(orders_at_quantile, 0.0, 1.0, limit=500, epsabs=0.0, epsrel=1e-7)
    expected = integral * bgnbd.probability_alive(parameters, x, t_x, T)[0]
    tolerance = max(1e-5, 5 * error / integral)
    assert bgnbd.expected_orders(parameters, x, t_x, T, horizon)[0] == pytest.approx(expected, rel=tolerance)


def test_expected_orders_agree_with_the_closed_form_of_the_paper() -> None:
    r, alpha, a, b = LITERATURE.r, LITERATURE.alpha, LITERATURE.a, LITERATURE.b
    x, t_x, T, horizon = np.arange(0.0, 25.0), 20.0, 38.86, 39.0
    t_xs = np.where(x > 0, t_x, 0.0)
    hypergeometric = hyp2f1(r + x, b + x, a + b + x - 1, horizon / (alpha + T + horizon))
    shrinking = ((alpha + T) / (alpha + T + horizon)) ** (r + x)
    numerator = (a + b + x - 1) / (a - 1) * (1 - shrinking * hypergeometric)
    odds_left = np.where(x > 0, a / (b + np.maximum(x, 1) - 1) * ((alpha + T) / (alpha + t_xs)) ** (r + x), 0.0)
    ours = bgnbd.expected_orders(LITERATURE, x, t_xs, np.full_like(x, T), horizon)
    assert ours == pytest.approx(numerator / (1 + odds_left), rel=1e-7)


def test_nothing_overflows_for_customers_with_thousands_of_orders() -> None:
    x = np.array([0.0, 1.0, 500.0, 5_000.0, 5_000.0])
    t_x = np.array([0.0, 0.5, 1.0, 100.0, 1.0])
    T = np.array([500.0, 500.0, 500.0, 100.0, 500.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alive = bgnbd.probability_alive(LITERATURE, x, t_x, T)
        order = bgnbd.probability_of_order(LITERATURE, x, t_x, T, 13.0)
        orders = bgnbd.expected_orders(LITERATURE, x, t_x, T, 52.0)
    for values in (alive, order, orders):
        assert np.isfinite(values).all()
        assert (values >= 0).all()
    assert alive[-1] < 1e-100
    assert alive[3] > 0.99
    assert (alive <= 1).all()
    assert (order <= 1).all()


def test_simulated_parameters_are_found_again() -> None:
    lines = simulated_lines(customers=4_000, days=700, orders_per_day=0.05, rate_shape=1.5, dropout=0.15, seed=1)
    fitted = fit_of(lines)
    assert fitted.status is FitStatus.FITTED
    assert fitted.parameters is not None
    assert fitted.parameters.r == pytest.approx(1.5, rel=0.15)
    assert fitted.parameters.r / fitted.parameters.alpha / 7.0 == pytest.approx(0.05, rel=0.15)
    assert fitted.parameters.mean_dropout == pytest.approx(0.15, rel=0.1)


def test_few_customers_with_hundreds_of_orders_each_are_fitted() -> None:
    lines = simulated_lines(customers=60, days=400, orders_per_day=0.8, rate_shape=4.0, dropout=0.002, seed=3)
    assert purchase_summaries(lines, "2025-02-03")["x"].quantile(0.75) > 200
    fitted = fit_of(lines)
    assert fitted.is_usable


def test_equal_customers_are_fitted_with_little_heterogeneity() -> None:
    lines = simulated_lines(customers=300, days=400, orders_per_day=0.1, rate_shape=1e6, dropout=0.1, seed=4)
    fitted = fit_of(lines)
    assert fitted.parameters is not None
    assert fitted.parameters.r > 5


def test_a_shop_that_nobody_leaves_has_no_dropout_and_keeps_its_probability_of_order() -> None:
    lines = simulated_lines(customers=800, days=500, orders_per_day=0.02, rate_shape=1.0, dropout=0.0, seed=5)
    fitted = fit_of(lines)
    assert fitted.status is FitStatus.NO_DROPOUT
    assert fitted.parameters is not None
    assert fitted.parameters.mean_dropout < bgnbd.NO_DROPOUT_BELOW
    summaries = purchase_summaries(lines, "2025-05-14")
    order = bgnbd.probability_of_order(fitted.parameters, summaries["x"], summaries["t_x"], summaries["T"], 13.0)
    shape, base = fitted.parameters.r + summaries["x"], fitted.parameters.alpha + summaries["T"]
    without_dropout = 1.0 - (base / (base + 13.0)) ** shape
    # a/(a+b) is not exactly 0: a customer silent for long may still be taken for lost.
    assert np.abs(order - without_dropout).mean() < 0.02
    orders = bgnbd.expected_orders(fitted.parameters, summaries["x"], summaries["t_x"], summaries["T"], 13.0)
    assert orders.sum() == pytest.approx(float((shape * 13.0 / base).sum()), rel=0.03)


@pytest.mark.parametrize(
    ("shop", "status"),
    [
        ({"customers": 10}, FitStatus.TOO_FEW_CUSTOMERS),
        ({"first_dropout": 1.0, "acquisition_days": 300}, FitStatus.NO_REPEAT_BUYERS),
        ({"days": 1}, FitStatus.TOO_LITTLE_HISTORY),
    ],
)
def test_a_shop_that_cannot_be_fitted_says_why(shop: dict[str, Any], status: FitStatus) -> None:
    ordinary: dict[str, Any] = {"customers": 200, "days": 300, "orders_per_day": 0.1, "rate_shape": 1.0, "dropout": 0.1}
    assert fit_of(simulated_lines(**ordinary)).status is FitStatus.FITTED
    fitted = fit_of(simulated_lines(**{**ordinary, **shop}))
    assert fitted.status is status
    assert fitted.parameters is None
    assert fitted.log_likelihood is None


def test_odd_shops_are_fitted_or_refused_but_never_nan() -> None:
    random = np.random.default_rng(7)
    shops_tried = 0
    for _ in range(12):
        lines = simulated_lines(
            customers=int(random.integers(15, 200)),
            days=int(random.integers(5, 900)),
            orders_per_day=float(10 ** random.uniform(-3, 0.3)),
            rate_shape=float(10 ** random.uniform(-1, 2)),
            dropout=float(random.choice([0.0, 0.01, 0.3, 0.9])),
            acquisition_days=int(random.integers(1, 300)),
            seed=int(random.integers(1_000)),
        )
        if lines.empty:
            continue
        shops_tried += 1
        fitted = fit_of(lines)
        if fitted.parameters is None:
            assert fitted.status not in (FitStatus.FITTED, FitStatus.NO_DROPOUT)
            continue
        summaries = purchase_summaries(lines, str(lines["ordered_on"].max().date()))
        for horizon in (4.0, 52.0):
            arguments = (fitted.parameters, summaries["x"], summaries["t_x"], summaries["T"], horizon)
            assert np.isfinite(bgnbd.probability_of_order(*arguments)).all()
            assert np.isfinite(bgnbd.expected_orders(*arguments)).all()
    assert shops_tried > 8


def test_what_is_no_customer_summary_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1 is no customer summary"):
        bgnbd.fit([1, 1], [2.0, 9.0], [3.0, 3.0])
    with pytest.raises(ValueError, match="equally long"):
        bgnbd.fit([1, 1], [2.0], [3.0, 3.0])
