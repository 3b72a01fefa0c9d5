"""``c360 run``, ``status``, ``verify``, ``why``: make the tables, look at them, prove them, explain them."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from customer360.cli.options import JsonOption
from customer360.settings import Settings, get_settings
from customer360.terminal import counted, out

if TYPE_CHECKING:
    from customer360.oncall.status import Status
    from customer360.oncall.why import Story
    from customer360.publication.build import RunSummary
    from customer360.publication.verify import Report


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("run")(run)
    app.command("status")(status)
    app.command("verify")(verify)
    app.command("why")(why)


def run(
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Also make that past day's daily tables, in schema asof_YYYYMMDD."),
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Build every live table whole, from raw, and compare.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Take everything pending through every stage: load, build, check, publish; then the daily pass if it is due.

    Exit code 0: every file that waited is in, and what was due is published. Single rows in quarantine do not count,
    nor does a side product (Data Docs) that could not be made. Exit code 1: a file was refused or could not be loaded
    just now (all others are published), or a stage stopped. What was not done stays due: run it again. A refused file
    is not tried again by itself: see `c360 status`.
    """
    from customer360.progress import Silent, Terminal
    from customer360.run import run_everything

    settings, day = get_settings(), as_of.date() if as_of else None
    if json:
        summary = run_everything(settings, day, Silent(), full_refresh=full_refresh)
        typer.echo(json_module.dumps(summary.as_json(), default=str))
    else:
        with Terminal() as progress:
            summary = run_everything(settings, day, progress, full_refresh=full_refresh)
        for batch in (*summary.loaded.refused, *summary.loaded.failed):
            told = Text.assemble((batch.state, "bold red"), f" {batch.feed}/{batch.file_name}: {batch.error}")
            out().print(told)
        for one in summary.runs:
            _print_run(one)
        for attempt in summary.side_products_failed:
            out().print(Text.assemble(("beside the tables: ", "bold yellow"), str(attempt)))
        _print_quarantined(settings)
    if not summary.is_complete:
        raise typer.Exit(1)


def _print_quarantined(settings: Settings) -> None:
    """How many rows of each feed stand in quarantine, the commonest reasons, and the command that lists them."""
    from customer360 import warehouse
    from customer360.front_door import quarantine

    with warehouse.connect("oncall", settings) as connection:
        reasons = quarantine.commonest_reasons(connection)
    for feed, (rows, told) in reasons.items():
        out().print(f"{counted(rows, 'row')} of {feed} in quarantine: {'; '.join(told)}.", markup=False)
        out().print(f"  Next: c360 quarantine list --feed {feed}", markup=False)


def _table(*columns: str, title: str = "") -> Table:
    """A table that fits a terminal of 80 columns: no lines but that under its head."""
    return Table(
        *columns, title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=0, collapse_padding=True
    )


def _print_run(summary: RunSummary) -> None:
    if not summary.tables:
        out().print(f"{str(summary).capitalize()}.")
        return
    title = f"run {summary.run_id}, {summary.kind}"
    title += f" of {summary.as_of_on}" if summary.as_of_on else f": {counted(summary.batch_count, 'batch')}"
    title += f", publication {summary.publication_id}" if summary.publication_id else ""
    table = _table("table", "added", "changed", "removed", title=title)
    for name, change in sorted(summary.tables.items()):
        table.add_row(name, f"{change.added:,}", f"{change.changed:,}", f"{change.removed:,}")
    out().print(table)


def status(json: JsonOption = False) -> None:
    """What is pending, failed, held, quarantined or stale; what is wrong, its runbook and the command that mends it."""
    from customer360.oncall import status as module

    found = module.status(get_settings())
    if json:
        typer.echo(json_module.dumps(asdict(found) | {"is_well": found.is_well}, default=str))
        return
    _print_status(found)


def _print_status(found: Status) -> None:
    feeds = _table("feed", "files", "loading", "loaded", "published", "held", "failed", "refused", "quarantined")
    for row in found.feeds:
        counts = ("files_waiting", "unfinished", "loaded", "published", "held", "failed", "refused", "quarantined_rows")
        feeds.add_row(row["feed"], *(f"{row[name]:,}" if row[name] else "·" for name in counts))
    out().print(feeds)
    due = [counted(count, f"{scope} key") for scope, count in sorted(found.dirty.items())]
    due += ["a build of every table"] if found.is_whole_build_due else []
    due += ["today's daily tables"] if found.is_daily_due else []
    out().print(f"Due: {', '.join(due) or 'nothing'}." + (f" At work: {found.writer}." if found.writer else ""))
    behind = [
        f"{row['feed']} {row['backlog_seconds']:,} s" for row in found.feeds if row["backlog_seconds"] is not None
    ]
    if behind:
        out().print(f"Behind (age of the oldest batch that is not published): {', '.join(behind)}.")
    spooled = [
        f"{row['hook']} {row['waiting_events']:,} ({row['oldest_waiting_seconds']:.0f} s)"
        for row in found.webhooks
        if row["waiting_events"]
    ]
    if spooled:
        out().print(f"Events of webhooks in the spool (age of the oldest): {', '.join(spooled)}.")
    if found.history_starts_on:
        out().print(f"History starts on {found.history_starts_on}: raw has let go of what was known before.")
    _print_batches(found)
    if found.runs:
        table = _table("run", "kind", "state", "started", "seconds", "batches", "publication", title="last runs")
        for row in found.runs:
            seconds = f"{row['seconds']:.1f}" if row["seconds"] is not None else "…"
            colour = {"succeeded": "green", "running": "cyan"}.get(row["state"], "red")
            table.add_row(
                str(row["run_id"]), row["kind"], Text(row["state"], colour), f"{row['started_at']:%Y-%m-%d %H:%M:%S}",
                seconds, str(row["batch_count"]), str(row["publication_id"] or ""),
            )  # fmt: skip
        out().print(table)
    for row in found.readers:
        out().print(f"{row['role']} ({row['application']}) has a query open for {row['seconds']} s.")
    _print_troubles(found)


def _print_troubles(found: Status) -> None:
    """What stands in quarantine, what is stale, and what is wrong with the command that mends it."""
    for row in found.quarantined:
        out().print(f"{counted(row['rows'], 'row')} of {row['feed']} in quarantine: {'; '.join(row['reasons'])}.")
        out().print(f"  next: c360 quarantine list --feed {row['feed']}", markup=False)
    if not found.incidents:
        out().print("[green]Nothing is wrong.[/]")
    for row in found.freshness:
        if not row["is_fresh"]:
            budget = max(0.0, row["budget_left"])
            out().print(
                f"{row['subject']} is stale ({row['measure']}): {row['age_minutes']:,.0f} minutes, objective "
                f"{row['objective_minutes']:,}; {budget:.0%} of its error budget of 28 days is left",
            )
    for row in found.incidents:
        number = f" (incident {row['incident_id']} since {row['first_seen_at']:%H:%M:%S})" if row["incident_id"] else ""
        out().print(
            Text(f"{row['severity']}: {row['summary']}{number}", "red" if row["severity"] == "critical" else "yellow")
        )
        out().print(f"  {row['command_label']}: {row['command']}\n  runbook: c360 runbook {row['kind']}", markup=False)


def _print_batches(found: Status) -> None:
    if found.unusable:
        lost = _table("feed", "field", "rule", "rows loaded without it (7 days)", "last batch")
        for row in found.unusable:
            lost.add_row(row["feed"], row["field"], row["rule"], f"{row['row_count']:,}", str(row["last_batch_id"]))
        out().print(lost)
    if found.troubled:
        table = _table("batch", "feed", "file", "state", "why", title="batches aside")
        for row in found.troubled:
            table.add_row(
                str(row["batch_id"]), row["feed"], Text(row["file_name"]), row["state"], Text(row["error"] or "")
            )
        out().print(table)


def verify(
    full: Annotated[
        bool, typer.Option("--full", help="Also build everything anew in a scratch schema and compare row by row.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Prove that no row is lost: recount ledger, ids and money from raw to marts. Exit code 1 unless it all holds."""
    from customer360.progress import Silent, Terminal
    from customer360.publication import verify as module

    if json:
        report = module.verify(get_settings(), full=full, progress=Silent())
        plain = asdict(report) | {"holds": report.holds}
        typer.echo(json_module.dumps(plain, default=str))
    else:
        with Terminal() as progress:
            report = module.verify(get_settings(), full=full, progress=progress)
        _print_report(report)
    if not report.holds:
        raise typer.Exit(1)


def _print_report(report: Report) -> None:
    if report.money:
        table = _table("currency", "raw", "attributed", "unattributed", "cancelled", "deleted", "difference")
        for one in report.money:
            amounts = (one.raw, one.attributed, one.unattributed, one.cancelled, one.deleted, one.difference)
            table.add_row(one.currency, *(f"{amount:,.2f}" for amount in amounts))
        out().print(table)
    table = _table("", "what must hold", "counted")
    for check in report.checks:
        table.add_row(Text("✓", "green") if check.holds else Text("✗", "red"), check.name, check.counted)
        if not check.holds:
            table.add_row("", Text("\n".join(check.broken), "red"), Text(check.next_step, "bold"))
    out().print(table)
    broken = sum(not check.holds for check in report.checks)
    out().print(
        "[green]Everything holds.[/]" if report.holds else f"[red]{broken} of {len(report.checks)} do not hold.[/]"
    )


def why(
    subject: Annotated[
        list[str], typer.Argument(help="A batch or run (12, batch 12, run 7) or a table (customer_360)")
    ],
    json: JsonOption = False,
) -> None:
    """What happened to a run, a batch or a table, in order, the first cause first."""
    from customer360.oncall import why as module

    stories = module.why(get_settings(), " ".join(subject))
    if json:
        typer.echo(json_module.dumps([story.as_json() for story in stories]))
        return
    for story in stories:
        _print_story(story)


def _print_story(story: Story) -> None:
    out().print(Text.assemble((story.subject, "bold"), f": {story.answer}"))
    table: Any = Table.grid(padding=(0, 2))
    for event in story.events:
        when = f"{event.at:%Y-%m-%d %H:%M:%S}" if event.at else ""
        table.add_row(Text(when, "dim"), Text(event.what, "red" if event.is_trouble else ""))
    out().print(table)
    if story.next_step:
        out().print(f"Next: {story.next_step}", markup=False)
