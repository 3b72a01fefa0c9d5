"""The neighbourhood of a change: what has to be grouped anew, and nothing else.

It is every customer that has a changed identifier, whole, with what all their records show. Blocked identifiers are
its border: a landline shared by a hundred people must not drag them all in. A border identifier is only asked for a
sample of what it is seen with, enough to see that it is still linked to too many; where it is not, what it joins
belongs to the neighbourhood too, and the look widens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from customer360.identity import key_map
from customer360.identity.changes import KEY_COLUMNS
from customer360.identity.confidence import confidence
from customer360.identity.decisions import Decision, as_rulings
from customer360.identity.grouping import BLOCKED_BY, CUSTOMER_ID, EMAIL, OPERATOR, PHONE, Limits, crowded, group
from customer360.identity.identifiers import STRONG_TYPES
from customer360.identity.tables import by_index
from customer360.warehouse import Connection, query

Ints = npt.NDArray[np.int64]

_NUMBER = {name: number for number, name in enumerate(STRONG_TYPES)}
_SAMPLE = 8
"""Others of a border identifier that are looked at before all are, for each that it may be linked to."""
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
    """A row of identity.identifiers, with the source instead of the text."""

    kind: int
    source: str
    customer_key: int | None
    account_key: int | None
    is_account: bool
    blocked_by: str | None


_Combination = tuple[int | None, int | None, int | None]


# The distinct others of one type that an identifier's records show: from one to the next through the index, so that a
# marker in a million records is asked for as many rows as are wanted.
_SEEN_WITH = """
select wanted.key, seen.other from unnest(%(keys)s::bigint[]) as wanted (key)
cross join lateral (
    with recursive step (other, number) as (
        (
            select r.{other}, 1 from {records} as r
            where r.{own} = wanted.key and r.{other} is not null order by r.{other} limit 1
        )
        union all
        select
            (
                select r.{other} from {records} as r
                where r.{own} = wanted.key and r.{other} > step.other order by r.{other} limit 1
            ),
            step.number + 1
        from step where step.other is not null and step.number < %(most)s
    )
    select other from step where other is not null
) as seen
"""


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
        self._sample = {
            CUSTOMER_ID: _SAMPLE * (1 + max(limits.emails, limits.phones)),
            EMAIL: _SAMPLE * (1 + max(limits.customer_ids, limits.phones)),
            PHONE: _SAMPLE * (1 + max(limits.customer_ids, limits.phone_people)),
        }
        self._decisions = decisions
        self.stored: dict[int, Identifier] = {}
        self._kinds: dict[int, key_map.Kind] = {}
        self.members: set[int] = set()
        self.border: set[int] = set()
        self._links: dict[_Combination, Link] = {}
        self._seen_with: dict[int, set[int]] = {}
        self._shown_on_border: set[int] = set()
        self._accounts: dict[int, _Account] = {}

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
                select i.identifier_key, i.identifier_type, {key_map.source_of("i")}, i.customer_key, i.account_key,
                    i.is_account, i.blocked_by
                from unnest(%s::bigint[]) as wanted (key)
                inner join {self._schema}.identifiers as i on i.{column} = wanted.key
                """
            ),
            [values],
        ).fetchall()
        self.stored |= {row[0]: Identifier(_NUMBER[row[1]], *row[2:]) for row in rows}
        self._kinds |= {row[0]: key_map.Kind(_NUMBER[row[1]], row[2]) for row in rows}
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
        return {key for row in rows for key in row[:3] if key is not None}

    def _sample_border(self) -> None:
        """Ask the border for some of what it is seen with, and whether records show it at all."""
        new = self.border - self._seen_with.keys()
        if not new:
            return
        records = f"{self._schema}.records"
        self._seen_with |= {key: set() for key in new}
        with by_index(self._connection):
            for kind, own in enumerate(KEY_COLUMNS):
                keys = [key for key in new if self.stored[key].kind == kind]
                if not keys:
                    continue
                found = f"exists (select from {records} as r where r.{own} = wanted.key)"
                rows = self._connection.execute(
                    query(f"select wanted.key from unnest(%s::bigint[]) as wanted (key) where {found}"), [keys]
                ).fetchall()
                self._shown_on_border |= {row[0] for row in rows}
                for other in (column for column in KEY_COLUMNS if column != own):
                    seen = _SEEN_WITH.format(records=records, own=own, other=other)
                    parameters = {"keys": keys, "most": self._sample[kind]}
                    for key, seen_key in self._connection.execute(query(seen), parameters).fetchall():
                        self._seen_with[key].add(seen_key)
        self._learn({other for key in new for other in self._seen_with[key]})
        self._learn_accounts(other for key in new if self.stored[key].kind == PHONE for other in self._seen_with[key])

    def _learn_accounts(self, identifiers: Iterable[int]) -> None:
        accounts = {self.stored[key].account_key for key in identifiers if key in self.stored} - {None}
        unknown = list(accounts - self._accounts.keys())
        if unknown:
            with by_index(self._connection):
                rows = self._connection.execute(
                    query(
                        f"""
                        select i.account_key,
                            coalesce(array_agg(distinct {key_map.source_of("i")})
                                filter (where i.identifier_type = 'customer_id'), '{{}}'),
                            bool_or(i.identifier_type = 'email')
                        from unnest(%s::bigint[]) as wanted (key)
                        inner join {self._schema}.identifiers as i on i.account_key = wanted.key
                        group by i.account_key
                        """
                    ),
                    [unknown],
                ).fetchall()
            self._accounts |= {row[0]: _Account(tuple(sorted(row[1])), row[2]) for row in rows}

    def _group(self) -> Regrouped:
        nodes = _Nodes(self._kinds, self._accounts)
        for key in self.members | self.border | {key for one in self._decisions for key in one.identifier_keys}:
            nodes.number(key)
        together = [[-1 if key is None else nodes.number(key) for key in link] for link in self._links]
        for key in self.border:
            together += self._on_the_border(nodes, key)
        shown = np.array(together, np.int64).reshape(-1, 3)
        days = self._read_days(nodes, shown[: len(self._links)])
        rulings = as_rulings(self._decisions, nodes.numbers)
        # What stands for an account outside is seen here with the border alone: the limits have nothing to say of it.
        rulings = replace(rulings, allowed=rulings.allowed | nodes.stand_ins)
        same_account = np.array(nodes.same_account, np.int64).reshape(-1, 2)
        source = np.array(nodes.sources, np.int64)
        grouping = group(np.array(nodes.kinds, np.int8), source, shown, self._limits, rulings, same_account, days)

        inside = np.array(sorted(self._present()), np.int64)
        number = np.array([nodes.number(key) for key in inside.tolist()], np.int64)
        customer = _oldest(inside, grouping.customer[number])
        account = _oldest(inside, grouping.account[number])
        identifiers = {
            key: Identifier(
                nodes.kinds[node],
                self._kinds[key].source,
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

    def _read_days(self, nodes: _Nodes, shown: Ints) -> Ints:
        """On which days members that are seen with several others were seen with them.

        A border identifier of whom only its days say that it is shared becomes a member before.
        """
        key_of = {number: key for key, number in nodes.numbers.items()}
        rows: list[tuple[int, int, int]] = []
        for column, other, numbers in crowded(shown, self._limits):
            keys = [key for key in map(key_of.__getitem__, numbers.tolist()) if key in self.members]
            if not keys:
                continue
            one, another = KEY_COLUMNS[column], KEY_COLUMNS[other]
            with by_index(self._connection):
                found = self._connection.execute(
                    query(
                        f"""
                        select distinct r.{one}, r.{another}, floor(extract(epoch from r.seen_at) / 86400)::bigint
                        from unnest(%s::bigint[]) as wanted (key)
                        inner join {self._schema}.records as r on r.{one} = wanted.key
                        where r.{another} is not null
                        """
                    ),
                    [keys],
                ).fetchall()
            rows += [(nodes.number(row[0]), nodes.number(row[1]), row[2]) for row in found]
        return np.array(rows, np.int64).reshape(-1, 3)

    def _present(self) -> set[int]:
        """The identifiers that some record shows."""
        shown = {key for link in self._links for key in link if key is not None}
        return (shown & self.members) | (self.border & self._shown_on_border)

    def _on_the_border(self, nodes: _Nodes, key: int) -> list[list[int]]:
        """The pairs of a border identifier and another. They say nothing of two others: each is asked for itself.

        An account outside cannot have changed and stands for what is in it. With a phone, accounts count; with an
        address customer_ids do, whatever their account, and phones; with a customer_id addresses and phones. What an
        operator blocked never counts, what is shared counts only where its own limit is looked at later.
        """
        pairs = []
        kind = self._kinds[key].number
        for other in self._seen_with[key]:
            known = self.stored.get(other)
            is_inside = other in self.members or other in self.border
            if not is_inside and known is not None and known.blocked_by is not None:
                is_looked_at_later = known.kind > kind
                if known.blocked_by == BLOCKED_BY[OPERATOR] or not is_looked_at_later:
                    continue
            pair = [-1, -1, -1]
            pair[kind] = nodes.number(key)
            stands_for_its_account = kind == PHONE and not is_inside and known is not None
            node = nodes.account(known) if known and stands_for_its_account else nodes.number(other)
            pair[nodes.kinds[node]] = node
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


class _Account(NamedTuple):
    """An account outside: the sources of its customer_ids, and whether it has an address."""

    sources: tuple[str, ...]
    has_email: bool


class _Nodes:
    """Numbers identifiers, and accounts outside the neighbourhood, for the grouping."""

    def __init__(self, kind_of: dict[int, key_map.Kind], accounts: dict[int, _Account]) -> None:
        self._kind_of = kind_of
        self._accounts = accounts
        self._number_of_account: dict[int, int] = {}
        self._number_of_source: dict[str, int] = {}
        self.numbers: dict[int, int] = {}
        self.kinds: list[int] = []
        self.sources: list[int] = []
        self.stand_ins: frozenset[int] = frozenset()
        self.same_account: list[tuple[int, int]] = []

    def number(self, key: int) -> int:
        """The number of an identifier."""
        if key not in self.numbers:
            self.numbers[key] = self._add(self._kind_of[key])
        return self.numbers[key]

    def account(self, of: Identifier) -> int:
        """The number of one of the nodes that stand for the whole account of an identifier outside."""
        if of.account_key is None:
            raise ValueError("An identifier that is blocked, or a phone, has no account")
        if of.account_key not in self._number_of_account:
            account = self._accounts[of.account_key]
            members = [self._add(key_map.Kind(CUSTOMER_ID, source)) for source in account.sources]
            if account.has_email:
                members.append(self._add(key_map.Kind(EMAIL, "")))
            self.stand_ins |= set(members)
            self.same_account += pairwise(members)
            self._number_of_account[of.account_key] = members[0]
        return self._number_of_account[of.account_key]

    def _add(self, kind: key_map.Kind) -> int:
        self.kinds.append(kind.number)
        self.sources.append(self._number_of_source.setdefault(kind.source, len(self._number_of_source)))
        return len(self.kinds) - 1


def _oldest(keys: Ints, labels: Ints) -> list[int | None]:
    """Per identifier the smallest key of its group; None where it has none."""
    oldest: dict[int, int] = {}
    for key, label in zip(keys.tolist(), labels.tolist(), strict=True):
        oldest[label] = min(key, oldest.get(label, key))
    return [None if label < 0 else oldest[label] for label in labels.tolist()]


def _joined(decisions: list[Decision]) -> set[int]:
    return {key for decision in decisions if decision.kind == "join" for key in decision.identifier_keys}
