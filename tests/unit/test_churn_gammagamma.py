"""Gamma-Gamma: the literature's numbers, and order values that have no usable mean."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from customer360.churn import gammagamma
from customer360.churn.statuses import FitStatus
from tests.unit.churn_shops import cdnow_sample_lines, purchase_summaries


def test_the_cdnow_sample_gives_the_parameters_of_the_literature() -> None:
    repeats = purchase_summaries(cdnow_sample_lines(), "1997-09-30").query("x > 0")
    fitted = gammagamma.fit(repeats["x"], repeats["m"])
    assert fitted.customer_count == 946
    assert fitted.status is FitStatus.FITTED
    assert fitted.parameters is not None
    found = [fitted.parameters.p, fitted.parameters.q, fitted.parameters.gamma]
    assert found == pytest.approx([6.25, 3.74, 15.44], rel=0.01)
    assert fitted.frequency_correlation == pytest.approx(0.114, abs=0.01)


def test_lifetimes_expects_the_same_order_values() -> None:
    repeats = purchase_summaries(cdnow_sample_lines(), "1997-09-30").query("x > 0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it sets options that pandas 3 no longer has
        from lifetimes import GammaGammaFitter

        oracle = GammaGammaFitter().fit(repeats["x"], repeats["m"])
        theirs = oracle.conditional_expected_average_profit(repeats["x"], repeats["m"])
    fitted = gammagamma.fit(repeats["x"], repeats["m"])
    assert fitted.parameters is not None
    ours = gammagamma.expected_order_value(fitted.parameters, repeats["x"], repeats["m"])
    assert ours == pytest.approx(theirs.to_numpy(), rel=0.01)


def test_a_customer_without_repeats_is_worth_the_mean_of_all() -> None:
    parameters = gammagamma.GammaGammaParameters(p=6.25, q=3.74, gamma=15.44)
    mean = 6.25 * 15.44 / 2.74
    values = gammagamma.expected_order_value(parameters, [0, 0, 1000], [np.nan, 99.0, 80.0])
    assert values == pytest.approx([mean, mean, 80.0], rel=0.01)


def test_wholesalers_are_drawn_to_the_mean_instead_of_fitted() -> None:
    random = np.random.default_rng(0)
    means = np.exp(random.normal(4.0, 3.0, 400))
    fitted = gammagamma.fit(random.integers(1, 30, 400), means)
    assert fitted.status is FitStatus.HEAVY_TAILED
    assert fitted.parameters is not None
    assert np.isfinite(gammagamma.expected_order_value(fitted.parameters, [0, 5, 300], [np.nan, 1e6, 3.0])).all()


@pytest.mark.parametrize("m", [[20.0] * 50, [1e-4] * 25 + [1e8] * 25])
def test_equal_or_extreme_values_give_finite_expectations(m: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = gammagamma.fit([3] * 50, m)
    assert fitted.parameters is not None
    assert np.isfinite(gammagamma.expected_order_value(fitted.parameters, [3] * 50, m)).all()
    assert fitted.frequency_correlation is None


def test_too_few_repeat_buyers_shrink_to_the_shop_mean_and_none_at_all_have_no_parameters() -> None:
    few = gammagamma.fit([1, 2], [10.0, 40.0])
    assert few.status is FitStatus.TOO_FEW_CUSTOMERS
    assert few.parameters is not None
    shop_mean = (10.0 + 2 * 40.0) / 3
    assert gammagamma.expected_order_value(few.parameters, [2], [40.0]) == pytest.approx([(shop_mean + 80.0) / 3])
    nobody = gammagamma.fit([0, 0, 3], [np.nan, np.nan, 0.0])
    assert nobody.status is FitStatus.NO_REPEAT_BUYERS
    assert nobody.parameters is None
