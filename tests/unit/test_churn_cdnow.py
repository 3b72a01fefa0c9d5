"""The reference results of docs/churn.md on CDNOW, reproduced with the code that serves."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from customer360.churn import bgnbd, evaluation, logistic, protocol
from customer360.churn.statuses import PromotionDecision
from tests.unit.churn_shops import (
    HistorySource,
    cdnow_lines,
    cdnow_sample_lines,
    cdnow_source,
    purchase_summaries,
    source_of,
)

TEST_AT = date(1997, 9, 30)


def evaluated(source: HistorySource, test_at: date) -> protocol.FittedVersion:
    plan = protocol.plan_snapshots(source.first_ordered_on, source.last_complete_on, 91, test_at)
    assert plan is not None
    return protocol.fit_version(source, plan)


def test_the_log_is_the_one_that_the_figures_were_measured_on() -> None:
    lines = cdnow_lines()
    assert len(lines) == 69_659
    assert int((lines["amount"] == 0).sum()) == 80
    assert lines.loc[lines["amount"] > 0, "customer_key"].nunique() == 23_502
    assert cdnow_sample_lines()["customer_key"].nunique() == 2_357


@pytest.fixture(scope="module")
def holdout() -> tuple[pd.DataFrame, np.ndarray]:
    """The sample at the end of calibration, and who did not order in the 39 weeks after it."""
    lines = cdnow_sample_lines()
    summaries = purchase_summaries(lines, str(TEST_AT))
    later = lines[(lines["ordered_on"] > "1997-09-30") & (lines["ordered_on"] <= "1998-06-30")]
    return summaries, (~summaries.index.isin(later["customer_key"])).astype(np.int64)


def test_the_holdout_of_the_sample_gives_the_accuracy_of_bgnbd(holdout: tuple[pd.DataFrame, np.ndarray]) -> None:
    summaries, churned = holdout
    arguments = (summaries["x"], summaries["t_x"], summaries["T"])
    fitted = bgnbd.fit(*arguments)
    assert fitted.parameters is not None
    probability = 1.0 - bgnbd.probability_of_order(fitted.parameters, *arguments, 39.0)
    assert evaluation.auc(churned, probability) == pytest.approx(0.757, abs=0.005)
    assert evaluation.brier(churned, probability) == pytest.approx(0.161, abs=0.005)
    # Why the score is never 1 - P(alive): it ranks worse than a coin.
    left = 1.0 - bgnbd.probability_alive(fitted.parameters, *arguments)
    by_left = evaluation.auc(churned, left)
    assert by_left is not None
    assert 0.3 < by_left < 0.4


def test_the_holdout_of_the_sample_gives_the_accuracy_of_hiatus(holdout: tuple[pd.DataFrame, np.ndarray]) -> None:
    summaries, churned = holdout
    frame = pd.DataFrame({"recency_days": ((summaries["T"] - summaries["t_x"]) * 7).round()})
    hiatus = logistic.fit_baseline(frame, churned, logistic.HIATUS_COLUMN)
    assert evaluation.auc(churned, frame["recency_days"].to_numpy()) == pytest.approx(0.771, abs=0.005)
    assert evaluation.brier(churned, hiatus.probability(frame)) == pytest.approx(0.158, abs=0.005)


def test_the_protocol_on_the_sample_reaches_the_reference() -> None:
    version = evaluated(source_of(cdnow_sample_lines()), TEST_AT)
    primary = version.evaluation["primary"]
    assert primary["auc"] == pytest.approx(0.796, abs=0.015)
    assert primary["brier"] == pytest.approx(0.111, abs=0.005)
    assert primary["auc_high"] - primary["auc_low"] == pytest.approx(0.05, abs=0.01)


@pytest.mark.slow
def test_the_protocol_on_all_customers_reaches_its_figures_over_the_test_days() -> None:
    version = evaluated(cdnow_source(), date(1998, 3, 31))
    days = version.evaluation["test_days"]
    assert [day["test_on"] for day in days["days"]] == ["1998-03-31", "1997-12-30"]
    assert days["auc_mean"] >= 0.775
    assert days["brier_mean"] <= 0.139
    assert version.decision is PromotionDecision.PROMOTED
    primary = version.evaluation["primary"]
    assert primary["n"] == 9_554
    for fallback in ("hiatus", "frequency", "bgnbd"):
        assert primary["auc"] > version.evaluation[fallback]["auc"]
        assert primary["brier"] < version.evaluation[fallback]["brier"]
    assert version.evaluation["hiatus"]["auc"] == pytest.approx(0.704, abs=0.005)


@pytest.mark.slow
def test_a_test_on_the_day_of_the_literature_is_accepted() -> None:
    version = evaluated(cdnow_source(), TEST_AT)
    assert version.evaluation["primary"]["auc"] >= 0.770
    assert version.evaluation["primary"]["brier"] <= 0.118
