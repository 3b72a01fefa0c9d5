"""The model that serves: trees as plain nodes, exact contributions, reasons that matter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from sklearn.ensemble import HistGradientBoostingClassifier

from customer360.churn import logistic, protocol, scoring_sql, trees
from customer360.churn.features import FROM_ORDERS, MODEL_FEATURES, Family, split_values
from customer360.churn.model import ONLY_ONE_ORDER, ScoreModel, mean_of, protective_reason, reasons
from tests.unit.churn_shops import simulated_lines, source_of


@pytest.fixture(scope="module")
def snapshot() -> protocol.Snapshot:
    lines = simulated_lines(
        customers=1_500, days=500, orders_per_day=0.02, rate_shape=0.8, dropout=0.15, acquisition_days=300, seed=11
    )
    taken = protocol.take_snapshot(source_of(lines), pd.Timestamp("2025-01-15").date(), 91)
    return protocol.with_logits(taken, protocol.fit_order_models(taken.frame), 91)


@pytest.fixture(scope="module")
def forest(snapshot: protocol.Snapshot) -> ScoreModel:
    return trees.fit(snapshot.frame, snapshot.labels, FROM_ORDERS, 1)


@pytest.fixture(scope="module")
def both(snapshot: protocol.Snapshot, forest: ScoreModel) -> ScoreModel:
    regression = logistic.fit(snapshot.frame, snapshot.labels, MODEL_FEATURES)
    return mean_of(regression, forest).calibrated(-0.2, 1.3).centred(snapshot.frame)


def test_the_nodes_taken_out_of_scikit_learn_predict_what_it_predicts(
    snapshot: protocol.Snapshot, forest: ScoreModel
) -> None:
    columns, _ = trees.split_columns(FROM_ORDERS)
    values = split_values(snapshot.frame, columns)
    theirs = HistGradientBoostingClassifier(**trees._options(1)).fit(values, snapshot.labels)
    assert forest.forest is not None
    assert len(forest.forest.trees) > 20
    assert np.abs(forest.log_odds(snapshot.frame) - theirs.decision_function(values)).max() < 1e-9


def test_contributions_and_intercept_add_up_to_the_logit_of_the_score(
    snapshot: protocol.Snapshot, both: ScoreModel
) -> None:
    contributions = both.contributions(snapshot.frame)
    assert {"recency", "frequency", "value"} <= set(contributions.columns)
    total = contributions.sum(axis=1).to_numpy() + both.centred_intercept
    assert np.abs(total - logit(both.probability(snapshot.frame))).max() < 1e-9
    assert np.abs(contributions.mean()).max() < 1e-9


def test_the_contributions_of_columns_add_up_to_those_of_their_families(
    snapshot: protocol.Snapshot, both: ScoreModel
) -> None:
    for row in range(20):
        customer = snapshot.frame.iloc[[row]]
        families = both.contributions(customer).iloc[0]
        by_family: dict[str, float] = dict.fromkeys(families.index, 0.0)
        for part in both.column_contributions(customer):
            by_family[part.family.value] += part.contribution
        for family, value in families.items():
            assert by_family[str(family)] == pytest.approx(value, abs=1e-9)


def test_the_mean_of_two_models_has_the_mean_of_their_log_odds_and_refuses_two_forests(
    snapshot: protocol.Snapshot, forest: ScoreModel
) -> None:
    regression = logistic.fit(snapshot.frame, snapshot.labels, MODEL_FEATURES)
    mean = (regression.log_odds(snapshot.frame) + forest.log_odds(snapshot.frame)) / 2
    assert np.abs(mean_of(regression, forest).log_odds(snapshot.frame) - mean).max() < 1e-9
    with pytest.raises(ValueError, match="only one"):
        mean_of(forest, forest)


def test_the_sql_of_a_family_has_no_split_that_does_not_lead_to_one_of_its_own(forest: ScoreModel) -> None:
    assert forest.forest is not None
    cases = [
        scoring_sql._case(forest.forest, tree, 0, {Family.VALUE}, 0.0)
        for tree in forest.forest.trees
        if not {forest.forest.families[split] for split in tree.split if split >= 0} & {Family.VALUE}
    ]
    assert cases
    assert set(cases) == {0.0}
    assert "split_recency_days <= " in scoring_sql.family_expressions(forest)[Family.RECENCY]


def test_one_time_buyers_are_told_of_their_only_order_and_of_no_recency() -> None:
    contributions = pd.Series({"recency": 0.8, "frequency": 0.5, "value": 0.2, "tickets": 0.9, "sessions": -1.0})
    codes = [(reason.code, reason.contribution) for reason in reasons(contributions, is_one_time=True)]
    assert codes == [(ONLY_ONE_ORDER, pytest.approx(1.3)), ("tickets", 0.9), ("value", 0.2)]
    habitual = [reason.code for reason in reasons(contributions, is_one_time=False)]
    assert habitual == ["tickets", "recency", "frequency"]
    protective = protective_reason(contributions, is_one_time=False)
    assert protective is not None
    assert (protective.code, protective.contribution) == ("sessions", -1.0)


def test_what_hardly_moves_the_score_is_no_reason_and_what_lowers_it_is_none_that_raises_it() -> None:
    contributions = pd.Series({"recency": -0.4, "value": 0.09, "tickets": -0.05})
    assert reasons(contributions, is_one_time=False) == []
    assert protective_reason(pd.Series({"value": -0.09, "tickets": 0.5}), is_one_time=False) is None
