"""The append-only map ``state.customer_key_map``: the key that each strong identifier got at first sight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from customer360.errors import Customer360Error
from customer360.identity.identifiers import STRONG_TYPES
from customer360.identity.staged import copy_in, copy_out
from customer360.warehouse import Connection, query, scalar

Ints = npt.NDArray[np.int64]
_ABSENT = np.int64(0)
STAND_INS_FROM = 1 << 62
"""Where the map may not be extended (the past is looked at), identifiers unknown to it get numbers from here on."""


def keys_of_all(
    connection: Connection, identifiers: dict[str, pa.Array], first_seen: dict[str, Ints], *, extend: bool
) -> dict[str, Ints]:
    """The keys of very many distinct identifiers, per type.

    New ones are numbered by their first sight (``first_seen``, any unit), then type, then text, so that keys do not
    depend on the records' order. With ``extend`` false the map is only read, and new ones get stand-ins.
    """
    known = {kind: _read_map(connection, kind) for kind in identifiers}
    keys = {kind: _look_up(identifiers[kind], *known[kind]) for kind in identifiers}
    new = _in_order_of_sight(identifiers, first_seen, keys)
    if not new.num_rows:
        return keys
    first = _extend(connection, new) if extend else STAND_INS_FROM
    numbers = first + np.arange(new.num_rows, dtype=np.int64)
    kinds = new["identifier_type"].to_numpy(zero_copy_only=False)
    positions = new["position"].to_numpy()
    for kind in identifiers:
        keys[kind][positions[kinds == kind]] = numbers[kinds == kind]
    return keys


def _read_map(connection: Connection, kind: str) -> tuple[pa.Array, Ints]:
    rows = copy_out(
        connection,
        f"select customer_key, identifier from state.customer_key_map where identifier_type = '{kind}'",
        {"customer_key": pa.int64(), "identifier": pa.string()},
    )
    return rows["identifier"].combine_chunks(), rows["customer_key"].to_numpy()


def _look_up(wanted: pa.Array, identifiers: pa.Array, keys: Ints) -> Ints:
    if not len(identifiers):
        return np.full(len(wanted), _ABSENT)
    found = pc.fill_null(pc.index_in(wanted, value_set=identifiers), -1).to_numpy(zero_copy_only=False)
    return np.where(found >= 0, keys[found], _ABSENT)


def _in_order_of_sight(
    identifiers: dict[str, pa.Array], first_seen: dict[str, Ints], keys: dict[str, Ints]
) -> pa.Table:
    parts = []
    for number, kind in enumerate(STRONG_TYPES):
        if kind not in identifiers:
            continue
        positions = np.flatnonzero(keys[kind] == _ABSENT)
        parts.append(
            pa.table(
                {
                    "position": pa.array(positions, pa.int64()),
                    "identifier_type": pa.array([kind] * len(positions), pa.string()),
                    "identifier": identifiers[kind].take(pa.array(positions)),
                    "seen": pa.array(first_seen[kind][positions], pa.int64()),
                    "strength": pa.array(np.full(len(positions), number), pa.int64()),
                }
            )
        )
    new = pa.concat_tables(parts)
    order = [("seen", "ascending"), ("strength", "ascending"), ("identifier", "ascending")]
    return new.sort_by(order)


def _extend(connection: Connection, new: pa.Table) -> int:
    """Append identifiers; returns the key of the first, the others having the keys after it.

    COPY takes keys from the sequence line by line, and nobody else takes any meanwhile: the build holds the writer
    lock.
    """
    before = scalar(connection, "select coalesce(max(customer_key), 0) from state.customer_key_map")
    copy_in(connection, "state.customer_key_map", ["identifier_type", "identifier"], new)
    first, last = connection.execute(
        "select min(customer_key), max(customer_key) from state.customer_key_map where customer_key > %s", [before]
    ).fetchall()[0]
    if last - first + 1 != new.num_rows:
        raise Customer360Error(
            "Somebody else wrote to the key map during the identity step; nothing of this run was kept.",
            "Run it again: `c360 run` waits for the other writer.",
        )
    return int(first)


def keys_of(connection: Connection, identifiers: list[tuple[str, str]], *, extend: bool) -> dict[tuple[str, str], int]:
    """The keys of a few distinct identifiers (type, normal form).

    With ``extend`` new ones are numbered in the order given; without, they are left out.
    """
    if not identifiers:
        return {}
    kinds, texts = [kind for kind, _ in identifiers], [text for _, text in identifiers]
    found = _find(connection, kinds, texts)
    missing = [identifier for identifier in identifiers if identifier not in found]
    if missing and extend:
        kinds, texts = [kind for kind, _ in missing], [text for _, text in missing]
        rows = connection.execute(
            """
            insert into state.customer_key_map (identifier_type, identifier)
            select w.identifier_type, w.identifier
            from unnest(%s::text[], %s::text[]) with ordinality as w (identifier_type, identifier, n)
            order by w.n
            returning identifier_type, identifier, customer_key
            """,
            [kinds, texts],
        ).fetchall()
        found |= {(kind, text): int(key) for kind, text, key in rows}
    return found


def _find(connection: Connection, kinds: list[str], texts: list[str]) -> dict[tuple[str, str], int]:
    rows = connection.execute(
        """
        select w.identifier_type, w.identifier, m.customer_key
        from unnest(%s::text[], %s::text[]) as w (identifier_type, identifier)
        cross join lateral (
            select customer_key from state.customer_key_map
            where identifier_type = w.identifier_type and identifier = w.identifier
            limit 1 -- one by one through the index, whatever the planner knows of a map that has grown since
        ) as m
        """,
        [kinds, texts],
    ).fetchall()
    return {(kind, text): int(key) for kind, text, key in rows}


class Kind(NamedTuple):
    """What an identifier is: its type, as a number in STRONG_TYPES, and the source in which it counts."""

    number: int
    source: str


def source_of(identifier: str) -> str:
    """SQL for the source of a row of identifiers, as ``record_keys.parts_of`` reads it; empty: no namespace."""
    text = f"{identifier}.identifier"
    is_in_source = f"{identifier}.identifier_type = 'customer_id' and strpos({text}, '/') > 0"
    return f"case when {is_in_source} then split_part({text}, '/', 1) else '' end"


def kinds_of(connection: Connection, keys: Iterable[int]) -> dict[int, Kind]:
    """What each identifier is, whether or not a record shows it at present."""
    rows = connection.execute(
        query(
            f"""
            select m.customer_key, m.identifier_type, {source_of("m")} from unnest(%s::bigint[]) as wanted (key)
            cross join lateral (
                select customer_key, identifier_type, identifier from state.customer_key_map
                where customer_key = wanted.key limit 1
            ) as m
            """
        ),
        [list(keys)],
    ).fetchall()
    numbers: dict[str, int] = {kind: number for number, kind in enumerate(STRONG_TYPES)}
    return {int(key): Kind(numbers[kind], source) for key, kind, source in rows}
