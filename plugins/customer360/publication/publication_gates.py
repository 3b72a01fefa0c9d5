"""The two gates around a publication: candidate (before: it stops the line) and marts (after: it calls on-call).

The suites are in expectations/candidate and expectations/marts, one module per table. When the candidate gate stops the
line, the error names what does not hold, the rows, the batches that are suspected and the command that frees the rest.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg

from customer360 import warehouse
from customer360.errors import Customer360Error, WarehouseUnavailableError
from customer360.gates import suites
from customer360.progress import Progress
from customer360.publication.publish import Kind, Publication, PublishedTable
from customer360.settings import Settings
from customer360.warehouse import Connection, query
from customer360.warehouse.run_log import GateBlockedError, Run, told

# A whole table keeps a processor of the server busy by itself. Dirty keys alone are answered at once, and then the time
# is that of Great Expectations, which one interpreter runs one thread at a time.
_WHOLE_SUITES = min(4, os.cpu_count() or 1)

# Enough to recognise a pattern; the rest is one query away.
_SHOWN_ROWS = 5


class MartsGateError(Customer360Error):
    """What was published is not what it should be. It is in place, and nothing was lost; somebody must look."""


@dataclass(frozen=True)
class Finding:
    """An expectation that does not hold: where, what, which rows, and the batches that those came from."""

    table: str
    rule: str
    count: int
    keys: tuple[str, ...]
    batch_ids: tuple[int, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.keys) + (", …" if self.count > len(self.keys) else "")
        return f"{self.table}: not true that {self.rule} ({self.count} rows: {shown})"


def check_candidate(
    settings: Settings, run: Run, tables: Sequence[PublishedTable], *, kind: Kind, progress: Progress
) -> None:
    """Judge the built tables before they are published; results go to ops.gate_results.

    Raises:
        GateBlockedError: a critical expectation does not hold, or one could not be evaluated.
    """
    from expectations.candidate import suite_of

    judged = [table for table in tables if (table.is_daily if kind == "daily" else table.is_live)]
    progress.stage("candidate gate", len(judged))
    dirty = {scope for (scope,) in run.lock.execute("select distinct scope from ops.dirty").fetchall()}

    def judge(table: PublishedTable) -> _Judgement:
        if kind == "live" and table.scope not in dirty:
            return _Judgement(0, [], [])
        suite = suite_of(table.name, table.primary_key, scope=table.scope, scope_key=table.scope_key, kind=kind)
        where = suites.Table(table.source_schema, table.name, "transformer")
        judgement = _judge("candidate", suite, where, settings, run, results)
        progress.step(table.name)
        return judgement

    with _results(settings) as results, ThreadPoolExecutor(_WHOLE_SUITES, "candidate gate") as pool:
        judgements = list(map(judge, judged) if kind == "live" else pool.map(judge, judged))
    findings = [finding for judgement in judgements for finding in judgement.findings]
    crashed = [crash for judgement in judgements for crash in judgement.crashed]
    progress.note(f"{sum(judgement.passed for judgement in judgements)} expectations hold")
    if findings or crashed:
        raise _blocked(run, findings, crashed)


def check_marts(settings: Settings, run: Run, publication: Publication, *, kind: Kind, progress: Progress) -> None:
    """Judge what was just published; results go to ops.gate_results.

    Raises:
        MartsGateError: the version in place is not what it should be.
    """
    from expectations.marts import control_totals, customer_360_history, publications

    progress.stage("marts gate")
    is_daily = kind == "daily"
    guards: list[tuple[Any, str, str]] = [
        (publications.suite(publication_id=publication.publication_id, is_daily=is_daily), "ops", "publications"),
        (control_totals.suite(), "ops", "control_totals"),
    ]
    if is_daily:
        guards.append((customer_360_history.suite(), "marts", "customer_360_history"))
    findings: list[Finding] = []
    crashed: list[str] = []
    passed = 0
    with _results(settings) as results:
        for suite, schema, name in guards:
            where = suites.Table(schema, name, "owner")
            judgement = _judge("marts", suite, where, settings, run, results)
            passed += judgement.passed
            findings += judgement.findings
            crashed += judgement.crashed
    progress.note(f"{passed} expectations hold")
    if findings or crashed:
        raise MartsGateError(
            f"Publication {publication.publication_id} is in place, but: " + "; ".join([*map(str, findings), *crashed]),
            "Recount everything with `c360 verify`; `c360 run --full-refresh` builds and publishes all tables anew.",
        )


def check_unchecked(settings: Settings, run: Run, progress: Progress) -> bool:
    """Judge the last publication if its run died before it could; returns whether that was so.

    Raises what :func:`check_marts` raises.
    """
    row = run.lock.execute(
        """
        select * from (
            select publication_id, kind, run_id from ops.publications where kind <> 'as_of'
            order by publication_id desc limit 1
        ) as last
        where not exists (select from ops.gate_results as g where g.run_id = last.run_id and g.gate = 'marts')
            and not exists (select from ops.runs as r where r.run_id > last.run_id and r.state = 'succeeded')
        """
    ).fetchone()
    if row is None:
        return False
    check_marts(settings, run, Publication(row[0]), kind=row[1], progress=progress)
    return True


@dataclass(frozen=True)
class _Judgement:
    passed: int
    findings: list[Finding]
    crashed: list[str]


def _results(settings: Settings) -> Connection:
    """Where a gate's results are recorded, each suite's at once: one connection for all of them."""
    return warehouse.connect("loader", settings, autocommit=True, application_name="customer360 gate results")


def _judge(
    gate: suites.Gate, suite: Any, table: suites.Table, settings: Settings, run: Run, results: Connection
) -> _Judgement:
    """Run one suite. A suite that cannot even be started has crashed: nothing is known about its table.

    Raises:
        WarehouseUnavailableError: there was nobody to ask; another try may find somebody.
    """
    try:
        outcome = suites.run_suite(gate, suite, table, settings=settings, run_id=run.run_id, connection=results)
    except ConnectionError as error:
        raise WarehouseUnavailableError(
            f"The warehouse did not answer while {suite.name} was judged.",
            "Nothing to do: the next run judges it. `c360 status` tells whether the warehouse is back.",
        ) from error
    except Exception as error:
        return _Judgement(0, [], [f"{suite.name}: could not be evaluated: {told(error)}"])
    crashed = [f"{suite.name}: {one.detail}" for one in outcome.results if one.outcome == "crashed"]
    findings = _findings(settings, suite, table) if outcome.blocked else []
    return _Judgement(len(outcome.results) - len(outcome.failures), findings, crashed)


def _findings(settings: Settings, suite: Any, table: suites.Table) -> list[Finding]:
    """Ask again for the rows that break each critical expectation of a suite; one that crashes is told of elsewhere."""
    findings = []
    name = f"{table.schema}.{table.name}"
    with warehouse.connect(table.role, settings, autocommit=True) as connection:
        for expectation in suite.expectations:
            if expectation.severity == "critical":
                with contextlib.suppress(psycopg.Error):
                    rows = expectation.unexpected_rows_query.replace("{batch}", name)
                    finding = _finding(connection, name, expectation.description, rows)
                    findings += [finding] if finding.count else []
    return findings


def _finding(connection: Connection, table: str, rule: str, rows: str) -> Finding:
    count, keys, batch_ids = connection.execute(
        query(
            f"""
            with broken as (select * from ({rows}) as rows order by key)
            select count(*), (select array_agg(key) from (select key from broken limit {_SHOWN_ROWS}) as shown),
                (select array_agg(batch_id) from (
                    select batch_id from broken where batch_id is not null
                    group by batch_id order by count(*) desc, batch_id desc limit {_SHOWN_ROWS}) as suspects)
            from broken
            """
        )
    ).fetchone() or (0, None, None)
    return Finding(table, rule, count, tuple(key or "null" for key in keys or ()), tuple(batch_ids or ()))


def _blocked(run: Run, findings: list[Finding], crashed: list[str]) -> GateBlockedError:
    named_batches = {batch_id for finding in findings for batch_id in finding.batch_ids}
    suspects = _suspects(run.lock, named_batches)
    all_told = "; ".join([*map(str, findings), *crashed])
    if not findings:
        return GateBlockedError(
            f"The candidate gate could not judge the tables, so they were not published: {all_told}.",
            f"`c360 why run {run.run_id}` tells the rest; correct the expectation, then `c360 run`.",
        )
    named = ", ".join(f"{batch_id} ({feed} {name})" for batch_id, feed, name in suspects)
    free = "`c360 run --full-refresh`"
    if suspects:
        free = f"`c360 hold {suspects[0][0]} --because 'stopped by the candidate gate'`, then `c360 run`"
    return GateBlockedError(
        f"The candidate gate stopped the publication; what is published stays. {all_told}."
        + (f" Suspected: batch {named}." if suspects else ""),
        f"To let the other batches go on: {free}. `c360 why run {run.run_id}` tells the rest.",
        names_rows=not crashed,
        batch_ids=tuple(sorted(named_batches)),
    )


def _suspects(connection: Connection, batch_ids: Iterable[int]) -> list[tuple[int, str, str]]:
    """Of the batches that broken rows came from, those that are not published yet; else all that are not."""
    unpublished: list[tuple[int, str, str]] = connection.execute(
        """
        select batch_id, feed, file_name from ops.unpublished_batches where is_claimed order by batch_id desc
        """
    ).fetchall()
    named = set(batch_ids)
    return ([row for row in unpublished if row[0] in named] or unpublished)[:_SHOWN_ROWS]
