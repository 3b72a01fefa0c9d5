"""How well identity knows who is who, where the truth is known: pairs of records, judged by precision and recall.

A pair of records is *joined* when both are the same customer's, and *true* when both are the same person's.
Precision = joined and true ÷ joined; recall = joined and true ÷ true. Pairs weigh large mistakes heavily, as they
should: two families in one customer are many wrong pairs (Hand & Christen 2018 discuss the measure's limits).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PairwiseQuality:
    """Counts of pairs of records, and what follows from them."""

    joined_pairs: int
    true_pairs: int
    joined_true_pairs: int

    @property
    def precision(self) -> float:
        """Of the joined pairs, the share that is true; 1 where nothing is joined."""
        return self.joined_true_pairs / self.joined_pairs if self.joined_pairs else 1.0

    @property
    def recall(self) -> float:
        """Of the true pairs, the share that is joined; 1 where there is nothing to join."""
        return self.joined_true_pairs / self.true_pairs if self.true_pairs else 1.0


def pairwise(customer: Ints, person: Ints) -> PairwiseQuality:
    """Judge an assignment of records to customers (-1: nobody's) against the people behind them."""
    named = customer >= 0
    return PairwiseQuality(
        joined_pairs=_pairs(customer[named]),
        true_pairs=_pairs(person),
        joined_true_pairs=_pairs(customer[named], person[named]),
    )


def recall_of_sharing(customer: Ints, person: Ints, shown: Ints) -> float:
    """Recall over the true pairs whose records share one of the given identifiers.

    Args:
        shown: an n × 3 array of the identifiers that count (the unblocked strong ones) per record; -1 for none.
    """
    true = _sharing_pairs(person, shown)
    named = customer >= 0
    found = _sharing_pairs(person[named] * np.int64(customer.max(initial=0) + 1) + customer[named], shown[named])
    return found / true if true else 1.0


def _sharing_pairs(group: Ints, shown: Ints) -> int:
    """Pairs within a group that share at least one identifier: inclusion and exclusion over the three columns."""
    total = 0
    for columns, sign in (
        ((0,), 1), ((1,), 1), ((2,), 1), ((0, 1), -1), ((0, 2), -1), ((1, 2), -1), ((0, 1, 2), 1),
    ):  # fmt: skip
        there = (shown[:, columns] >= 0).all(axis=1)
        total += sign * _pairs(group[there], *(shown[there, column] for column in columns))
    return total


def _pairs(*columns: Ints) -> int:
    """Pairs of rows that are equal in all columns."""
    if not len(columns[0]):
        return 0
    order = np.lexsort(columns)
    is_new = np.zeros(len(order), bool)
    is_new[0] = True
    for column in columns:
        in_order = column[order]
        is_new[1:] |= in_order[1:] != in_order[:-1]
    sizes = np.diff(np.append(np.flatnonzero(is_new), len(order)))
    return int((sizes * (sizes - 1) // 2).sum())
