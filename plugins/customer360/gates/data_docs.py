"""Data Docs: a site of suites and validation results, made from ``ops.gate_results`` off the hot path.

Great Expectations would store each validation as JSON beside the site, render it while the batch waits (0.8 s), and
fetch its styles and scripts from five hosts. Here the warehouse is the only store and the pages are our own templates
(docs/decisions/0028-data-docs-are-our-own-pages.md): the site can be thrown away and made again, shows the same from
whatever machine it is made, and opens without a network.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from customer360 import warehouse
from customer360.settings import Settings
from customer360.templates import SELF_CONTAINED, render
from customer360.warehouse import query

SHOWN_PER_SUITE = 12
"""The latest validations of each suite that the site shows."""

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
order by v.checked_at desc, v.gate, v.suite, r.ctid
"""
_MOODS = {"passed": "good", "warned": "warning", "failed": "critical", "crashed": "critical"}


@dataclass(frozen=True)
class Result:
    """What one expectation found, as ops.gate_results holds it."""

    expectation: str
    column: str | None
    severity: str
    outcome: str
    checked: int | None
    unexpected: int | None
    detail: str | None

    @property
    def words(self) -> str:
        """The expectation in its own words."""
        return self.detail or self.expectation.replace("_", " ")

    @property
    def mood(self) -> str:
        """The class of the stylesheet: a warning that failed is none that stops anything."""
        return "warning" if self.outcome == "failed" and self.severity != "critical" else _MOODS[self.outcome]


@dataclass(frozen=True)
class Validation:
    """What one suite found at one time."""

    gate: str
    suite: str
    run_id: int | None
    batch_id: int | None
    checked_at: datetime
    feed: str | None
    file_name: str | None
    results: tuple[Result, ...]

    @property
    def asset(self) -> str:
        """What was judged, as a reader knows it: the batch by its file, or the table."""
        if self.feed is None:
            return self.suite
        if self.gate == "landing":
            return f"batch {self.batch_id}, {self.feed}/{self.file_name}"
        return f"{self.gate}.{self.feed}, batch {self.batch_id}"

    @property
    def passed(self) -> int:
        """How many expectations hold."""
        return sum(result.outcome == "passed" for result in self.results)

    @property
    def outcome(self) -> str:
        """passed; warned: nothing critical failed; failed; crashed: something could not be evaluated."""
        outcomes = {result.outcome for result in self.results}
        if "crashed" in outcomes:
            return "crashed"
        if any(result.outcome == "failed" and result.severity == "critical" for result in self.results):
            return "failed"
        return "warned" if "failed" in outcomes else "passed"

    @property
    def mood(self) -> str:
        """The class of the stylesheet."""
        return _MOODS[self.outcome]

    @property
    def path(self) -> str:
        """Its page, below the site."""
        what = f"batch-{self.batch_id}" if self.batch_id else f"run-{self.run_id}" if self.run_id else "check"
        at = self.checked_at.astimezone(UTC)
        return f"validations/{self.gate}/{_as_name(self.suite)}/{what}-{at:%Y%m%dT%H%M%S%f}.html"


def site(settings: Settings) -> Path:
    """The first page of the site, whether or not it is there yet."""
    return settings.home / "data_docs" / "index.html"


def build_data_docs(settings: Settings) -> Path:
    """Make the site again if a gate has found something since it was made; returns its first page.

    The finished site takes the place of the old one as one folder, so that a reader always finds pages.
    """
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        newest = warehouse.scalar(connection, "select max(checked_at)::text from ops.gate_results") or "nothing"
        target = site(settings).parent
        mark = target / ".made_from"
        made_from = f"{newest} {_TEMPLATES_VERSION}"
        if mark.exists() and mark.read_text() == made_from and site(settings).exists():
            return site(settings)
        rows = connection.execute(query(_LATEST), [SHOWN_PER_SUITE]).fetchall()
    with _alone(settings) as is_alone:
        if not is_alone:
            return site(settings)
        for left in settings.home.glob(".data_docs.*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        fresh = settings.home / f".data_docs.{uuid.uuid4().hex}"
        try:
            _write(fresh, list(_validations(rows)), newest)
            (fresh / ".made_from").write_text(made_from)
            old = settings.home / f".data_docs.{uuid.uuid4().hex}"
            with contextlib.suppress(FileNotFoundError):
                target.rename(old)
            fresh.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return site(settings)


_TEMPLATES_VERSION = 2
"""Grows with a change of the pages' content, so that the next sweep makes them again."""


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[bool]:
    """Whether nobody else is making the site. Nobody waits: who hangs in it must not hold up the sweep."""
    with (settings.home / "data_docs.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _write(folder: Path, validations: list[Validation], newest: str) -> None:
    suites = {one.suite: f"expectations/{_as_name(one.suite)}.html" for one in validations}
    expectations = {name: found for name in suites if (found := _expectations(name))}
    pages = {name: path for name, path in suites.items() if name in expectations}
    _page(
        folder / "index.html", "data_docs.html", title="Data Docs", validations=validations, newest=newest,
        per_suite=SHOWN_PER_SUITE, gates=sorted({one.gate for one in validations}), suites=pages,
    )  # fmt: skip
    for one in validations:
        _page(folder / one.path, "data_docs_validation.html", title=one.asset, one=one, home="../../../",
              suite_page=pages.get(one.suite))  # fmt: skip
    for name, path in pages.items():
        _page(folder / path, "data_docs_suite.html", title=f"Suite {name}", name=name, home="../",
              expectations=expectations[name])  # fmt: skip


def _page(target: Path, template: str, **values: Any) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render(template, policy=SELF_CONTAINED, **values), encoding="utf-8")


def _as_name(suite: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", suite).strip(".")


def _expectations(suite: str) -> list[dict[str, Any]]:
    """What a suite expects now; nothing for one that is no more."""
    from customer360.gates import suites

    gate, _, thing = suite.partition(".")
    try:
        found = import_module(f"expectations.{gate}.{thing}").suite().expectations
    except (ImportError, AttributeError, TypeError):
        return []
    return [
        {
            "expectation": one.expectation_type,
            "words": one.description or one.expectation_type.replace("_", " "),
            "column": suites.subject(one.configuration.kwargs),
            "severity": suites.severity(one),
            "notes": one.notes if isinstance(one.notes, str) else " ".join(one.notes or ()),
        }
        for one in found
    ]


def _validations(rows: list[Any]) -> Iterator[Validation]:
    grouped: dict[tuple[Any, ...], list[Result]] = {}
    for row in rows:
        grouped.setdefault(tuple(row[:7]), []).append(Result(*row[7:]))
    for key, results in grouped.items():
        yield Validation(*(*key, tuple(results)))
