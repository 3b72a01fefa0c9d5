"""The typing of values: a column of any type as the type of its field, and the rows that do not fit.

Typing works on whole columns; only a column that holds a misfit is split until the misfit stands alone. The same text
means the same in every format: JSON numbers, CSV cells and Parquet decimals all pass through the casts of this
module, and money is a decimal from the first to the last step.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from customer360.contract import times
from customer360.contract.feeds import Feed, Field
from customer360.contract.json_values import (
    LONG_TEXT,
    MAX_BRACKETS,
    NumberText,
    Unfit,
    dumps_plain,
    loads,
    loads_or_unfit,
)
from customer360.contract.masking import shown
from customer360.contract.records import MONEY, NUMBER, TIME, Mended, Problems, arrow_type

_MONEY_DIGITS = Decimal(10) ** 16  # numeric(20, 4) of the raw tables
_NOISE_DIGITS = 9
"""Digits after the point from which on a decimal is taken for the noise of binary floating point."""


@dataclass
class Typed:
    """A column in the type of its field."""

    values: pa.Array
    problems: Problems = field(default_factory=dict)
    """Rows whose value does not fit, with the reason."""
    inner: Problems = field(default_factory=dict)
    """Rows of an array column with elements that do not fit."""
    mended: Mended = field(default_factory=dict)


def conform(of: Field, values: pa.Array | pa.ChunkedArray) -> Typed:
    """Type a column, whatever type it arrived in. Empty text is null."""
    values = plain_array(values)
    if pa.types.is_null(values.type):
        return Typed(pa.nulls(len(values), arrow_type(of)))
    if pa.types.is_binary(values.type):
        values, unfit = _text_of_bytes(values)
        typed = conform(of, values)
        typed.problems |= unfit
        return typed
    if pa.types.is_string(values.type):
        values, unfit = _readable_text(values)
        if of.is_id or of.choices:
            values = _trimmed(values, is_id=of.is_id)
        typed = _FROM_TEXT[of.kind](of, values)
        typed.problems |= unfit
        return typed
    if of.kind == "array":
        return _array_of_lists(of, values)
    if of.kind == "time":
        return _time_from_other(values)
    if of.kind == "boolean":
        return _boolean_from_other(of, values)
    if of.kind == "text":
        return _text_from_other(of, values)
    return _number_from_other(of, values)


# --- the shapes that a column may have in Arrow ----------------------------------------------------------------------


def plain_array(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column without dictionaries, views, large and fixed sizes: text, bytes, lists, structs, numbers, times."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.nulls(0, values.type)
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.uuid":
            return pa.array([None if v is None else str(uuid.UUID(bytes=v)) for v in values.storage.to_pylist()],
                            pa.string())  # fmt: skip
        return plain_array(values.storage)
    if pa.types.is_dictionary(kind):
        return plain_array(values.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return plain_array(pc.run_end_decode(values))
    if pa.types.is_large_string(kind) or kind == pa.string_view():
        return values.cast(pa.string())
    if pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind) or kind == pa.binary_view():
        return values.cast(pa.binary())
    if _is_any_list(kind):
        return _plain_list(values)
    if pa.types.is_struct(kind):
        if all(_is_plain(child.type) for child in kind):
            return values
        children = [plain_array(child) for child in values.flatten()]
        mask = values.is_null() if values.null_count else None
        return pa.StructArray.from_arrays(children, names=[child.name for child in kind], mask=mask)
    return values


def _is_any_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _is_plain(kind.value_type)
    if pa.types.is_struct(kind):
        return all(_is_plain(child.type) for child in kind)
    return pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_primitive(kind) or kind == pa.null()


def _plain_list(values: pa.Array) -> pa.ListArray:
    if _is_plain(values.type):
        return values
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    mask = values.is_null() if values.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets), plain_array(pc.list_flatten(values)), mask=mask)


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


def _all_unfit(values: pa.Array, kind: pa.DataType, reason: str) -> Typed:
    rows = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    return Typed(pa.nulls(len(values), kind), dict.fromkeys(rows.tolist(), reason))


# --- text ------------------------------------------------------------------------------------------------------------


def _text_of_bytes(values: pa.Array) -> tuple[pa.Array, Problems]:
    """Parquet writers without a logical type for text store it as bytes."""
    texts: list[str | None] = []
    problems: Problems = {}
    for row, value in enumerate(values.to_pylist()):
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            texts.append(None)
            problems[row] = "is not valid UTF-8 text"
    return pa.array(texts, pa.string()), problems


def _readable_text(values: pa.Array) -> tuple[pa.Array, Problems]:
    """Empty text as null; text that PostgreSQL cannot store (NUL) or that is no UTF-8 as a problem."""
    problems: Problems = {}
    if len(values) == 0:
        return values, problems
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        values, problems = _text_of_bytes(values.cast(pa.binary()))
    text = _bytes_of(values)
    if len(text) and int(text.min()) == 0:
        has_nul = pc.fill_null(pc.match_substring(values, "\x00"), False)
        rows = np.flatnonzero(has_nul.to_numpy(zero_copy_only=False))
        problems |= dict.fromkeys(rows.tolist(), "holds a NUL character")
        values = pc.if_else(has_nul, pa.scalar(None, pa.string()), values)
    return _empty_as_null(values), problems


def _empty_as_null(values: pa.Array) -> pa.Array:
    empty = pc.equal(pc.binary_length(values), 0)
    if pc.any(empty).as_py():
        values = pc.if_else(empty, pa.scalar(None, pa.string()), values)
    return values


def _bytes_of(values: pa.Array) -> np.ndarray:
    data = values.buffers()[2]
    if data is None or data.size == 0:
        return np.empty(0, np.uint8)
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]


def _trimmed(values: pa.Array, *, is_id: bool) -> pa.Array:
    """Texts without white space at either end, of any kind that Unicode knows; ids in one form of their accents."""
    text = _bytes_of(values)
    if len(text) == 0 or (int(text.min()) > 32 and int(text.max()) < 127):
        return values
    values = pc.utf8_trim_whitespace(values)
    if is_id and int(text.max()) > 127:
        values = pc.utf8_normalize(values, form="NFC")
    return _empty_as_null(values)


# What a spreadsheet makes of a long number: the digits that it leaves out cannot be got back.
_ROUNDED = r"^[+-]?\d([.,]\d+)?[eE]\+?\d+$"
_ROUNDED_BY_A_SPREADSHEET = (
    "was rounded by a spreadsheet, so that its digits are lost: {}; format the column as text before it is saved"
)


def _text_from_text(of: Field, values: pa.Array) -> Typed:
    if of.choices:
        return Typed(_choices(of, values))
    if of.is_id:
        return _without_rounded(values)
    return Typed(values)


def _without_rounded(values: pa.Array) -> Typed:
    if not ((_bytes_of(values) | 32) == 101).any():
        return Typed(values)
    rounded = pc.fill_null(pc.match_substring_regex(values, _ROUNDED), False)
    if not pc.any(rounded).as_py():
        return Typed(values)
    problems = {
        row: _ROUNDED_BY_A_SPREADSHEET.format(shown(values[row].as_py()))
        for row in np.flatnonzero(rounded.to_numpy(zero_copy_only=False)).tolist()
    }
    return Typed(pc.if_else(rounded, pa.scalar(None, pa.string()), values), problems)


def _choices(of: Field, values: pa.Array) -> pa.Array:
    """Values as the choice that they mean, whatever their case; one that means none stays as it is."""
    known = pc.is_in(values, pa.array(of.choices, pa.string()))
    if pc.all(pc.or_(known, values.is_null())).as_py():
        return values
    meant = {choice.upper(): choice for choice in of.choices} | dict(of.aliases)
    listed = values.dictionary_encode()
    texts = listed.dictionary.to_pylist()
    return pa.array([meant.get(text.upper(), text) for text in texts], pa.string()).take(listed.indices)


def _text_from_other(of: Field, values: pa.Array) -> Typed:
    """A number where text is expected is the text of its digits, as it is in CSV."""
    kind = values.type
    if pa.types.is_decimal(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        if pa.types.is_floating(kind):
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, kind), values)
        numbers = [None if text is None else NumberText(text) for text in _plain_numbers(values).to_pylist()]
        return from_python(of, numbers)
    return _all_unfit(values, pa.string(), f"is {_type_name(kind)}, text was expected")


_EXACT = 2**53  # whole floats beyond are not told apart


def _digits(number: str, *, is_id: bool) -> tuple[str, str]:
    """A JSON number as text, and why it cannot be one."""
    if number in {"NaN", "nan"}:
        return "", ""
    whole = re.fullmatch(r"(-?\d+)(\.0+)?", number, re.ASCII)
    if whole:
        if whole[2] and abs(int(whole[1])) > _EXACT:
            return "", f"is a number with more digits than it can hold exactly: {shown(number)}; write it as text"
        return ("0" if whole[1] == "-0" else whole[1]), ""
    if is_id and not re.fullmatch(_ROUNDED, number):
        return "", f"is a number with decimals, an id was expected: {shown(number)}"
    return number, ""


# --- one value after the other ---------------------------------------------------------------------------------------


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


# --- times -----------------------------------------------------------------------------------------------------------


def _time_from_text(of: Field, values: pa.Array) -> Typed:
    def cast(texts: pa.Array) -> pa.Array:
        return texts.cast(TIME)

    try:
        return Typed(cast(values))
    except pa.ArrowInvalid:
        values = _empty_as_null(pc.utf8_trim_whitespace(values))
        typed = _each(times.normalized(values), cast, times.parse)
        return Typed(typed, _misfits(values, typed, times.why_not))


def _time_from_other(values: pa.Array) -> Typed:
    if pa.types.is_timestamp(values.type):
        if values.type.tz is None:
            return _all_unfit(
                values, TIME, "has no time zone offset (C360_PARQUET_TIMEZONE names the zone of such columns)"
            )
        try:
            return Typed(values.cast(TIME, safe=False))
        except pa.ArrowInvalid:
            return _all_unfit(values, TIME, "is out of range")
    if pa.types.is_date(values.type):
        return _all_unfit(values, TIME, "is a date without a time of day and an offset")
    return _all_unfit(values, TIME, f"is {_type_name(values.type)}, an ISO 8601 time with an offset was expected")


# --- numbers ---------------------------------------------------------------------------------------------------------

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?\Z", re.ASCII)
_SEPARATED = re.compile(r"[+-]?\d[\d., ']*,[\d., ']*\d\Z", re.ASCII)


def _no_number(text: str) -> str:
    hint = " (decimals stand after a point, thousands are not separated)" if _SEPARATED.match(text) else ""
    return f"is not a number: {shown(text)}{hint}"


def _rounded(text: str, digits: int) -> str | None:
    """The text of a decimal number, with so many decimals at most; halves are rounded away from zero."""
    if not _DECIMAL.match(text):
        return None
    value = Decimal(text)
    if value.adjusted() > 30:
        return None
    with localcontext(prec=60):
        return format(value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP), "f")


def _money_from_text(of: Field, values: pa.Array) -> Typed:
    def cast(texts: pa.Array) -> pa.Array:
        return texts.cast(MONEY)

    try:
        typed = cast(values)
    except pa.ArrowInvalid:
        values = _empty_as_null(pc.utf8_trim_whitespace(values))
        try:  # 0.1 + 0.2 in a producer's binary floating point is 0.30000000000000004
            typed = pc.round(values.cast(NUMBER), _NOISE_DIGITS, "half_towards_infinity").cast(MONEY)
        except pa.ArrowInvalid:
            typed = _each(values, cast, lambda text: _rounded(text, _NOISE_DIGITS))
    return _within_money_digits(typed, _misfits(values, typed, _why_no_money))


def _within_money_digits(typed: pa.Array, problems: Problems) -> Typed:
    """Arrow lets a decimal exceed its precision by a rescaling; numeric(20, 4) does not."""
    extremes = pc.min_max(typed).as_py()
    if extremes["min"] is None or (extremes["max"] < _MONEY_DIGITS and extremes["min"] > -_MONEY_DIGITS):
        return Typed(typed, problems)
    limit = pa.scalar(_MONEY_DIGITS, pa.decimal128(38, 4))
    wide = typed.cast(pa.decimal128(38, 4))
    too_large = pc.fill_null(pc.greater_equal(pc.abs(wide), limit), False)
    for row in np.flatnonzero(too_large.to_numpy(zero_copy_only=False)).tolist():
        problems[row] = "is larger than 16 digits before the decimal point"
    return Typed(pc.if_else(too_large, pa.scalar(None, MONEY), typed), problems)


def _within_number_digits(typed: pa.Array) -> Typed:
    """The same of a number: Arrow's JSON reader takes more digits than the column's type has."""
    if not pa.types.is_decimal(typed.type):
        return Typed(typed)
    most = Decimal(10) ** (typed.type.precision - typed.type.scale)
    extremes = pc.min_max(typed).as_py()
    if extremes["min"] is None or (extremes["max"] < most and extremes["min"] > -most):
        return Typed(typed)
    too_large = [row for row, value in enumerate(typed.to_pylist()) if value is not None and abs(value) >= most]
    problems = {row: f"is out of range: {shown(format(typed[row].as_py().normalize(), 'f'))}" for row in too_large}
    mask = np.zeros(len(typed), np.bool_)
    mask[too_large] = True
    return Typed(pc.if_else(pa.array(mask), pa.scalar(None, typed.type), typed), problems)


def _why_no_money(text: str) -> str:
    if not _DECIMAL.match(text):
        return _no_number(text)
    value = Decimal(text)
    if value.is_finite() and value != 0 and value.adjusted() >= 16:
        return "is larger than 16 digits before the decimal point"
    return f"has more than 4 decimals: {shown(text)}"


def _number_from_text(of: Field, values: pa.Array) -> Typed:
    kind = arrow_type(of)

    def cast(texts: pa.Array) -> pa.Array:
        return texts.cast(kind)

    try:
        return Typed(cast(values))
    except pa.ArrowInvalid:
        values = _empty_as_null(pc.utf8_trim_whitespace(values))
        digits = kind.scale
        try:
            typed = pc.round(values.cast(NUMBER), digits, "half_towards_infinity").cast(kind)
        except pa.ArrowInvalid:
            typed = _each(values, cast, lambda text: _rounded(text, digits))
        return _of_something(values, typed, Typed(typed, _misfits(values, typed, _why_no_number)))


def _of_something(texts: pa.Array, typed: pa.Array, found: Typed) -> Typed:
    """What is more than nothing and rounded to 0 is too small, and not nothing."""
    if typed.null_count == len(typed):
        return found
    zero = pc.fill_null(pc.equal(typed, pa.scalar(Decimal(0), typed.type)), False)
    nonzero = pc.fill_null(pc.match_substring_regex(texts, r"^[^eE]*[1-9]"), False)
    for row in np.flatnonzero(pc.and_(zero, nonzero).to_numpy(zero_copy_only=False)).tolist():
        text = texts[row].as_py()
        if not text.lstrip().startswith("-"):
            found.problems[row] = f"is so small that it would be rounded to 0: {shown(text)}"
    if found.problems:
        mask = np.zeros(len(typed), np.bool_)
        mask[list(found.problems)] = True
        found.values = pc.if_else(pa.array(mask), pa.scalar(None, typed.type), typed)
    return found


def _why_no_number(text: str) -> str:
    return f"is out of range: {shown(text)}" if _DECIMAL.match(text) else _no_number(text)


def _integer_from_text(of: Field, values: pa.Array) -> Typed:
    def cast(texts: pa.Array) -> pa.Array:
        if pc.any(pc.match_substring(texts, "x", ignore_case=True)).as_py():
            raise pa.ArrowInvalid("Arrow reads 0x1F as 31, no other reader does")
        return texts.cast(pa.int64())

    try:
        return Typed(cast(values))
    except pa.ArrowInvalid:
        values = _empty_as_null(pc.utf8_trim_whitespace(values))
        typed = _each(values, cast, _without_zero_decimals)
        return Typed(typed, _misfits(values, typed, _why_no_integer))


def _why_no_integer(text: str) -> str:
    if re.fullmatch(r"[+-]?\d+(\.0+)?", text, re.ASCII):
        return f"is out of range: {shown(text)}"
    return f"is not a whole number: {shown(text)}"


def _without_zero_decimals(text: str) -> str | None:
    """pandas writes a whole-number column with gaps as 3.0."""
    match = re.fullmatch(r"([+-]?\d+)\.0+", text, re.ASCII)
    return match[1] if match else None


def _number_from_other(of: Field, values: pa.Array) -> Typed:
    kind, wanted = values.type, arrow_type(of)
    if of.kind == "integer" and pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
        return Typed(values.cast(pa.int64()))
    if of.kind == "money" and kind == MONEY:
        return _within_money_digits(values, {})
    if kind == wanted:
        return _within_number_digits(values)
    if pa.types.is_decimal(kind) or pa.types.is_integer(kind):
        try:
            if of.kind == "money":
                return _within_money_digits(values.cast(MONEY), {})
            return _within_number_digits(values.cast(wanted))
        except pa.ArrowInvalid:
            return _FROM_TEXT[of.kind](of, _plain_numbers(values))
    if pa.types.is_floating(kind):
        return _FROM_TEXT[of.kind](of, _plain_numbers(values))
    return _all_unfit(values, wanted, f"is {_type_name(kind)}, a number was expected")


def _plain_numbers(numbers: pa.Array) -> pa.Array:
    """Numbers as the shortest text that means them, a whole one without decimals."""
    if pa.types.is_float16(numbers.type) or pa.types.is_float32(numbers.type):
        texts = pa.array([None if v is None else str(np.float32(v)) for v in numbers.to_pylist()], pa.string())
    else:
        texts = numbers.cast(pa.string())
    return pc.replace_substring_regex(texts, r"^(-?\d+)\.0+$", r"\1")


# --- true and false --------------------------------------------------------------------------------------------------

_TRUE, _FALSE = pa.array(["true", "1", "yes"]), pa.array(["false", "0", "no"])


def _boolean_from_text(of: Field, values: pa.Array) -> Typed:
    values = _trimmed(values, is_id=False)
    words = pc.ascii_lower(values)
    is_true = pc.is_in(words, _TRUE)
    known = pc.or_(is_true, pc.is_in(words, _FALSE))
    typed = pc.if_else(known, is_true, pa.scalar(None, pa.bool_()))
    return Typed(typed, _misfits(values, typed, lambda text: f"is neither true nor false: {shown(text)}"))


def _boolean_from_other(of: Field, values: pa.Array) -> Typed:
    kind = values.type
    if pa.types.is_boolean(kind):
        return Typed(values)
    if pa.types.is_integer(kind):
        return _boolean_from_text(of, values.cast(pa.string()))
    return _all_unfit(values, pa.bool_(), f"is {_type_name(kind)}, true or false was expected")


# --- arrays ----------------------------------------------------------------------------------------------------------


class _Faults:
    """The faults of elements, told by row: those that cost the record, and those that cost a text alone."""

    def __init__(self, of: Field, parents: np.ndarray, offsets: np.ndarray) -> None:
        self.of, self.parents, self.offsets = of, parents, offsets
        self.inner: Problems = {}
        self.mended: Mended = {}

    def number(self, element: int) -> int:
        """Which element of its array it is, from 1."""
        return element - int(self.offsets[self.parents[element]]) + 1

    def note(self, element: int, what: str) -> None:
        row = int(self.parents[element])
        text = f"{self.of.name}[{self.number(element)}]{what}"
        self.inner[row] = f"{self.inner[row]}; {text}" if row in self.inner else text

    def note_all(self, inner: Field, problems: Problems) -> None:
        for element, reason in sorted(problems.items()):
            if inner.kind == "text" and not inner.required:
                subject = f"{self.of.name}[].{inner.name}"
                self.mended.setdefault((subject, "readable"), set()).add(int(self.parents[element]))
            else:
                self.note(element, f".{inner.name} {reason}")


def _array_of_lists(of: Field, values: pa.Array) -> Typed:
    kind = values.type
    if not pa.types.is_list(kind) or not (pa.types.is_struct(kind.value_type) or pa.types.is_null(kind.value_type)):
        return _all_unfit(values, arrow_type(of), "is not an array of objects")
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    flat = pc.list_flatten(values)
    faults = _Faults(of, np.repeat(np.arange(len(values)), lengths), offsets)
    if pa.types.is_null(flat.type):
        flat = pa.nulls(len(flat), arrow_type(of).value_type)
    missing = flat.is_null()
    problems: Problems = {}
    if flat.null_count:
        for element in np.flatnonzero(missing.to_numpy(zero_copy_only=False)).tolist():
            problems.setdefault(int(faults.parents[element]), f"[{faults.number(element)}] is not an object")
    present = {name.name: child for name, child in zip(flat.type, flat.flatten(), strict=True)}
    children = []
    for inner in of.elements:
        if inner.name not in present:
            children.append(pa.nulls(len(flat), arrow_type(inner)))
            continue
        typed = conform(inner, present[inner.name])
        faults.note_all(inner, typed.problems)
        children.append(typed.values)
    names = [inner.name for inner in of.elements]
    structs = pa.StructArray.from_arrays(children, names=names, mask=missing if flat.null_count else None)
    mask = values.is_null() if values.null_count else None
    return _tidy(of, pa.ListArray.from_arrays(pa.array(offsets), structs, mask=mask), problems, faults)


def _tidy(of: Field, values: pa.ListArray, problems: Problems, faults: _Faults) -> Typed:
    """The array without elements that are none, and with those that are one element once."""
    elements = pc.list_flatten(values)
    keep = np.ones(len(elements), np.bool_)
    if of.counted and len(elements):
        count = pc.struct_field(elements, of.counted)
        zero = pc.fill_null(pc.equal(count, pa.scalar(Decimal(0), count.type)), False)
        if pc.any(zero).as_py():
            keep &= ~zero.to_numpy(zero_copy_only=False)
            faults.mended[f"{of.name}[].{of.counted}", "zero"] = set(faults.parents[~keep].tolist())
    if of.once_by and len(values) and int(np.diff(faults.offsets).max()) > 1:
        keep &= _first_of_each(of, elements, faults)
    if not keep.all():
        places = np.flatnonzero(keep)
        offsets = np.zeros(len(values) + 1, np.int32)
        np.cumsum(np.bincount(faults.parents[places], minlength=len(values)), out=offsets[1:])
        absent = values.is_null().to_numpy(zero_copy_only=False)
        emptied = (np.diff(offsets) == 0) & (np.diff(faults.offsets) > 0)
        mask = absent | emptied
        values = pa.ListArray.from_arrays(
            pa.array(offsets), elements.take(pa.array(places)), mask=pa.array(mask) if mask.any() else None
        )
    return Typed(values, problems, faults.inner, faults.mended)


def _first_of_each(of: Field, elements: pa.StructArray, faults: _Faults) -> np.ndarray:
    """Which elements to keep, so that each id counts once per row: of different contents the one of greater hash."""
    ids = pc.struct_field(elements, of.once_by)
    frame = pd.DataFrame({"row": faults.parents, "id": ids.to_numpy(zero_copy_only=False)})
    again = frame.duplicated(keep=False).to_numpy() & ids.is_valid().to_numpy(zero_copy_only=False)
    keep = np.ones(len(elements), np.bool_)
    if not again.any():
        return keep
    groups: dict[tuple[int, str], list[int]] = {}
    for place in np.flatnonzero(again).tolist():
        groups.setdefault((int(faults.parents[place]), frame["id"][place]), []).append(place)
    for (row, _), places in groups.items():
        hashes = {
            hashlib.md5(dumps_plain(elements[place].as_py()), usedforsecurity=False).hexdigest(): place
            for place in reversed(places)
        }
        rule = "repeated" if len(hashes) == 1 else "conflict"
        faults.mended.setdefault((f"{of.name}[]", rule), set()).add(row)
        keep[places] = False
        keep[hashes[max(hashes)]] = True
    return keep


def _array_from_text(of: Field, values: pa.Array) -> Typed:
    return array_of_cells(of, values)[0]


Unknown = dict[int, list[dict[str, Any]]]
"""Row -> the fields of each of its elements that the contract does not know."""


def array_of_cells(of: Field, values: pa.Array) -> tuple[Typed, Unknown]:
    """JSON text, as in a CSV cell: read by Arrow where all of it has the shape, else one by one.

    Returns:
        The column, and what the elements hold beyond the known fields.
    """
    values, unfit = _readable_text(values)
    present = values.drop_null()
    if len(present) == 0:
        return Typed(pa.nulls(len(values), arrow_type(of)), unfit), {}
    unknown: Unknown = {}
    parsed = _read_json_cells(of, present, "error")
    if parsed is None and (parsed := _read_json_cells(of, present, "ignore")) is not None:
        for row, text in enumerate(present.to_pylist()):
            if inner := unknown_in_elements(of, loads(text)):
                unknown[row] = inner
    if parsed is not None:
        typed = _array_of_lists(of, parsed)
    else:
        cells = [loads_or_unfit(text) for text in present.to_pylist()]
        typed = arrays_from_python(of, cells)
        for row, cell in enumerate(cells):
            if inner := unknown_in_elements(of, cell):
                unknown[row] = inner
    if len(present) < len(values):
        rows = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False)).tolist()
        places = np.full(len(values), -1, np.int64)
        places[rows] = np.arange(len(rows))
        typed = Typed(
            typed.values.take(pa.array(places, mask=places < 0)),
            {rows[row]: reason for row, reason in typed.problems.items()},
            {rows[row]: reason for row, reason in typed.inner.items()},
            {what: {rows[row] for row in mended} for what, mended in typed.mended.items()},
        )
        unknown = {rows[row]: inner for row, inner in unknown.items()}
    typed.problems |= unfit
    return typed, unknown


def unknown_in_elements(of: Field, value: Any) -> list[dict[str, Any]]:
    """The unknown fields of each element of an array, null ones left out; empty if there are none at all."""
    if not isinstance(value, list):
        return []
    inner = [
        {key: v for key, v in element.items() if key not in of.element_names and v is not None}
        if isinstance(element, dict)
        else {}
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
    for is_wide in (False, True):
        try:
            table = read_json_block(block, pa.schema([("v", json_type(of, is_wide=is_wide))]), unexpected)
        except pa.ArrowInvalid as error:
            if "unexpected field" in str(error):
                return None
            continue
        if table.num_rows != len(texts):
            return None
        column: pa.Array = table.column(0).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        return None if column.null_count else column
    return None


def _text_bytes(values: pa.Array) -> Iterable[memoryview]:
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    yield memoryview(values.buffers()[2])[int(offsets[0]) : int(offsets[-1])]


def json_type(of: Field, *, is_wide: bool = False) -> pa.DataType:
    """What Arrow's JSON reader is asked for: times as text, because it reads them without regard to offsets.

    Args:
        is_wide: take all decimals of numbers, to round them afterwards; slower.
    """
    if of.kind == "array":
        return pa.list_(pa.struct([(element.name, json_type(element, is_wide=is_wide)) for element in of.elements]))
    if of.kind == "time":
        return pa.string()
    return NUMBER if is_wide and of.kind in {"money", "number"} else arrow_type(of)


def json_schema(feed: Feed, *, is_wide: bool = False, numbers: frozenset[str] = frozenset()) -> pa.Schema:
    """The schema that Arrow's JSON reader is given for a feed.

    Args:
        numbers: text fields that come as whole numbers.
    """
    return pa.schema(
        [(of.name, pa.int64() if of.name in numbers else json_type(of, is_wide=is_wide)) for of in feed.fields]
    )


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


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, NumberText):
        return "a number"
    return "text" if isinstance(value, str) else "an array or object"


_EXPECTED = {"text": "text", "time": "an ISO 8601 time with an offset", "boolean": "true or false"}


def from_python(of: Field, values: list[Any]) -> Typed:
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
        elif of.kind == "boolean" and isinstance(value, bool):
            text = "true" if value else "false"
        elif of.kind == "text" and isinstance(value, NumberText):
            text, why = _digits(value, is_id=of.is_id)
            if why:
                problems[row] = why
        elif not isinstance(value, str) or (of.kind == "time" and isinstance(value, NumberText)):
            expected = _EXPECTED.get(of.kind, "a number")
            problems[row] = f"is {_kind_of(value)}, {expected} was expected"
        elif not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            problems[row] = "is not valid Unicode text"
        else:
            text = str(value)
        texts.append(text)
    typed = conform(of, pa.array(texts, pa.string()))
    typed.problems |= problems
    return typed


def arrays_from_python(of: Field, values: list[Any]) -> Typed:
    """Type arrays of objects that :func:`loads` gave."""
    problems: Problems = {}
    strange: dict[int, int] = {}
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
            strange[row] = next(place for place, element in enumerate(value, 1) if not isinstance(element, dict))
            value = []
        present.append(fits)
        elements.extend(value if fits else ())
        offsets.append(len(elements))
    places = np.array(offsets, np.int32)
    faults = _Faults(of, np.repeat(np.arange(len(values)), np.diff(places)), places)
    problems |= {row: f"[{place}] is not an object" for row, place in strange.items()}
    children = []
    for inner in of.elements:
        typed = from_python(inner, [element.get(inner.name) for element in elements])
        faults.note_all(inner, typed.problems)
        children.append(typed.values)
    structs = pa.StructArray.from_arrays(children, names=[inner.name for inner in of.elements])
    mask = None if all(present) else pa.array([not fits for fits in present])
    return _tidy(of, pa.ListArray.from_arrays(pa.array(places), structs, mask=mask), problems, faults)


_FROM_TEXT: dict[str, Callable[[Field, pa.Array], Typed]] = {
    "text": _text_from_text,
    "time": _time_from_text,
    "money": _money_from_text,
    "number": _number_from_text,
    "integer": _integer_from_text,
    "boolean": _boolean_from_text,
    "array": _array_from_text,
}
