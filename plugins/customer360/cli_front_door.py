"""``c360 land``, ``c360 ingest``: files into the landing zone, and from there through the gate into raw."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from customer360.settings import get_settings

_console = Console()
JsonOption = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("land")(land)
    app.command("ingest")(ingest)


def land(
    feed: Annotated[str, typer.Argument(help="orders, web_sessions or support_tickets")],
    files: Annotated[list[Path], typer.Argument(help="Files to put into the landing zone")],
    history: Annotated[bool, typer.Option("--history", help="They are a backfill (see docs/feeds.md).")] = False,
    json: JsonOption = False,
) -> None:
    """Put files into the landing zone: each appears there whole or not at all."""
    from customer360 import landing

    settings = get_settings()
    landed = [landing.put(settings, feed, file, history=history) for file in files]
    if json:
        typer.echo(
            json_module.dumps(
                [{"feed": f.feed, "name": f.name, "location": f.location, "bytes": f.bytes} for f in landed]
            )
        )
        return
    for file, source in zip(landed, files, strict=True):
        renamed = "" if file.name.rsplit("/", 1)[-1] == source.name else f" (as {file.name}: the name was taken)"
        _console.print(f"Landed {source.name}{renamed}: {file.location}", highlight=False, soft_wrap=True)
    _console.print("Next: the running stack picks it up by itself; without it, `c360 run`.")


def ingest(
    feed: Annotated[str | None, typer.Argument(help="Only this feed")] = None,
    json: JsonOption = False,
) -> None:
    """Gate and load everything that waits in the landing zone; build nothing. Exit code 1 if a batch was not loaded."""
    from customer360 import load
    from customer360.progress import Silent, Terminal

    settings = get_settings()
    if json:
        summary = load.ingest(settings, feed, Silent())
        typer.echo(json_module.dumps([asdict(batch) for batch in summary.batches]))
    else:
        with Terminal() as progress:
            summary = load.ingest(settings, feed, progress)
        if summary.batches:
            _console.print(_table(summary))
        _console.print(str(summary).capitalize() + ".")
    if summary.failed or summary.refused:
        raise typer.Exit(1)


def _table(summary: object) -> Table:
    from customer360.load import IngestSummary

    assert isinstance(summary, IngestSummary)  # noqa: S101 - for the type checker
    table = Table("batch", "feed", "file", "state", "rows", "quarantined", "duplicates", "why")
    for batch in summary.batches:
        table.add_row(
            str(batch.batch_id),
            batch.feed,
            batch.file_name,
            batch.state,
            f"{batch.rows:,}",
            f"{batch.quarantined:,}",
            f"{batch.duplicates:,}",
            batch.error,
        )
    return table
