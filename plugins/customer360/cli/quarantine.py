"""``c360 quarantine``: the rows that stepped aside."""

from __future__ import annotations

import json as json_module
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from customer360 import warehouse
from customer360.cli.completion import batches_of, feeds_of
from customer360.cli.options import BecauseOption, ByOption, JsonOption
from customer360.settings import get_settings
from customer360.terminal import counted, out

group = typer.Typer(no_args_is_help=True, help="The rows that stepped aside: look, correct, let in again, give up.")

IdsArgument = Annotated[list[int] | None, typer.Argument(help="Numbers of quarantined rows")]
BatchOption = Annotated[int | None, typer.Option("--batch", help="Rows of this batch", autocompletion=batches_of)]
FeedOption = Annotated[str | None, typer.Option("--feed", help="Rows of this feed", autocompletion=feeds_of)]
RuleOption = Annotated[str | None, typer.Option("--rule", help="Rows that break this rule")]
FieldOption = Annotated[str | None, typer.Option("--field", help="Rows with a reason about this field")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(group, name="quarantine")


def _selection(ids: list[int] | None, batch: int | None, feed: str | None, rule: str | None, field: str | None) -> Any:
    from customer360.front_door.quarantine import Selection

    return Selection(tuple(ids or ()), batch, feed, rule, field)


@group.command("list")
def list_groups(
    batch: BatchOption = None,
    feed: FeedOption = None,
    rule: RuleOption = None,
    field: FieldOption = None,
    rows: Annotated[bool, typer.Option("--rows", help="The rows, one by one, with their numbers.")] = False,
    json: JsonOption = False,
) -> None:
    """Open rows by feed, batch and reason, with how many and since when."""
    from customer360.front_door import quarantine

    chosen = _selection(None, batch, feed, rule, field)
    with warehouse.connect("loader", get_settings()) as connection:
        found = quarantine.groups(connection, chosen)
        listed = quarantine.rows_of(connection, chosen) if rows else []
    if json:
        whole = [{**vars(one), "since": one.since.isoformat()} for one in found]
        single = [
            {"quarantine_id": one.quarantine_id, "batch_id": one.batch_id, "row_number": one.row_number,
             "place_in_file": quarantine.place_in_file(one), "values": quarantine.shown_faults(one),
             "reasons": [reason.as_json() for reason in one.reasons]}
            for one in listed
        ]  # fmt: skip
        typer.echo(json_module.dumps({"groups": whole, "rows": single} if rows else {"groups": whole}))
        return
    if not found:
        out().print("No row is in quarantine." if chosen.is_everything else "No open row is meant by that.")
        return
    if rows:
        table = Table("row", "feed", "batch", "line or spreadsheet row", "values", "reasons")
        for one in listed:
            told = "\n".join(escape(reason.message) for reason in one.reasons)
            table.add_row(str(one.quarantine_id), one.feed, str(one.batch_id), quarantine.place_in_file(one),
                          escape(quarantine.shown_faults(one)), told)  # fmt: skip
    else:
        table = Table("feed", "batch", Column("file", overflow="fold"), "rule", "field", "rows", "since", "for example")
        for group_ in found:
            table.add_row(
                group_.feed, str(group_.batch_id), escape(group_.file_name), group_.rule, escape(group_.field),
                f"{group_.row_count:,}", _age(group_.since), escape(group_.example),
            )  # fmt: skip
    out().print(table)
    if not rows:
        out().print("Next: `c360 quarantine list --rows`, then `show ROW`, or `export FILE --feed FEED`.")


def _age(since: datetime) -> str:
    minutes = int((datetime.now(UTC) - since).total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


@group.command("show")
def show(
    row: Annotated[int, typer.Argument(help="Number of the quarantined row")],
    clear: Annotated[bool, typer.Option("--reveal", help="Values as they came; needs --because.")] = False,
    because: Annotated[str, typer.Option("--because", help="Why they are revealed; it goes on record.")] = "",
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """One row: its reasons, its fields with the wrong ones marked. Personal values are masked."""
    from customer360.front_door import ledger, quarantine

    with warehouse.connect("loader", get_settings()) as connection:
        one = quarantine.row(connection, row)
        if clear:
            quarantine.reveal(connection, [one], who=by or ledger.me(), why=because)
    cells = quarantine.clear_cells(one) if clear else quarantine.shown_cells(one)
    if json:
        typer.echo(
            json_module.dumps(
                {
                    "quarantine_id": one.quarantine_id, "batch_id": one.batch_id, "feed": one.feed,
                    "row_number": one.row_number, "state": one.state,
                    "reasons": [reason.as_json() for reason in one.reasons],
                    "fields": [{"name": n, "value": v, "is_wrong": wrong} for n, v, wrong in cells],
                    "closed_by": one.closed_by, "closed_because": one.closed_because,
                }
            )
        )  # fmt: skip
        return
    kind = "spreadsheet row" if one.reading.get("format") == "csv" else "line"
    where = f"Row {one.row_number:,} ({kind} {quarantine.place_in_file(one)}) of batch {one.batch_id} ({one.feed})"
    where += f", {one.state}"
    out().print(f"[bold]{where}[/] since {one.quarantined_at:%Y-%m-%d %H:%M} UTC")
    for reason in one.reasons:
        out().print(f"  [red]✗[/] {escape(reason.message)}  [dim]({reason.rule})[/]")
    if one.closed_by:
        out().print(f"  closed by {escape(one.closed_by)}: {escape(one.closed_because or '')}")
    table = Table("", "field", "value")
    for name, value, is_wrong in cells:
        table.add_row("[red]✗[/]" if is_wrong else "", escape(name), escape(value))
    if cells:
        out().print(table)
    elif one.record:
        out().print("The record could not be taken apart; `export` shows it as it came.")
    else:
        out().print("The record itself was removed: it was decided on before history starts (`c360 tidy`).")


@group.command("export")
def export(
    target: Annotated[Path, typer.Argument(help="A .csv or .jsonl file to write")],
    ids: Annotated[list[int] | None, typer.Option("--row", help="Only these rows")] = None,
    batch: BatchOption = None,
    feed: FeedOption = None,
    rule: RuleOption = None,
    field: FieldOption = None,
    because: Annotated[str, typer.Option("--because", help="Why; it goes on record.")] = "to be corrected",
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Write open rows to a file, to be corrected and released. It holds personal data: delete it afterwards."""
    from customer360.front_door import ledger, quarantine

    with warehouse.connect("loader", get_settings()) as connection:
        chosen = _selection(ids, batch, feed, rule, field)
        count = quarantine.export(connection, chosen, target, who=by or ledger.me(), why=because)
    if json:
        typer.echo(json_module.dumps({"rows": count, "file": str(target)}))
        return
    written = f"{counted(count, 'row')} written to {target} (readable by you alone; it holds personal data)."
    out().print(written, markup=False)
    out().print(f"Next: correct it, then `c360 quarantine release --file {target} --because …`.", markup=False)


@group.command("release")
def release(
    because: BecauseOption,
    ids: IdsArgument = None,
    file: Annotated[Path | None, typer.Option("--file", help="A corrected export")] = None,
    batch: BatchOption = None,
    feed: FeedOption = None,
    rule: RuleOption = None,
    field: FieldOption = None,
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Let rows in again: corrected (--file), or as they are. Exit code 1 if some stay, or none was open."""
    from customer360.front_door import ledger, quarantine

    chosen = _selection(ids, batch, feed, rule, field)
    outcome = quarantine.release(
        get_settings(),
        who=by or ledger.me(),
        why=because,
        corrected=file,
        selection=None if file is not None and chosen.is_everything else chosen,
    )
    if json:
        still = {str(number): [r.as_json() for r in reasons] for number, reasons in outcome.still_bad.items()}
        typer.echo(
            json_module.dumps(
                {"released": outcome.released, "batch_ids": outcome.batch_ids, "still_bad": still,
                 "not_open": outcome.not_open}
            )
        )  # fmt: skip
    else:
        out().print(f"{outcome}.")
        for number, reasons in list(outcome.still_bad.items())[:20]:
            out().print(f"  row {number}: {escape('; '.join(r.message for r in reasons))}")
        if outcome.released:
            out().print("Next: `c360 run` (a running stack does it by itself).")
    if outcome.still_bad or not outcome.released:
        raise typer.Exit(1)


@group.command("discard")
def discard(
    because: BecauseOption,
    ids: IdsArgument = None,
    batch: BatchOption = None,
    feed: FeedOption = None,
    rule: RuleOption = None,
    field: FieldOption = None,
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Give rows up for good. They stay on record. Exit code 1 if none of them was open."""
    from customer360.front_door import ledger, quarantine

    chosen = _selection(ids, batch, feed, rule, field)
    count = quarantine.discard(get_settings(), chosen, who=by or ledger.me(), why=because)
    if json:
        typer.echo(json_module.dumps({"discarded": count}))
    else:
        out().print(f"{count:,} rows discarded." if count else "No open row is meant by that.")
    if not count:
        raise typer.Exit(1)
