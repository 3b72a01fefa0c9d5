"""Chunks of records on their way through the front door, and the typing of their values.

A chunk holds a few ten thousand records as Arrow columns of the feed's types. A value that does not fit its type is
null in the column and noted, with its reason, under ``problems``: the gate turns each note into a reason for
quarantine. Typing works on whole columns; only a column that holds a misfit is split until the misfit stands alone.

The same text means the same in every format: JSON numbers, CSV cells and Parquet decimals all pass through the
casts of this module, and money is a decimal from the first to the last step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from customer360.contract.feeds import Feed, Field

RECORD = "(record)"
"""Stands for the whole record where a problem concerns no single field."""

TIME = pa.timestamp("us", "UTC")
MONEY = pa.decimal128(20, 4)
NUMBER = pa.decimal128(38, 18)
ARROW_TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "time": TIME,
    "money": MONEY,
    "number": NUMBER,
    "integer": pa.int64(),
}
MONEY_LIMIT = Decimal(10) ** 16  # numeric(20, 4) of the raw tables

# RapidJSON (in Arrow) descends recursively: a text with more brackets than this goes to Python's reader, which
# answers depth with an exception and not with the end of the process.
MAX_BRACKETS = 500
LONG_TEXT = 8_192  # a shorter text cannot nest deep enough to matter

Problems = dict[int, str]
"""Row of the chunk (from 0) -> what is wrong with the value."""


@dataclass
class Chunk:
    """Consecutive records of one batch, typed."""

    feed: Feed
    row_numbers: np.ndarray
    """Row of the file (from 1) of each record."""
    columns: dict[str, pa.Array]
    """Every field of the feed, in its Arrow type; null where absent or unfit."""
    problems: dict[str, Problems]
    """Field (or RECORD) -> rows whose value does not fit."""
    record: Callable[[int], str]
    """The record of a row of the chunk, as it came."""
    extra: pa.Array | None = None
    """Unknown fields as a JSON object in text, or None when there are none at all."""
    unknown_fields: dict[str, int] = field(default_factory=dict)
    """Unknown field -> records that have it."""
    elements_of: dict[str, tuple[pa.StructArray, np.ndarray]] = field(default_factory=dict)

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


def arrow_type(of: Field) -> pa.DataType:
    """The Arrow type of a field's column."""
    if of.kind == "array":
        return pa.list_(pa.struct([(element.name, ARROW_TYPES[element.kind]) for element in of.elements]))
    return ARROW_TYPES[of.kind]


def conform(of: Field, values: pa.Array) -> tuple[pa.Array, Problems]:
    """Type a column, whatever type it arrived in.

    Returns:
        The column in the field's type, and the rows whose value does not fit, with the reason. Empty text is null.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.nulls(0, values.type)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), arrow_type(of)), {}
    if pa.types.is_large_string(values.type) or values.type == pa.string_view():
        values = values.cast(pa.string())
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        return _conform_bytes(of, values)
    if pa.types.is_string(values.type):
        values, unfit = _readable_text(values)
        typed, problems = _FROM_TEXT[of.kind](of, values)
        return typed, problems | unfit
    if of.kind == "array":
        return _conform_array(of, values)
    if of.kind == "time":
        return _time_from_other(values)
    if of.kind == "text":
        return _all_unfit(values, pa.string(), f"is {_type_name(values.type)}, text was expected")
    return _number_from_other(of, values)


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "true or false"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "a number"
    if pa.types.is_temporal(kind):
        return "a time or date"
    if pa.types.is_nested(kind):
        return "an array or object"
    return "of another type"


def _all_unfit(values: pa.Array, kind: pa.DataType, reason: str) -> tuple[pa.Array, Problems]:
    rows = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    return pa.nulls(len(values), kind), dict.fromkeys(rows.tolist(), reason)


def _conform_bytes(of: Field, values: pa.Array) -> tuple[pa.Array, Problems]:
    """Parquet writers without a logical type for text store it as bytes."""
    texts: list[str | None] = []
    problems: Problems = {}
    for row, value in enumerate(values.to_pylist()):
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            texts.append(None)
            problems[row] = "is not valid UTF-8 text"
    typed, more = conform(of, pa.array(texts, pa.string()))
    return typed, more | problems


def _readable_text(values: pa.Array) -> tuple[pa.Array, Problems]:
    """Empty text as null; text that PostgreSQL cannot store (NUL) or that is no UTF-8 as a problem."""
    problems: Problems = {}
    if len(values) == 0:
        return values, problems
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return _conform_bytes(Field("", "text"), values.cast(pa.binary()))
    if _holds_nul(values):
        has_nul = pc.fill_null(pc.match_substring(values, "\x00"), False)
        rows = np.flatnonzero(has_nul.to_numpy(zero_copy_only=False))
        problems = dict.fromkeys(rows.tolist(), "holds a NUL character")
        values = pc.if_else(has_nul, pa.scalar(None, pa.string()), values)
    empty = pc.equal(pc.binary_length(values), 0)
    if pc.any(empty).as_py():
        values = pc.if_else(empty, pa.scalar(None, pa.string()), values)
    return values, problems


def _holds_nul(values: pa.Array) -> bool:
    data = values.buffers()[2]
    if data is None or data.size == 0:
        return False
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    text = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    return bool(len(text)) and int(text.min()) == 0


def _each(values: pa.Array, cast: Callable[[pa.Array], pa.Array], mend: Callable[[str], str | None]) -> pa.Array:
    """Cast, leaving null what cannot be cast even after ``mend``; splits down to the misfits."""
    try:
        return cast(values)
    except pa.ArrowInvalid:
        if len(values) == 1:
            mended = mend(values[0].as_py())
            try:
                return cast(pa.array([mended], pa.string()))
            except pa.ArrowInvalid:
                return cast(pa.array([None], pa.string()))
        middle = len(values) // 2
        return pa.concat_arrays([_each(values[:middle], cast, mend), _each(values[middle:], cast, mend)])


def _misfits(texts: pa.Array, typed: pa.Array, why: Callable[[str], str]) -> Problems:
    """The rows that had text and have no value."""
    if texts.null_count == typed.null_count:
        return {}
    lost = pc.and_(texts.is_valid(), typed.is_null()).to_numpy(zero_copy_only=False)
    return {int(row): why(texts[int(row)].as_py()) for row in np.flatnonzero(lost)}


def _text_from_text(of: Field, values: pa.Array) -> tuple[pa.Array, Problems]:
    return values, {}


def _time_from_text(of: Field, values: pa.Array) -> tuple[pa.Array, Problems]:
    def cast(texts: pa.Array) -> pa.Array:
        return texts.cast(TIME)

    try:
        return cast(values), {}
    except pa.ArrowInvalid:
        # Nanoseconds are common (pandas writes them) and PostgreSQL keeps microseconds.
        mended = pc.replace_substring_regex(values, r"(\.\d{6})\d{1,3}([zZ]|[+-])", r"\1\2")
        mended = pc.replace_substring_regex(mended, r"^([0-9-]{10})t", r"\1T")
        mended = pc.replace_substring_regex(mended, "z$", "Z")
        typed = _each(mended, cast, lambda text: None)
        return typed, _misfits(values, typed, _why_no_time)


_NAIVE_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d(:\d\d(:\d\d([.,]\d+)?)?)?)?\Z")


def _why_no_time(text: str) -> str:
    if _NAIVE_TIME.match(text):
        return f"has no time zone offset: {shown(text)}"
    return f"is not an ISO 8601 time with an offset: {shown(text)}"


def _money_from_text(of: Field, values: pa.Array) -> tuple[pa.Array, Problems]:
    typed = _each(values, lambda texts: texts.cast(MONEY), lambda text: None)
    problems = _misfits(values, typed, _why_no_money)
    return _within_money_limit(typed, problems)


def _within_money_limit(typed: pa.Array, problems: Problems) -> tuple[pa.Array, Problems]:
    """Arrow lets a decimal exceed its precision by a rescaling; numeric(20, 4) does not."""
    extremes = pc.min_max(typed).as_py()
    if extremes["min"] is None or (extremes["max"] < MONEY_LIMIT and extremes["min"] > -MONEY_LIMIT):
        return typed, problems
    limit = pa.scalar(MONEY_LIMIT, pa.decimal128(38, 4))
    wide = typed.cast(pa.decimal128(38, 4))
    too_large = pc.fill_null(pc.greater_equal(pc.abs(wide), limit), False)
    for row in np.flatnonzero(too_large.to_numpy(zero_copy_only=False)).tolist():
        problems[row] = "is larger than 16 digits before the decimal point"
    return pc.if_else(too_large, pa.scalar(None, MONEY), typed), problems


_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?\Z", re.ASCII)


_SEPARATED = re.compile(r"[+-]?\d[\d., ']*,[\d., ']*\d\Z", re.ASCII)


def _no_number(text: str) -> str:
    hint = " (decimals stand after a point, thousands are not separated)" if _SEPARATED.match(text) else ""
    return f"is not a number: {shown(text)}{hint}"


def _why_no_money(text: str) -> str:
    if not _DECIMAL.match(text):
        return _no_number(text)
    value = Decimal(text)
    if value.is_finite() and value != 0 and value.adjusted() >= 16:
        return "is larger than 16 digits before the decimal point"
    return f"has more than 4 decimals: {shown(text)}"


def _number_from_text(of: Field, values: pa.Array) -> tuple[pa.Array, Problems]:
    typed = _each(values, lambda texts: texts.cast(NUMBER), lambda text: None)
    return typed, _misfits(values, typed, _why_no_number)


def _why_no_number(text: str) -> str:
    return f"is out of range: {shown(text)}" if _DECIMAL.match(text) else _no_number(text)


def _integer_from_text(of: Field, values: pa.Array) -> tuple[pa.Array, Problems]:
    hexadecimal = pc.match_substring(values, "x", ignore_case=True)  # Arrow reads 0x1F as 31, nobody else does
    source = values
    if pc.any(hexadecimal).as_py():
        source = pc.if_else(hexadecimal, pa.scalar("not an integer"), values)
    typed = _each(source, lambda texts: texts.cast(pa.int64()), _without_zero_decimals)
    return typed, _misfits(values, typed, lambda text: f"is not a whole number: {shown(text)}")


def _without_zero_decimals(text: str) -> str | None:
    """pandas writes a whole-number column with gaps as 3.0."""
    match = re.fullmatch(r"([+-]?\d+)\.0+", text, re.ASCII)
    return match[1] if match else None


def _time_from_other(values: pa.Array) -> tuple[pa.Array, Problems]:
    if pa.types.is_timestamp(values.type):
        if values.type.tz is None:
            return _all_unfit(values, TIME, "has no time zone offset")
        try:
            return values.cast(TIME, safe=False), {}
        except pa.ArrowInvalid:
            return _all_unfit(values, TIME, "is out of range")
    return _all_unfit(values, TIME, f"is {_type_name(values.type)}, an ISO 8601 time with an offset was expected")


def _number_from_other(of: Field, values: pa.Array) -> tuple[pa.Array, Problems]:
    kind = values.type
    if of.kind == "integer" and pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
        return values.cast(pa.int64()), {}
    if of.kind == "money" and kind == MONEY:
        return _within_money_limit(values, {})
    if kind == ARROW_TYPES[of.kind]:
        return values, {}
    if pa.types.is_decimal(kind) or pa.types.is_integer(kind):
        try:
            if of.kind == "money":
                return _within_money_limit(values.cast(MONEY), {})
            return values.cast(ARROW_TYPES[of.kind]), {}
        except pa.ArrowInvalid:
            return _FROM_TEXT[of.kind](of, _plain(values))
    if pa.types.is_floating(kind):
        return _FROM_TEXT[of.kind](of, _plain(values))
    return _all_unfit(values, ARROW_TYPES[of.kind], f"is {_type_name(kind)}, a number was expected")


def _plain(numbers: pa.Array) -> pa.Array:
    """Numbers as the shortest text that means them, a whole one without decimals."""
    if pa.types.is_float16(numbers.type) or pa.types.is_float32(numbers.type):
        texts = pa.array([None if v is None else str(np.float32(v)) for v in numbers.to_pylist()], pa.string())
    else:
        texts = numbers.cast(pa.string())
    return pc.replace_substring_regex(texts, r"^(-?\d+)\.0+$", r"\1")


# --- arrays ----------------------------------------------------------------------------------------------------------


def _conform_array(of: Field, values: pa.Array) -> tuple[pa.Array, Problems]:
    kind = values.type
    if pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        values = values.cast(pa.list_(kind.value_type))
        kind = values.type
    if not pa.types.is_list(kind) or not (pa.types.is_struct(kind.value_type) or pa.types.is_null(kind.value_type)):
        return _all_unfit(values, arrow_type(of), "is not an array of objects")
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    flat = pc.list_flatten(values)
    parents = np.repeat(np.arange(len(values)), lengths)
    problems: Problems = {}

    def note(element: int, what: str) -> None:
        row = int(parents[element])
        text = f"[{element - int(offsets[row]) + 1}]{what}"
        problems[row] = f"{problems[row]}; {of.name}{text}" if row in problems else text

    if pa.types.is_null(flat.type):
        flat = pa.nulls(len(flat), arrow_type(of).value_type)
    missing = flat.is_null()
    if flat.null_count:
        for element in np.flatnonzero(missing.to_numpy(zero_copy_only=False)).tolist():
            note(element, " is not an object")
    present = {name.name: child for name, child in zip(flat.type, flat.flatten(), strict=True)}
    children = []
    for inner in of.elements:
        if inner.name not in present:
            children.append(pa.nulls(len(flat), ARROW_TYPES[inner.kind]))
            continue
        child, unfit = conform(inner, present[inner.name])
        for element, reason in sorted(unfit.items()):
            note(element, f".{inner.name} {reason}")
        children.append(child)
    names = [inner.name for inner in of.elements]
    structs = pa.StructArray.from_arrays(children, names=names, mask=missing if flat.null_count else None)
    mask = values.is_null() if values.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets), structs, mask=mask), problems


def _array_from_text(of: Field, values: pa.Array) -> tuple[pa.Array, Problems]:
    typed, problems, _ = array_of_cells(of, values)
    return typed, problems


Unknown = dict[int, list[dict[str, Any]]]
"""Row -> the fields of each of its elements that the contract does not know."""


def array_of_cells(of: Field, values: pa.Array) -> tuple[pa.Array, Problems, Unknown]:
    """JSON text, as in a CSV cell: read by Arrow where all of it has the shape, else one by one.

    Returns:
        The column, the rows that do not fit, and what the elements hold beyond the known fields.
    """
    values, unfit = _readable_text(values)
    present = values.drop_null()
    if len(present) == 0:
        return pa.nulls(len(values), arrow_type(of)), unfit, {}
    unknown: Unknown = {}
    parsed = _read_json_cells(of, present, "error")
    if parsed is None and (parsed := _read_json_cells(of, present, "ignore")) is not None:
        for row, text in enumerate(present.to_pylist()):
            if inner := unknown_in_elements(of, loads(text)):
                unknown[row] = inner
    if parsed is not None:
        typed, problems = _conform_array(of, parsed)
    else:
        cells = [_loads_or_unfit(text) for text in present.to_pylist()]
        typed, problems = arrays_from_python(of, cells)
        for row, cell in enumerate(cells):
            if inner := unknown_in_elements(of, cell):
                unknown[row] = inner
    if len(present) == len(values):
        return typed, problems | unfit, unknown
    rows = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False)).tolist()
    places = np.full(len(values), -1, np.int64)
    places[rows] = np.arange(len(rows))
    typed = typed.take(pa.array(places, mask=places < 0))
    problems = {rows[row]: reason for row, reason in problems.items()}
    return typed, problems | unfit, {rows[row]: inner for row, inner in unknown.items()}


def unknown_in_elements(of: Field, value: Any) -> list[dict[str, Any]]:
    """The unknown fields of each element of an array; empty if there are none at all."""
    if not isinstance(value, list):
        return []
    inner = [
        {key: v for key, v in element.items() if key not in of.element_names} if isinstance(element, dict) else {}
        for element in value
    ]
    return inner if any(inner) else []


_OPEN, _CLOSE = pa.scalar('{"v":'), pa.scalar("}\n")


def _read_json_cells(of: Field, texts: pa.Array, unexpected: str) -> pa.Array | None:
    lines = pc.binary_join_element_wise(_OPEN, texts, _CLOSE, "")
    longest = pc.max(pc.binary_length(texts)).as_py()
    if longest > LONG_TEXT and any(
        text.count("[") + text.count("{") > MAX_BRACKETS for text in texts.to_pylist() if len(text) > LONG_TEXT
    ):
        return None
    # Each line adds its own braces, so equal counts mean that no cell held a second value or an unfinished one.
    block = b"".join(_text_bytes(lines))
    try:
        table = read_json_block(block, pa.schema([("v", _json_type(of))]), unexpected)
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(texts):
        return None
    column: pa.Array = table.column(0).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    return None if column.null_count else column


def _text_bytes(values: pa.Array) -> Iterable[memoryview]:
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    yield memoryview(values.buffers()[2])[int(offsets[0]) : int(offsets[-1])]


def _json_type(of: Field) -> pa.DataType:
    """What Arrow's JSON reader is asked for: times as text, because it reads them without regard to offsets."""
    if of.kind == "array":
        return pa.list_(pa.struct([(element.name, _json_type(element)) for element in of.elements]))
    return pa.string() if of.kind == "time" else ARROW_TYPES[of.kind]


def json_schema(feed: Feed) -> pa.Schema:
    """The schema that Arrow's JSON reader is given for a feed."""
    return pa.schema([(of.name, _json_type(of)) for of in feed.fields])


def read_json_block(block: bytes, schema: pa.Schema, unexpected: str) -> pa.Table:
    """Parse JSON objects, one per line, in one piece.

    The caller makes sure that each line starts with a brace: pyarrow 26 ends the process on a bare ``null``.

    Raises:
        pyarrow.ArrowInvalid: something is malformed or has another type than the schema's.
    """
    return pj.read_json(
        pa.BufferReader(block),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected),
    )


# --- one by one: what the fast readers refused -----------------------------------------------------------------------


class NumberText(str):
    """A JSON number, kept as the text it was written in."""

    __slots__ = ()


class Unfit:
    """A value that could not be read at all."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


_LOADS = json.JSONDecoder(parse_float=NumberText, parse_int=NumberText, parse_constant=NumberText).decode


def loads(text: str) -> Any:
    """Parse JSON with numbers kept as text. Raises ValueError or RecursionError."""
    return _LOADS(text)


def _loads_or_unfit(text: str) -> Any:
    try:
        return loads(text)
    except (ValueError, RecursionError):
        return Unfit("is not valid JSON")


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, NumberText):
        return "a number"
    return "text" if isinstance(value, str) else "an array or object"


def from_python(of: Field, values: list[Any]) -> tuple[pa.Array, Problems]:
    """Type values that :func:`loads` gave. The slow way: about a hundredth of the speed of the fast one."""
    if of.kind == "array":
        return arrays_from_python(of, values)
    texts: list[str | None] = []
    problems: Problems = {}
    for row, value in enumerate(values):
        text: str | None = None
        if value is None:
            pass
        elif isinstance(value, Unfit):
            problems[row] = value.reason
        elif not isinstance(value, str) or (of.kind in {"text", "time"} and isinstance(value, NumberText)):
            expected = {"text": "text", "time": "an ISO 8601 time with an offset"}.get(of.kind, "a number")
            problems[row] = f"is {_kind_of(value)}, {expected} was expected"
        elif not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            problems[row] = "is not valid Unicode text"
        else:
            text = str(value)
        texts.append(text)
    typed, more = conform(of, pa.array(texts, pa.string()))
    return typed, more | problems


def arrays_from_python(of: Field, values: list[Any]) -> tuple[pa.Array, Problems]:
    """Type arrays of objects that :func:`loads` gave."""
    problems: Problems = {}
    offsets = [0]
    elements: list[Any] = []
    present: list[bool] = []
    for row, value in enumerate(values):
        fits = isinstance(value, list)
        if isinstance(value, Unfit):
            problems[row] = value.reason
        elif value is not None and not fits:
            problems[row] = "is not an array of objects"
        elif fits and not all(isinstance(element, dict) for element in value):
            place = next(place for place, element in enumerate(value, 1) if not isinstance(element, dict))
            problems[row] = f"[{place}] is not an object"
            value = []
        present.append(fits)
        elements.extend(value if fits else ())
        offsets.append(len(elements))
    parents = np.repeat(np.arange(len(values)), np.diff(offsets))
    children = []
    for inner in of.elements:
        child, unfit = from_python(inner, [element.get(inner.name) for element in elements])
        for element, reason in sorted(unfit.items()):
            row = int(parents[element])
            text = f"[{element - offsets[row] + 1}].{inner.name} {reason}"
            problems[row] = f"{problems[row]}; {of.name}{text}" if row in problems else text
        children.append(child)
    structs = pa.StructArray.from_arrays(children, names=[inner.name for inner in of.elements])
    mask = None if all(present) else pa.array([not fits for fits in present])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs, mask=mask), problems


_FROM_TEXT: dict[str, Callable[[Field, pa.Array], tuple[pa.Array, Problems]]] = {
    "text": _text_from_text,
    "time": _time_from_text,
    "money": _money_from_text,
    "number": _number_from_text,
    "integer": _integer_from_text,
    "array": _array_from_text,
}


# --- showing values --------------------------------------------------------------------------------------------------

_HARMLESS = re.compile(r"(?!\+?\d{9,})[0-9TZtz:+\-. ,eE]{1,40}|[a-z_]{1,20}|[A-Z_]{1,20}", re.ASCII)


def shown(value: object) -> str:
    """A value as a message may show it: times, amounts and single words (no proper nouns) as they are, else masked.

    A column that slipped can put an e-mail into an amount, so the look of the value decides and not its field alone.
    """
    text = str(value)
    return text if _HARMLESS.fullmatch(text) else masked(text)


def masked(value: object) -> str:
    """A personal value, of which nothing but the first character and the length is shown."""
    text = str(value)
    first = text[:1] if text[:1].isprintable() else "?"
    return f"{first}••• ({len(text)} characters)"
