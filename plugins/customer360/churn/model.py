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

from collections.abc import Iterator
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
        """The standardised feature of each row, cut at ±Z_LIMIT."""
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
        """The tree whose leaves add ``factor`` times as much."""
        return replace(self, value=self.value * factor)


@dataclass(frozen=True)
class Forest:
    """Trees that are added up; `columns` and their `families` are what they split on."""

    columns: tuple[str, ...]
    families: tuple[Family, ...]
    trees: tuple[Tree, ...]
    population_means: tuple[float, ...] = ()
    """Mean of what each column's splits add in the population: contributions start there; empty: not centred."""

    @property
    def root(self) -> float:
        """Sum of the roots: the log-odds before any split."""
        return float(sum(tree.value[0] for tree in self.trees))

    @property
    def means(self) -> tuple[float, ...]:
        """`population_means`, 0 where the forest is not centred."""
        return self.population_means or (0.0,) * len(self.columns)

    def steps(self, frame: pd.DataFrame) -> Floats:
        """What each column's splits add along the customers' paths, a row per column, not centred."""
        values = split_values(frame, self.columns)
        rows = np.arange(len(frame))
        added = np.zeros((len(self.columns), len(frame)))
        for tree in self.trees:
            node = np.zeros(len(frame), dtype=np.int64)
            while True:
                split = tree.split[node]
                is_inner = split != LEAF
                if not is_inner.any():
                    break
                column = np.maximum(split, 0)
                goes_left = values[rows, column] <= tree.threshold[node]
                child = np.where(is_inner, np.where(goes_left, tree.left[node], tree.right[node]), node)
                added[column, rows] += np.where(is_inner, tree.value[child] - tree.value[node], 0.0)
                node = child
        return added

    def log_odds(self, frame: pd.DataFrame) -> Floats:
        """What all trees add to the log-odds, the roots included."""
        return self.root + self.steps(frame).sum(axis=0)

    def scaled(self, factor: float) -> Forest:
        """The forest whose trees add ``factor`` times as much."""
        means = tuple(mean * factor for mean in self.population_means)
        return replace(self, trees=tuple(tree.scaled(factor) for tree in self.trees), population_means=means)


@dataclass(frozen=True)
class ColumnContribution:
    """What one column adds to the log-odds of a customer."""

    family: Family
    column: str
    contribution: float


@dataclass(frozen=True)
class _Part:
    family: Family
    column: str
    contribution: Floats


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
        return centred + (sum(self.forest.means) if self.forest else 0.0)

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
        return np.clip(self.log_odds_unlimited(frame), -LOGIT_LIMIT, LOGIT_LIMIT)

    def probability(self, frame: pd.DataFrame) -> Floats:
        """Churn probability of every row, strictly between 0 and 1."""
        return expit(self.log_odds(frame))

    def contributions(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Contribution of each family to the log-odds, a column each: their sum + centred_intercept = logit(p).

        Where `LOGIT_LIMIT` cut the log-odds, all contributions of the customer are shortened alike.
        """
        columns = {family.value: np.zeros(len(frame)) for family in self.families}
        for part in self._parts(frame):
            columns[part.family.value] += part.contribution
        unlimited = self.log_odds_unlimited(frame)
        limited = np.clip(unlimited, -LOGIT_LIMIT, LOGIT_LIMIT)
        distance = unlimited - self.centred_intercept
        share = (limited - self.centred_intercept) / np.where(distance == 0.0, 1.0, distance)
        shortened = np.where(limited == unlimited, 1.0, share)
        return pd.DataFrame({name: values * shortened for name, values in columns.items()}, index=frame.index)

    def column_contributions(self, customer: pd.DataFrame) -> list[ColumnContribution]:
        """What each column adds to the log-odds of one customer (a frame of one row), before the limit.

        They add up to the contributions of their families.
        """
        added: dict[tuple[Family, str], float] = {}
        for part in self._parts(customer):
            place = (part.family, part.column)
            added[place] = added.get(place, 0.0) + float(part.contribution[0])
        return [ColumnContribution(family, column, value) for (family, column), value in added.items()]

    def _parts(self, frame: pd.DataFrame) -> Iterator[_Part]:
        for term in self.terms:
            centred = term.beta * (term.z(frame) - term.population_mean_z)
            yield _Part(term.feature.family, term.feature.column, centred)
        if self.forest:
            read = {int(split) for tree in self.forest.trees for split in tree.split if split != LEAF}
            steps = self.forest.steps(frame)
            for place in sorted(read):
                centred = steps[place] - self.forest.means[place]
                yield _Part(self.forest.families[place], self.forest.columns[place], centred)

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
            forest = replace(forest, population_means=tuple(forest.steps(population).mean(axis=1).tolist()))
        return ScoreModel(terms, self.intercept, forest)

    def log_odds_unlimited(self, frame: pd.DataFrame) -> Floats:
        """The sum before the limit; for a model of a number, the number."""
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
