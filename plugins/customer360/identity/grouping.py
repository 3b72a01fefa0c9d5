"""Grouping: which identifiers are one person. Pure arithmetic on numbered identifiers; the tables are elsewhere.

The outcome depends on the *set* of records alone, never on their order or batches. So that it does, what blocks an
identifier is decided in layers, each of which only looks at the layers before it:

1. An operator's blocks; pairs of identifiers that an operator set apart.
2. An **e-mail address** seen with more than K customer_ids is shared. (Those that an operator joined count once.)
3. *Accounts*: what customer_ids and unblocked addresses join, and operators among them.
4. A **phone** seen with more than K accounts, or with more people than the limit for people without a customer_id,
   is shared: a family's landline, a number that was given to somebody else.
5. *Customers*: what all unblocked identifiers join, and the operators' joins.
6. Where something new ties together again what an operator split, it is set apart from both, visibly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CUSTOMER_ID, EMAIL, PHONE = 0, 1, 2
FREE, OPERATOR, SHARED = 0, 1, 2
BLOCKED_BY = (None, "operator", "shared")
"""Why an identifier joins nobody: it is free to; an operator blocked it; it is linked to too many people."""


@dataclass(frozen=True)
class Limits:
    """K of the specification, and the same for people known by an e-mail address alone."""

    customer_ids: int = 1
    phone_people: int = 1


@dataclass(frozen=True)
class Rulings:
    """What operators decided, on numbered identifiers."""

    joined: tuple[frozenset[int], ...] = ()
    blocked: frozenset[int] = frozenset()
    allowed: frozenset[int] = frozenset()
    splits: tuple[tuple[frozenset[int], frozenset[int]], ...] = ()


@dataclass(frozen=True)
class Grouping:
    """The outcome, one entry per identifier.

    ``customer`` numbers the groups (-1: joins nobody); ``account`` numbers the groups of layer 3 (-1 for phones and
    blocked identifiers) and ``is_account`` says whether such a group has a customer_id; ``blocked`` is why not.
    """

    customer: Ints
    account: Ints
    is_account: Bools
    blocked: npt.NDArray[np.int8]


@dataclass(frozen=True)
class _Links:
    """Distinct pairs of identifiers that some record shows together, or an operator joined, minus those set apart."""

    customer_email: Ints
    customer_phone: Ints
    email_phone: Ints
    joined: Ints

    def all(self) -> Ints:
        return np.concatenate([self.customer_email, self.customer_phone, self.email_phone, self.joined])


def group(kind: npt.NDArray[np.int8], seen_together: Ints, limits: Limits, rulings: Rulings | None = None) -> Grouping:
    """Group identifiers.

    Args:
        kind: of each identifier: CUSTOMER_ID, EMAIL or PHONE.
        seen_together: an n × 3 array, one row per distinct (customer_id, e-mail, phone) of a record; -1 for none.
    """
    rulings = rulings or Rulings()
    count = len(kind)
    blocked = np.zeros(count, np.int8)
    blocked[_indices(rulings.blocked)] = OPERATOR
    allowed = np.zeros(count, bool)
    allowed[_indices(rulings.allowed)] = True
    links = _links(seen_together, rulings)

    is_account_id = kind == CUSTOMER_ID
    joined_accounts = links.joined[is_account_id[links.joined].all(axis=1)]
    same_account = _components(count, joined_accounts)
    email_accounts = _distinct(links.customer_email[:, 1], same_account[links.customer_email[:, 0]], blocked, links)
    blocked[(email_accounts > limits.customer_ids) & ~allowed & (blocked == FREE)] = SHARED

    joined_without_phones = links.joined[(kind[links.joined] != PHONE).all(axis=1)]
    account = _components(count, _free(np.concatenate([links.customer_email, joined_without_phones]), blocked))
    has_customer_id = np.zeros(count, bool)
    has_customer_id[account[is_account_id & (blocked == FREE)]] = True
    _block_shared_phones(links, account, has_customer_id, limits, allowed, blocked)

    edges = _free(links.all(), blocked)
    customer = _keep_apart(count, edges, rulings)
    customer[blocked != FREE] = -1
    is_account = has_customer_id[account]
    account[(blocked != FREE) | (kind == PHONE)] = -1
    return Grouping(customer=customer, account=account, is_account=is_account, blocked=blocked)


def _links(seen_together: Ints, rulings: Rulings) -> _Links:
    customer, email, phone = seen_together[:, 0], seen_together[:, 1], seen_together[:, 2]
    apart = _apart(rulings)

    def pairs(left: Ints, right: Ints) -> Ints:
        both = (left >= 0) & (right >= 0)
        return _without(np.stack([left[both], right[both]], axis=1), apart)

    # Each with each: what one of them is blocked from, the others still are.
    together = sorted({pair for members in rulings.joined for pair in combinations(sorted(members), 2)})
    joined = np.array(together, np.int64).reshape(-1, 2)
    return _Links(pairs(customer, email), pairs(customer, phone), pairs(email, phone), _without(joined, apart))


def _apart(rulings: Rulings) -> set[tuple[int, int]]:
    """Every pair of identifiers that stand on different sides of a split."""
    return {
        pair for one, other in rulings.splits for a in one for b in other for pair in ((a, b), (b, a))
    }  # fmt: skip


def _without(pairs: Ints, apart: set[tuple[int, int]]) -> Ints:
    if not apart or not len(pairs):
        return pairs
    involved = np.array(sorted({identifier for pair in apart for identifier in pair}), np.int64)
    suspects = np.flatnonzero(np.isin(pairs[:, 0], involved) & np.isin(pairs[:, 1], involved))
    cut = [index for index in suspects if (int(pairs[index, 0]), int(pairs[index, 1])) in apart]
    return np.delete(pairs, cut, axis=0)


def _distinct(of: Ints, what: Ints, blocked: npt.NDArray[np.int8], links: _Links) -> Ints:
    """Per identifier, the number of distinct values of ``what`` seen with it; blocked customer_ids do not count."""
    partner_is_free = blocked[links.customer_email[:, 0]] == FREE
    return _count_distinct(of[partner_is_free], what[partner_is_free], len(blocked))


def _count_distinct(of: Ints, what: Ints, count: int) -> Ints:
    if not len(of):
        return np.zeros(count, np.int64)
    pairs = np.unique(of * np.int64(count) + what)
    return np.bincount(pairs // count, minlength=count).astype(np.int64)


def _block_shared_phones(
    links: _Links, account: Ints, has_customer_id: Bools, limits: Limits, allowed: Bools, blocked: npt.NDArray[np.int8]
) -> None:
    """Layer 4. People without a customer_id count against the greater of the two limits."""
    seen_with = np.concatenate([links.customer_phone, links.email_phone])
    seen_with = seen_with[blocked[seen_with[:, 0]] == FREE]
    phone, person = seen_with[:, 1], account[seen_with[:, 0]]
    people = _count_distinct(phone, person, len(blocked))
    known = has_customer_id[person]
    accounts = _count_distinct(phone[known], person[known], len(blocked))
    is_shared = (accounts > limits.customer_ids) | (people > max(limits.customer_ids, limits.phone_people))
    blocked[is_shared & ~allowed & (blocked == FREE)] = SHARED


def _free(pairs: Ints, blocked: npt.NDArray[np.int8]) -> Ints:
    return pairs[(blocked[pairs[:, 0]] == FREE) & (blocked[pairs[:, 1]] == FREE)]


def _components(count: int, pairs: Ints) -> Ints:
    """Per node, the number of its component."""
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    return labels.astype(np.int64)


def _keep_apart(count: int, edges: Ints, rulings: Rulings) -> Ints:
    """Components of ``edges`` in which no split's two sides meet: see layer 6 in the module's docstring.

    Each split is looked at in the order in which it was decided. Of what lies between its sides, every connected part
    that touches both is cut off from both.
    """
    labels = _components(count, edges)
    for one, other in rulings.splits:
        meeting = {int(labels[i]) for i in one} & {int(labels[i]) for i in other}
        if not meeting:
            continue
        is_side = np.zeros((2, count), bool)
        is_side[0, _indices(one)] = True
        is_side[1, _indices(other)] = True
        on_side = is_side[0] | is_side[1]
        within = _components(count, edges[~on_side[edges[:, 0]] & ~on_side[edges[:, 1]]])
        between = np.intersect1d(_touching(edges, is_side[0], within), _touching(edges, is_side[1], within))
        is_between = np.isin(within, between) & ~on_side
        edges = edges[
            ~((is_between[edges[:, 0]] & on_side[edges[:, 1]]) | (is_between[edges[:, 1]] & on_side[edges[:, 0]]))
        ]
        labels = _components(count, edges)
    return labels


def _touching(edges: Ints, side: Bools, part: Ints) -> Ints:
    """The parts with an edge to a side; the side's own nodes, each a part of its own, touch only their own side."""
    left, right = edges[side[edges[:, 0]]], edges[side[edges[:, 1]]]
    return np.concatenate([part[left[:, 1]], part[right[:, 0]]])


def _indices(identifiers: Iterable[int]) -> Ints:
    return np.fromiter(sorted(identifiers), np.int64)
