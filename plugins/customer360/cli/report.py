"""``c360 report``: pictures of what is published."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from customer360.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("report")(report)


def report(
    customer: Annotated[int | None, typer.Option(help="The page of one customer, by customer_key.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: in C360_HOME/report.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Write the report, one HTML file that opens without a network, and print where it is."""
    from customer360.report import write_customer_page, write_report

    settings = get_settings()
    written = write_report(settings, out) if customer is None else write_customer_page(settings, customer, out)
    typer.echo(json_module.dumps({"path": str(written)}) if json else f"Written: {written}")
