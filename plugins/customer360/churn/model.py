"""The model that serves: a sum that SQL can do, stored as plain rows, with exact additive reasons.

The log-odds of churn are an intercept, plus a sum of terms beta z with z = clip((feature - mean) / scale, -6, 6), plus
a sum of shallow trees. A candidate may have terms, trees, or both (the mean of two log-odds is again such a sum). SQL
computes the same to 1e-9 (dbt_project/macros/churn_scoring.sql).

Contributions are told against the population's average. A term contributes beta (z - mean z). A tree contributes along
the path that a customer takes through it (Saabas 2014, "Interpreting random forests"): each split adds to the family of
its column what the expected log-odds change from the node to its child. Both add up exactly:
sum of contributions + centred intercept = logit(p).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from customer360.churn.features import Family, ModelFeature, split_values

Floats = NDArray[np.float64]

Z_LIMIT = 6.0
"""A customer further out than six deviations is scored as one at six: an outlier is no evidence of the slope there."""

LOGIT_LIMIT = 13.0
"""Probabilities stay within 2e-6 of 0 and 1: nobody is certain, and logit(p) can be had back from p to 1e-9."""

LEAF = -1


@dataclass(frozen=True)
class Term:
    """One feature of a regression."""

    feature: ModelFeature
    mean: float
    scale: float
    beta: float
    population_mean_z: float = 0.0

    def z(self, frame: pd.DataFrame) -> Floats:
        return np.clip((self.feature.values(frame) - self.mean) / self.scale, -Z_LIMIT, Z_LIMIT)


@dataclass(frozen=True)
class Tree:
    """One tree, its nodes in arrays; node 0 is the root. `split` is an index into the forest's columns, or `LEAF`."""

    split: NDArray[np.int64]
    threshold: Floats
    """A value up to and including it goes left."""
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: Floats
    """Of a leaf what it adds to the log-odds, of an inner node the mean of its training rows."""

    def scaled(self, factor: float) -> Tree:
        return replace(self, value=self.value * factor)


@dataclass(frozen=True)
class Forest:
    """Trees that are added up; `columns` and their `families` are what they split on."""

    columns: tuple[str, ...]
    families: tuple[Family, ...]
    trees: tuple[Tree, ...]
    population_means: tuple[tuple[Family, float], ...] = ()
    """Mean contribution of each family in the population, from which contributions are told."""

    @property
    def root(self) -> float:
        """Sum of the roots: the log-odds before any split."""
        return float(sum(tree.value[0] for tree in self.trees))

    def steps(self, frame: pd.DataFrame) -> dict[Family, Floats]:
        """What each family's splits add along the customers' paths, not yet centred."""
        values = split_values(frame, self.columns)
        rows = np.arange(len(frame))
        added = {family: np.zeros(len(frame)) for family in dict.fromkeys(self.families)}
        family_of = np.array([list(added).index(family) for family in self.families])
        totals = np.zeros((len(added), len(frame)))
        for tree in self.trees:
            node = np.zeros(len(frame), dtype=np.int64)
            while True:
                split = tree.split[node]
                inner = split != LEAF
                if not inner.any():
                    break
                goes_left = values[rows, np.maximum(split, 0)] <= tree.threshold[node]
                child = np.where(inner, np.where(goes_left, tree.left[node], tree.right[node]), node)
                totals[family_of[np.maximum(split, 0)], rows] += np.where(inner, tree.value[child] - tree.value[node], 0.0)
                node = child
        return {family: totals[index] for index, family in enumerate(added)}

    def log_odds(self, frame: pd.DataFrame) -> Floats:
        """What all trees add to the log-odds, the roots included."""
        total = np.full(len(frame), self.root)
        for added in self.steps(frame).values():
            total += added
        return total

    def scaled(self, factor: float) -> Forest:
        means = tuple((family, mean * factor) for family, mean in self.population_means)
        return replace(self, trees=tuple(tree.scaled(factor) for tree in self.trees), population_means=means)


@dataclass(frozen=True)
class ScoreModel:
    """Terms, trees and an intercept; `calibrated` and `centred` give the same model calibrated, centred."""

    terms: tuple[Term, ...]
    intercept: float
    """Log-odds where every z is 0 and every tree stands at its root; the roots' own values are included."""
    forest: Forest | None = None

    @property
    def centred_intercept(self) -> float:
        """The log-odds of a customer who is average in everything."""
        centred = self.intercept + sum(term.beta * term.population_mean_z for term in self.terms)
        return centred + sum(mean for _, mean in (self.forest.population_means if self.forest else ()))

    @property
    def families(self) -> tuple[Family, ...]:
        """Families that the model reads, in their fixed order."""
        used = {term.feature.family for term in self.terms}
        if self.forest:
            splits = {int(split) for tree in self.forest.trees for split in tree.split if split != LEAF}
            used |= {self.forest.families[split] for split in splits}
        return tuple(family for family in Family if family in used)

    def log_odds(self, frame: pd.DataFrame) -> Floats:
        """Log-odds of churn, within +-`LOGIT_LIMIT`."""
        return np.clip(self._unlimited_log_odds(frame), -LOGIT_LIMIT, LOGIT_LIMIT)

    def probability(self, frame: pd.DataFrame) -> Floats:
        """Churn probability of every row, strictly between 0 and 1."""
        return expit(self.log_odds(frame))

    def contributions(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Contribution of each family to the log-odds, a column each: their sum + centred_intercept = logit(p).

        Where `LOGIT_LIMIT` cut the log-odds, all contributions of the customer are shortened alike.
        """
        columns = {family.value: np.zeros(len(frame)) for family in self.families}
        for term in self.terms:
            columns[term.feature.family.value] += term.beta * (term.z(frame) - term.population_mean_z)
        if self.forest:
            means = dict(self.forest.population_means)
            for family, added in self.forest.steps(frame).items():
                if family.value in columns:
                    columns[family.value] += added - means.get(family, 0.0)
        unlimited = self._unlimited_log_odds(frame)
        limited = np.clip(unlimited, -LOGIT_LIMIT, LOGIT_LIMIT)
        distance = unlimited - self.centred_intercept
        share = (limited - self.centred_intercept) / np.where(distance == 0.0, 1.0, distance)
        shortened = np.where(limited == unlimited, 1.0, share)
        return pd.DataFrame({name: values * shortened for name, values in columns.items()}, index=frame.index)

    def calibrated(self, intercept: float, slope: float) -> ScoreModel:
        """The model whose log-odds are intercept + slope times the present ones: again such a sum."""
        terms = tuple(replace(term, beta=term.beta * slope) for term in self.terms)
        forest = self.forest.scaled(slope) if self.forest else None
        return ScoreModel(terms, intercept + slope * self.intercept, forest)

    def centred(self, population: pd.DataFrame) -> ScoreModel:
        """The same model with the means of `population`, so that contributions are told against its average."""
        terms = tuple(replace(term, population_mean_z=float(term.z(population).mean())) for term in self.terms)
        forest = self.forest
        if forest:
            steps = forest.steps(population)
            forest = replace(forest, population_means=tuple((family, float(v.mean())) for family, v in steps.items()))
        return ScoreModel(terms, self.intercept, forest)

    def _unlimited_log_odds(self, frame: pd.DataFrame) -> Floats:
        total = np.full(len(frame), self.intercept)
        for term in self.terms:
            total += term.beta * term.z(frame)
        if self.forest:
            total += self.forest.log_odds(frame) - self.forest.root
        return total


def mean_of(first: ScoreModel, second: ScoreModel) -> ScoreModel:
    """The model whose log-odds are the mean of two; at most one of them may have trees.

    Raises ValueError where both have trees.
    """
    if first.forest and second.forest:
        raise ValueError("only one of the two models may have trees")
    halves = [model.calibrated(0.0, 0.5) for model in (first, second)]
    return ScoreModel(
        halves[0].terms + halves[1].terms,
        halves[0].intercept + halves[1].intercept,
        halves[0].forest or halves[1].forest,
    )


ONLY_ONE_ORDER = "only_one_order"
"""Recency and frequency of a one-time buyer are one fact, not a story of silence."""

REASONS_SHOWN = 3

SMALLEST_REASON = 0.1
"""Log-odds below which a family is no reason: it moves a probability by at most 2.5 points."""


@dataclass(frozen=True)
class Reason:
    """Why a score is what it is: a family, or "only one order", and what it adds to the log-odds of churn."""

    code: str
    contribution: float


def reasons(contributions: pd.Series, is_one_time: bool) -> list[Reason]:
    """The up to three families that raise a customer's score most, greatest first; names break ties."""
    raising = [reason for reason in _merged(contributions, is_one_time) if reason.contribution >= SMALLEST_REASON]
    return sorted(raising, key=lambda reason: (-reason.contribution, reason.code))[:REASONS_SHOWN]


def protective_reason(contributions: pd.Series, is_one_time: bool) -> Reason | None:
    """The family that lowers a customer's score most, if any matters."""
    lowering = [reason for reason in _merged(contributions, is_one_time) if reason.contribution <= -SMALLEST_REASON]
    return min(lowering, key=lambda reason: (reason.contribution, reason.code), default=None)


def _merged(contributions: pd.Series, is_one_time: bool) -> list[Reason]:
    merged: dict[str, float] = {}
    for family, value in contributions.items():
        code = ONLY_ONE_ORDER if is_one_time and family in (Family.RECENCY, Family.FREQUENCY) else str(family)
        merged[code] = merged.get(code, 0.0) + float(value)
    return [Reason(code, value) for code, value in merged.items()]
