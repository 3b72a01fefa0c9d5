"""Chunks of records on their way through the front door.

A chunk holds a few ten thousand records as Arrow columns of the feed's types. A value that does not fit its type is
null in the column and noted, with its reason, under ``problems``: the gate turns each note into a reason for
quarantine, or lets it cost the field alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from customer360.contract.feeds import Feed, Field
from customer360.contract.json_values import dumps_text, storable

RECORD = "(record)"
"""Stands for the whole record where a problem concerns no single field."""

TIME = pa.timestamp("us", "UTC")
MONEY = pa.decimal128(20, 4)
SIX_DECIMALS = pa.decimal128(26, 6)
NUMBER = pa.decimal128(38, 18)
_ARROW_TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "time": TIME,
    "money": MONEY,
    "number": NUMBER,
    "integer": pa.int64(),
    "boolean": pa.bool_(),
}

Problems = dict[int, str]
"""Row of the chunk (from 0) -> what is wrong with the value."""
Mended = dict[tuple[str, str], set[int]]
"""(what was mended in an array, by which rule) -> rows where it was; the array is kept in ``extra`` as it came."""

UNUSABLE = "unusable"
"""The object in ``extra`` that holds what came in fields whose value could not be used."""


@dataclass
class Chunk:
    """Consecutive records of one batch, typed."""

    feed: Feed
    row_numbers: np.ndarray
    """Row of the file (from 1) of each record."""
    columns: dict[str, pa.Array]
    """Every field of the feed, in its Arrow type; null where absent or unfit."""
    problems: dict[str, Problems]
    """Field (or RECORD; ``items[]`` for what stands in its elements) -> rows whose value does not fit."""
    record: Callable[[int], str]
    """The record of a row of the chunk, as it came."""
    value: Callable[[int, str], bytes]
    """A field of a row as it came, in JSON; b"" if the record has no such field."""
    extra: pa.Array | None = None
    """Unknown fields as a JSON object in text, or None when there are none at all."""
    unknown_fields: dict[str, int] = field(default_factory=dict)
    """Unknown field -> records that have it."""
    mended: Mended = field(default_factory=dict)
    elements_of: dict[str, tuple[pa.StructArray, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for of in self.feed.fields:
            if of.default_from:
                self.columns[of.name] = pc.coalesce(self.columns[of.name], self.columns[of.default_from])

    def __len__(self) -> int:
        return len(self.row_numbers)

    def __deepcopy__(self, memo: dict[int, Any]) -> Chunk:
        """pandas copies ``DataFrame.attrs`` deeply; a chunk is read-only there and must not be."""
        return self

    def elements(self, name: str) -> tuple[pa.StructArray, np.ndarray]:
        """All elements of an array field in one struct array, and the row of the chunk that each belongs to."""
        if name not in self.elements_of:
            column = self.columns[name]
            parents = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
            self.elements_of[name] = (pc.list_flatten(column), parents)
        return self.elements_of[name]

    def take(self, rows: np.ndarray) -> Chunk:
        """Some rows of the chunk (ascending), as a chunk of their own; without unknown fields."""
        place = {int(row): place for place, row in enumerate(rows)}
        take = pa.array(rows)
        return Chunk(
            feed=self.feed,
            row_numbers=self.row_numbers[rows],
            columns={name: values.take(take) for name, values in self.columns.items()},
            problems={
                name: {place[row]: reason for row, reason in problems.items() if row in place}
                for name, problems in self.problems.items()
            },
            record=lambda row: self.record(int(rows[row])),
            value=lambda row, name: self.value(int(rows[row]), name),
        )

    def without(self, costs: dict[str, set[int]]) -> Chunk:
        """The chunk with the values of some fields taken out: null in the column, and no problem any more."""
        columns = dict(self.columns)
        problems = dict(self.problems)
        for name, rows in costs.items():
            mask = np.zeros(len(self), np.bool_)
            mask[list(rows)] = True
            values = columns[name]
            columns[name] = pc.if_else(pa.array(mask), pa.scalar(None, values.type), values)
            if name in problems:
                problems[name] = {row: reason for row, reason in problems[name].items() if row not in rows}
        return Chunk(
            feed=self.feed,
            row_numbers=self.row_numbers,
            columns=columns,
            problems=problems,
            record=self.record,
            value=self.value,
            extra=self.extra,
            unknown_fields=self.unknown_fields,
            mended=self.mended,
        )

    def keeping(self, kept: dict[str, set[int]]) -> Chunk:
        """The chunk with fields of some rows kept in ``extra``, under ``unusable``, as they came."""
        if not any(kept.values()):
            return self
        extra: list[str | None] = [None] * len(self) if self.extra is None else self.extra.to_pylist()
        by_row: dict[int, list[str]] = {}
        for name, rows in kept.items():
            for row in rows:
                by_row.setdefault(row, []).append(name)
        for row, names in by_row.items():
            extra[row] = _with_unusable(extra[row], {name: self.value(row, name) for name in sorted(names)})
        self.extra = pa.array(extra, pa.string())
        return self


def _with_unusable(extra: str | None, values: dict[str, bytes]) -> str:
    whole = msgspec.json.decode(extra, type=dict[str, msgspec.Raw]) if extra else {}
    if UNUSABLE in whole:  # a producer's own field of that name goes beside what is kept here
        values = {UNUSABLE: bytes(whole.pop(UNUSABLE))} | values
    inner = b",".join(dumps_text(name) + b":" + storable(value or b"null").encode() for name, value in values.items())
    parts = [dumps_text(name) + b":" + bytes(value) for name, value in whole.items()]
    return (b"{" + b",".join([*parts, dumps_text(UNUSABLE) + b":{" + inner + b"}"]) + b"}").decode()


def arrow_type(of: Field) -> pa.DataType:
    """The Arrow type of a field's column."""
    if of.kind == "array":
        return pa.list_(pa.struct([(element.name, arrow_type(element)) for element in of.elements]))
    if of.kind == "number" and of.limits is not None and of.limits.is_rounded:
        return SIX_DECIMALS
    return _ARROW_TYPES[of.kind]
