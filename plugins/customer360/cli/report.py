"""``c360 report``, ``c360 side-products``: what is made beside the tables."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from customer360.cli.options import JsonOption
from customer360.settings import get_settings
from customer360.warehouse.side_products import WHAT


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("report")(report)
    app.command("docs")(docs)
    app.command("side-products")(side_products)


def report(
    customer: Annotated[int | None, typer.Option(help="The page of one customer, by customer_key.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: in C360_HOME/report.")] = None,
    json: JsonOption = False,
) -> None:
    """Write the report, one HTML file that opens without a network, and print where it is."""
    from customer360.report import write_customer_page, write_report

    settings = get_settings()
    written = write_report(settings, out) if customer is None else write_customer_page(settings, customer, out)
    typer.echo(json_module.dumps({"path": str(written)}) if json else f"Written: {written}")


def docs(
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: in C360_HOME/docs.")] = None,
    json: JsonOption = False,
) -> None:
    """Write the documentation of all models, metrics and readers (dbt docs), one HTML file that opens offline."""
    from customer360.reference_pages import model_site

    written = model_site.write(get_settings(), out)
    typer.echo(json_module.dumps({"path": str(written)}) if json else f"Written: {written}")


def side_products(json: JsonOption = False) -> None:
    """Make again what failed beside the tables: Data Docs, report, counters, alerts. Exit 1 if something still fails.

    Lineage of past runs and the picture of a past fit are not made again: their failure is taken off the record, and
    the next run, or fit, makes its own.
    """
    from customer360.oncall.remake import remake

    attempts = remake(get_settings())
    if json:
        typer.echo(json_module.dumps({attempt.product: attempt.failure or None for attempt in attempts}))
    else:
        for attempt in attempts:
            typer.echo(str(attempt) if attempt.failure else f"{WHAT[attempt.product]}: up to date.")
    if any(attempt.failure for attempt in attempts):
        raise typer.Exit(1)
