"""The regression: what is stored is enough to score, and every score is the sum of its reasons."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from customer360.churn import logistic, protocol
from customer360.churn.features import MODEL_FEATURES, Family, Transform, features_of
from customer360.churn.model import LOGIT_LIMIT, ScoreModel
from tests.unit.churn_shops import simulated_lines, source_of


@pytest.fixture(scope="module")
def snapshot() -> protocol.Snapshot:
    lines = simulated_lines(
        customers=1_500, days=500, orders_per_day=0.02, rate_shape=0.8, dropout=0.15, acquisition_days=300, seed=11
    )
    source = source_of(lines)
    taken = protocol.take_snapshot(source, pd.Timestamp("2025-01-15").date(), 91)
    return protocol.with_logits(taken, protocol.fit_order_models(taken.frame), 91)


@pytest.fixture(scope="module")
def model(snapshot: protocol.Snapshot) -> ScoreModel:
    fitted = logistic.fit(snapshot.frame, snapshot.labels, MODEL_FEATURES)
    return fitted.calibrated(-0.1, 1.2).centred(snapshot.frame)


def test_stored_rows_and_plain_arithmetic_give_the_probability(model: ScoreModel, snapshot: protocol.Snapshot) -> None:
    """As SQL will: the stored numbers, ln, greatest and least, nothing of scikit-learn."""
    rows = [(t.feature.column, t.feature.transform, t.mean, t.scale, t.beta) for t in model.terms]
    assert len(rows) > 8
    for _, customer in snapshot.frame.head(50).iterrows():
        log_odds = model.intercept
        for column, transform, mean, scale, beta in rows:
            value = customer[column]
            if transform is Transform.IS_NULL:
                value = 1.0 if pd.isna(value) else 0.0
            else:
                value = 0.0 if pd.isna(value) else float(value)
                logarithm = np.log(1 + max(value, 0.0))
                value = {
                    Transform.LOG1P: logarithm,
                    Transform.SQUARED_LOG1P: logarithm**2,
                    Transform.SQUARE_ROOT: np.sqrt(max(value, 0.0)),
                    Transform.AS_IT_IS: value,
                }[transform]
            log_odds += beta * min(max((value - mean) / scale, -6.0), 6.0)
        scored = model.probability(snapshot.frame.loc[[customer.name]])[0]
        assert scored == pytest.approx(1 / (1 + np.exp(-log_odds)), abs=1e-9)


def test_contributions_and_intercept_add_up_to_the_logit_of_the_score(
    model: ScoreModel, snapshot: protocol.Snapshot
) -> None:
    contributions = model.contributions(snapshot.frame)
    assert set(contributions.columns) == {"recency", "frequency", "value"}
    total = contributions.sum(axis=1).to_numpy() + model.centred_intercept
    assert np.abs(total - logit(model.probability(snapshot.frame))).max() < 1e-9
    assert np.abs(contributions.mean()).max() < 1e-9


def test_contributions_add_up_even_where_the_score_hits_its_limit(
    model: ScoreModel, snapshot: protocol.Snapshot
) -> None:
    steep = model.calibrated(0.0, 40.0).centred(snapshot.frame)
    probability = steep.probability(snapshot.frame)
    assert np.isclose(np.abs(logit(probability)), LOGIT_LIMIT).any()
    total = steep.contributions(snapshot.frame).sum(axis=1).to_numpy() + steep.centred_intercept
    assert np.abs(total - logit(probability)).max() < 1e-9
    assert (probability > 0).all()
    assert (probability < 1).all()


def test_features_without_variation_get_no_term(model: ScoreModel) -> None:
    families = {term.feature.family for term in model.terms}
    assert Family.SESSIONS not in families
    assert Family.TICKETS not in families
    assert len(features_of([Family.SESSIONS])) > 3


def test_calibration_undoes_overconfidence() -> None:
    random = np.random.default_rng(3)
    truth = random.normal(1.0, 1.0, 20_000)
    labels = (random.random(20_000) < expit(truth)).astype(np.int64)
    intercept, slope = logistic.platt(2.0 * truth - 0.7, labels)
    assert slope == pytest.approx(0.5, abs=0.02)
    assert intercept == pytest.approx(0.35, abs=0.03)


def test_a_score_that_ranks_backwards_only_has_its_mean_matched() -> None:
    random = np.random.default_rng(4)
    score = random.normal(0.0, 1.0, 5_000)
    labels = (random.random(5_000) < expit(-score)).astype(np.int64)
    intercept, slope = logistic.platt(score, labels)
    assert slope == 1.0
    assert expit(intercept + score).mean() == pytest.approx(labels.mean(), abs=1e-6)


def test_too_few_of_one_label_are_refused(snapshot: protocol.Snapshot) -> None:
    labels = np.ones(len(snapshot.frame), dtype=np.int64)
    labels[:5] = 0
    assert not logistic.is_learnable(labels)
    with pytest.raises(ValueError, match="at least 20 rows"):
        logistic.fit(snapshot.frame, labels, MODEL_FEATURES)


def test_separable_customers_give_a_finite_model_without_warnings(snapshot: protocol.Snapshot) -> None:
    labels = (snapshot.frame["recency_days"] > 60).to_numpy().astype(np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = logistic.fit(snapshot.frame, labels, MODEL_FEATURES)
    assert np.isfinite(model.probability(snapshot.frame)).all()


def test_a_customer_is_in_the_same_fold_in_every_snapshot_and_folds_are_about_equal(
    snapshot: protocol.Snapshot,
) -> None:
    keys = snapshot.frame["customer_key"]
    folds = logistic.folds_of(keys)
    assert (logistic.folds_of(keys[::-1])[::-1] == folds).all()
    assert np.bincount(folds, minlength=logistic.FOLDS).min() > len(keys) / logistic.FOLDS / 1.5


def test_a_sample_takes_all_rows_of_a_customer_or_none() -> None:
    keys = pd.Series(np.tile(np.arange(1, 5_001), 3))
    kept = logistic.sampled_customers(keys, 6_000)
    assert 5_000 < kept.sum() < 7_000
    assert keys[kept].value_counts().unique().tolist() == [3]
    assert logistic.sampled_customers(keys, 15_000).all()


def test_a_baseline_with_one_label_is_a_constant_strictly_between_0_and_1(snapshot: protocol.Snapshot) -> None:
    baseline = logistic.fit_baseline(snapshot.frame, np.ones(len(snapshot.frame), dtype=np.int64), "recency_days")
    probability = baseline.probability(snapshot.frame)
    assert np.ptp(probability) == 0
    assert 0.99 < probability[0] < 1
