"""``c360 explain``: what stands behind a published figure."""

from __future__ import annotations

import json as json_module
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from customer360.cli.options import JsonOption
from customer360.settings import get_settings
from customer360.terminal import counted, out

if TYPE_CHECKING:
    from customer360.explanation.explain import Explanation, Term

# So many rows of each part are shown; --json gives all of them.
_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("explain")(explain)


def explain(
    table: Annotated[str, typer.Argument(help="customer_360, customer_loyalty, customer_churn or a fact.")],
    column: Annotated[str, typer.Argument(help="The column.")],
    key: Annotated[
        str, typer.Argument(help="The customer_key, or the record key of a fact: A-1001, of its second line A-1001:2.")
    ],
    json: JsonOption = False,
) -> None:
    """Show what a published figure is made of, down to the lines of the landed files.

    Sums and counts list the rows that add up to them, ratios both parts, ranks the population and the cut points,
    scores the reasons that add up to their log-odds, rules the figures and the rows of loyalty_parameters. Exit code 1
    if what is counted now is not what is published: records have changed since the last daily pass.
    """
    from customer360 import explanation

    told = explanation.explain(get_settings(), table, column, key)
    if json:
        typer.echo(json_module.dumps(told.as_json(), default=_json_value, allow_nan=False))
    else:
        _show(told)
    if not told.agrees:
        raise typer.Exit(1)


def _json_value(value: Any) -> Any:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _show(told: Explanation) -> None:
    day = f" on {told.as_of_on}" if told.as_of_on and told.how in {"rule", "rank", "score"} else ""
    out().print(f"{told.table}.{told.column} of {told.key}{day}: {_said(told.value)}", markup=False, highlight=False)
    out().print(told.means, markup=False, highlight=False)
    for name, value in told.population.items():
        out().print(f"{name.replace('_', ' ')}: {_said(value)}", markup=False, highlight=False)
    for term in told.terms:
        _show_term(term)
    for one in told.parameters:
        out().print(
            f"parameter {one['parameter']} = {_said(one['value'])} since {one['valid_from']} ({one['source']})",
            markup=False, highlight=False,
        )  # fmt: skip
    if not told.agrees:
        out().print(f"Counted now: {_said(told.recounted)}. Records have changed since this was published: `c360 run`.")


def _show_term(term: Term) -> None:
    rows = f" ({counted(len(term.rows), 'row')})" if term.rows else ""
    out().print(f"  {term.name}: {_said(term.value)}{rows}", markup=False, highlight=False)
    if not term.rows:
        return
    shown = Table("row", "date", "adds", "file", "line", box=None)
    for row in term.rows[:_SHOWN]:
        shown.add_row(
            row.key, _said(row.on), _said(row.value), row.file or "", "" if row.line is None else str(row.line)
        )
    out().print(shown)
    if len(term.rows) > _SHOWN:
        out().print(f"    and {len(term.rows) - _SHOWN} more: --json lists all")


def _said(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_said(one)}" for name, one in value.items())
    return str(value)
