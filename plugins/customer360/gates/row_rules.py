"""Great Expectations expectations about the rows of a batch, each answered by one vectorised pass over a column.

GX's own map expectations take 0.8-5 s per million rows each, because they build Python objects and several metrics
per check. Here each expectation has one metric, whose value is the array of the rows that break it; the whole suite
of a feed costs less than one built-in check. They stay GX expectations: they live in suites, carry a severity and
the reason why they exist (``notes``), and their results are in Data Docs.

What they look at is a :class:`customer360.contract.records.Chunk`, handed to GX in the attributes of a data frame
that holds the row numbers: GX hashes every value of a frame it is given, twice, which alone would cost a second per
million. No result holds a value: rows are told by number, and :meth:`RowExpectation.explain` masks what it shows.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from great_expectations.compatibility.pydantic import PrivateAttr
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from customer360.contract.records import RECORD, Chunk, masked, shown

Rows = np.ndarray
"""Rows of the chunk, counted from 0, in ascending order."""

NO_ROWS = np.empty(0, np.int64)


def frame_of(chunk: Chunk, landed_at: datetime) -> pd.DataFrame:
    """The data frame that GX is given for a chunk."""
    frame = pd.DataFrame({"row_number": chunk.row_numbers}, copy=False)
    frame.attrs["chunk"] = chunk
    frame.attrs["landed_at"] = landed_at
    return frame


def _where(mask: pa.Array | pa.ChunkedArray) -> Rows:
    """The rows where a mask is true; null is not."""
    if mask.null_count == len(mask) or not pc.any(mask).as_py():
        return NO_ROWS
    return np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))


def _number(value: int, kind: pa.DataType) -> pa.Scalar:
    return pa.scalar(Decimal(value) if pa.types.is_decimal(kind) else value, kind)


class _RowsMetric(TableMetricProvider):
    """Base of the metrics: the rows of the batch that break one rule."""

    domain_keys: ClassVar[tuple[str, ...]] = ()  # type: ignore[misc]

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any],
    ) -> Rows:
        batch_data: Any = execution_engine.batch_manager.active_batch_data
        attributes = batch_data.dataframe.attrs
        arguments = {key: metric_value_kwargs.get(key) for key in cls.value_keys}
        return cls.rows(attributes["chunk"], attributes["landed_at"], **arguments)

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        """The rows that break the rule."""
        raise NotImplementedError


class RowExpectation(BatchExpectation):
    """Base of the expectations: true for each row of the batch, or the row steps aside."""

    column: str = ""

    rule: ClassVar[str] = ""
    """The rule's name in ``quarantine.rows.reasons``."""

    _configuration: Any = PrivateAttr(default=None)

    @property
    def configuration(self) -> ExpectationConfiguration:
        """As GX makes it, but once: GX asks a dozen times per validation, which is half of what a small batch takes."""
        if self._configuration is None:
            self._configuration = super().configuration
        return self._configuration

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: dict[str, Any] | None = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        rows: Rows = metrics[self.metric_dependencies[0]]
        return {
            "success": len(rows) == 0,
            "result": {"unexpected_count": len(rows), "unexpected_index_list": rows.tolist()},
        }

    @property
    def subject(self) -> str:
        """The field that the rule is about; ``items[].sku`` for one of an element."""
        return self.column

    def explain(self, chunk: Chunk, row: int) -> str:
        """Why this row breaks the rule, in words, personal values masked."""
        raise NotImplementedError


def _value(chunk: Chunk, column: str, row: int) -> str:
    """A value of a row, as a message shows it."""
    of = chunk.feed.by_name[column]
    value = chunk.columns[column][row].as_py()
    return said(value, is_personal=of.is_personal)


def said(value: Any, *, is_personal: bool = False) -> str:
    """A typed value in a message: times to the second and only as far as they are needed, numbers without zeros."""
    if value is None:
        return "nothing"
    if isinstance(value, datetime):
        midnight = value.hour == value.minute == value.second == value.microsecond == 0
        return value.strftime("%Y-%m-%d") if midnight else value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return masked(value) if is_personal else shown(value)


# --- values of one field ---------------------------------------------------------------------------------------------


class _RowsUntyped(_RowsMetric):
    metric_name = "table.rows_whose_value_does_not_fit_its_type"
    value_keys = ("column",)

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        problems = chunk.problems.get(arguments["column"])
        return np.array(sorted(problems), np.int64) if problems else NO_ROWS


class ExpectReadableValue(RowExpectation):
    """The value is of the field's type (or, for the whole record, the record can be read at all)."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_whose_value_does_not_fit_its_type",)
    success_keys: ClassVar[tuple[str, ...]] = ("column",)
    rule: ClassVar[str] = "readable"

    def explain(self, chunk: Chunk, row: int) -> str:
        reason = chunk.problems[self.column][row]
        subject = "the record" if self.column == RECORD else self.column
        return f"{subject}{reason}" if reason.startswith("[") else f"{subject} {reason}"


class _RowsMissing(_RowsMetric):
    metric_name = "table.rows_without_required_value"
    value_keys = ("column",)

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        values = chunk.columns[arguments["column"]]
        if values.null_count == 0:
            return NO_ROWS
        # What could not be read has its own reason; it is not missing.
        told = {*chunk.problems.get(arguments["column"], ()), *chunk.problems.get(RECORD, ())}
        return np.array([row for row in _where(values.is_null()) if int(row) not in told], np.int64)


class ExpectRequiredValue(RowExpectation):
    """A required field has a value."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_without_required_value",)
    success_keys: ClassVar[tuple[str, ...]] = ("column",)
    rule: ClassVar[str] = "required"

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.column} is missing"


class _RowsTooLong(_RowsMetric):
    metric_name = "table.rows_with_too_long_text"
    value_keys = ("column", "limit")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        values = chunk.columns[arguments["column"]]
        longest = pc.max(pc.binary_length(values)).as_py()
        if longest is None or longest <= arguments["limit"]:  # bytes are at least as many as characters
            return NO_ROWS
        return _where(pc.greater(pc.utf8_length(values), arguments["limit"]))


class ExpectTextWithin(RowExpectation):
    """A text has at most so many characters."""

    limit: int
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_too_long_text",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "limit")
    rule: ClassVar[str] = "length"

    def explain(self, chunk: Chunk, row: int) -> str:
        length = len(chunk.columns[self.column][row].as_py())
        return f"{self.column} has {length} characters, at most {self.limit} are allowed"


class _RowsOfAnotherForm(_RowsMetric):
    metric_name = "table.rows_of_another_form"
    value_keys = ("column", "form")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        values = chunk.columns[arguments["column"]]
        if values.null_count == len(values):
            return NO_ROWS
        return _where(pc.invert(pc.match_substring_regex(values, f"^(?:{arguments['form']})$")))


class ExpectTextForm(RowExpectation):
    """A text has the agreed form."""

    form: str
    """A regular expression (RE2) that the whole text must match."""
    in_words: str
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_of_another_form",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "form")
    rule: ClassVar[str] = "form"

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.column} must be {self.in_words}: {_value(chunk, self.column, row)}"


class _RowsOutsideSet(_RowsMetric):
    metric_name = "table.rows_outside_set"
    value_keys = ("column", "choices")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        values = chunk.columns[arguments["column"]]
        if values.null_count == len(values):
            return NO_ROWS
        choices = pa.array(list(arguments["choices"]), pa.string()).cast(values.type)
        known = pc.is_in(values, choices)
        if values.null_count == 0 and pc.all(known).as_py():
            return NO_ROWS
        return _where(pc.and_(values.is_valid(), pc.invert(known)))


class ExpectOneOf(RowExpectation):
    """A value is one of the agreed ones."""

    choices: list[str]
    called: str = ""
    """What the set is, where it is too long to be listed."""
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_outside_set",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "choices")
    rule: ClassVar[str] = "choice"

    def explain(self, chunk: Chunk, row: int) -> str:
        wanted = self.called or "one of " + ", ".join(self.choices)
        text = str(chunk.columns[self.column][row].as_py())
        for choice in self.choices:
            if choice.lower() == text.strip().lower():
                return f"{self.column} is not {wanted}: {text.strip()} must be written {choice}"
        return f"{self.column} is not {wanted}: {_value(chunk, self.column, row)}"


class _RowsBelow(_RowsMetric):
    metric_name = "table.rows_below"
    value_keys = ("column", "minimum")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        values = chunk.columns[arguments["column"]]
        if values.null_count == len(values):
            return NO_ROWS
        return _where(pc.less(values, _number(arguments["minimum"], values.type)))


class ExpectAtLeast(RowExpectation):
    """A number is at least so much."""

    minimum: int
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_below",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "minimum")
    rule: ClassVar[str] = "minimum"

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.column} is less than {self.minimum}: {_value(chunk, self.column, row)}"


# --- times -----------------------------------------------------------------------------------------------------------


class _RowsBefore(_RowsMetric):
    metric_name = "table.rows_with_times_in_wrong_order"
    value_keys = ("column", "earlier")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        return _where(pc.less(chunk.columns[arguments["column"]], chunk.columns[arguments["earlier"]]))


class ExpectNotBefore(RowExpectation):
    """A time is not before another one of the same record."""

    earlier: str
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_times_in_wrong_order",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "earlier")
    rule: ClassVar[str] = "order_of_times"

    def explain(self, chunk: Chunk, row: int) -> str:
        late, early = _value(chunk, self.column, row), _value(chunk, self.earlier, row)
        return f"{self.column} is before {self.earlier}: {late} < {early}"


class _RowsTooLate(_RowsMetric):
    metric_name = "table.rows_with_times_too_far_apart"
    value_keys = ("column", "since", "hours")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        since = chunk.columns[arguments["since"]].cast(pa.int64())
        limit = pc.add(since, int(arguments["hours"]) * 3_600_000_000)
        return _where(pc.greater(chunk.columns[arguments["column"]].cast(pa.int64()), limit))


class ExpectWithinHours(RowExpectation):
    """A time is at most so many hours after another one."""

    since: str
    hours: int
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_times_too_far_apart",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "since", "hours")
    rule: ClassVar[str] = "duration"

    def explain(self, chunk: Chunk, row: int) -> str:
        late, early = _value(chunk, self.column, row), _value(chunk, self.since, row)
        return f"{self.column} is more than {self.hours} hours after {self.since}: {late} > {early}"


EARLIEST = datetime(1995, 1, 1, tzinfo=UTC)


class _RowsOutOfTime(_RowsMetric):
    metric_name = "table.rows_with_implausible_times"
    value_keys = ("column", "days_ahead")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        values = chunk.columns[arguments["column"]]
        extremes = pc.min_max(values)
        if not extremes["min"].is_valid:
            return NO_ROWS
        earliest, latest = pa.scalar(EARLIEST, values.type), pa.scalar(_latest(landed_at, arguments), values.type)
        if extremes["min"].value >= earliest.value and extremes["max"].value <= latest.value:
            return NO_ROWS
        return _where(pc.or_(pc.less(values, earliest), pc.greater(values, latest)))


def _latest(landed_at: datetime, arguments: dict[str, Any]) -> datetime:
    return landed_at + timedelta(days=int(arguments["days_ahead"]))


class ExpectPlausibleTime(RowExpectation):
    """A time is not before 1995 and not further ahead of the batch's landing than agreed."""

    days_ahead: int
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_implausible_times",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "days_ahead")
    rule: ClassVar[str] = "plausible_time"

    def explain(self, chunk: Chunk, row: int) -> str:
        # Years beyond Python's own range exist in Parquet files.
        value = chunk.columns[self.column][row]
        before = value.value < pa.scalar(EARLIEST, value.type).value
        text = pc.cast(pc.cast(value, pa.timestamp("us")), pa.string()).as_py()[:10]
        if before:
            return f"{self.column} is before 1995: {text}"
        days = "day" if self.days_ahead == 1 else "days"
        return f"{self.column} is more than {self.days_ahead} {days} after the batch landed: {text}"


# --- several fields --------------------------------------------------------------------------------------------------


class _RowsOfNobody(_RowsMetric):
    metric_name = "table.rows_without_any_of"
    value_keys = ("columns",)

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        nobody = None
        for column in arguments["columns"]:
            values = chunk.columns[column]
            if values.null_count == 0:
                return NO_ROWS
            nobody = values.is_null() if nobody is None else pc.and_(nobody, values.is_null())
        unread = chunk.problems.get(RECORD, {})
        rows = _where(nobody)
        return np.array([row for row in rows if int(row) not in unread], np.int64) if unread else rows


class ExpectAnyOf(RowExpectation):
    """At least one of some fields has a value."""

    columns: list[str]
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_without_any_of",)
    success_keys: ClassVar[tuple[str, ...]] = ("columns",)
    rule: ClassVar[str] = "someone"

    @property
    def subject(self) -> str:
        return ", ".join(self.columns)

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"none of {', '.join(self.columns)} is given"


class _RowsWithHalfAPair(_RowsMetric):
    metric_name = "table.rows_with_half_a_pair"
    value_keys = ("column", "other")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        column, other = arguments["column"], arguments["other"]
        rows = _where(pc.xor(chunk.columns[column].is_valid(), chunk.columns[other].is_valid()))
        told = {*chunk.problems.get(column, ()), *chunk.problems.get(other, ())}
        return np.array([row for row in rows if int(row) not in told], np.int64) if told else rows


class ExpectBothOrNeither(RowExpectation):
    """Two fields come together or not at all."""

    other: str
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_half_a_pair",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "other")
    rule: ClassVar[str] = "pair"

    def explain(self, chunk: Chunk, row: int) -> str:
        has_first = chunk.columns[self.column][row].is_valid
        given, absent = (self.column, self.other) if has_first else (self.other, self.column)
        return f"{given} is given without {absent}"


class _RowsAbove(_RowsMetric):
    metric_name = "table.rows_above_another_column"
    value_keys = ("column", "other")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        return _where(pc.greater(chunk.columns[arguments["column"]], chunk.columns[arguments["other"]]))


class ExpectAtMostOther(RowExpectation):
    """A number is at most another one of the same record."""

    other: str
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_above_another_column",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "other")
    rule: ClassVar[str] = "maximum"

    def explain(self, chunk: Chunk, row: int) -> str:
        value, limit = _value(chunk, self.column, row), _value(chunk, self.other, row)
        return f"{self.column} is more than {self.other}: {value} > {limit}"


class _RowsLongerThan(_RowsMetric):
    metric_name = "table.rows_longer_than_their_span"
    value_keys = ("column", "start", "end")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        values = chunk.columns[arguments["column"]]
        if values.null_count == len(values):
            return NO_ROWS
        start, end = (
            chunk.columns[arguments["start"]].cast(pa.int64()),
            chunk.columns[arguments["end"]].cast(pa.int64()),
        )
        # A second has begun when a part of it has passed, and producers round either way.
        seconds = pc.divide(pc.add(pc.subtract(end, start), 999_999), 1_000_000)
        return _where(pc.greater(values, seconds))


class ExpectSecondsWithin(RowExpectation):
    """A duration in seconds fits between two times of the record."""

    start: str
    end: str
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_longer_than_their_span",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "start", "end")
    rule: ClassVar[str] = "duration"

    def explain(self, chunk: Chunk, row: int) -> str:
        start, end = chunk.columns[self.start][row].as_py(), chunk.columns[self.end][row].as_py()
        seconds = said(Decimal(str((end - start).total_seconds())))
        return f"{self.column} is longer than {self.start} to {self.end}: {_value(chunk, self.column, row)} > {seconds}"


# --- elements of arrays ----------------------------------------------------------------------------------------------


class _RowsEmptyArray(_RowsMetric):
    metric_name = "table.rows_with_empty_array"
    value_keys = ("column",)

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        values = chunk.columns[arguments["column"]]
        rows = _where(pc.equal(pc.list_value_length(values), 0))
        told = chunk.problems.get(arguments["column"], {})
        return np.array([row for row in rows if int(row) not in told], np.int64) if told else rows


class ExpectNonEmptyArray(RowExpectation):
    """An array is null or has elements."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_empty_array",)
    success_keys: ClassVar[tuple[str, ...]] = ("column",)
    rule: ClassVar[str] = "not_empty"

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.column} is an empty array; leave the field out when the {self.column} are unknown"


class ElementExpectation(RowExpectation):
    """Base of rules about one field of the elements of an array."""

    element: str

    @property
    def subject(self) -> str:
        return f"{self.column}[].{self.element}"

    def explain(self, chunk: Chunk, row: int) -> str:
        values = chunk.columns[self.column][row].as_py() or []
        faults = [
            f"{self.column}[{place}].{self.element} {fault}"
            for place, value in enumerate(values, 1)
            if (fault := self.fault(value or {}))
        ]
        text = "; ".join(faults[:3]) or f"{self.subject} breaks a rule"
        return text if len(faults) <= 3 else f"{text}; and {len(faults) - 3} more"

    def fault(self, element: dict[str, Any]) -> str:
        """What is wrong with one element, or "" if nothing is."""
        raise NotImplementedError


def _rows_of_elements(chunk: Chunk, column: str, mask: pa.Array, *, but_told: bool = False) -> Rows:
    """The rows of the chunk that have an element for which ``mask`` is true."""
    elements = _where(mask)
    if not len(elements):
        return NO_ROWS
    rows = np.unique(chunk.elements(column)[1][elements])
    if but_told and (told := chunk.problems.get(column)):
        rows = np.array([row for row in rows if int(row) not in told], np.int64)
    return rows


class _RowsWithElementMissing(_RowsMetric):
    metric_name = "table.rows_with_element_lacking"
    value_keys = ("column", "element")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        elements, _ = chunk.elements(arguments["column"])
        values = pc.struct_field(elements, arguments["element"])
        if values.null_count == 0:
            return NO_ROWS
        return _rows_of_elements(chunk, arguments["column"], values.is_null(), but_told=True)


class ExpectElementValue(ElementExpectation):
    """Each element has a required field."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_element_lacking",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "element")
    rule: ClassVar[str] = "required"

    def fault(self, element: dict[str, Any]) -> str:
        return "is missing" if element.get(self.element) is None else ""


class _RowsWithElementOutsideSet(_RowsMetric):
    metric_name = "table.rows_with_element_outside_set"
    value_keys = ("column", "element", "choices")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        elements, _ = chunk.elements(arguments["column"])
        values = pc.struct_field(elements, arguments["element"])
        known = pc.is_in(values, pa.array(list(arguments["choices"]), pa.string()))
        return _rows_of_elements(chunk, arguments["column"], pc.and_(values.is_valid(), pc.invert(known)))


class ExpectElementOneOf(ElementExpectation):
    """A field of each element has one of the agreed values."""

    choices: list[str]
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_element_outside_set",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "element", "choices")
    rule: ClassVar[str] = "choice"

    def fault(self, element: dict[str, Any]) -> str:
        value = element.get(self.element)
        if value is None or value in self.choices:
            return ""
        return f"must be one of {', '.join(self.choices)}: {said(value)}"


class _RowsWithElementOfNothing(_RowsMetric):
    metric_name = "table.rows_with_element_that_says_nothing"
    value_keys = ("column", "others")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        elements, _ = chunk.elements(arguments["column"])
        mask = elements.is_valid()
        for name in arguments["others"]:
            mask = pc.and_(mask, pc.struct_field(elements, name).is_null())
        return _rows_of_elements(chunk, arguments["column"], mask)


class ExpectElementAnyOf(ElementExpectation):
    """Each element has at least one of several fields; ``element`` names the first of them."""

    others: list[str]
    """All of them."""
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_element_that_says_nothing",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "others")
    rule: ClassVar[str] = "required"

    def fault(self, element: dict[str, Any]) -> str:
        if any(element.get(name) is not None for name in self.others):
            return ""
        return f"or {' or '.join(name for name in self.others if name != self.element)} must be there"


class _RowsWithElementBelow(_RowsMetric):
    metric_name = "table.rows_with_element_below"
    value_keys = ("column", "element", "minimum", "is_excluded")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        elements, _ = chunk.elements(arguments["column"])
        values = pc.struct_field(elements, arguments["element"])
        if values.null_count == len(values):
            return NO_ROWS
        below = pc.less_equal if arguments["is_excluded"] else pc.less
        mask = below(values, _number(arguments["minimum"], values.type))
        return _rows_of_elements(chunk, arguments["column"], mask)


class ExpectElementAtLeast(ElementExpectation):
    """A number of each element is at least, or more than, so much."""

    minimum: int
    is_excluded: bool = False
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_element_below",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "element", "minimum", "is_excluded")
    rule: ClassVar[str] = "minimum"

    def fault(self, element: dict[str, Any]) -> str:
        value = element.get(self.element)
        if value is None or value > self.minimum or (value == self.minimum and not self.is_excluded):
            return ""
        wanted = f"not more than {self.minimum}" if self.is_excluded else f"less than {self.minimum}"
        return f"is {wanted}: {said(value)}"


class _RowsWithElementAbove(_RowsMetric):
    metric_name = "table.rows_with_element_above_another"
    value_keys = ("column", "element", "other")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        elements, _ = chunk.elements(arguments["column"])
        values = pc.struct_field(elements, arguments["element"])
        if values.null_count == len(values):
            return NO_ROWS
        mask = pc.greater(values, pc.struct_field(elements, arguments["other"]))
        return _rows_of_elements(chunk, arguments["column"], mask)


class ExpectElementAtMost(ElementExpectation):
    """A number of each element is at most another one of it."""

    other: str
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_element_above_another",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "element", "other")
    rule: ClassVar[str] = "maximum"

    def fault(self, element: dict[str, Any]) -> str:
        value, limit = element.get(self.element), element.get(self.other)
        if value is None or limit is None or value <= limit:
            return ""
        return f"is more than {self.other}: {said(value)} > {said(limit)}"


class _RowsWithElementTimesOut(_RowsMetric):
    metric_name = "table.rows_with_element_time_implausible"
    value_keys = ("column", "element", "days_ahead")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        elements, _ = chunk.elements(arguments["column"])
        values = pc.struct_field(elements, arguments["element"])
        if values.null_count == len(values):
            return NO_ROWS
        earliest, latest = pa.scalar(EARLIEST, values.type), pa.scalar(_latest(landed_at, arguments), values.type)
        mask = pc.or_(pc.less(values, earliest), pc.greater(values, latest))
        return _rows_of_elements(chunk, arguments["column"], mask)


class ExpectElementPlausibleTime(ElementExpectation):
    """A time of each element is not before 1995 and not further ahead of the batch's landing than agreed."""

    days_ahead: int
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_element_time_implausible",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "element", "days_ahead")
    rule: ClassVar[str] = "plausible_time"

    def explain(self, chunk: Chunk, row: int) -> str:
        days = "day" if self.days_ahead == 1 else "days"
        return f"{self.subject} is before 1995 or more than {self.days_ahead} {days} after the batch landed"


class _RowsWithSumAbove(_RowsMetric):
    metric_name = "table.rows_with_sum_of_elements_above"
    value_keys = ("column", "element", "total")

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Rows:
        elements, parents = chunk.elements(arguments["column"])
        if len(elements) == 0:
            return NO_ROWS
        amounts = pc.struct_field(elements, arguments["element"])
        wide = pa.table({"row": parents, "amount": amounts.cast(pa.decimal128(38, 4))})
        sums = wide.group_by("row").aggregate([("amount", "sum")])
        rows = sums.column("row").combine_chunks()
        totals = chunk.columns[arguments["total"]].take(rows).cast(pa.decimal128(38, 4))
        return np.sort(rows.to_numpy(zero_copy_only=False)[_where(pc.greater(sums.column("amount_sum"), totals))])


class ExpectSumAtMost(RowExpectation):
    """The amounts of an array add up to at most another field of the record."""

    element: str
    total: str
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows_with_sum_of_elements_above",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "element", "total")
    rule: ClassVar[str] = "sum"

    @property
    def subject(self) -> str:
        return f"{self.column}[].{self.element}"

    def explain(self, chunk: Chunk, row: int) -> str:
        elements = chunk.columns[self.column][row].as_py() or []
        total = sum((element[self.element] for element in elements if element and element[self.element]), Decimal(0))
        return f"the {self.column} add up to more than {self.total}: {said(total)} > {_value(chunk, self.total, row)}"


# --- the whole batch -------------------------------------------------------------------------------------------------


class _UnknownFields(_RowsMetric):
    metric_name = "table.unknown_fields"
    value_keys = ()

    @classmethod
    def rows(cls, chunk: Chunk, landed_at: datetime, **arguments: Any) -> Any:
        return chunk.unknown_fields


class ExpectNoUnknownField(RowExpectation):
    """No field is there that the contract does not know."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.unknown_fields",)
    rule: ClassVar[str] = "unknown_field"

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: dict[str, Any] | None = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        unknown = metrics["table.unknown_fields"]
        # A count of rows, as of every other rule: so many have the most frequent of the fields. A row may have several.
        rows = max(unknown.values(), default=0)
        return {"success": not unknown, "result": {"unexpected_count": rows, "unexpected_index_list": []}}

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"unknown fields: {', '.join(sorted(chunk.unknown_fields))}"
