"""Great Expectations expectations about the rows of a batch, each answered by one vectorised pass over a column.

GX's own map expectations take 0.8-5 s per million rows each, because they build Python objects and several metrics
per check. Here each rule is one class: its parameters, the rows that break it, and why, in words. The metric that GX
asks for is made from the class. The rules stay GX expectations: they live in suites, carry a severity and the reason
why they exist (``notes``), and their results are in Data Docs.

What they look at is a :class:`customer360.contract.records.Chunk`, handed to GX in the attributes of a data frame
that holds the row numbers: GX hashes every value of a frame it is given, twice, which alone would cost a second per
million. No result holds a value: rows are named by number, and :meth:`RowExpectation.explain` masks what it shows.
"""

from __future__ import annotations

import inspect
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

from customer360.contract.masking import masked, shown
from customer360.contract.personal_patterns import MAYBE_CARD, PERSONAL, has_card_number
from customer360.contract.records import RECORD, Chunk, Problems

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


def _but(rows: Rows, *explained: Problems) -> Rows:
    """The rows less those for which there is a reason already."""
    known = set().union(*explained) if len(rows) else set()
    return np.array([row for row in rows if int(row) not in known], np.int64) if known else rows


def _number(value: str, kind: pa.DataType) -> pa.Scalar:
    """A bound as a scalar that compares with a column without overflow."""
    if pa.types.is_integer(kind):
        return pa.scalar(int(Decimal(value)), pa.int64())
    return pa.scalar(Decimal(value), pa.decimal128(38, kind.scale))


class _RowsMetric(TableMetricProvider):
    """Base of the metrics: the rows of the batch that break one rule."""

    domain_keys: ClassVar[tuple[str, ...]] = ()  # type: ignore[misc]
    expectation: ClassVar[Any] = None

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any],
    ) -> Any:
        batch_data: Any = execution_engine.batch_manager.active_batch_data
        attributes = batch_data.dataframe.attrs
        arguments = {key: metric_value_kwargs.get(key) for key in cls.value_keys}
        return cls.expectation.broken(attributes["chunk"], attributes["landed_at"], **arguments)


class RowExpectation(BatchExpectation):
    """Base of the rules: true for each row of the batch, or the row steps aside, or loses a field.

    A rule declares its parameters as fields, finds the rows that break it in :meth:`broken`, and says why in
    :meth:`explain`.
    """

    column: str = ""
    costs: list[str] = []  # noqa: RUF012 - pydantic copies it
    """The fields that a row loses by breaking the rule; none: the row steps aside (or, for a warning, goes on)."""

    rule: ClassVar[str] = ""
    """The rule's name in ``quarantine.rows.reasons``."""

    _configuration: Any = PrivateAttr(default=None)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the rule's metric, with the rule's own parameters as the arguments."""
        super().__init_subclass__(**kwargs)
        if not cls.rule:
            return
        own = {
            name
            for base in cls.__mro__
            if issubclass(base, RowExpectation)
            for name, kind in inspect.get_annotations(base).items()
            if "ClassVar" not in str(kind) and not name.startswith("_")
        }
        keys = tuple(sorted(own - {"costs"}))
        cls.success_keys = keys
        cls.metric_dependencies = (f"table.rows_that_break.{cls.__name__}",)
        type(
            f"_Rows{cls.__name__}",
            (_RowsMetric,),
            {"metric_name": cls.metric_dependencies[0], "value_keys": keys, "expectation": cls},
        )

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

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        """The rows that break the rule."""
        raise NotImplementedError

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


class ExpectReadableValue(RowExpectation):
    """The value is of the field's type (or, for the whole record, the record can be read at all)."""

    rule: ClassVar[str] = "readable"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        problems = chunk.problems.get(parameters["column"])
        return np.array(sorted(problems), np.int64) if problems else NO_ROWS

    def explain(self, chunk: Chunk, row: int) -> str:
        reason = chunk.problems[self.column][row]
        if self.column.endswith("[]"):  # of elements, each of which is named
            return reason
        subject = "the record" if self.column == RECORD else self.column
        return f"{subject}{reason}" if reason.startswith("[") else f"{subject} {reason}"


class ExpectRequiredValue(RowExpectation):
    """A required field has a value."""

    rule: ClassVar[str] = "required"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        column = parameters["column"]
        values = chunk.columns[column]
        if values.null_count == 0:
            return NO_ROWS
        # What could not be read has its own reason; it is not missing.
        return _but(_where(values.is_null()), chunk.problems.get(column, {}), chunk.problems.get(RECORD, {}))

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.column} is missing"


class ExpectTextWithin(RowExpectation):
    """A text has at most so many characters."""

    limit: int
    rule: ClassVar[str] = "length"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        values = chunk.columns[parameters["column"]]
        longest = pc.max(pc.binary_length(values)).as_py()
        if longest is None or longest <= parameters["limit"]:  # bytes are at least as many as characters
            return NO_ROWS
        return _where(pc.greater(pc.utf8_length(values), parameters["limit"]))

    def explain(self, chunk: Chunk, row: int) -> str:
        length = len(chunk.columns[self.column][row].as_py())
        return f"{self.column} has {length} characters, at most {self.limit} are allowed"


class ExpectTextForm(RowExpectation):
    """A text has the agreed form."""

    form: str
    """A regular expression (RE2) that the whole text must match."""
    in_words: str
    rule: ClassVar[str] = "form"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        values = chunk.columns[parameters["column"]]
        if values.null_count == len(values):
            return NO_ROWS
        return _where(pc.invert(pc.match_substring_regex(values, f"^(?:{parameters['form']})$")))

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.column} must be {self.in_words}: {_value(chunk, self.column, row)}"


class ExpectOneOf(RowExpectation):
    """A value is one of the agreed ones."""

    choices: list[str]
    called: str = ""
    """What the set is, where it is too long to be listed."""
    rule: ClassVar[str] = "choice"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        values = chunk.columns[parameters["column"]]
        if values.null_count == len(values):
            return NO_ROWS
        choices = pa.array(list(parameters["choices"]), pa.string()).cast(values.type)
        known = pc.is_in(values, choices)
        if values.null_count == 0 and pc.all(known).as_py():
            return NO_ROWS
        return _where(pc.and_(values.is_valid(), pc.invert(known)))

    def explain(self, chunk: Chunk, row: int) -> str:
        wanted = self.called or "one of " + ", ".join(self.choices)
        return f"{self.column} is not {wanted}: {_value(chunk, self.column, row)}"


class ExpectAtLeast(RowExpectation):
    """A number is at least so much."""

    minimum: str
    rule: ClassVar[str] = "minimum"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        return _below(chunk.columns[parameters["column"]], parameters["minimum"])

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.column} is less than {self.minimum}: {_value(chunk, self.column, row)}"


class ExpectWithinSize(RowExpectation):
    """A number is not larger than every later column, sum and product can hold."""

    limit: str
    is_excluded: bool = False
    rule: ClassVar[str] = "limit"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        return _above(chunk.columns[parameters["column"]], parameters["limit"], parameters["is_excluded"])

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.column} {_too_large(self.limit, self.is_excluded)}: {_value(chunk, self.column, row)}"


def _below(values: pa.Array, minimum: str) -> Rows:
    if values.null_count == len(values):
        return NO_ROWS
    return _where(pc.less(values, _number(minimum, values.type)))


def _above(values: pa.Array, limit: str, is_excluded: bool) -> Rows:
    if values.null_count == len(values):
        return NO_ROWS
    above = pc.greater_equal if is_excluded else pc.greater
    return _where(above(values, _number(limit, values.type)))


def _too_large(limit: str, is_excluded: bool) -> str:
    return f"is {Decimal(limit):,} or more" if is_excluded else f"is more than {Decimal(limit):,}"


# --- times -----------------------------------------------------------------------------------------------------------


class ExpectNotBefore(RowExpectation):
    """A time is not before another one of the same record."""

    earlier: str
    rule: ClassVar[str] = "order_of_times"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        return _where(pc.less(chunk.columns[parameters["column"]], chunk.columns[parameters["earlier"]]))

    def explain(self, chunk: Chunk, row: int) -> str:
        late, early = _value(chunk, self.column, row), _value(chunk, self.earlier, row)
        return f"{self.column} is before {self.earlier}: {late} < {early}"


class ExpectWithinHours(RowExpectation):
    """A time is at most so many hours after another one."""

    since: str
    hours: int
    rule: ClassVar[str] = "duration"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        since = chunk.columns[parameters["since"]].cast(pa.int64())
        limit = pc.add(since, int(parameters["hours"]) * 3_600_000_000)
        return _where(pc.greater(chunk.columns[parameters["column"]].cast(pa.int64()), limit))

    def explain(self, chunk: Chunk, row: int) -> str:
        late, early = _value(chunk, self.column, row), _value(chunk, self.since, row)
        return f"{self.column} is more than {self.hours} hours after {self.since}: {late} > {early}"


EARLIEST = datetime(1995, 1, 1, tzinfo=UTC)


class ExpectPlausibleTime(RowExpectation):
    """A time is not before 1995 and not further ahead of the batch's landing than agreed."""

    days_ahead: int
    rule: ClassVar[str] = "plausible_time"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        return _implausible(chunk.columns[parameters["column"]], landed_at, parameters["days_ahead"])

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.column} {_why_implausible(chunk.columns[self.column][row], self.days_ahead)}"


def _implausible(values: pa.Array, landed_at: datetime, days_ahead: int) -> Rows:
    extremes = pc.min_max(values)
    if not extremes["min"].is_valid:
        return NO_ROWS
    earliest = pa.scalar(EARLIEST, values.type)
    latest = pa.scalar(landed_at + timedelta(days=int(days_ahead)), values.type)
    if extremes["min"].value >= earliest.value and extremes["max"].value <= latest.value:
        return NO_ROWS
    return _where(pc.or_(pc.less(values, earliest), pc.greater(values, latest)))


def _why_implausible(value: pa.Scalar, days_ahead: int) -> str:
    # Years beyond Python's own range exist in Parquet files.
    text = pc.cast(pc.cast(value, pa.timestamp("us")), pa.string()).as_py()[:10]
    if value.value < pa.scalar(EARLIEST, value.type).value:
        return f"is before 1995: {text}"
    days = "day" if days_ahead == 1 else "days"
    return f"is more than {days_ahead} {days} after the batch landed: {text}"


# --- several fields --------------------------------------------------------------------------------------------------


class ExpectAnyOf(RowExpectation):
    """At least one of some fields has a value."""

    columns: list[str]
    rule: ClassVar[str] = "someone"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        nobody = None
        for column in parameters["columns"]:
            values = chunk.columns[column]
            if values.null_count == 0:
                return NO_ROWS
            nobody = values.is_null() if nobody is None else pc.and_(nobody, values.is_null())
        return _but(_where(nobody), chunk.problems.get(RECORD, {}))

    @property
    def subject(self) -> str:
        return ", ".join(self.columns)

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"none of {', '.join(self.columns)} is given"


class ExpectOnlyWith(RowExpectation):
    """A field comes only together with another one."""

    other: str
    rule: ClassVar[str] = "pair"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        other = parameters["other"]
        alone = pc.and_(chunk.columns[parameters["column"]].is_valid(), chunk.columns[other].is_null())
        return _but(_where(alone), chunk.problems.get(other, {}))

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.column} is given without {self.other}"


class ExpectAtMostOther(RowExpectation):
    """A number is at most another one of the same record."""

    other: str
    rule: ClassVar[str] = "maximum"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        return _where(pc.greater(chunk.columns[parameters["column"]], chunk.columns[parameters["other"]]))

    def explain(self, chunk: Chunk, row: int) -> str:
        value, limit = _value(chunk, self.column, row), _value(chunk, self.other, row)
        return f"{self.column} is more than {self.other}: {value} > {limit}"


class ExpectCovered(RowExpectation):
    """An amount is at least the sum of some others."""

    parts: list[str]
    rule: ClassVar[str] = "covered"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        wide = pa.decimal128(30, 4)
        rest = chunk.columns[parameters["column"]].cast(wide)
        for part in parameters["parts"]:
            values = chunk.columns[part].cast(wide)
            if values.null_count < len(values):
                rest = pc.subtract(rest, pc.fill_null(values, pa.scalar(Decimal(0), wide))).cast(wide)
        return _where(pc.less(rest, pa.scalar(Decimal(0), wide)))

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.column} is less than {' and '.join(self.parts)} together"


class ExpectSecondsWithin(RowExpectation):
    """A duration in seconds fits between two times of the record."""

    start: str
    end: str
    rule: ClassVar[str] = "duration"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        values = chunk.columns[parameters["column"]]
        if values.null_count == len(values):
            return NO_ROWS
        start, end = (chunk.columns[parameters[name]].cast(pa.int64()) for name in ("start", "end"))
        # A second has begun when a part of it has passed, and producers round either way.
        seconds = pc.divide(pc.add(pc.subtract(end, start), 999_999), 1_000_000)
        return _where(pc.greater(values, seconds))

    def explain(self, chunk: Chunk, row: int) -> str:
        start, end = chunk.columns[self.start][row].as_py(), chunk.columns[self.end][row].as_py()
        seconds = said(Decimal(str((end - start).total_seconds())))
        return f"{self.column} is longer than {self.start} to {self.end}: {_value(chunk, self.column, row)} > {seconds}"


# --- elements of arrays ----------------------------------------------------------------------------------------------


class ExpectNonEmptyArray(RowExpectation):
    """An array is null or has elements."""

    rule: ClassVar[str] = "not_empty"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        rows = _where(pc.equal(pc.list_value_length(chunk.columns[parameters["column"]]), 0))
        return _but(rows, chunk.problems.get(parameters["column"], {}))

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.column} is an empty array; leave the field out when the {self.column} are unknown"


class ElementExpectation(RowExpectation):
    """Base of rules about one field of the elements of an array."""

    element: str

    @property
    def subject(self) -> str:
        return f"{self.column}[].{self.element}"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        elements, parents = chunk.elements(parameters["column"])
        values = pc.struct_field(elements, parameters["element"])
        if values.null_count == len(values) and cls.rule != "required":
            return NO_ROWS
        broken = cls.broken_elements(elements, values, landed_at, **parameters)
        return np.unique(parents[broken]) if len(broken) else NO_ROWS

    @classmethod
    def broken_elements(
        cls, elements: pa.StructArray, values: pa.Array, landed_at: datetime, **parameters: Any
    ) -> np.ndarray:
        """The elements that break the rule, counted over the whole chunk."""
        raise NotImplementedError

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


class ExpectElementValue(ElementExpectation):
    """Each element has a required field."""

    rule: ClassVar[str] = "required"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        column = parameters["column"]
        rows = super().broken(chunk, landed_at, **parameters)
        return _but(rows, chunk.problems.get(column, {}), chunk.problems.get(f"{column}[]", {}))

    @classmethod
    def broken_elements(
        cls, elements: pa.StructArray, values: pa.Array, landed_at: datetime, **parameters: Any
    ) -> np.ndarray:
        return _where(values.is_null())

    def fault(self, element: dict[str, Any]) -> str:
        return "is missing" if element.get(self.element) is None else ""


class ExpectElementOneOf(ElementExpectation):
    """A field of each element has one of the agreed values."""

    choices: list[str]
    rule: ClassVar[str] = "choice"

    @classmethod
    def broken_elements(
        cls, elements: pa.StructArray, values: pa.Array, landed_at: datetime, **parameters: Any
    ) -> np.ndarray:
        known = pc.is_in(values, pa.array(list(parameters["choices"]), pa.string()))
        return _where(pc.and_(values.is_valid(), pc.invert(known)))

    def fault(self, element: dict[str, Any]) -> str:
        value = element.get(self.element)
        if value is None or value in self.choices:
            return ""
        return f"must be one of {', '.join(self.choices)}: {said(value)}"


class ExpectElementAnyOf(ExpectElementValue):
    """Each element has at least one of several fields; ``element`` names the first of them."""

    others: list[str]
    """All of them."""
    rule: ClassVar[str] = "required"

    @classmethod
    def broken_elements(
        cls, elements: pa.StructArray, values: pa.Array, landed_at: datetime, **parameters: Any
    ) -> np.ndarray:
        mask = elements.is_valid()
        for name in parameters["others"]:
            mask = pc.and_(mask, pc.struct_field(elements, name).is_null())
        return _where(mask)

    def fault(self, element: dict[str, Any]) -> str:
        if any(element.get(name) is not None for name in self.others):
            return ""
        return f"or {' or '.join(name for name in self.others if name != self.element)} must be there"


class ExpectElementAtLeast(ElementExpectation):
    """A number of each element is at least so much, or more than it."""

    minimum: str
    is_excluded: bool = False
    rule: ClassVar[str] = "minimum"

    @classmethod
    def broken_elements(
        cls, elements: pa.StructArray, values: pa.Array, landed_at: datetime, **parameters: Any
    ) -> np.ndarray:
        below = pc.less_equal if parameters["is_excluded"] else pc.less
        return _where(below(values, _number(parameters["minimum"], values.type)))

    def fault(self, element: dict[str, Any]) -> str:
        value, minimum = element.get(self.element), Decimal(self.minimum)
        if value is None or value > minimum or (value == minimum and not self.is_excluded):
            return ""
        wanted = f"not more than {self.minimum}" if self.is_excluded else f"less than {self.minimum}"
        return f"is {wanted}: {said(value)}"


class ExpectElementWithinSize(ElementExpectation):
    """A number of each element is not larger than every later column, sum and product can hold."""

    limit: str
    is_excluded: bool = False
    rule: ClassVar[str] = "limit"

    @classmethod
    def broken_elements(
        cls, elements: pa.StructArray, values: pa.Array, landed_at: datetime, **parameters: Any
    ) -> np.ndarray:
        return _above(values, parameters["limit"], parameters["is_excluded"])

    def fault(self, element: dict[str, Any]) -> str:
        value, limit = element.get(self.element), Decimal(self.limit)
        if value is None or value < limit or (value == limit and not self.is_excluded):
            return ""
        return f"{_too_large(self.limit, self.is_excluded)}: {said(value)}"


class ExpectElementProductWithin(ElementExpectation):
    """Two numbers of each element, multiplied, are not larger than an amount may be."""

    factor: str
    limit: str
    rule: ClassVar[str] = "limit"

    @classmethod
    def broken_elements(
        cls, elements: pa.StructArray, values: pa.Array, landed_at: datetime, **parameters: Any
    ) -> np.ndarray:
        # The tables hold much more than the limit, so that the last digits of a float do not matter.
        factor = pc.struct_field(elements, parameters["factor"]).cast(pa.float64())
        product = pc.multiply(pc.abs(values.cast(pa.float64())), factor)
        return _where(pc.greater_equal(product, float(parameters["limit"])))

    def fault(self, element: dict[str, Any]) -> str:
        value, factor = element.get(self.element), element.get(self.factor)
        if value is None or factor is None or float(abs(value)) * float(factor) < float(self.limit):
            return ""
        return f"times {self.factor} is {Decimal(self.limit):,} or more: {said(value)} x {said(factor)}"


class ExpectElementAtMost(ElementExpectation):
    """A number of each element is at most another one of it."""

    other: str
    rule: ClassVar[str] = "maximum"

    @classmethod
    def broken_elements(
        cls, elements: pa.StructArray, values: pa.Array, landed_at: datetime, **parameters: Any
    ) -> np.ndarray:
        return _where(pc.greater(values, pc.struct_field(elements, parameters["other"])))

    def fault(self, element: dict[str, Any]) -> str:
        value, limit = element.get(self.element), element.get(self.other)
        if value is None or limit is None or value <= limit:
            return ""
        return f"is more than {self.other}: {said(value)} > {said(limit)}"


class ExpectElementPlausibleTime(ElementExpectation):
    """A time of each element is not before 1995 and not further ahead of the batch's landing than agreed."""

    days_ahead: int
    rule: ClassVar[str] = "plausible_time"

    @classmethod
    def broken_elements(
        cls, elements: pa.StructArray, values: pa.Array, landed_at: datetime, **parameters: Any
    ) -> np.ndarray:
        return _implausible(values, landed_at, parameters["days_ahead"])

    def explain(self, chunk: Chunk, row: int) -> str:
        days = "day" if self.days_ahead == 1 else "days"
        return f"{self.subject} is before 1995 or more than {self.days_ahead} {days} after the batch landed"


class ExpectSumAtMost(RowExpectation):
    """The amounts of an array add up to at most another field of the record, give or take a tolerance."""

    element: str
    total: str
    tolerance: str = "0"
    share: str = "0"
    """The tolerance is at least this share of the total."""
    rule: ClassVar[str] = "sum"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        elements, parents = chunk.elements(parameters["column"])
        if len(elements) == 0:
            return NO_ROWS
        amounts = pc.struct_field(elements, parameters["element"])
        wide = pa.table({"row": parents, "amount": amounts.cast(pa.decimal128(38, 4))})
        sums = wide.group_by("row").aggregate([("amount", "sum")])
        rows = sums.column("row").combine_chunks()
        totals = chunk.columns[parameters["total"]].take(rows).cast(pa.decimal128(38, 4))
        above = _where(pc.greater(sums.column("amount_sum"), totals))
        tolerance, share = Decimal(parameters["tolerance"]), Decimal(parameters["share"])
        found = [
            rows[int(place)].as_py()
            for place in above
            if sums.column("amount_sum")[int(place)].as_py() - (total := totals[int(place)].as_py())
            > max(tolerance, share * total)
        ]
        return np.array(sorted(found), np.int64) if found else NO_ROWS

    @property
    def subject(self) -> str:
        return f"{self.column}[].{self.element}"

    def explain(self, chunk: Chunk, row: int) -> str:
        elements = chunk.columns[self.column][row].as_py() or []
        total = sum((element[self.element] for element in elements if element and element[self.element]), Decimal(0))
        return f"the {self.column} add up to more than {self.total}: {said(total)} > {_value(chunk, self.total, row)}"


class ExpectUnmended(RowExpectation):
    """Nothing in an array had to be left out: such rows are loaded, and the array is kept as it came."""

    subject_of: str
    mended_by: str
    rule: ClassVar[str] = "mended"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        rows = chunk.mended.get((parameters["subject_of"], parameters["mended_by"]))
        return np.array(sorted(rows), np.int64) if rows else NO_ROWS

    @property
    def subject(self) -> str:
        return self.subject_of

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"{self.subject_of}: {self.description}"


# --- the whole batch -------------------------------------------------------------------------------------------------


class ExpectNoPersonalValue(RowExpectation):
    """No e-mail address, phone or card number stands in a text that is published."""

    columns: list[str]
    """``refunds[].reason`` for a field of elements; ``landing_page?`` for an address, whose query is not published."""
    rule: ClassVar[str] = "personal_value"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Rows:
        found: set[int] = set()
        for column in parameters["columns"]:
            name, _, element = column.rstrip("?").partition("[].")
            values, parents = chunk.columns[name], None
            if element:
                elements, parents = chunk.elements(name)
                values = pc.struct_field(elements, element)
            if values.null_count == len(values):
                continue
            if column.endswith("?"):
                values = pc.replace_substring_regex(values, r"(?s)[?#].*", "")
            rows = [
                *_where(pc.match_substring_regex(values, PERSONAL)),
                *(
                    row
                    for row in _where(pc.match_substring_regex(values, MAYBE_CARD))
                    if has_card_number(values[int(row)].as_py())
                ),
            ]
            found.update(int(row if parents is None else parents[row]) for row in rows)
        return np.array(sorted(found), np.int64) if found else NO_ROWS

    @property
    def subject(self) -> str:
        return ", ".join(column.rstrip("?") for column in self.columns)

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"an e-mail address, a phone or a card number is in one of {self.subject}"


class ExpectNoUnknownField(RowExpectation):
    """No field is there that the contract does not know."""

    rule: ClassVar[str] = "unknown_field"

    @classmethod
    def broken(cls, chunk: Chunk, landed_at: datetime, **parameters: Any) -> Any:
        return chunk.unknown_fields

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: dict[str, Any] | None = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        unknown = metrics[self.metric_dependencies[0]]
        # A count of rows, as of every other rule: so many have the most frequent of the fields. A row may have several.
        rows = max(unknown.values(), default=0)
        return {"success": not unknown, "result": {"unexpected_count": rows, "unexpected_index_list": []}}

    def explain(self, chunk: Chunk, row: int) -> str:
        return f"unknown fields: {', '.join(sorted(chunk.unknown_fields))}"
