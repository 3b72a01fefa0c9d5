"""Boosted trees: fitted by scikit-learn, taken out of it as plain nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from customer360.churn.features import SPLIT_COLUMNS, Family, split_values
from customer360.churn.model import LEAF, Forest, ScoreModel, Tree

Floats = NDArray[np.float64]

TREES = 80
LEARNING_RATE = 0.06
DEPTH = 3
"""On seven logs 80 trees of depth 3 at this rate are within 0.0005 Brier of the best of 60 to 200."""

MINIMUM_CUSTOMERS_PER_LEAF = 20
"""A customer is in every snapshot: a leaf needs as many rows as that many customers have in all of them."""

RIDGE = 5.0


def split_columns(families: Sequence[Family]) -> tuple[tuple[str, ...], tuple[Family, ...]]:
    """Columns that trees of some families may split on, and the family of each."""
    pairs = [(column, family) for column, family in SPLIT_COLUMNS if family in families]
    return tuple(column for column, _ in pairs), tuple(family for _, family in pairs)


def fit(frame: pd.DataFrame, labels: NDArray[np.int64], families: Sequence[Family], snapshots: int) -> ScoreModel:
    """Trees on the rows of `frame`, which come from `snapshots` days; label 1 is churn."""
    columns, of_family = split_columns(families)
    model = HistGradientBoostingClassifier(**_options(snapshots)).fit(split_values(frame, columns), labels)
    return _taken_out(model, columns, of_family)


def fit_amount(frame: pd.DataFrame, amounts: Floats, families: Sequence[Family], snapshots: int) -> ScoreModel:
    """The same for a number: what `ScoreModel` calls log-odds is then the number itself."""
    columns, of_family = split_columns(families)
    model = HistGradientBoostingRegressor(**_options(snapshots)).fit(split_values(frame, columns), amounts)
    return _taken_out(model, columns, of_family)


def _options(snapshots: int) -> dict[str, float | int | bool]:
    return {
        "max_iter": TREES,
        "learning_rate": LEARNING_RATE,
        "max_depth": DEPTH,
        "min_samples_leaf": MINIMUM_CUSTOMERS_PER_LEAF * max(snapshots, 1),
        "l2_regularization": RIDGE,
        "early_stopping": False,
        "random_state": 0,
    }


def _taken_out(
    model: HistGradientBoostingClassifier | HistGradientBoostingRegressor,
    columns: tuple[str, ...],
    families: tuple[Family, ...],
) -> ScoreModel:
    # scikit-learn publishes predictions but no nodes; a test holds this to its predictions, so that a change is seen.
    trees = [_tree(predictors[0].nodes) for predictors in model._predictors]
    intercept = float(model._baseline_prediction.item()) + float(sum(tree.value[0] for tree in trees))
    return ScoreModel((), intercept, Forest(columns, families, tuple(tree for tree in trees if len(tree.split) > 1)))


def _tree(nodes: NDArray[np.void]) -> Tree:
    is_leaf = nodes["is_leaf"].astype(bool)
    left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    value, count = nodes["value"].astype(np.float64).copy(), nodes["count"].astype(np.float64)
    # Children come after their parents: going backwards, both are known when a parent is reached.
    for node in np.flatnonzero(~is_leaf)[::-1]:
        below = [left[node], right[node]]
        value[node] = np.average(value[below], weights=count[below])
    return Tree(
        split=np.where(is_leaf, LEAF, nodes["feature_idx"].astype(np.int64)),
        threshold=np.where(is_leaf, 0.0, nodes["num_threshold"]),
        left=left,
        right=right,
        value=value,
    )
