"""The grouping of identifiers, against a slow and simple reading of its rules."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from customer360.identity.devices import AFTER, BEFORE, attribute
from customer360.identity.grouping import CUSTOMER_ID, EMAIL, FREE, PHONE, SHARED, Limits, Rulings, group
from customer360.identity.quality import pairwise, recall_of_sharing

KINDS = np.array([CUSTOMER_ID] * 4 + [EMAIL] * 4 + [PHONE] * 3, np.int8)
NO_SOURCE = np.zeros(len(KINDS), np.int64)
_ROW = st.tuples(st.integers(-1, 3), st.sampled_from([-1, 4, 5, 6, 7]), st.sampled_from([-1, 8, 9, 10]))
_ROWS = st.lists(_ROW, max_size=14)


def _components(nodes: Iterable[int], pairs: Iterable[tuple[int, int]]) -> dict[int, frozenset[int]]:
    whole = {node: {node} for node in nodes}
    for left, right in pairs:
        together = whole[left] | whole[right]
        for node in together:
            whole[node] = together
    return {node: frozenset(members) for node, members in whole.items()}


def _read_slowly(rows: list[tuple[int, int, int]], limits: Limits) -> tuple[set[frozenset[int]], set[int]]:
    """The customers and the shared identifiers, as docs/identity.md puts it."""
    nodes = range(len(KINDS))
    accounts_of = defaultdict(set)
    for customer, email, _ in rows:
        if customer >= 0 <= email:
            accounts_of[email].add(customer)
    shared = {email for email, accounts in accounts_of.items() if len(accounts) > limits.customer_ids}
    pairs = [(c, e) for c, e, _ in rows if c >= 0 <= e and e not in shared]
    account = _components(nodes, pairs)
    people_of: dict[int, set[frozenset[int]]] = defaultdict(set)
    for customer, email, phone in rows:
        if phone >= 0:
            people_of[phone] |= {account[i] for i in (customer, email) if i >= 0 and i not in shared}
    for phone, people in people_of.items():
        known = [one for one in people if any(KINDS[i] == CUSTOMER_ID for i in one)]
        if len(known) > limits.customer_ids or len(people) > max(limits.customer_ids, limits.phone_people):
            shared.add(phone)
    pairs = [
        (one, other) for row in rows for one in row for other in row if one >= 0 <= other and not {one, other} & shared
    ]
    whole = _components(nodes, pairs)
    return {whole[node] for node in nodes if node not in shared}, shared


def _groups(labels: np.ndarray) -> set[frozenset[int]]:
    members = defaultdict(set)
    for node, label in enumerate(labels.tolist()):
        if label >= 0:
            members[label].add(node)
    return {frozenset(one) for one in members.values()}


@given(_ROWS, st.integers(1, 2), st.integers(1, 3))
def test_groups_are_what_the_rules_say(rows: list[tuple[int, int, int]], k: int, people: int) -> None:
    limits = Limits(k, people)
    found = group(KINDS, NO_SOURCE, np.array(rows, np.int64).reshape(-1, 3), limits)
    customers, shared = _read_slowly(rows, limits)
    assert _groups(found.customer) == customers
    assert set(np.flatnonzero(found.blocked == SHARED).tolist()) == shared


@given(_ROWS, st.integers(0, 999))
def test_neither_order_nor_repetition_nor_numbering_matters(rows: list[tuple[int, int, int]], seed: int) -> None:
    chance = random.Random(seed)
    first = group(KINDS, NO_SOURCE, np.array(rows, np.int64).reshape(-1, 3), Limits())
    again = rows + [row for row in rows if chance.random() < 0.5]
    chance.shuffle(again)
    number = list(range(len(KINDS)))
    chance.shuffle(number)
    renamed = [[-1 if i < 0 else number[i] for i in row] for row in again]
    kinds = np.empty_like(KINDS)
    kinds[number] = KINDS
    second = group(kinds, NO_SOURCE, np.array(renamed, np.int64).reshape(-1, 3), Limits())
    assert _groups(second.customer[number]) == _groups(first.customer)


def test_an_operator_s_split_cuts_off_what_lies_between_the_sides() -> None:
    # c0 and c1 were split; the address 4 is seen with c0, the phone 8 with the address and with c1.
    rows = np.array([[0, 4, -1], [-1, 4, 8], [1, -1, 8], [0, 5, -1]], np.int64)
    limits = Limits(customer_ids=9, phone_people=9)
    assert frozenset({0, 1, 4, 5, 8}) in _groups(group(KINDS, NO_SOURCE, rows, limits).customer)
    split = Rulings(splits=((frozenset({0}), frozenset({1})),))
    found = group(KINDS, NO_SOURCE, rows, limits, split)
    assert {frozenset({0, 5}), frozenset({1}), frozenset({4, 8})} <= _groups(found.customer)


def test_a_join_holds_although_one_of_the_joined_gets_blocked() -> None:
    rows = np.array([[0, -1, 8], [1, -1, 8], [2, 6, -1]], np.int64)
    joined = Rulings(joined=(frozenset({0, 8, 2}),))
    found = group(KINDS, NO_SOURCE, rows, Limits(), joined)
    assert found.blocked[8] == SHARED
    assert frozenset({0, 2, 6}) in _groups(found.customer)


def test_accounts_that_an_operator_joined_count_once() -> None:
    rows = np.array([[0, 4, -1], [1, 4, -1]], np.int64)
    assert group(KINDS, NO_SOURCE, rows, Limits()).blocked[4] == SHARED
    found = group(KINDS, NO_SOURCE, rows, Limits(), Rulings(joined=(frozenset({0, 1}),)))
    assert found.blocked[4] == FREE
    assert frozenset({0, 1, 4}) in _groups(found.customer)


_VISIT = st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(-1, 2))


@given(st.lists(_VISIT, max_size=25), st.integers(0, 8), st.integers(1, 3), st.integers(0, 999))
def test_a_device_s_visits_belong_to_the_last_known_before_else_the_first_soon_after(
    visits: list[tuple[int, int, int]], within: int, most: int, seed: int
) -> None:
    rank = random.Random(seed).sample(range(1000), len(visits))
    device, at, person = (np.array([v[i] for v in visits], np.int64) for i in range(3))
    found = attribute(device, at, np.array(rank, np.int64), person, within=within, max_people=most)
    for i, (on, when, who) in enumerate(visits):
        known = [(visits[j][1], rank[j], j) for j in range(len(visits)) if visits[j][0] == on and visits[j][2] >= 0]
        expected, how = -1, 0
        if who < 0 and len({visits[j][2] for _, _, j in known}) <= most:
            before = [sight for sight in known if sight[0] <= when]
            after = [sight for sight in known if when < sight[0] <= when + within]
            if before:
                expected, how = max(before)[2], BEFORE
            elif after:
                expected, how = min(after)[2], AFTER
        assert (found.source[i], found.how[i]) == (expected, how)


@given(
    st.lists(
        st.tuples(st.integers(-1, 3), st.integers(0, 3), st.integers(-1, 1), st.integers(-1, 1), st.integers(-1, 1)),
        max_size=15,
    )
)
def test_pairwise_quality_counts_pairs(records: list[tuple[int, int, int, int, int]]) -> None:
    customer, person = (np.array([r[i] for r in records], np.int64) for i in range(2))
    shown = np.array([r[2:] for r in records], np.int64).reshape(-1, 3)
    pairs = [(a, b) for n, a in enumerate(records) for b in records[n + 1 :]]
    joined = {n for n, (a, b) in enumerate(pairs) if a[0] == b[0] >= 0}
    true = {n for n, (a, b) in enumerate(pairs) if a[1] == b[1]}
    found = pairwise(customer, person)
    assert (found.joined_pairs, found.true_pairs, found.joined_true_pairs) == (
        len(joined), len(true), len(joined & true),
    )  # fmt: skip
    sharing = {n for n, (a, b) in enumerate(pairs) if any(x == y >= 0 for x, y in zip(a[2:], b[2:], strict=True))}
    expected = len(joined & true & sharing) / len(true & sharing) if true & sharing else 1.0
    assert recall_of_sharing(customer, person, shown) == expected
