"""``c360 source list``, ``try``, ``new``: the vendors' exports that can be landed as they are."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from customer360.settings import get_settings
from customer360.terminal import out

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_source = typer.Typer(help="The exports that can be landed as a vendor writes them.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(_source, name="source")


@_source.command("list")
def list_sources(json: JsonOption = False) -> None:
    """Every source: its feed, the formats it reads, its version. Exit code 1 if one cannot be read."""
    from customer360.sources import declaration

    settings = get_settings()
    rows: list[dict[str, Any]] = []
    for path in declaration.paths(settings):
        row: dict[str, Any] = {"source": path.stem, "path": str(path), "error": ""}
        try:
            source = declaration.source_named(settings, path.stem)
        except declaration.SourceError as error:
            row["error"] = str(error)
        else:
            row |= {
                "feed": source.feed.name,
                "shapes": list(source.shapes),
                "version": source.version,
                "namespace": source.namespace,
                "title": source.title,
                "page": source.page,
                "own": source.is_own,
            }
        rows.append(row)
    if json:
        typer.echo(json_module.dumps(rows))
    else:
        table = Table("source", "feed", "reads", "version", Column("what", overflow="fold"))
        for row in rows:
            if row["error"]:
                table.add_row(row["source"], "", "", "", f"[red]{escape(row['error'])}[/]")
            else:
                own = " (yours)" if row["own"] else ""
                what = escape(row["title"])
                table.add_row(row["source"] + own, row["feed"], ", ".join(row["shapes"]), str(row["version"]), what)
        out().print(table)
        out().print("Next: `c360 source try FILE`, then `c360 land --source NAME FILE`.")
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


@_source.command("try")
def try_source(
    file: Annotated[Path, typer.Argument(help="An export, as the vendor wrote it")],
    source: Annotated[
        str, typer.Option("--source", help="By this source; else by the one that knows its columns.")
    ] = "",
    namespace: Annotated[str, typer.Option("--namespace", help="Namespace of the ids.")] = "",
    records: Annotated[
        int, typer.Option("--records", min=0, max=100, help="So many records beside the originals.")
    ] = 3,
    json: JsonOption = False,
) -> None:
    """Show what would land of a file, before anything does. It shows the file's own values, personal ones too.

    Exit code 1 if a record would go to quarantine.
    """
    from customer360.front_door import trial

    tried = trial.try_file(get_settings(), file, name=source, namespace=namespace, examples=records)
    if json:
        typer.echo(json_module.dumps(tried.as_json()))
    else:
        _print(tried, file)
    if tried.quarantined:
        raise typer.Exit(1)


def _print(tried: Any, file: Path) -> None:
    done, source = tried.conversion, tried.source

    def say(text: str) -> None:
        out().print(text, markup=False)

    for number, sides in zip(done.record_numbers, tried.examples, strict=False):
        table = Table(
            Column(f"record {int(number):,} of the file", overflow="fold"),
            Column(f"as {source.feed.name}", overflow="fold"),
        )
        left, right = ([f"{key}: {_shown(value)}" for key, value in side.items()] for side in sides)
        for place in range(max(len(left), len(right))):
            table.add_row(*(escape(side[place]) if place < len(side) else "" for side in (left, right)))
        out().print(table)
    say(f"{source.name} (version {source.version}): {source.title}")
    say(
        f"{done.input_records:,} records: {done.records:,} of {source.feed.name}, {done.continuations:,} that belong "
        f"to another record, {done.set_aside:,} set aside."
    )
    for reason, aside in done.asides.items():
        say(f"  set aside, {reason}: {aside['count']:,} ({_numbers(aside['first'], aside['count'])})")
    for default, count in done.defaults.items():
        say(f"  not in the file, stated as documented, {default}: {count:,}")
    if done.unknown_columns:
        say(f"  columns that it does not know: {', '.join(done.unknown_columns)}")
    for reason in tried.reasons.values():
        first = _numbers(reason["first"], reason["count"])
        values = f"; it is {', '.join(reason['values'])}" if reason["values"] else ""
        say(f"  would go to quarantine, {reason['message']}: {reason['count']:,} ({first}){values}")
    for name, rules in tried.unusable_fields.items():
        for rule, count in rules.items():
            say(f"  would be loaded without {name} ({rule}): {count:,}")
    say(f"Next: c360 land --source {source.name} {file}")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json_module.dumps(value, ensure_ascii=False)


def _numbers(first: list[int], count: int) -> str:
    shown = first[:5]
    return "record " + ", ".join(f"{number:,}" for number in shown) + (", …" if count > len(shown) else "")


@_source.command("new")
def new_source(
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits, _")],
    like: Annotated[Path, typer.Option("--like", help="A file that it shall read")],
    feed: Annotated[
        str, typer.Option("--feed", help="The feed it gives: orders, web_sessions, support_tickets")
    ] = "orders",
) -> None:
    """Begin a source for a file that none knows: a draft in C360_HOME/sources, for you to complete."""
    from customer360.contract.feeds import feed_named
    from customer360.front_door import draft

    path = draft.draft(get_settings(), name, like, feed_named(feed))
    out().print(f"Wrote {path}.", markup=False)
    out().print(f"Next: complete it, then `c360 source try --source {name} {like}`.", markup=False)
