"""``c360 identity``: who is who, why, and what operators decide about it."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from customer360 import warehouse
from customer360.cli.options import BecauseOption, ByOption, JsonOption
from customer360.settings import get_settings
from customer360.terminal import out

group = typer.Typer(no_args_is_help=True, help="Who is who and why; join, split, block, and take a decision back.")

SubjectArgument = Annotated[
    str,
    typer.Argument(help="A customer_key, email:…, phone:…, customer_id:…, order:…, session:… or ticket:…"),
]
IdentifierArgument = Annotated[str, typer.Argument(help="email:…, phone:… or customer_id:…")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(group, name="identity")


@group.command("show")
def show(
    subject: SubjectArgument,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show addresses and numbers in full.")] = False,
    json: JsonOption = False,
) -> None:
    """A customer: identifiers, what joins them, what was kept apart, past keys, decisions. Masked unless revealed."""
    from customer360.identity import operators

    settings = get_settings()
    with warehouse.connect("transformer", settings) as connection:
        known = operators.explain(connection, subject, settings, reveal=reveal)
    if json:
        typer.echo(json_module.dumps(known, default=str))
        return
    first = known["first_seen_at"]
    out().print(
        f"[bold]Customer {known['customer_key']}[/]: confidence {known['identity_confidence']:.2f}, "
        f"{known['identifier_count']} identifiers, first seen {first:%Y-%m-%d}"
    )
    table = Table("type", "identifier", "records", "first seen", "first record")
    for one in known["identifiers"]:
        table.add_row(
            one["identifier_type"], escape(one["identifier"]), f"{one['records']:,}",
            f"{one['first_seen_at']:%Y-%m-%d}", escape(one["example"]),
        )  # fmt: skip
    out().print(table)
    for one in known["blocked_identifiers"]:
        out().print(f"  Joins nobody: {one['identifier_type']} {escape(one['identifier'])} ({_evidence(one)})")
    counts = ", ".join(f"{count:,} by {rule}" for rule, count in known["records_by_rule"].items())
    out().print(f"Records: {counts or 'none'}")
    for past in known["keys"]:
        if past["customer_key"] != known["customer_key"]:
            out().print(
                f"Key {past['customer_key']} leads here since {past['changed_at']:%Y-%m-%d %H:%M} UTC: "
                f"{past['reason']}, {escape(json_module.dumps(past['evidence']))}",
            )
    _show_decisions(known["decisions"])


def _evidence(one: dict[str, Any]) -> str:
    """Why an identifier joins nobody, in numbers."""
    seen = [
        f"{one[column]:,} {names}"
        for column, names in (("customer_ids", "customer_ids"), ("emails", "e-mail addresses"), ("phones", "phones"))
        if one[column] and column != f"{one['identifier_type']}s"
    ]
    why = "an operator's decision" if one["blocked_by"] == "operator" else "shared"
    return f"{why}; seen with {', '.join(seen) or 'nothing else'} in {one['records']:,} records"


@group.command("blocked")
def blocked(
    reveal: Annotated[bool, typer.Option("--reveal", help="Show addresses and numbers in full.")] = False,
    json: JsonOption = False,
) -> None:
    """Identifiers and devices that join nobody, and what they were seen with. Masked unless revealed."""
    from customer360.identity import operators

    with warehouse.connect("transformer", get_settings()) as connection:
        found = operators.blocked(connection, reveal=reveal)
    if json:
        typer.echo(json_module.dumps(found, default=str))
        return
    table = Table("type", "identifier", "why", "customers", "first record")
    for one in found["identifiers"]:
        table.add_row(
            one["identifier_type"], escape(one["identifier"]), _evidence(one), f"{one['customers']:,}",
            escape(one["first_record"]),
        )  # fmt: skip
    for one in found["devices"]:
        why = f"crowded; seen with {one['people']:,} people in {one['records']:,} records"
        table.add_row("anonymous_id", escape(one["anonymous_id"]), why, f"{one['people']:,}", "")
    out().print(table)
    out().print("One that is a person's after all: c360 identity block TYPE:IDENTIFIER --allow --because …")


def _show_decisions(decided: list[dict[str, Any]]) -> None:
    for one in decided:
        out().print(
            f"Decision {one['decision_id']}: {one['kind']}, by {escape(one['by'])} on {one['at']:%Y-%m-%d}: "
            f"{escape(one['because'])}",
        )


@group.command("join")
def join(
    one: SubjectArgument, other: SubjectArgument, because: BecauseOption, by: ByOption = "", json: JsonOption = False
) -> None:
    """Two customers are one person."""
    from customer360.identity import operators

    _say(operators.join(get_settings(), one, other, decided_by=by or _me(), because=because), json)


@group.command("split")
def split(
    customer: SubjectArgument,
    apart: Annotated[list[str], typer.Option("--identifier", help="email:…, phone:… or customer_id:… of the other.")],
    because: BecauseOption,
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Some identifiers of a customer are another person's."""
    from customer360.identity import operators

    _say(operators.split(get_settings(), customer, apart, decided_by=by or _me(), because=because), json)


@group.command("block")
def block(
    identifier: IdentifierArgument,
    because: BecauseOption,
    allow: Annotated[
        bool, typer.Option("--allow", help="The contrary: it is one person's although it looks shared.")
    ] = False,
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """An identifier joins nobody; what it had joined comes apart."""
    from customer360.identity import operators

    _say(operators.block(get_settings(), identifier, allow=allow, decided_by=by or _me(), because=because), json)


@group.command("undo")
def undo(
    decision: Annotated[int, typer.Argument(help="Number of the decision")],
    because: BecauseOption,
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Take a decision back. It stays on record."""
    from customer360.identity import operators

    _say(operators.undo(get_settings(), decision, decided_by=by or _me(), because=because), json)


@group.command("decisions")
def list_decisions(json: JsonOption = False) -> None:
    """The decisions in force, oldest first."""
    from customer360.identity import decisions

    with warehouse.connect("transformer", get_settings()) as connection:
        held = [
            {"decision_id": d.decision_id, "kind": d.kind, "by": d.decided_by, "because": d.because, "at": d.decided_at,
             "identifier_keys": [sorted(side) for side in d.sides]}
            for d in decisions.in_force(connection)
        ]  # fmt: skip
    if json:
        typer.echo(json_module.dumps(held, default=str))
    elif held:
        _show_decisions(held)
    else:
        out().print("No decision is in force.")


def _say(decision_id: int, json: bool) -> None:
    if json:
        typer.echo(json_module.dumps({"decision_id": decision_id}))
        return
    out().print(f"Decision {decision_id} is on record. Next: `c360 run` obeys it, as does any later run.")


def _me() -> str:
    from customer360.front_door.ledger import me

    return me()
