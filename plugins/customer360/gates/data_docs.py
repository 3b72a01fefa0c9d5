"""Data Docs: GX's site of suites and validation results, made from ``ops.gate_results`` off the hot path.

GX would store each validation as JSON beside the site and render it while the batch waits (0.8 s). Here the warehouse
is the only store: the site can be thrown away and made again, and shows the same from whatever machine it is made.
"""

from __future__ import annotations

import contextlib
import fcntl
import html
import logging
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC
from importlib import import_module
from pathlib import Path
from typing import Any

from customer360 import warehouse
from customer360.settings import Settings
from customer360.warehouse import query

SHOWN_PER_SUITE = 12
"""The latest validations of each suite that the site shows; each costs about 0.1 s to render."""

_LATEST = """
with validations as (
    select gate, suite, run_id, batch_id, checked_at,
        row_number() over (partition by gate, suite order by checked_at desc) as place
    from (select distinct gate, suite, run_id, batch_id, checked_at from ops.gate_results) as d)
select v.gate, v.suite, v.run_id, v.batch_id, v.checked_at, b.feed, b.file_name, r.expectation, r.column_name,
    r.severity, r.outcome, r.checked_count, r.unexpected_count, r.detail
from validations as v
join ops.gate_results as r
    on r.gate = v.gate and r.suite = v.suite and r.checked_at = v.checked_at
    and r.run_id is not distinct from v.run_id and r.batch_id is not distinct from v.batch_id
left join ops.batches as b on b.batch_id = v.batch_id
where v.place <= %s
order by v.gate, v.suite, v.checked_at desc, r.ctid
"""


def site(settings: Settings) -> Path:
    """The first page of the site, whether or not it is there yet."""
    return settings.home / "data_docs" / "index.html"


def build_data_docs(settings: Settings) -> Path:
    """Make the site anew if a gate has found something since it was made; returns its first page.

    The finished site takes the place of the old one folder by folder, so that a reader always finds pages.
    """
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        newest = warehouse.scalar(connection, "select max(checked_at)::text from ops.gate_results") or "nothing"
        target = site(settings).parent
        mark = target / ".made_from"
        if mark.exists() and mark.read_text() == newest and site(settings).exists():
            return site(settings)
        rows = connection.execute(query(_LATEST), [SHOWN_PER_SUITE]).fetchall()
    with _alone(settings):
        fresh = settings.home / f".data_docs.{uuid.uuid4().hex}"
        try:
            _render(fresh, rows)
            made = fresh / "uncommitted" / "data_docs" / "local_site"
            (made / ".made_from").write_text(newest)
            old = settings.home / f".data_docs.{uuid.uuid4().hex}"
            with contextlib.suppress(FileNotFoundError):
                target.rename(old)
            made.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return site(settings)


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    with (settings.home / "data_docs.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _render(folder: Path, rows: list[Any]) -> None:
    import great_expectations as gx
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="file", project_root_dir=folder)
    for (gate, suite, run_id, batch_id, checked_at, feed, file_name), results in _validations(rows):
        asset = html.escape(_asset(gate, suite, batch_id, feed, file_name))
        told = [_result(*result) for result in results]
        passed = sum(result.success for result in told)
        validation = ExpectationSuiteValidationResult(
            suite_name=suite,
            success=passed == len(told),
            results=told,
            statistics={
                "evaluated_expectations": len(told),
                "successful_expectations": passed,
                "unsuccessful_expectations": len(told) - passed,
                "success_percent": 100 * passed / len(told),
            },
            meta={
                "run_id": {"run_name": _run_name(run_id, batch_id), "run_time": checked_at.isoformat()},
                "active_batch_definition": {"data_asset_name": asset, "datasource_name": "warehouse"},
                "batch_spec": {"data_asset_name": asset},  # where the page's head looks for it
            },
        )
        run = RunIdentifier(run_name=_run_name(run_id, batch_id), run_time=checked_at.astimezone(UTC))
        identifier = ValidationResultIdentifier(
            expectation_suite_identifier=ExpectationSuiteIdentifier(name=suite),
            run_id=run,
            batch_identifier=f"{batch_id or run_id or 0}-{checked_at:%H%M%S%f}",
        )
        context.validation_results_store.set(identifier, validation)
    for suite in sorted({row[1] for row in rows}):
        if (made := _suite_of(suite)) is not None:
            context.suites.add(made)
    context.build_data_docs()
    # GX puts the site below the project's folder gx.
    with contextlib.suppress(FileNotFoundError):
        (folder / "gx" / "uncommitted").rename(folder / "uncommitted")


def _asset(gate: str, suite: str, batch_id: int | None, feed: str | None, file_name: str | None) -> str:
    """What was judged, as a reader knows it: the batch by its file, or the table."""
    if feed is None:
        return suite
    return f"batch {batch_id}, {feed}/{file_name}" if gate == "landing" else f"{gate}.{feed}, batch {batch_id}"


def _run_name(run_id: int | None, batch_id: int | None) -> str:
    return f"batch-{batch_id}" if batch_id else f"run-{run_id}" if run_id else "check"


def _suite_of(name: str) -> Any:
    gate, _, thing = name.partition(".")
    try:
        return import_module(f"expectations.{gate}.{thing}").suite()
    except (ImportError, AttributeError, TypeError):
        return None


def _validations(rows: list[Any]) -> Iterator[tuple[tuple[Any, ...], list[Any]]]:
    grouped: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        grouped.setdefault(tuple(row[:7]), []).append(row[7:])
    yield from grouped.items()


def _result(
    expectation: str,
    column: str | None,
    severity: str,
    outcome: str,
    checked: int | None,
    unexpected: int | None,
    detail: str | None,
) -> Any:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metadata_types import FailureSeverity

    from customer360.gates.row_rules import ExpectAsDescribed

    # The page shows an expectation's own words; to show it under its type, GX would want all its arguments back.
    configuration = ExpectationConfiguration(
        type=ExpectAsDescribed.expectation_type,
        kwargs={"column": column} if column else {},
        description=detail or expectation.replace("_", " "),
        severity=FailureSeverity(severity),
        meta={"expectation": expectation},
    )
    figures: dict[str, float | None] = {"element_count": checked, "unexpected_count": unexpected}
    if checked is not None and unexpected is not None:
        figures["unexpected_percent"] = 100 * unexpected / checked if checked else 0.0
    return ExpectationValidationResult(
        success=outcome == "passed",
        expectation_config=configuration,
        result={name: value for name, value in figures.items() if value is not None},
        exception_info={"raised_exception": outcome == "crashed", "exception_message": detail or "",
                        "exception_traceback": ""},
        meta={},
    )  # fmt: skip
