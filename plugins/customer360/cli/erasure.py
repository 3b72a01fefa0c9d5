"""``c360 erase``, ``c360 person``: forget a person everywhere, and give a person's data out."""

from __future__ import annotations

import dataclasses
import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from customer360.cli.options import BecauseOption, ByOption, JsonOption
from customer360.errors import ConfigurationError, Customer360Error
from customer360.progress import Terminal
from customer360.settings import get_settings
from customer360.terminal import counted, out

erase_app = typer.Typer(invoke_without_command=True)
person_app = typer.Typer(help="A person's data, for the person.", no_args_is_help=True)

_Email = Annotated[str, typer.Option("--email", help="An e-mail address of the person.")]
_Phone = Annotated[str, typer.Option("--phone", help="A phone number of the person.")]
_CustomerId = Annotated[str, typer.Option("--customer-id", help="The shop's id, behind SOURCE/ if it has a source.")]
_Device = Annotated[str, typer.Option("--device", help="An anonymous_id that is this person's alone.")]
_Key = Annotated[str, typer.Option("--customer-key", help="A customer_key of the published tables.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(erase_app, name="erase")
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


@erase_app.callback()
def erase(
    context: typer.Context,
    email: _Email = "",
    phone: _Phone = "",
    customer_id: _CustomerId = "",
    device: _Device = "",
    customer_key: _Key = "",
    request: Annotated[int, typer.Option("--request", help="The person of a request, by its number.", min=0)] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Erase; without it, only say what would be erased.")] = False,
    because: Annotated[str, typer.Option(help="Why: goes on record. Write no name into it.")] = "",
    by: Annotated[str, typer.Option(help="Who decides; by default, the user of this shell.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Finish erasures that were cut off.")] = False,
    json: JsonOption = False,
) -> None:
    """Erase a person from files, tables, journals and the key map. Says first what would go; --yes does it."""
    if context.invoked_subcommand:
        return
    from customer360.erasure import erase as erasing
    from customer360.erasure import requests
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
    given = {"email": email, "phone": phone, "customer_id": customer_id, "anonymous_id": device}
    given["customer_key"] = customer_key
    if request and any(given.values()):
        raise ConfigurationError("A request names its person itself.", "Give --request alone.")
    named = None if request else _named(**given)
    if not yes:
        certificate = erasing.plan(settings, named) if named else requests.plan(settings, request)
    else:
        decided: dict[str, Any] = {"who": by or ledger.me(), "why": because}
        with Terminal() as progress:
            if named:
                certificate = erasing.erase(settings, named, **decided, progress=progress)
            else:
                certificate = requests.fulfil(settings, request, **decided, progress=progress)
    if json:
        typer.echo(json_module.dumps(dataclasses.asdict(certificate), default=str))
        return
    _print(certificate)
    if not yes:
        out().print("Nothing was changed. The same command with --yes and --because erases it.")


@erase_app.command("requests")
def list_requests(
    everything: Annotated[bool, typer.Option("--all", help="Those that are closed too.")] = False,
    json: JsonOption = False,
) -> None:
    """List the requests to erase a person, oldest first: those that wait, or all. Identifiers are masked."""
    from customer360.erasure import requests

    found = [one for one in requests.listed(get_settings()) if everything or one.state == "open"]
    if json:
        typer.echo(
            json_module.dumps([dataclasses.asdict(one) | {"identifiers": one.shown} for one in found], default=str)
        )
        return
    table = Table("request", "from", "reference", "since (UTC)", "person", "")
    for one in found:
        person = ", ".join(f"{kind} {text}" for kind, text in one.shown.items())
        table.add_row(
            str(one.request_id), escape(one.requested_from), escape(one.reference[:40]),
            f"{one.requested_at:%Y-%m-%d %H:%M}", escape(person), one.state,
        )  # fmt: skip
    if found:
        out().print(table)
    out().print(f"{counted(len(found), 'request')}.")
    if any(one.state == "open" for one in found):
        out().print("Next: `c360 erase --request NUMBER` says what would go; --yes and --because erase the person.")


@erase_app.command("request")
def add_request(
    email: _Email = "",
    phone: _Phone = "",
    customer_id: _CustomerId = "",
    device: _Device = "",
    customer_key: _Key = "",
    reference: Annotated[str, typer.Option(help="What you call the request. Write no name into it.")] = "",
    json: JsonOption = False,
) -> None:
    """Enter a request to erase a person, for somebody else to decide on."""
    from customer360.erasure import requests

    identifiers = {"email": email, "phone": phone, "customer_id": customer_id, "anonymous_id": device}
    number = requests.enter(
        get_settings(),
        requested_from="c360",
        identifiers=identifiers | {"customer_key": customer_key},
        reference=reference,
    )
    if json:
        typer.echo(json_module.dumps({"request_id": number}))
    else:
        out().print(f"Request {number} waits for `c360 erase --request {number}`.")


@erase_app.command("dismiss")
def dismiss_request(
    number: Annotated[int, typer.Argument(help="The number of an open request.", min=1)],
    because: BecauseOption,
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Close a request without an erasure. Its identifiers go; who decided, and why, stays."""
    from customer360.erasure import requests
    from customer360.front_door import ledger

    requests.dismiss(get_settings(), number, who=by or ledger.me(), why=because)
    if json:
        typer.echo(json_module.dumps({"request": number, "state": "dismissed"}))
        return
    out().print(f"Request {number} is dismissed.")


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
