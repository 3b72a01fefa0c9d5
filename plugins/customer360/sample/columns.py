"""Arrow columns out of numpy arrays, and their text as JSON, without a Python object per row.

Money is counted in hundredths as int64 from the first multiplication to the last byte, so that a sum over any
number of rows is exact. Times are whole seconds since 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MONEY = pa.decimal128(18, 2)
TIME = pa.timestamp("us", tz="UTC")
NEVER = np.iinfo(np.int64).max // 4
"""A time that does not come: larger than every time of the sample, and sums with it stay within int64."""


def money(hundredths: Ints, absent: Bools | None = None) -> pa.Array:
    """Exact decimals with two digits; null where ``absent``."""
    values = np.ascontiguousarray(hundredths, dtype=np.int64)
    # A decimal128 is a 128-bit little-endian integer: the value, then its sign spread over the upper half.
    words = np.empty((len(values), 2), dtype=np.int64)
    words[:, 0] = values
    words[:, 1] = values >> 63
    column = pa.Array.from_buffers(MONEY, len(values), [None, pa.py_buffer(words)])
    return column if absent is None else blank(column, absent)


def times(seconds: Ints, absent: Bools | None = None) -> pa.Array:
    """Instants in UTC; null where ``absent`` or ``NEVER``."""
    seconds = np.asarray(seconds, dtype=np.int64)
    missing = seconds >= NEVER
    if absent is not None:
        missing = missing | absent
    micros = np.where(missing, 0, seconds) * 1_000_000
    return pa.array(micros, mask=missing).view(TIME)


def integers(values: Ints, absent: Bools | None = None) -> pa.Array:
    """A column of integers; null where ``absent``."""
    return pa.array(np.asarray(values, dtype=np.int64), mask=absent)


def pick(values: pa.Array | Sequence[str | None], codes: npt.NDArray[np.integer]) -> pa.Array:
    """``values[code]`` for each code; null where the code is negative."""
    source = values if isinstance(values, pa.Array) else pa.array(list(values), pa.string())
    return source.take(pa.array(codes, mask=np.asarray(codes) < 0))


def blank(column: pa.Array, absent: Bools) -> pa.Array:
    """The column with nulls where ``absent``."""
    return pc.if_else(pa.array(absent), pa.scalar(None, column.type), column)


def numbered(prefix: str, numbers: Ints, width: int = 0) -> pa.Array:
    """``prefix`` and the number, padded with zeros to ``width``."""
    digits = pa.array(np.asarray(numbers, dtype=np.int64)).cast(pa.string())
    if width:
        digits = pc.utf8_lpad(digits, width, "0")
    return joined(prefix, digits)


def joined(*parts: pa.Array | str) -> pa.Array:
    """The parts of each row one after another; null where one of them is null."""
    return pc.binary_join_element_wise(*parts, "")


def joined_present(*parts: pa.Array | str) -> pa.Array:
    """The parts of each row one after another; a null part is left out."""
    return pc.binary_join_element_wise(*parts, "", null_handling="replace", null_replacement="")


def nested(offsets: Ints, fields: dict[str, pa.Array], absent: Bools | None = None) -> pa.Array:
    """A list of structures per row: row i holds the elements from ``offsets[i]`` to ``offsets[i + 1]``."""
    elements = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    mask = None if absent is None else pa.array(absent)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), elements, mask=mask)


def time_text(column: pa.Array, offset_minutes: int = 0) -> pa.Array:
    """ISO 8601 with an offset: the same instants, written on a clock that is ``offset_minutes`` ahead of UTC."""
    seconds = pc.divide(column.cast(pa.int64()), 1_000_000)
    text = pc.add(seconds, offset_minutes * 60).cast(pa.timestamp("s")).cast(pa.string())
    sign = "-" if offset_minutes < 0 else "+"
    hours, minutes = divmod(abs(offset_minutes), 60)
    suffix = "Z" if offset_minutes == 0 else f"{sign}{hours:02d}:{minutes:02d}"
    return joined(pc.utf8_replace_slice(text, 10, 11, "T"), suffix)


def json_text(column: pa.Array, *, quoted_money: bool = False) -> pa.Array:
    """Each value as JSON; null stays null. A structure leaves its null fields out, as a producer's export would."""
    kind = column.type
    if pa.types.is_string(kind):
        return joined('"', _escaped(column), '"')
    if pa.types.is_timestamp(kind):
        return joined('"', time_text(column), '"')
    if pa.types.is_decimal(kind):
        digits = column.cast(pa.string())
        return joined('"', digits, '"') if quoted_money else digits
    if pa.types.is_integer(kind):
        return column.cast(pa.string())
    if pa.types.is_struct(kind):
        return _objects([_member(field.name, column.field(i)) for i, field in enumerate(kind)], len(column))
    if pa.types.is_list(kind):
        start, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
        elements = json_text(column.values.slice(start, end - start))
        offsets = pc.subtract(column.offsets, start)
        lists = pa.ListArray.from_arrays(offsets, elements, mask=column.is_null())
        return joined("[", pc.binary_join(lists, ","), "]")
    raise TypeError(f"no JSON text for the type {kind}")


def json_lines(table: pa.Table) -> pa.Array:
    """One JSON object per row of the table; a null field is left out."""
    members = [_member(name, single(table.column(name)), quoted_money=True) for name in table.column_names]
    return _objects(members, table.num_rows)


def single(column: pa.ChunkedArray) -> pa.Array:
    """The column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _objects(members: list[pa.Array | None], count: int) -> pa.Array:
    present = [member for member in members if member is not None]
    if not present:
        return pa.array(["{}"] * count, pa.string())
    # Every member begins with a comma, and the first one's is cut off.
    return joined("{", pc.utf8_slice_codeunits(joined_present(*present), 1), "}")


def _member(name: str, column: pa.Array, *, quoted_money: bool = False) -> pa.Array | None:
    if column.null_count == len(column):
        return None
    return joined(f',"{name}":', json_text(column, quoted_money=quoted_money))


def _escaped(column: pa.Array) -> pa.Array:
    data = column.buffers()[2]
    if data is None:
        return column
    used = np.frombuffer(data, dtype=np.uint8)
    if not ((used == 34) | (used == 92) | (used == 10)).any():
        return column
    text = pc.replace_substring(column, "\\", "\\\\")
    return pc.replace_substring(pc.replace_substring(text, '"', '\\"'), "\n", "\\n")
