"""Rows of a chunk on their way into it: typed, with what no field of the feed claims gathered beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from customer360.contract.feeds import Feed, Field
from customer360.contract.json_values import dumps_plain, storable
from customer360.contract.personal_patterns import masked_text
from customer360.contract.records import Chunk, Mended, Problems, arrow_type
from customer360.contract.typed_values import Typed, Unknown, array_of_cells, conform
from customer360.front_door.file_names import printable
from customer360.front_door.formats import MAX_COLUMNS


class Part:
    """Some rows of a chunk, typed, on their way back into the order of the file."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.columns: dict[str, pa.Array] = {}
        self.problems: dict[str, Problems] = {}
        self.mended: Mended = {}
        self.extra: pa.Array | None = None
        self.unknown_fields: dict[str, int] = {}

    def add(self, of: Field, typed: Typed) -> None:
        """Take a typed column with what is wrong in it; rows count within this part."""
        self.columns[of.name] = typed.values
        self.note(of.name, typed.problems)
        self.note(f"{of.name}[]", typed.inner)
        for what, rows in typed.mended.items():
            self.mended.setdefault(what, set()).update(rows)

    def note(self, name: str, problems: Problems) -> None:
        """Keep problems, whose rows count within this part."""
        if problems:
            self.problems.setdefault(name, {}).update(problems)

    def count_unknown(self, extra: dict[str, Any]) -> None:
        """Count each unknown field of one record; those of elements as ``items[].colour``."""
        for name, value in extra.items():
            names = {f"{name}[].{key}" for element in value for key in element} if _is_inner(value) else {name}
            for full in names:
                self.see_unknown(full, 1)

    def see_unknown(self, name: str, count: int = 0) -> None:
        """An unknown field was met, in so many records with a value."""
        name = printable(masked_text(name))
        if name in self.unknown_fields or len(self.unknown_fields) < MAX_COLUMNS:
            self.unknown_fields[name] = self.unknown_fields.get(name, 0) + count

    def chunk(
        self,
        feed: Feed,
        row_numbers: np.ndarray,
        record: Callable[[int], str],
        value: Callable[[int, str], bytes],
    ) -> Chunk:
        """The part as a whole chunk."""
        return Chunk(
            feed=feed,
            row_numbers=row_numbers,
            columns=self.columns,
            problems=self.problems,
            record=record,
            value=value,
            extra=self.extra,
            unknown_fields=self.unknown_fields,
            mended=self.mended,
        )

    @classmethod
    def joined(cls, feed: Feed, parts: list[Part]) -> Part:
        """One part of all, in the order of the file."""
        if len(parts) == 1 and not np.any(np.diff(parts[0].rows) < 0):
            return parts[0]
        rows = np.concatenate([part.rows for part in parts])
        order = np.argsort(rows, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        whole = cls(rows[order])
        take = pa.array(order)
        for of in feed.fields:
            whole.columns[of.name] = pa.concat_arrays([part.columns[of.name] for part in parts]).take(take)
        offset = 0
        for part in parts:
            for name, problems in part.problems.items():
                whole.note(name, {int(place[offset + row]): reason for row, reason in problems.items()})
            for what, mended in part.mended.items():
                whole.mended.setdefault(what, set()).update(int(place[offset + row]) for row in mended)
            for name, count in part.unknown_fields.items():
                whole.see_unknown(name, count)
            offset += len(part.rows)
        if any(part.extra is not None for part in parts):
            whole.extra = pa.concat_arrays(
                [part.extra if part.extra is not None else pa.nulls(len(part.rows), pa.string()) for part in parts]
            ).take(take)
        return whole


def _is_inner(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)


def table_part(
    feed: Feed, columns: dict[str, pa.Array], problems: dict[str, Problems], count: int, first_row: int
) -> Part:
    """Type the columns of a CSV or Parquet block, and gather what no field of the feed claims.

    Args:
        columns: by name; of plain types (:func:`customer360.contract.typed_values.plain_array`).
        problems: what the reader found wrong already.
    """
    part = Part(np.arange(first_row, first_row + count, dtype=np.int64))
    part.problems = problems
    inner: dict[str, Unknown] = {}
    for of in feed.fields:
        values = columns.get(of.name)
        if values is None:
            part.columns[of.name] = pa.nulls(count, arrow_type(of))
        elif of.kind == "array" and pa.types.is_string(values.type):
            typed, inner[of.name] = array_of_cells(of, values)
            part.add(of, typed)
        else:
            part.add(of, conform(of, values))
            if of.kind == "array":
                inner[of.name] = _unknown_in_structs(of, values)
    _gather_extra(feed, part, columns, inner)
    return part


def _unknown_in_structs(of: Field, values: pa.Array) -> Unknown:
    """Unknown fields within the elements of a Parquet array."""
    if not (pa.types.is_list(values.type) and pa.types.is_struct(values.type.value_type)):
        return {}
    unknown = [child.name for child in values.type.value_type if child.name not in of.element_names]
    if not unknown:
        return {}
    flat = pc.list_flatten(values)
    fields = dict(zip([child.name for child in flat.type], flat.flatten(), strict=True))
    listed = {name: [_without_nulls(v) for v in fields[name].to_pylist()] for name in unknown}
    found: Unknown = {}
    place = 0
    for row, length in enumerate(pc.fill_null(pc.list_value_length(values), 0).to_pylist()):
        pruned = [
            {name: listed[name][at] for name in unknown if listed[name][at] is not None}
            for at in range(place, place + length)
        ]
        place += length
        if any(pruned):
            found[row] = pruned
    return found


def _without_nulls(value: Any) -> Any:
    """In a column each element of an object has all its fields; those that a record did not have are null there."""
    if isinstance(value, dict):
        return {key: _without_nulls(v) for key, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def _gather_extra(feed: Feed, part: Part, columns: dict[str, pa.Array], inner: dict[str, Unknown]) -> None:
    """Put what no field of the feed claims into ``extra``; an unknown column that is empty is reported all the same."""
    extras: dict[int, dict[str, Any]] = {}
    for name, values in columns.items():
        if name in feed.by_name:
            continue
        part.see_unknown(name)
        for row, value in enumerate(values.to_pylist()):
            if value is not None and value != "":
                extras.setdefault(row, {})[name] = _without_nulls(value)
    for name, rows in inner.items():
        for row, elements in rows.items():
            extras.setdefault(row, {})[name] = elements
    if not extras:
        return
    texts: list[str | None] = [None] * len(part.rows)
    for row, extra in extras.items():
        part.count_unknown(extra)
        texts[row] = storable(dumps_plain(extra))
    part.extra = pa.array(texts, pa.string())
