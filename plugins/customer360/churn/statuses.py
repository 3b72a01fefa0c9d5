"""The words with which a fit says how it went and a score says what it is.

Every degenerate shop ends in one of these, never in NaN and never in a traceback.
"""

from __future__ import annotations

from enum import StrEnum


class FitStatus(StrEnum):
    """How a fit ended. Only `FITTED` and `NO_DROPOUT` carry parameters that may be scored with."""

    FITTED = "fitted"
    NO_DROPOUT = "no_dropout"
    """Nobody is seen to leave: BG/NBD is replaced by NBD, P(order) stays, P(alive) is null."""
    HEAVY_TAILED = "heavy_tailed"
    """Order values have no usable mean under Gamma-Gamma: each customer's mean is drawn to the shop's instead."""
    TOO_FEW_CUSTOMERS = "too_few_customers"
    NO_REPEAT_BUYERS = "no_repeat_buyers"
    TOO_LITTLE_HISTORY = "too_little_history"
    ONE_CLASS = "one_class"
    """In the training windows everybody churned, or nobody did."""
    NOT_CONVERGED = "not_converged"


class PromotionDecision(StrEnum):
    """What became of a fitted version."""

    PROMOTED = "promoted"
    BEHIND_A_FALLBACK = "behind_a_fallback"
    """Hiatus, frequency or BG/NBD is surely better on the test, in AUC or in Brier."""
    DRIFT = "drift"
    """The mean prediction is off by more than 0.05: the shop changed between calibration and test."""
    NOT_TESTABLE = "not_testable"
    """On the test day everybody ended alike."""
    NOT_FITTED = "not_fitted"
