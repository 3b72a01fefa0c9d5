"""The neighbourhood of a change: what has to be grouped anew, and nothing else.

It is every customer that has a changed identifier, whole, with what all their records show. Blocked identifiers are
its border: a landline shared by a hundred people must not drag them all in. A border identifier is only asked for a
sample of its links, enough to see that it is still linked to too many; where it is not, what it joins belongs to the
neighbourhood too, and the look widens.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from customer360.identity import key_map
from customer360.identity.changes import KEY_COLUMNS
from customer360.identity.confidence import confidence
from customer360.identity.decisions import Decision, as_rulings
from customer360.identity.grouping import BLOCKED_BY, CUSTOMER_ID, EMAIL, PHONE, Limits, group
from customer360.identity.identifiers import STRONG_TYPES
from customer360.identity.tables import by_index
from customer360.warehouse import Connection, query

Ints = npt.NDArray[np.int64]

_NUMBER = {name: number for number, name in enumerate(STRONG_TYPES)}
_SAMPLE = 8
"""Links of a border identifier that are looked at before all are, for each person that it may be linked to."""
WIDEST = 200_000
"""Identifiers in a neighbourhood; beyond, resolving everything anew is cheaper."""


# By one identifier at a time: a condition on all three at once is compared with each of the wanted keys in turn where
# the planner reads the whole table, a second per thousand keys. A combination that two of its identifiers ask for comes
# twice, alike.
_LINKS_SHOWING = " union all ".join(
    f"""
    select customer_id_key, email_key, phone_key, count(*), min(seen_at)
    from wanted inner join {{records}} as r on r.{column} = wanted.key
    group by customer_id_key, email_key, phone_key
    """
    for column in KEY_COLUMNS
)


class TooWideError(Exception):
    """The neighbourhood has more than WIDEST identifiers."""


class Identifier(NamedTuple):
    """A row of identity.identifiers, without its text."""

    kind: int
    customer_key: int | None
    account_key: int | None
    is_account: bool
    blocked_by: str | None


_Combination = tuple[int | None, int | None, int | None]


class Link(NamedTuple):
    """A combination of identifiers that records show together, how many records do, and the first time."""

    shown: _Combination
    records: int
    first_seen_at: datetime


class Customer(NamedTuple):
    """A row of identity.customers, without its key."""

    identifier_count: int
    identity_confidence: float
    first_seen_at: datetime


class Regrouped(NamedTuple):
    """The outcome: every identifier of the neighbourhood that some record shows, and every customer in it."""

    identifiers: dict[int, Identifier]
    customers: dict[int, Customer]


class Neighbourhood:
    """Explores around changed identifiers until the border holds, and groups what is inside."""

    def __init__(self, connection: Connection, schema: str, limits: Limits, decisions: list[Decision]) -> None:
        self._connection = connection
        self._schema = schema
        self._limits = limits
        self._sample = _SAMPLE * (1 + max(limits.customer_ids, limits.phone_people))
        self._decisions = decisions
        self.stored: dict[int, Identifier] = {}
        self._kinds: dict[int, int] = {}
        self.members: set[int] = set()
        self.border: set[int] = set()
        self._links: dict[_Combination, Link] = {}
        self._border_links: dict[int, set[_Combination]] = {}

    def resolve(self, changed: set[int]) -> Regrouped:
        """Group everything that these changed identifiers may concern.

        Raises:
            TooWideError: that is so much that everything should be resolved anew.
        """
        decided = {key for decision in self._decisions for key in decision.identifier_keys}
        self._kinds |= key_map.kinds_of(self._connection, changed | decided)
        self._widen(changed)
        while True:
            outcome = self._group()
            freed = {
                key for key in self.border if key in outcome.identifiers and not outcome.identifiers[key].blocked_by
            }
            if not freed:
                return outcome
            self.border -= freed
            self._widen(freed, even_blocked=True)

    def _widen(self, frontier: set[int], *, even_blocked: bool = False) -> None:
        """Add identifiers, their customers and all that their records show, until nothing new shows up."""
        while frontier:
            self._learn(frontier)
            blocked = set() if even_blocked else {key for key in frontier if self._is_blocked(key)}
            even_blocked = False
            self.border |= blocked
            added = self._with_customers(frontier - blocked) - self.members
            self.members |= added
            if len(self.members) > WIDEST:
                raise TooWideError
            shown = self._read_links(added)
            together = {
                key
                for decision in self._decisions
                if not decision.identifier_keys.isdisjoint(added | blocked)
                for key in decision.identifier_keys
            }
            frontier = (shown | together) - self.members - self.border
        self._sample_border()

    def _is_blocked(self, key: int) -> bool:
        known = self.stored.get(key)
        return known is not None and known.blocked_by is not None

    def _learn(self, keys: Iterable[int]) -> None:
        unknown = [key for key in keys if key not in self.stored]
        self._store("identifier_key", unknown)

    def _with_customers(self, keys: set[int]) -> set[int]:
        """These identifiers and all others of their customers, and of their accounts, which a split may exceed."""
        known = [self.stored[key] for key in keys if key in self.stored]
        customers = {one.customer_key for one in known} - {None}
        accounts = {one.account_key for one in known} - {None}
        return keys | self._store("customer_key", list(customers)) | self._store("account_key", list(accounts))

    def _store(self, column: str, values: list[int | None] | list[int]) -> set[int]:
        if not values:
            return set()
        rows = self._connection.execute(
            query(
                f"""
                select i.identifier_key, i.identifier_type, i.customer_key, i.account_key, i.is_account, i.blocked_by
                from unnest(%s::bigint[]) as wanted (key)
                inner join {self._schema}.identifiers as i on i.{column} = wanted.key
                """
            ),
            [values],
        ).fetchall()
        self.stored |= {row[0]: Identifier(_NUMBER[row[1]], *row[2:]) for row in rows}
        self._kinds |= {row[0]: _NUMBER[row[1]] for row in rows}
        return {row[0] for row in rows}

    def _read_links(self, keys: set[int]) -> set[int]:
        """Read what the records of these identifiers show; returns all identifiers shown."""
        if not keys:
            return set()
        wanted = "with wanted as materialized (select unnest(%s::bigint[]) as key)"
        links = _LINKS_SHOWING.format(records=f"{self._schema}.records")
        with by_index(self._connection):
            rows = self._connection.execute(query(f"{wanted} {links}"), [list(keys)]).fetchall()
        # A combination always counts all of its records, whichever of its identifiers asked for it.
        self._links |= {row[:3]: Link(row[:3], row[3], row[4]) for row in rows}
        self._kinds |= {key: kind for row in rows for kind, key in enumerate(row[:3]) if key is not None}
        return {key for row in rows for key in row[:3] if key is not None}

    def _sample_border(self) -> None:
        """Read some links of the border: of an address the customer_ids, of a phone customer_ids and addresses."""
        new = self.border - self._border_links.keys()
        for kind, own in enumerate(KEY_COLUMNS):
            keys = [key for key in new if self.stored[key].kind == kind]
            if not keys:
                continue
            columns = [*KEY_COLUMNS[: kind + 1], *["null::bigint"] * (PHONE - kind)]
            rows = self._connection.execute(
                query(
                    f"""
                    select wanted.key, sample.* from unnest(%s::bigint[]) as wanted (key)
                    cross join lateral (
                        select distinct {", ".join(columns)} from {self._schema}.records
                        where {own} = wanted.key limit {self._sample}
                    ) as sample
                    """
                ),
                [keys],
            ).fetchall()
            for key in keys:
                self._border_links[key] = set()
            for row in rows:
                self._border_links[row[0]].add(row[1:])
        self._learn({key for links in self._border_links.values() for link in links for key in link if key is not None})

    def _group(self) -> Regrouped:
        nodes = _Nodes(self._kinds)
        for key in self.members | self.border | {key for one in self._decisions for key in one.identifier_keys}:
            nodes.number(key)
        together = [[-1 if key is None else nodes.number(key) for key in link] for link in self._links]
        for key in self.border:
            for link in self._border_links[key]:
                together += self._on_the_border(nodes, key, link)
        shown = np.array(together, np.int64).reshape(-1, 3)
        rulings = as_rulings(self._decisions, nodes.numbers)
        grouping = group(np.array(nodes.kinds, np.int8), shown, self._limits, rulings)

        inside = np.array(sorted(self._present()), np.int64)
        number = np.array([nodes.number(key) for key in inside.tolist()], np.int64)
        customer = _oldest(inside, grouping.customer[number])
        account = _oldest(inside, grouping.account[number])
        identifiers = {
            key: Identifier(
                nodes.kinds[node],
                customer_key,
                account_key,
                bool(account_key is not None and grouping.is_account[node]),
                BLOCKED_BY[grouping.blocked[node]],
            )
            for key, node, customer_key, account_key in zip(
                inside.tolist(), number.tolist(), customer, account, strict=True
            )
        }
        return Regrouped(identifiers, self._customers(nodes, shown[: len(self._links)], identifiers))

    def _present(self) -> set[int]:
        """The identifiers that some record shows."""
        shown = {key for link in self._links for key in link if key is not None}
        return (shown & self.members) | {key for key in self.border if self._border_links[key]}

    def _on_the_border(self, nodes: _Nodes, key: int, link: _Combination) -> list[list[int]]:
        """The pairs of a border identifier and another. They say nothing of two others: each is asked for itself.

        An account outside cannot have changed and stands for what is in it. Of an address the customer_ids count,
        whatever their account.
        """
        pairs = []
        kind = self._kinds[key]
        for column, other in enumerate(link):
            if other is None or other == key:
                continue
            is_inside = other in self.members or other in self.border
            if not is_inside and self._is_blocked(other):
                continue
            pair = [-1, -1, -1]
            pair[kind] = nodes.number(key)
            pair[column] = nodes.number(other) if is_inside or kind != PHONE else nodes.account(self.stored[other])
            pairs.append(pair)
        return pairs

    def _customers(self, nodes: _Nodes, shown: Ints, identifiers: dict[int, Identifier]) -> dict[int, Customer]:
        keys = sorted({one.customer_key for one in identifiers.values() if one.customer_key is not None})
        place = {key: position for position, key in enumerate(keys)}
        customer = np.full(len(nodes.kinds), -1, np.int64)
        counts = [0] * len(keys)
        for key, one in identifiers.items():
            if one.customer_key is not None:
                customer[nodes.number(key)] = place[one.customer_key]
                counts[place[one.customer_key]] += 1
        first: list[datetime | None] = [None] * len(keys)
        for link in self._links.values():
            for one_shown in link.shown:
                of = None if one_shown not in identifiers else identifiers[one_shown].customer_key
                if of is not None:
                    known = first[place[of]]
                    first[place[of]] = link.first_seen_at if known is None else min(known, link.first_seen_at)
        is_certain = np.zeros(len(nodes.kinds), bool)
        is_certain[[nodes.number(key) for key in _joined(self._decisions)]] = True
        weight = np.array([link.records for link in self._links.values()], np.int64)
        sure = confidence(np.array(nodes.kinds, np.int8), customer, len(keys), shown, weight, is_certain)
        return {
            key: Customer(count, figure, seen)
            for key, count, figure, seen in zip(keys, counts, sure.tolist(), first, strict=True)
            if seen is not None
        }


class _Nodes:
    """Numbers identifiers, and accounts outside the neighbourhood, for the grouping."""

    def __init__(self, kind_of: dict[int, int]) -> None:
        self._kind_of = kind_of
        self.numbers: dict[int, int] = {}
        self._accounts: dict[int | None, int] = {}
        self.kinds: list[int] = []

    def number(self, key: int) -> int:
        """The number of an identifier."""
        if key not in self.numbers:
            self.numbers[key] = len(self.kinds)
            self.kinds.append(self._kind_of[key])
        return self.numbers[key]

    def account(self, of: Identifier) -> int:
        """The number that stands for the whole account of an identifier outside."""
        if of.account_key not in self._accounts:
            self._accounts[of.account_key] = len(self.kinds)
            self.kinds.append(CUSTOMER_ID if of.is_account else EMAIL)
        return self._accounts[of.account_key]


def _oldest(keys: Ints, labels: Ints) -> list[int | None]:
    """Per identifier the smallest key of its group; None where it has none."""
    oldest: dict[int, int] = {}
    for key, label in zip(keys.tolist(), labels.tolist(), strict=True):
        oldest[label] = min(key, oldest.get(label, key))
    return [None if label < 0 else oldest[label] for label in labels.tolist()]


def _joined(decisions: list[Decision]) -> set[int]:
    return {key for decision in decisions if decision.kind == "join" for key in decision.identifier_keys}
