"""``c360 erase``, ``c360 person``: forget a person everywhere, and give a person's data out."""

from __future__ import annotations

import dataclasses
import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from customer360.cli.options import JsonOption
from customer360.errors import ConfigurationError, Customer360Error
from customer360.progress import Terminal
from customer360.settings import get_settings
from customer360.terminal import counted, out

person_app = typer.Typer(help="A person's data, for the person.", no_args_is_help=True)

_Email = Annotated[str, typer.Option("--email", help="An e-mail address of the person.")]
_Phone = Annotated[str, typer.Option("--phone", help="A phone number of the person.")]
_CustomerId = Annotated[str, typer.Option("--customer-id", help="The shop's id, behind SOURCE/ if it has a source.")]
_Device = Annotated[str, typer.Option("--device", help="An anonymous_id that is this person's alone.")]
_Key = Annotated[str, typer.Option("--customer-key", help="A customer_key of the published tables.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("erase")(erase)
    app.command("erasures")(erasures)
    app.add_typer(person_app, name="person")


def _named(**given: str) -> tuple[str, str]:
    chosen = [(kind, text) for kind, text in given.items() if text]
    if len(chosen) != 1:
        raise ConfigurationError(
            "Name the person by exactly one identifier.",
            "Give --email, --phone, --customer-id, --device or --customer-key; the others are found from it.",
        )
    return chosen[0]


def erase(
    email: _Email = "",
    phone: _Phone = "",
    customer_id: _CustomerId = "",
    device: _Device = "",
    customer_key: _Key = "",
    yes: Annotated[bool, typer.Option("--yes", help="Erase; without it, only say what would be erased.")] = False,
    because: Annotated[str, typer.Option(help="Why: goes on record. Write no name into it.")] = "",
    by: Annotated[str, typer.Option(help="Who decides; by default, the user of this shell.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Finish erasures that were cut off.")] = False,
    json: JsonOption = False,
) -> None:
    """Erase a person from files, tables, journals and the key map. Says first what would go; --yes does it."""
    from customer360.erasure import erase as erasing
    from customer360.front_door import ledger

    settings = get_settings()
    if resume:
        with Terminal() as progress:
            done = erasing.finish_pending(settings, progress)
        if json:
            typer.echo(json_module.dumps([dataclasses.asdict(one) for one in done], default=str))
        else:
            out().print(f"{counted(len(done), 'erasure')} finished.")
        return
    kind, text = _named(
        email=email, phone=phone, customer_id=customer_id, anonymous_id=device, customer_key=customer_key
    )
    if not yes:
        certificate = erasing.plan(settings, kind, text)
    else:
        with Terminal() as progress:
            certificate = erasing.erase(settings, kind, text, who=by or ledger.me(), why=because, progress=progress)
    if json:
        typer.echo(json_module.dumps(dataclasses.asdict(certificate), default=str))
        return
    _print(certificate)
    if not yes:
        out().print("Nothing was changed. The same command with --yes and --because erases it.")


def erasures(
    number: Annotated[int, typer.Argument(help="The number of an erasure; all by default.", min=0)] = 0,
    json: JsonOption = False,
) -> None:
    """Show the certificates: what each erasure removed, where, and how many. They do not say who the person was."""
    from customer360.erasure import erase as erasing

    found = erasing.certificates(get_settings(), number or None)
    if json:
        typer.echo(json_module.dumps([dataclasses.asdict(one) for one in found], default=str))
        return
    if number and not found:
        raise Customer360Error(f"There is no erasure {number}.", "`c360 erasures` lists them.")
    for one in found:
        _print(one)
    out().print(f"{counted(len(found), 'erasure')}.")


def _print(certificate: Any) -> None:
    if certificate.erasure_id is not None:
        state = "finished" if certificate.is_finished else "not finished: run `c360 erase --resume`"
        out().print(
            f"Erasure {certificate.erasure_id} of {certificate.began_at:%Y-%m-%d %H:%M} UTC by {certificate.acted_by}, "
            f"because {certificate.because}: {state}"
        )
    table = Table("where", "how many")
    for place, count in certificate.removed.items():
        if count:
            table.add_row(place, f"{count:,}")
    out().print(table)
    if certificate.later_records:
        out().print(f"{counted(certificate.later_records, 'later record')} of the person stay.")


@person_app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="A new file that ends in .json or .html.")],
    email: _Email = "",
    phone: _Phone = "",
    customer_id: _CustomerId = "",
    device: _Device = "",
    customer_key: _Key = "",
    json: JsonOption = False,
) -> None:
    """Write all data about a person to a file, as JSON or as a page to read. Only you may read the file."""
    from customer360.erasure import export as exporting

    kind, text = _named(
        email=email, phone=phone, customer_id=customer_id, anonymous_id=device, customer_key=customer_key
    )
    rows = exporting.export(get_settings(), kind, text, file)
    if json:
        typer.echo(json_module.dumps({"file": str(file), "rows": rows}))
    else:
        out().print(f"{counted(rows, 'row')} written to {file}.")
