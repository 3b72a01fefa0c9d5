"""The whole resolution at once: everything staged is read, grouped in memory, and written anew.

For the first load, a full refresh, and batches so large that following their links would cost more. About 1 GB of
memory per four million records.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from customer360.identity import decisions, devices, key_map, staged, tables
from customer360.identity.confidence import confidence
from customer360.identity.grouping import BLOCKED_BY, Grouping, Limits, crowded, group
from customer360.identity.identifiers import STRONG_TYPES, Normaliser
from customer360.warehouse import Connection

Ints = npt.NDArray[np.int64]

RULES = ("unattributed", "customer_id", "email", "phone", "linked_order", "device_before", "device_after")
UNATTRIBUTED, LINKED_ORDER, DEVICE_BEFORE, DEVICE_AFTER = 0, 4, 5, 6
NOBODY = np.int64(-1)
"""Stands for "no customer" in arrays of keys."""
DAY_US = 86_400_000_000


@dataclass
class Universe:
    """Every staged record and every distinct strong identifier, numbered.

    ``shown`` has a row per record: the numbers of its customer_id, e-mail and phone; -1 for none. ``source`` is the
    namespace of each identifier, empty for those that are the same in every source.
    """

    records: pa.Table
    shown: Ints
    texts: pa.Array
    kind: npt.NDArray[np.int8]
    source: pa.Array
    key: Ints
    device: Ints
    device_texts: pa.Array


def resolve_all(
    connection: Connection,
    *,
    staging_schema: str,
    schema: str,
    normaliser: Normaliser,
    limits: Limits,
    device_days: int,
    device_people: int,
    known_until: datetime | None,
    extend_map: bool,
) -> None:
    """Empty and fill the schema's tables from everything staged."""
    universe = _read(connection, staging_schema, normaliser, extend_map=extend_map)
    held = decisions.in_force(connection, known_until=known_until)
    grouping = _group(connection, universe, held, limits)
    customer_key = _oldest_key(grouping.customer[: len(universe.key)], universe.key)
    account_key = _oldest_key(grouping.account[: len(universe.key)], universe.key)
    tables.empty(connection, schema)
    _write_identifiers(connection, schema, universe, grouping, customer_key, account_key)
    owner, rule = _own_customer(universe, customer_key)
    _write_customers(connection, schema, universe, customer_key, held)
    own_rule = rule.copy()
    source = _through_orders(universe, owner, rule, own_rule)
    _through_devices(universe, owner, rule, source, days=device_days, people=device_people)
    _write_records(connection, schema, universe, owner, rule, source)
    tables.finish(connection, schema)


def _read(connection: Connection, staging_schema: str, normaliser: Normaliser, *, extend_map: bool) -> Universe:
    records = staged.read_all(connection, staging_schema)
    seen = records["seen_us"].to_numpy()
    codes: dict[str, Ints] = {}
    identifiers: dict[str, pa.Array] = {}
    first_seen: dict[str, Ints] = {}
    for kind in STRONG_TYPES:
        codes[kind], identifiers[kind] = _encode(records[kind], kind, normaliser)
        first_seen[kind] = np.full(len(identifiers[kind]), np.iinfo(np.int64).max)
        here = codes[kind] >= 0
        np.minimum.at(first_seen[kind], codes[kind][here], seen[here])
    keys = key_map.keys_of_all(connection, identifiers, first_seen, extend=extend_map)
    starts = np.cumsum([0] + [len(identifiers[kind]) for kind in STRONG_TYPES])
    shown = np.stack(
        [
            np.where(codes[kind] >= 0, codes[kind] + start, -1)
            for kind, start in zip(STRONG_TYPES, starts, strict=False)
        ],
        axis=1,
    )
    device, device_texts = _encode(records["anonymous_id"], "anonymous_id", normaliser)
    sizes = [len(identifiers[kind]) for kind in STRONG_TYPES]
    return Universe(
        records=records,
        shown=shown,
        texts=pa.concat_arrays([identifiers[kind] for kind in STRONG_TYPES]),
        kind=np.repeat(np.arange(3, dtype=np.int8), sizes),
        source=pa.concat_arrays([_sources(identifiers["customer_id"]), pa.repeat("", sum(sizes[1:]))]),
        key=np.concatenate([keys[kind] for kind in STRONG_TYPES]),
        device=device,
        device_texts=device_texts,
    )


def _encode(column: pa.ChunkedArray, kind: str, normaliser: Normaliser) -> tuple[Ints, pa.Array]:
    """Number the distinct normal forms of a column: (number of each row or -1, the forms)."""
    raw = column.combine_chunks().dictionary_encode()
    if isinstance(raw, pa.ChunkedArray):
        raw = raw.combine_chunks()
    normal = pa.array(normaliser.normalise_all(kind, raw.dictionary.to_pylist()), pa.string()).dictionary_encode()
    of_raw = np.append(pc.fill_null(normal.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64), -1)
    return of_raw[pc.fill_null(raw.indices, -1).to_numpy(zero_copy_only=False)], normal.dictionary


def _sources(customer_ids: pa.Array) -> pa.Array:
    """The sources of customer_ids, as :func:`customer360.contract.record_keys.parts_of` reads them."""
    behind = pc.replace_substring_regex(customer_ids, pattern="(?s)/.*", replacement="")
    return pc.if_else(pc.match_substring(customer_ids, "/"), behind, "")


def _group(connection: Connection, universe: Universe, held: list[decisions.Decision], limits: Limits) -> Grouping:
    """Group the identifiers; those that only a decision names take part without being anybody's."""
    named = np.array(sorted({key for decision in held for key in decision.identifier_keys}), np.int64)
    absent = named[~np.isin(named, universe.key)]
    key = np.concatenate([universe.key, absent])
    kind_of_absent = key_map.kinds_of(connection, absent.tolist())
    of_absent = [kind_of_absent[key] for key in absent.tolist()]
    kind = np.concatenate([universe.kind, np.array([one.number for one in of_absent], np.int8)])
    sources = pa.concat_arrays([universe.source, pa.array([one.source for one in of_absent], pa.string())])
    source = sources.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    order = np.argsort(key)
    positions = order[np.searchsorted(key, named, sorter=order)]
    number_of = dict(zip(named.tolist(), positions.tolist(), strict=True))
    together = distinct_rows(universe.shown, len(key))
    days = _days(universe, together, limits)
    return group(kind, source, together, limits, decisions.as_rulings(held, number_of), days=days)


def _days(universe: Universe, together: Ints, limits: Limits) -> Ints:
    """On which days identifiers were seen with which others, of those that are seen with several."""
    day = universe.records["seen_us"].to_numpy() // DAY_US
    parts = [np.empty((0, 3), np.int64)]
    for column, other, identifiers in crowded(together, limits):
        here = np.isin(universe.shown[:, column], identifiers) & (universe.shown[:, other] >= 0)
        parts.append(np.stack([universe.shown[here, column], universe.shown[here, other], day[here]], axis=1))
    return np.concatenate(parts)


def distinct_rows(shown: Ints, count: int) -> Ints:
    """The distinct rows that show two or three identifiers."""
    several = shown[(shown >= 0).sum(axis=1) >= 2]
    if not len(several):
        return several
    left = (several[:, 0] + 1) * np.int64(count + 1) + several[:, 1] + 1
    order = np.lexsort((several[:, 2], left))
    left, third = left[order], several[order, 2]
    is_new = np.append(True, (left[1:] != left[:-1]) | (third[1:] != third[:-1]))
    return several[order[is_new]]


def _oldest_key(labels: Ints, key: Ints) -> Ints:
    """Per identifier, the smallest key of its group; NOBODY where the label is -1."""
    grouped = labels >= 0
    oldest = np.full(int(labels.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(oldest, labels[grouped], key[grouped])
    result = np.full(len(labels), NOBODY)
    result[grouped] = oldest[labels[grouped]]
    return result


def _own_customer(universe: Universe, customer_key: Ints) -> tuple[Ints, npt.NDArray[np.int8]]:
    """Per record, whom its own identifiers name: the strongest that is not blocked."""
    count = universe.records.num_rows
    owner = np.full(count, NOBODY)
    rule = np.zeros(count, np.int8)
    for column in (2, 1, 0):
        number = universe.shown[:, column]
        named = np.where(number >= 0, customer_key[number], NOBODY) if len(customer_key) else owner
        owner = np.where(named != NOBODY, named, owner)
        rule = np.where(named != NOBODY, column + 1, rule).astype(np.int8)
    return owner, rule


def _through_orders(universe: Universe, owner: Ints, rule: npt.NDArray[np.int8], own: npt.NDArray[np.int8]) -> Ints:
    """Sessions belong to whom the order placed in them names; so do tickets that name nobody. Returns the sources."""
    source = np.full(len(owner), -1, np.int64)
    record_type = universe.records["record_type"].to_numpy()
    orders = np.flatnonzero((record_type == staged.RECORD_TYPES.index("order")) & (own != UNATTRIBUTED))
    linked = universe.records["linked_order_id"].combine_chunks()
    follows = (own == UNATTRIBUTED) | (record_type == staged.RECORD_TYPES.index(staged.FOLLOWS_ITS_ORDER))
    open_ones = np.flatnonzero(follows & pc.is_valid(linked).to_numpy(zero_copy_only=False))
    if not len(orders) or not len(open_ones):
        return source
    ids = universe.records["record_id"].combine_chunks()
    found = pc.fill_null(pc.index_in(linked.take(pa.array(open_ones)), value_set=ids.take(pa.array(orders))), -1)
    positions = found.to_numpy(zero_copy_only=False)
    hit = positions >= 0
    to, by = open_ones[hit], orders[positions[hit]]
    owner[to] = owner[by]
    rule[to] = LINKED_ORDER
    source[to] = by
    return source


def _through_devices(
    universe: Universe, owner: Ints, rule: npt.NDArray[np.int8], source: Ints, *, days: int, people: int
) -> None:
    on_device = np.flatnonzero(universe.device >= 0)
    _, person = np.unique(owner[on_device], return_inverse=True)
    person = np.where(owner[on_device] == NOBODY, -1, person)
    found = devices.attribute(
        universe.device[on_device],
        universe.records["seen_us"].to_numpy()[on_device],
        universe.records["rank"].to_numpy()[on_device],
        person,
        within=days * DAY_US,
        max_people=people,
    )
    hit = found.source >= 0
    to, by = on_device[hit], on_device[found.source[hit]]
    owner[to] = owner[by]
    rule[to] = np.where(found.how[hit] == devices.BEFORE, DEVICE_BEFORE, DEVICE_AFTER)
    source[to] = by


def _nullable(keys: Ints) -> pa.Array:
    return pa.array(keys, pa.int64(), mask=keys == NOBODY)


def _write_identifiers(
    connection: Connection, schema: str, universe: Universe, grouping: Grouping, customer_key: Ints, account_key: Ints
) -> None:
    count = len(universe.key)
    content = pa.table(
        {
            "identifier_key": pa.array(universe.key),
            "identifier_type": pa.array(STRONG_TYPES).take(pa.array(universe.kind)),
            "identifier": universe.texts,
            "customer_key": _nullable(customer_key),
            "account_key": _nullable(account_key),
            "is_account": pa.array(grouping.is_account[:count] & (account_key != NOBODY)),
            "blocked_by": pa.array(BLOCKED_BY, pa.string()).take(pa.array(grouping.blocked[:count])),
        }
    )
    staged.copy_in(connection, f"{schema}.identifiers", content.column_names, content)


def _write_customers(
    connection: Connection,
    schema: str,
    universe: Universe,
    customer_key: Ints,
    held: list[decisions.Decision],
) -> None:
    keys, number = np.unique(customer_key[customer_key != NOBODY], return_inverse=True)
    if not len(keys):
        return
    customer = np.full(len(customer_key), -1, np.int64)
    customer[customer_key != NOBODY] = number
    joined_by_operator = np.isin(
        universe.key, [key for decision in held if decision.kind == "join" for key in decision.identifier_keys]
    )
    first_seen = np.full(len(keys), np.iinfo(np.int64).max)
    seen = universe.records["seen_us"].to_numpy()
    for column in range(3):
        shown = universe.shown[:, column]
        here = shown >= 0
        here[here] = customer[shown[here]] >= 0
        np.minimum.at(first_seen, customer[shown[here]], seen[here])
    one_each = np.ones(len(universe.shown), np.int64)
    content = pa.table(
        {
            "customer_key": pa.array(keys),
            "identifier_count": pa.array(np.bincount(number)),
            "identity_confidence": pa.array(
                confidence(universe.kind, customer, len(keys), universe.shown, one_each, joined_by_operator)
            ),
            "first_seen_at": pa.array(first_seen).cast(pa.timestamp("us", "UTC")),
        }
    )
    staged.copy_in(connection, f"{schema}.customers", content.column_names, content)


def _write_records(
    connection: Connection, schema: str, universe: Universe, owner: Ints, rule: npt.NDArray[np.int8], source: Ints
) -> None:
    records = universe.records
    types = pa.array(staged.RECORD_TYPES)
    record_type = types.take(records["record_type"].combine_chunks())
    taken = pa.array(source, pa.int64(), mask=source < 0)
    device = pa.array(universe.device, pa.int64(), mask=universe.device < 0)

    def key_of(column: int) -> pa.Array:
        number = universe.shown[:, column]
        return pa.array(universe.key[number] if len(universe.key) else number, pa.int64(), mask=number < 0)

    content = pa.table(
        {
            "record_type": record_type,
            "record_id": records["record_id"],
            "seen_at": records["seen_us"].cast(pa.timestamp("us", "UTC")),
            "customer_id_key": key_of(0),
            "email_key": key_of(1),
            "phone_key": key_of(2),
            "anonymous_id": universe.device_texts.take(device),
            "linked_order_id": records["linked_order_id"],
            "customer_key": _nullable(owner),
            "rule": pa.array(RULES).take(pa.array(rule)),
            "source_type": record_type.take(taken),
            "source_id": records["record_id"].combine_chunks().take(taken),
        }
    ).sort_by("customer_key")  # an increment reads all records of a customer: docs/decisions/0014
    staged.copy_in(connection, f"{schema}.records", content.column_names, content)
