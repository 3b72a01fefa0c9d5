"""``c360 rates list`` and ``import``: the exchange rates that amounts are converted with."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from customer360.cli.options import JsonOption
from customer360.settings import get_settings
from customer360.terminal import counted, out

_rates = typer.Typer(help="The exchange rates that amounts are converted with.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(_rates, name="rates")


@_rates.command("list")
def list_rates(json: JsonOption = False) -> None:
    """Each currency that orders came in: its newest rate, where it comes from, and how much waits for one.

    Exit code 1 if orders wait for a rate.
    """
    from customer360.exchange import overview

    found = overview.overview(get_settings())
    if json:
        typer.echo(json_module.dumps(asdict(found), default=str))
    else:
        out().print(
            f"The newest reference rates are of {found.newest_on}, {counted(found.age_days, 'day')} old.",
            highlight=False,
        )
        table = Table("currency", f"{found.reporting_currency} for 1", "from", Column("orders without a rate"), "money")
        for row in found.currencies:
            table.add_row(
                row.currency,
                "" if row.rate is None else f"{row.rate.normalize():f}",
                row.source or "no rate",
                f"{row.waiting_orders:,}" if row.waiting_orders else "",
                f"{row.waiting_amount:,.2f} {row.currency}, {row.first_on} to {row.last_on}"
                if row.waiting_orders
                else "",
            )
        if found.currencies:
            out().print(table)
        else:
            out().print(f"Every order came in {found.reporting_currency}: nothing is converted.")
        if found.is_waiting:
            out().print(
                "next: c360 rates import FILE (the European Central Bank's eurofxref-hist.zip, or a CSV of your own); "
                "then c360 run",
                markup=False,
            )
    if found.is_waiting:
        raise typer.Exit(1)


@_rates.command("import")
def import_rates(
    file: Annotated[
        Path, typer.Argument(help="The bank's eurofxref-hist.zip (or CSV, XML), or a CSV of your own rates.")
    ],
    json: JsonOption = False,
) -> None:
    """Take in a file of the European Central Bank's reference rates, or rates of your own, which come first.

    The bank's file: https://www.ecb.europa.eu/stats/eurofxref/eurofxref-hist.zip. Your own: a CSV with the header
    from_currency,to_currency,valid_from_on,rate,source; it replaces your rates of the pairs that it names, and a row
    without a rate ends them. A file that is known already changes nothing.
    """
    from customer360.exchange import rates

    imported = rates.import_file(get_settings(), file)
    if json:
        typer.echo(json_module.dumps(asdict(imported), default=str))
        return
    out().print(str(imported), highlight=False)
    if imported.new_rates or imported.changed_rates:
        out().print("next: c360 run, which converts with them what waits or was converted otherwise", markup=False)
