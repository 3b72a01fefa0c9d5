"""``c360 sample``: realistic feeds with a known truth, or the CDNOW order log as a feed."""

from __future__ import annotations

import json as json_module
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from customer360.progress import Progress, Silent, Terminal
from customer360.terminal import errors, out

if TYPE_CHECKING:
    from customer360.sample.manifest import SampleFile, SampleManifest


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("sample")(sample)


def sample(
    out: Annotated[Path, typer.Option(help="New or empty directory to write to.")],
    customers: Annotated[int, typer.Option(help="How many people.")] = 5_000,
    days: Annotated[int, typer.Option(help="How many days the feeds cover.")] = 365,
    until: Annotated[str | None, typer.Option(metavar="DATE", help="Last day, as 2026-01-31. Default: now.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same sample.")] = 1,
    faults: Annotated[
        bool, typer.Option("--faults", help="Add bad rows, bad files, late records, corrections.")
    ] = False,
    hard_identity: Annotated[
        bool, typer.Option("--hard-identity", help="Many shared devices, families, typos, recycled phones.")
    ] = False,
    fresh_batches: Annotated[int, typer.Option(help="Pieces into which the last days are cut.")] = 5,
    latest_only: Annotated[
        bool, typer.Option("--latest-only", help="History as one record per id, as a database dump has it.")
    ] = False,
    file_format: Annotated[
        list[str] | None, typer.Option("--format", help="jsonl, jsonl.gz, csv, csv.gz or parquet; may be repeated.")
    ] = None,
    currency: Annotated[list[str] | None, typer.Option(help="USD unless said; may be repeated.")] = None,
    cdnow: Annotated[
        bool, typer.Option("--cdnow", help="Convert the CDNOW order log instead; takes only --out.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Write sample feeds: history to be landed with --history, fresh batches, and what is true about them."""
    from customer360.sample.cdnow import convert_cdnow
    from customer360.sample.generator import generate

    begun = time.perf_counter()
    last_day = _day(until)
    if cdnow:
        manifest = convert_cdnow(out)
    else:
        with _watcher(quiet=json) as watcher:
            manifest = generate(
                customers,
                days,
                last_day,
                seed,
                out,
                faults=faults,
                hard_identity=hard_identity,
                fresh_batches=fresh_batches,
                history_versions="latest" if latest_only else "all",
                formats=tuple(file_format or ("jsonl.gz", "csv", "parquet")),
                fresh_formats=tuple(file_format or ("jsonl", "csv", "parquet")),
                currencies=tuple(currency or ("USD",)),
                progress=watcher,
            )
    if json:
        typer.echo(json_module.dumps({"out": str(manifest.out), **manifest.as_dict()}, ensure_ascii=False))
    else:
        _show(manifest, time.perf_counter() - begun)


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    from customer360.sample.manifest import SampleError

    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise SampleError(f"{text!r} is not a day.", "Write it as year-month-day: --until 2026-01-31") from error


def _watcher(quiet: bool) -> AbstractContextManager[Progress]:
    """Stages on a terminal; nothing where nobody watches."""
    console = errors()
    return Terminal(console) if console.is_terminal and not quiet else nullcontext(Silent())


def _show(manifest: SampleManifest, seconds: float) -> None:
    from customer360.sample.manifest import FEEDS

    console = out()
    table = Table(title=f"Sample in {manifest.out} ({seconds:.1f} s)", title_justify="left")
    table.add_column("feed", no_wrap=True)
    for heading in ("ids", "history", "fresh", "bad rows", "to be refused"):
        table.add_column(heading, justify="right")
    for feed in FEEDS:
        history, fresh = manifest.history(feed), manifest.fresh(feed=feed)
        if not history and not fresh:
            continue
        table.add_row(
            feed,
            f"{manifest.totals['ids'].get(feed, 0):,}",
            _rows_in_files(history),
            _rows_in_files(fresh),
            f"{sum(file.bad_rows for file in fresh):,}",
            f"{sum(file.expected == 'refused' for file in fresh):,} files",
        )
    console.print(table)
    console.print(f"From {manifest.start_at:%Y-%m-%d %H:%M} to {manifest.end_at:%Y-%m-%d %H:%M} UTC.")
    for file in manifest.history()[:1]:
        console.print(f"Next: c360 land {file.feed} {manifest.path(file).parent}/* --history")


def _rows_in_files(files: list[SampleFile]) -> str:
    return f"{sum(file.rows for file in files):,} rows in {len(files)} files" if files else "none"
