"""How sure it is that all identifiers of a customer are one person's: a figure to order customers by.

confidence = min over the identifiers of 1 − doubt ÷ (1 + n), n being the number of records that show the identifier
beside another one of the same customer. The doubts are assumed: an account id is the shop's own word; an address is
rarely anybody else's; a phone is shared and passed on. What an operator joined is beyond doubt.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

DOUBT = np.array([0.0, 0.05, 0.2])
"""By type: customer_id, e-mail, phone."""


def confidence(
    kind: npt.NDArray[np.int8], customer: Ints, count: int, shown: Ints, weight: Ints, is_certain: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The confidence of each customer, rounded to four places.

    Args:
        kind: of each identifier, as in DOUBT.
        customer: number of each identifier's customer, below ``count``; -1 for none.
        shown: per row the numbers of the identifiers that records show; -1 for none.
        weight: how many records each row of ``shown`` stands for.
        is_certain: identifiers that an operator joined.
    """
    support = np.zeros(len(kind), np.int64)
    owner = np.where(shown >= 0, customer[shown], -1) if len(customer) else shown
    for column in range(3):
        others = [other for other in range(3) if other != column]
        beside = (owner[:, column] >= 0) & (owner[:, others] == owner[:, [column]]).any(axis=1)
        support += np.bincount(shown[beside, column], weights=weight[beside], minlength=len(kind)).astype(np.int64)
    doubt = np.where(is_certain, 0.0, DOUBT[kind] / (1 + support))
    most = np.zeros(count)
    named = customer >= 0
    np.maximum.at(most, customer[named], doubt[named])
    return np.round(1 - most, 4)
