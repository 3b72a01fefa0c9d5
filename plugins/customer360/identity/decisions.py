"""What operators decided about who is who: kept for ever, obeyed by every later run and every full refresh.

A decision is about identifiers, named by their own keys in the map, and so outlives every regrouping.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from customer360.identity.grouping import Rulings
from customer360.warehouse import Connection, query, scalar


@dataclass(frozen=True)
class Decision:
    """One decision that holds. ``sides``: for a split its two sides, else all identifiers are on side 0."""

    decision_id: int
    kind: str
    decided_by: str
    because: str
    decided_at: datetime
    sides: tuple[frozenset[int], frozenset[int]]

    @property
    def identifier_keys(self) -> frozenset[int]:
        """Every identifier that the decision is about."""
        return self.sides[0] | self.sides[1]


def in_force(
    connection: Connection, *, known_until: datetime | None = None, about: Iterable[int] | None = None
) -> list[Decision]:
    """The decisions that hold, oldest first.

    Args:
        known_until: as they were at that time; None for now.
        about: only those about one of these identifiers.
    """
    rows = connection.execute(
        query(
            """
            select d.decision_id, d.kind, d.decided_by, d.because, d.decided_at,
                coalesce(array_agg(m.identifier_key) filter (where m.side = 0), '{}'),
                coalesce(array_agg(m.identifier_key) filter (where m.side = 1), '{}')
            from state.identity_decisions as d
            inner join state.identity_decision_members as m using (decision_id)
            where d.kind <> 'undo' and d.decided_at <= coalesce(%(until)s, 'infinity'::timestamptz)
                and not exists (
                    select from state.identity_decisions as u
                    where u.undoes = d.decision_id and u.decided_at <= coalesce(%(until)s, 'infinity'::timestamptz)
                )
                and (%(about)s::bigint[] is null or exists (
                    select from state.identity_decision_members as a
                    where a.decision_id = d.decision_id and a.identifier_key = any (%(about)s::bigint[])
                ))
            group by d.decision_id order by d.decision_id
            """
        ),
        {"until": known_until, "about": None if about is None else list(about)},
    ).fetchall()
    return [Decision(row[0], row[1], row[2], row[3], row[4], (frozenset(row[5]), frozenset(row[6]))) for row in rows]


def latest_id(connection: Connection) -> int:
    """The number of the newest decision, an undoing one included; 0 for none."""
    return int(scalar(connection, "select coalesce(max(decision_id), 0) from state.identity_decisions"))


def touched_since(connection: Connection, decision_id: int) -> set[int]:
    """The identifiers that decisions newer than ``decision_id`` are about, those undone by them included."""
    rows = connection.execute(
        query(
            """
            select distinct m.identifier_key
            from state.identity_decisions as d
            inner join state.identity_decision_members as m on m.decision_id = coalesce(d.undoes, d.decision_id)
            where d.decision_id > %s
            """
        ),
        [decision_id],
    ).fetchall()
    return {int(row[0]) for row in rows}


def record(
    connection: Connection,
    kind: str,
    sides: tuple[Iterable[int], Iterable[int]],
    *,
    decided_by: str,
    because: str,
    undoes: int | None = None,
) -> int:
    """Write a decision down, in the caller's transaction; returns its number."""
    decision_id = scalar(
        connection,
        """
        insert into state.identity_decisions (kind, undoes, decided_by, because) values (%s, %s, %s, %s)
        returning decision_id
        """,
        [kind, undoes, decided_by, because],
    )
    for side, keys in enumerate(sides):
        connection.execute(
            """
            insert into state.identity_decision_members (decision_id, identifier_key, side)
            select %s, unnest(%s::bigint[]), %s
            """,
            [decision_id, sorted(keys), side],
        )
    return int(decision_id)


def as_rulings(decisions: Iterable[Decision], number_of: dict[int, int]) -> Rulings:
    """The decisions on numbered identifiers; ``number_of`` gives the number of each identifier's key.

    Where one identifier was blocked and allowed, the later decision holds.
    """
    joined: list[frozenset[int]] = []
    splits: list[tuple[frozenset[int], frozenset[int]]] = []
    freedom: dict[int, str] = {}
    for decision in decisions:
        sides = [frozenset(number_of[key] for key in side if key in number_of) for side in decision.sides]
        if decision.kind == "join":
            joined.append(sides[0])
        elif decision.kind == "split":
            splits.append((sides[0], sides[1]))
        else:
            freedom.update(dict.fromkeys(sides[0], decision.kind))
    return Rulings(
        joined=tuple(joined),
        blocked=frozenset(number for number, kind in freedom.items() if kind == "block"),
        allowed=frozenset(number for number, kind in freedom.items() if kind == "allow"),
        splits=tuple(splits),
    )
