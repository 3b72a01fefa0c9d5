"""Grouping: which identifiers are one person. Pure arithmetic on numbered identifiers; the tables are elsewhere.

The outcome depends on the *set* of records alone, never on their order or batches. So that it does, what blocks an
identifier is decided in layers, each of which only looks at the layers before it:

1. An operator's blocks; pairs of identifiers that an operator set apart.
2. A **customer_id** seen with more addresses or phones than the limits, in all or on one day, is shared: a marker that
   no rule of form knew. (What an operator joined counts once, here and below.)
3. An **e-mail address** seen with more than K customer_ids of one source, or with more phones than the limits, in all
   or on one day, is shared.
4. *Accounts*: what customer_ids and addresses that are not blocked join, and operators among them.
5. A **phone** seen with more than K accounts of one source, or with more people than the limit, is shared: a family's
   landline, a number that was given to somebody else. People without a customer_id count in every source.
6. *Customers*: what all unblocked identifiers join, and the operators' joins.
7. Where something new ties together again what an operator split, it is set apart from both, visibly.

A customer_id counts in its source alone: the shop's, the help desk's and the tracker's number of one person are three
customer_ids and no conflict. Addresses and phones are the same in every source.
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
    """Beyond which number of others an identifier joins nobody. ``customer_ids`` is K of the specification."""

    customer_ids: int = 1
    """Of one source: with an address, or as accounts with a phone."""
    phone_people: int = 1
    """With a phone, people known by an address alone included."""
    emails: int = 4
    """Addresses with a customer_id."""
    phones: int = 4
    """Phones with a customer_id or an address."""
    a_day: int = 2
    """Of both, on one day: people change their address every year or two, a marker's strangers come at any time."""


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


def group(
    kind: npt.NDArray[np.int8],
    source: Ints,
    seen_together: Ints,
    limits: Limits,
    rulings: Rulings | None = None,
    same_account: Ints | None = None,
    days: Ints | None = None,
) -> Grouping:
    """Group identifiers.

    Args:
        kind: of each identifier: CUSTOMER_ID, EMAIL or PHONE.
        source: of each identifier, the number of its namespace; it counts for customer_ids only.
        seen_together: an n × 3 array, one row per distinct (customer_id, e-mail, phone) of a record; -1 for none.
        same_account: an n × 2 array of identifiers that are known to be of one account, whatever the records show.
        days: an n × 3 array (customer_id, address or phone, day) or (address, phone, day) of what records show on which
            day. It may leave out what is seen with no more others than ``limits.a_day`` in all.
    """
    rulings = rulings or Rulings()
    count = len(kind)
    blocked = np.zeros(count, np.int8)
    blocked[_indices(rulings.blocked)] = OPERATOR
    allowed = np.zeros(count, bool)
    allowed[_indices(rulings.allowed)] = True
    links = _links(seen_together, rulings)
    same_account = np.empty((0, 2), np.int64) if same_account is None else same_account
    days = np.empty((0, 3), np.int64) if days is None else days[~_in_pairs(days[:, :2], _apart(rulings))]
    # Joined by an operator: they count once.
    alike = _components(count, links.joined[kind[links.joined[:, 0]] == kind[links.joined[:, 1]]])

    _block(
        (_distinct(links.customer_email, alike, blocked) > limits.emails)
        | (_distinct(links.customer_phone, alike, blocked) > limits.phones)
        | (_most_on_one_day(days, CUSTOMER_ID, kind, alike, blocked) > limits.a_day),
        allowed, blocked,
    )  # fmt: skip
    _block(
        (_most_of_one_source(links.customer_email, alike, source, blocked) > limits.customer_ids)
        | (_distinct(links.email_phone, alike, blocked) > limits.phones)
        | (_most_on_one_day(days, EMAIL, kind, alike, blocked) > limits.a_day),
        allowed, blocked,
    )  # fmt: skip

    joined_without_phones = links.joined[(kind[links.joined] != PHONE).all(axis=1)]
    within_account = np.concatenate([links.customer_email, joined_without_phones, same_account])
    account = _components(count, _free(within_account, blocked))
    _block_shared_phones(links, account, kind, source, limits, allowed, blocked)
    has_customer_id = np.zeros(count, bool)
    has_customer_id[account[(kind == CUSTOMER_ID) & (blocked == FREE)]] = True

    edges = _free(links.all(), blocked)
    customer = _keep_apart(count, edges, rulings)
    customer[blocked != FREE] = -1
    is_account = has_customer_id[account]
    account[(blocked != FREE) | (kind == PHONE)] = -1
    return Grouping(customer=customer, account=account, is_account=is_account, blocked=blocked)


def _block(is_shared: Bools, allowed: Bools, blocked: npt.NDArray[np.int8]) -> None:
    blocked[is_shared & ~allowed & (blocked == FREE)] = SHARED


def crowded(shown: Ints, limits: Limits) -> list[tuple[int, int, Ints]]:
    """Whose days :func:`group` has to know: the columns of an identifier and the others, and the identifiers.

    Args:
        shown: as ``seen_together``.
    """
    found = []
    for column, other in ((CUSTOMER_ID, EMAIL), (CUSTOMER_ID, PHONE), (EMAIL, PHONE)):
        pairs = shown[(shown[:, column] >= 0) & (shown[:, other] >= 0)][:, [column, other]]
        if len(pairs):
            count = int(pairs.max()) + 1
            others = _count_distinct(pairs[:, 0], pairs[:, 1], count)
            found.append((column, other, np.flatnonzero(others > limits.a_day)))
    return found


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
    return pairs[~_in_pairs(pairs, apart)]


def _in_pairs(pairs: Ints, wanted: set[tuple[int, int]]) -> Bools:
    found = np.zeros(len(pairs), bool)
    if wanted and len(pairs):
        involved = np.array(sorted({identifier for pair in wanted for identifier in pair}), np.int64)
        suspects = np.flatnonzero(np.isin(pairs[:, 0], involved) & np.isin(pairs[:, 1], involved))
        found[suspects] = [(int(pairs[index, 0]), int(pairs[index, 1])) in wanted for index in suspects]
    return found


def _distinct(pairs: Ints, alike: Ints, blocked: npt.NDArray[np.int8]) -> Ints:
    """Per identifier on the left of pairs, the number of distinct ones on the right that are not blocked."""
    pairs = pairs[blocked[pairs[:, 1]] == FREE]
    return _count_distinct(pairs[:, 0], alike[pairs[:, 1]], len(blocked))


def _most_of_one_source(pairs: Ints, alike: Ints, source: Ints, blocked: npt.NDArray[np.int8]) -> Ints:
    """Per identifier on the right of pairs, the most distinct unblocked ones on the left that have one source."""
    pairs = pairs[blocked[pairs[:, 0]] == FREE]
    return _most(pairs[:, 1], source[pairs[:, 0]], alike[pairs[:, 0]], len(blocked))


def _most_on_one_day(
    days: Ints, of_kind: int, kind: npt.NDArray[np.int8], alike: Ints, blocked: npt.NDArray[np.int8]
) -> Ints:
    """Per identifier of a kind, the most distinct unblocked others of one kind that one day has with it."""
    days = days[(kind[days[:, 0]] == of_kind) & (blocked[days[:, 1]] == FREE)]
    _, day = np.unique(days[:, 2], return_inverse=True)
    return _most(days[:, 0], day * np.int64(PHONE + 1) + kind[days[:, 1]], alike[days[:, 1]], len(blocked))


def _most(of: Ints, source: Ints, what: Ints, count: int) -> Ints:
    """Per ``of``, the greatest number of distinct ``what`` that one source (or day) has with it."""
    most = np.zeros(count, np.int64)
    if len(of):
        sources = int(source.max()) + 1
        in_source = np.unique((of * np.int64(sources) + source) * np.int64(count) + what) // count
        starts = np.flatnonzero(np.append(True, in_source[1:] != in_source[:-1]))
        np.maximum.at(most, in_source[starts] // sources, np.diff(np.append(starts, len(in_source))))
    return most


def _count_distinct(of: Ints, what: Ints, count: int) -> Ints:
    if not len(of):
        return np.zeros(count, np.int64)
    pairs = np.unique(of * np.int64(count) + what)
    return np.bincount(pairs // count, minlength=count).astype(np.int64)


def _block_shared_phones(
    links: _Links,
    account: Ints,
    kind: npt.NDArray[np.int8],
    source: Ints,
    limits: Limits,
    allowed: Bools,
    blocked: npt.NDArray[np.int8],
) -> None:
    """Layer 5. People without a customer_id count against the greater of the two limits."""
    count = len(blocked)
    seen_with = np.concatenate([links.customer_phone, links.email_phone])
    seen_with = seen_with[blocked[seen_with[:, 0]] == FREE]
    phone, person = np.divmod(np.unique(seen_with[:, 1] * np.int64(count) + account[seen_with[:, 0]]), count)

    is_free = blocked == FREE
    has_address = np.zeros(count, bool)
    has_address[account[(kind == EMAIL) & is_free]] = True
    ids = np.flatnonzero((kind == CUSTOMER_ID) & is_free)
    sources = int(source.max(initial=0)) + 1
    owner, owner_source = np.divmod(np.unique(account[ids] * np.int64(sources) + source[ids]), sources)
    # An account of two sources counts once in each.
    first = np.searchsorted(owner, person, side="left")
    times = np.searchsorted(owner, person, side="right") - first
    of = np.repeat(phone, times)
    at = np.repeat(first - (np.cumsum(times) - times), times) + np.arange(len(of))
    accounts = _most(of, owner_source[at], owner[at], count)

    nameless = np.bincount(phone[times == 0], minlength=count)
    addresses = np.bincount(phone[has_address[person]], minlength=count)
    most_people = max(limits.customer_ids, limits.phone_people)
    _block(
        (accounts > limits.customer_ids) | (accounts + nameless > most_people) | (addresses > most_people),
        allowed, blocked,
    )  # fmt: skip


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
