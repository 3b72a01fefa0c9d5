"""``c360 land``, ``ingest``, ``hold``, ``unhold``, ``replay``, ``tidy``: files and batches at the front door."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from customer360.cli.completion import batches_of, feeds_of
from customer360.cli.options import BecauseOption, ByOption, JsonOption
from customer360.contract.feeds import FEEDS
from customer360.settings import get_settings
from customer360.terminal import out

BatchArgument = Annotated[int, typer.Argument(help="Number of the batch", autocompletion=batches_of)]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("land")(land)
    app.command("ingest")(ingest)
    app.command("hold")(hold)
    app.command("unhold")(unhold)
    app.command("replay")(replay)
    app.command("tidy")(tidy)


def land(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="FEED FILE…",
            help=f"A feed ({', '.join(FEEDS)}) and files; with --source, files",
            autocompletion=feeds_of,
        ),
    ],
    source: Annotated[
        str, typer.Option("--source", help="They are a vendor's own export: shopify_csv, zendesk, … (c360 source list)")
    ] = "",
    namespace: Annotated[
        str, typer.Option("--namespace", help="With --source: namespace of the ids, for a second shop of one vendor.")
    ] = "",
    exported_at: Annotated[
        datetime | None,
        typer.Option("--exported-at", help="With --source: when it was exported (UTC); else its last change."),
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="They are a backfill (see docs/feeds.md).")] = False,
    json: JsonOption = False,
) -> None:
    """Put files into the landing zone: each appears there whole or not at all."""
    from customer360.front_door import landing

    settings = get_settings()
    feed, paths = ("", names) if source else (names[0], names[1:])
    if not paths:
        raise typer.BadParameter("no file is given: c360 land FEED FILE…, or c360 land --source NAME FILE…")
    if not source and (namespace or exported_at):
        raise typer.BadParameter("--namespace and --exported-at go with --source")
    moment = exported_at.replace(tzinfo=UTC) if exported_at and exported_at.tzinfo is None else exported_at
    landed: list[landing.LandedFile] = []
    try:
        for path in map(Path, paths):
            file = (
                landing.put_export(settings, source, path, namespace=namespace, exported_at=moment, history=history)
                if source
                else landing.put(settings, feed, path, history=history)
            )
            landed.append(file)
            if not json:
                name = file.name.rsplit("/", 1)[-1]
                renamed = "" if name == path.name else f" (as {name})"
                out().print(f"Landed {path.name}{renamed}: {file.location}", markup=False)
    finally:  # what was landed before one was refused is there, and is told
        if json:
            told_files = [
                {"feed": f.feed, "source": f.source, "name": f.name, "location": f.location, "bytes": f.bytes}
                for f in landed
            ]
            typer.echo(json_module.dumps(told_files))
    if not json:
        out().print("Next: the running stack picks it up by itself; without it, `c360 run`.")


def ingest(
    feed: Annotated[str | None, typer.Argument(help="Only this feed", autocompletion=feeds_of)] = None,
    json: JsonOption = False,
) -> None:
    """Gate and load everything that waits in the landing zone; build nothing.

    Exit code 1 if a file was refused or could not be loaded; all others are in. Single rows in quarantine stand aside
    and do not count.
    """
    from customer360.front_door import load
    from customer360.progress import Silent, Terminal

    settings = get_settings()
    if json:
        summary = load.ingest(settings, feed, Silent())
        typer.echo(json_module.dumps([asdict(batch) for batch in summary.batches]))
    else:
        with Terminal() as progress:
            summary = load.ingest(settings, feed, progress)
        if summary.batches:
            out().print(_table(summary))
        out().print(str(summary).capitalize() + ".")
    if summary.failed or summary.refused:
        raise typer.Exit(1)


def _table(summary: object) -> Table:
    from customer360.front_door.load import IngestSummary

    assert isinstance(summary, IngestSummary)  # noqa: S101 - for the type checker
    table = Table("batch", "feed", Column("file", overflow="fold"), "state", "rows", "quarantined", "duplicates", "why")
    for batch in summary.batches:
        table.add_row(
            str(batch.batch_id),
            batch.feed,
            escape(batch.file_name),
            batch.state,
            f"{batch.rows:,}",
            f"{batch.quarantined:,}",
            f"{batch.duplicates:,}",
            escape(batch.error),
        )
    return table


def hold(batch: BatchArgument, because: BecauseOption, by: ByOption = "", json: JsonOption = False) -> None:
    """Take a loaded batch out of the build: the next run makes the tables without its rows."""
    from customer360.front_door import ledger, replay

    changed = replay.hold(get_settings(), batch, who=by or ledger.me(), why=because)
    then = f"Next: `c360 run` publishes without it. `c360 unhold {batch} --because …` undoes this."
    _say_switched(batch, "held", changed, json, then)


def unhold(batch: BatchArgument, because: BecauseOption, by: ByOption = "", json: JsonOption = False) -> None:
    """Let a held batch back into the build."""
    from customer360.front_door import ledger, replay

    changed = replay.unhold(get_settings(), batch, who=by or ledger.me(), why=because)
    _say_switched(batch, "let go", changed, json, "Next: `c360 run` takes its rows again.")


def _say_switched(batch: int, what: str, changed: bool, json: bool, then: str) -> None:
    if json:
        typer.echo(json_module.dumps({"batch_id": batch, "changed": changed}))
    elif changed:
        out().print(f"Batch {batch} is {what}. {then}")
    else:
        out().print(f"Batch {batch} was {what} already.")


def replay(
    because: BecauseOption,
    batch: Annotated[int | None, typer.Option(help="This batch", autocompletion=batches_of)] = None,
    feed: Annotated[str | None, typer.Option(help="Batches of this feed", autocompletion=feeds_of)] = None,
    since: Annotated[datetime | None, typer.Option(help="Batches that landed since then (UTC)")] = None,
    state: Annotated[str | None, typer.Option(help="Batches in this state: failed, refused, held, …")] = None,
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Process batches again from their files. Exit code 1 unless each of them is loaded."""
    from customer360.front_door import ledger
    from customer360.front_door import replay as replaying

    summary = replaying.replay(
        get_settings(),
        who=by or ledger.me(),
        why=because,
        batch_id=batch,
        feed=feed,
        since=since.replace(tzinfo=UTC) if since and since.tzinfo is None else since,
        state=state,
    )
    if json:
        typer.echo(
            json_module.dumps({"batches": [asdict(b) for b in summary.batches], "impossible": summary.impossible})
        )
    else:
        for one in summary.batches:
            told = f"Batch {one.batch_id} ({one.file_name}): {one.state}. {one.error}".rstrip(" .") + "."
            out().print(told, markup=False)
        for number, reason in summary.impossible.items():
            out().print(f"Batch {number} cannot be processed again: {reason}.", markup=False)
        out().print(f"{summary}. Next: `c360 run`.")
    if summary.impossible or any(one.state != "loaded" for one in summary.batches):
        raise typer.Exit(1)


def tidy(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    because: Annotated[str, typer.Option("--because", help="Why, if not by the settings; it goes on record.")] = "",
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Remove landed files that are old (C360_LANDED_FILE_DAYS) and published. Raw, quarantine, ledger stay.

    With C360_RAW_RETENTION_DAYS set, raw lets go of what was known longer ago than that: marts keep what they say of
    it (frozen), and the day on which history starts moves. Exit code 1 if that is due and cannot be done yet.
    """
    from customer360.publication import retention

    summary = retention.tidy(
        get_settings(), now=datetime.now(UTC), dry_run=dry_run, who=by or None, why=because or None
    )
    if json:
        typer.echo(json_module.dumps({**asdict(summary), "dry_run": dry_run}, default=str))
    else:
        out().print(("Would be done: " if dry_run else "") + str(summary) + ".")
        if summary.raw and summary.raw.count and not dry_run:
            out().print("Next: `c360 run` stages the frozen records; no published row moves.")
    if summary.raw and summary.raw.waiting:
        raise typer.Exit(1)
