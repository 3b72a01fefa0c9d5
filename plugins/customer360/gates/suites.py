"""Gates: Great Expectations at the doors between the stages.

:func:`run_suite` judges a data frame or a table of the warehouse with a suite; :class:`LandingGate` judges the rows of
a batch chunk by chunk, so that a file of any size passes in bounded memory. Either way each expectation leaves one
row in ``ops.gate_results``, without personal data; :mod:`customer360.gates.data_docs` turns those into Data Docs, off
the hot path.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib import import_module
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import pandas as pd

from customer360 import warehouse
from customer360.contract.feeds import Feed
from customer360.contract.records import Chunk
from customer360.errors import Customer360Error
from customer360.settings import Settings
from customer360.warehouse import Connection, Role

Gate = Literal["landing", "raw", "candidate", "marts"]
Outcome = Literal["passed", "failed", "crashed"]


class GateCrashedError(Customer360Error):
    """An expectation could not be evaluated, so that nothing is known about the data: the line stops."""


@dataclass(frozen=True)
class Table:
    """A table of the warehouse to be judged where it is."""

    schema: str
    name: str
    role: Role = "owner"


@dataclass(frozen=True)
class ExpectationOutcome:
    """What one expectation found at a gate."""

    gate: str
    suite: str
    expectation: str
    column: str | None
    severity: str
    outcome: Outcome
    checked: int | None
    unexpected: int | None
    detail: str | None
    """Row numbers, counts and the expectation's own words; no values of records."""


@dataclass(frozen=True)
class GateOutcome:
    """What a suite found."""

    gate: str
    results: tuple[ExpectationOutcome, ...]

    @property
    def blocked(self) -> bool:
        """Whether the line stops: a critical expectation failed, or any could not be evaluated."""
        return any(
            result.outcome == "crashed" or (result.outcome == "failed" and result.severity == "critical")
            for result in self.results
        )

    @property
    def failures(self) -> list[ExpectationOutcome]:
        """Everything that did not pass, the critical first."""
        failed = [result for result in self.results if result.outcome != "passed"]
        return sorted(failed, key=lambda result: result.severity != "critical")

    def __str__(self) -> str:
        if not self.failures:
            return f"gate {self.gate}: all {len(self.results)} expectations hold"
        told = "; ".join(f"{result.expectation} ({result.detail})" for result in self.failures[:5])
        return f"gate {self.gate}: {len(self.failures)} of {len(self.results)} expectations do not hold: {told}"


_local = threading.local()


def _context() -> Any:
    """An ephemeral GX context of this thread (contexts are not made to be shared)."""
    if not hasattr(_local, "context"):
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        # GX says with a warning each time that a result's format is its own; nobody can act on it.
        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        _local.context = gx.get_context(mode="ephemeral")
        _local.context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = _local.context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
        _local.frames = asset.add_batch_definition_whole_dataframe("whole")
    return _local.context


def _validate_frame(frame: pd.DataFrame, suite: Any) -> Any:
    _context()
    return _local.frames.get_batch({"dataframe": frame}).validate(suite, result_format="BASIC")


def _validate_table(table: Table, suite: Any, settings: Settings) -> Any:
    # The process may outlive a restart of the server: connections of the pool are tried before they are used.
    context = _context()
    url = warehouse.url(table.role, settings).replace("postgresql://", "postgresql+psycopg2://", 1)
    timeout = f"statement_timeout={settings.gate_timeout_seconds * 1000}"
    url += f"{'&' if '?' in url else '?'}options={quote(f'-c {timeout} -c {warehouse.NO_MERGE_JOIN}')}"
    name = f"{table.role} {hash(url)}"
    source = context.data_sources.all().get(name) or context.data_sources.add_postgres(
        name, connection_string=url, kwargs={"pool_pre_ping": True}
    )
    known = f"{table.schema}.{table.name}"
    assets = {asset.name: asset for asset in source.assets}
    asset = assets.get(known) or source.add_table_asset(known, table_name=table.name, schema_name=table.schema)
    whole = {one.name: one for one in asset.batch_definitions}.get("whole") or asset.add_batch_definition_whole_table(
        "whole"
    )
    return whole.get_batch().validate(suite, result_format="BASIC")


def run_suite(
    gate: Gate,
    suite: Any,
    batch: pd.DataFrame | Table,
    *,
    settings: Settings,
    run_id: int | None = None,
    batch_id: int | None = None,
    connection: Connection | None = None,
) -> GateOutcome:
    """Judge a frame or a table, and record what each expectation found.

    Args:
        suite: a GX ExpectationSuite, as the modules in expectations/ make it.
        connection: where to record; by default a connection of the loader's own, committed at once.
    """
    validated = _validate_table(batch, suite, settings) if isinstance(batch, Table) else _validate_frame(batch, suite)
    outcome = GateOutcome(gate, tuple(_outcome_of(gate, suite.name, result) for result in validated.results))
    if connection is not None:
        record(connection, outcome.results, run_id=run_id, batch_id=batch_id)
    else:
        with warehouse.connect("loader", settings) as own:
            record(own, outcome.results, run_id=run_id, batch_id=batch_id)
    return outcome


def _outcome_of(gate: str, suite: str, result: Any) -> ExpectationOutcome:
    configuration = result.expectation_config
    found = result.result or {}
    crash = _exception_of(result)
    outcome: Outcome = "crashed" if crash else "passed" if result.success else "failed"
    unexpected = found.get("unexpected_count")
    if crash:
        detail: str | None = crash
    else:
        parts = [configuration.description or ""]
        observed = found.get("observed_value")
        if outcome == "failed" and isinstance(observed, int | float) and not isinstance(observed, bool):
            parts.append(f"observed {observed:,}")
        if outcome == "failed" and unexpected:
            parts.append(f"{unexpected:,} of {found.get('element_count') or 0:,} do not")
        detail = ": ".join(part for part in parts if part) or None
    return ExpectationOutcome(
        gate=gate,
        suite=suite,
        expectation=configuration.type,
        column=subject(configuration.kwargs),
        severity=severity(configuration),
        outcome=outcome,
        checked=found.get("element_count"),
        unexpected=unexpected,
        detail=detail,
    )


def severity(configuration: Any) -> str:
    """critical, warning or info, of an expectation or its configuration."""
    given = getattr(configuration, "severity", None) or "critical"
    return str(getattr(given, "value", given))


def subject(arguments: dict[str, Any]) -> str | None:
    """The column that an expectation is about, from its arguments; ``items[].sku`` for a field of an element."""
    column = arguments.get("column") or arguments.get("column_A")
    return f"{column}[].{arguments['element']}" if arguments.get("element") else column


def _exception_of(result: Any) -> str:
    """The kind of an exception that GX caught. Its message may quote data and is left out."""
    info = result.exception_info or {}
    candidates: Iterable[Any] = [info] if "raised_exception" in info else info.values()
    for one in candidates:
        if isinstance(one, dict) and one.get("raised_exception"):
            kinds = _RAISED.findall(one.get("exception_traceback") or "")
            of_driver, of_database = kinds[-1] if kinds else ("an exception", "")
            return f"could not be evaluated: {of_driver}{f' ({of_database})' if of_database else ''}"
    return ""


_RAISED = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Timeout)\b)(?::[ ]*\(([\w.]+)\))?", re.MULTILINE)
"""In a traceback, the line of each exception: its kind, and that of the database's error that it wraps."""


def record(
    connection: Connection,
    results: Iterable[ExpectationOutcome],
    *,
    run_id: int | None = None,
    batch_id: int | None = None,
) -> None:
    """Write results to ``ops.gate_results`` in one statement; the caller commits.

    What is kept never counts more unexpected than checked, whatever an expectation counted: readers take shares of it.
    """
    rows = list(results)
    connection.execute(
        """
        insert into ops.gate_results (gate, suite, expectation, column_name, severity, outcome, run_id, batch_id,
                                      checked_count, unexpected_count, detail)
        select gate, suite, expectation, column_name, severity, outcome, %s, %s, checked, least(unexpected, checked),
            detail
        from unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],
                    %s::text[])
             as t (gate, suite, expectation, column_name, severity, outcome, checked, unexpected, detail)
        """,
        [
            run_id,
            batch_id,
            [row.gate for row in rows],
            [row.suite for row in rows],
            [row.expectation for row in rows],
            [row.column for row in rows],
            [row.severity for row in rows],
            [row.outcome for row in rows],
            [row.checked for row in rows],
            [row.unexpected for row in rows],
            [row.detail for row in rows],
        ],
    )


# --- the landing gate ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reason:
    """Why a row stepped aside."""

    rule: str
    field: str
    message: str

    def as_json(self) -> dict[str, str]:
        """For ``quarantine.rows.reasons``."""
        return {"rule": self.rule, "field": self.field, "message": self.message}


@dataclass(frozen=True)
class Judged:
    """What the landing gate found in a chunk."""

    chunk: Chunk
    """What may be loaded: values that cannot be used are taken out of their columns, and kept in ``extra``."""
    reasons: dict[int, list[Reason]]
    """The rows that step aside or would have without a waiver, each with all its reasons in the order of the suite."""
    aside: frozenset[int]
    """The rows that must step aside."""
    unusable: dict[str, dict[str, int]]
    """Field -> rule -> rows that are loaded without it."""
    examples: dict[str, str]
    """Field -> why a value of it could not be used."""


class _Findings:
    """What is known of a chunk while it is being judged; rows count within the whole chunk."""

    def __init__(self, waived: frozenset[str]) -> None:
        self._waived = waived
        self._accepted: set[int] = set()
        self.aside: set[int] = set()
        self.taken: dict[tuple[str, str], set[int]] = {}
        self.examples: dict[str, str] = {}
        self._broken: dict[int, list[tuple[Any, Chunk, int]]] = {}
        self._known: dict[int, set[int]] = {}

    def fresh(self, expectation: Any, broken: list[int], rows: np.ndarray) -> list[int]:
        """Of the rows of a part that break a rule those that were not known to, from before they lost a field."""
        known = self._known.setdefault(id(expectation), set())
        new = [row for row in broken if int(rows[row]) not in known]
        known.update(rows[new].tolist())
        return new

    def add(self, expectation: Any, part: Chunk, broken: list[int], rows: np.ndarray) -> dict[str, set[int]]:
        """Note the rows of a part that break a rule; returns the fields that they lose by it."""
        whole = rows[broken].tolist()
        if not expectation.costs:
            (self._accepted if expectation.rule in self._waived else self.aside).update(whole)
        for row, place in zip(whole, broken, strict=True):
            self._broken.setdefault(row, []).append((expectation, part, place))
        for name in expectation.costs:
            self.taken.setdefault((name, expectation.rule), set()).update(whole)
            self.examples.setdefault(name, expectation.explain(part, broken[0]))
        return {name: set(whole) for name in expectation.costs}

    def reasons(self) -> dict[int, list[Reason]]:
        """Of the rows that step aside everything that is wrong, also what would have cost them a field alone."""
        return {
            row: [
                Reason(expectation.rule, expectation.subject, expectation.explain(part, place))
                for expectation, part, place in self._broken[row]
            ]
            for row in sorted(self.aside | self._accepted)
        }


@dataclass
class _Tally:
    expectation: Any
    unexpected: int = 0
    first_rows: list[int] = field(default_factory=list)


@cache
def landing_suite(feed: str) -> Any:
    """The suite of a feed's landing gate, made once per process."""
    return import_module(f"expectations.landing.{feed}").suite()


class LandingGate:
    """Judges the rows of one batch, chunk by chunk."""

    def __init__(self, feed: Feed, landed_at: datetime) -> None:
        self._suite = landing_suite(feed.name)
        self._landed_at = landed_at
        self._tallies = [_Tally(expectation) for expectation in self._suite.expectations]
        self._checked = 0

    def check(self, chunk: Chunk, waived: frozenset[str] = frozenset()) -> Judged:
        """Judge a chunk: which rows step aside, which fields others lose, and what is left to be loaded.

        Args:
            waived: rules that a person has set aside: rows that break them have reasons, and are loaded all the same.

        What is left of a record without a field is judged again: it must hold by itself.

        Raises:
            GateCrashedError: an expectation could not be evaluated.
        """
        self._checked += len(chunk)
        found = _Findings(waived)
        rows = np.arange(len(chunk))
        left = chunk
        while len(rows):
            lost = self._validate(left if len(rows) == len(chunk) else left.take(rows), rows, found)
            if lost:
                left = left.without(lost)
            rows = np.array(sorted(set().union(*lost.values())), np.int64)
        unusable: dict[str, dict[str, int]] = {}
        kept: dict[str, set[int]] = {}
        for (name, rule), affected in sorted((found.taken | chunk.mended).items()):
            loaded = affected - found.aside
            if loaded:
                unusable.setdefault(name, {})[rule] = len(loaded)
                kept.setdefault(name.partition("[")[0], set()).update(loaded)
        return Judged(left.keeping(kept), found.reasons(), frozenset(found.aside), unusable, found.examples)

    def _validate(self, part: Chunk, rows: np.ndarray, found: _Findings) -> dict[str, set[int]]:
        """Judge some rows of a chunk; returns the fields that they lose."""
        from customer360.gates.row_rules import frame_of

        validated = _validate_frame(frame_of(part, self._landed_at), self._suite)
        lost: dict[str, set[int]] = {}
        for tally, result in zip(self._tallies, self._in_order(validated.results), strict=True):
            expectation = tally.expectation
            if crash := _exception_of(result):
                raise GateCrashedError(
                    f"The expectation {expectation.description!r} {crash}.",
                    "The batch stays where it is. Correct the expectation, then run `c360 run`.",
                )
            if result.success:
                continue
            count, listed = result.result["unexpected_count"], result.result["unexpected_index_list"]
            broken = found.fresh(expectation, listed, rows)
            tally.unexpected += min(count, len(part)) - len(listed) + len(broken)
            tally.first_rows.extend(int(part.row_numbers[row]) for row in broken[: 5 - len(tally.first_rows)])
            if broken and (expectation.costs or severity(expectation) == "critical"):
                for name, affected in found.add(expectation, part, broken, rows).items():
                    lost.setdefault(name, set()).update(affected)
        return lost

    def _in_order(self, results: list[Any]) -> list[Any]:
        """GX puts expectations that failed early first; the order of the suite tells reasons alike every time."""
        by_key: dict[str, list[Any]] = {}
        for result in results:
            by_key.setdefault(_key(result.expectation_config), []).append(result)
        return [by_key[_key(tally.expectation.configuration)].pop(0) for tally in self._tallies]

    def rows_breaking(self, rule: str) -> int:
        """How many rows of the batch so far broke a rule."""
        return sum(tally.unexpected for tally in self._tallies if tally.expectation.rule == rule)

    def results(self) -> list[ExpectationOutcome]:
        """What each expectation found in the whole batch so far."""
        outcomes = []
        for tally in self._tallies:
            expectation = tally.expectation
            detail = expectation.description or ""
            if tally.unexpected:
                rows = ", ".join(map(str, tally.first_rows))
                detail += f": {tally.unexpected:,} do not" + (
                    f" (rows {rows}{'…' * (tally.unexpected > 5)})" if rows else ""
                )
            outcomes.append(
                ExpectationOutcome(
                    gate="landing",
                    suite=self._suite.name,
                    expectation=expectation.expectation_type,
                    column=expectation.subject or None,
                    severity=severity(expectation),
                    outcome="failed" if tally.unexpected else "passed",
                    checked=self._checked,
                    unexpected=tally.unexpected,
                    detail=detail or None,
                )
            )
        return outcomes


def _key(configuration: Any) -> str:
    return f"{configuration.type} {sorted((k, str(v)) for k, v in configuration.kwargs.items() if k != 'batch_id')}"
