"""``c360 history``: the past before the first daily pass."""

from __future__ import annotations

import json as json_module
from typing import Annotated

import typer

from customer360.cli.options import JsonOption
from customer360.progress import Silent, Terminal
from customer360.settings import get_settings
from customer360.terminal import out

_history = typer.Typer(help="The past before the first daily pass, from the records.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(_history, name="history")


@_history.callback()
def history() -> None:
    """The past before the first daily pass, from the records."""


@_history.command("reconstruct")
def reconstruct(
    again: Annotated[
        bool, typer.Option("--again", help="Also what stands already: records have changed since.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Work out tier, lifecycle stage and ladder at each month end before the first daily pass.

    marts.loyalty_tier_by_month, lifecycle_stage_by_month and relationship_ladder_by_month show them before what the
    journals know, marked is_reconstructed. `c360 run` and Airflow do it after the first daily pass and after a
    backfill. Cut off, it goes on where it was; what is done is not done twice. C360_HISTORY_MONTHS says how far back.
    """
    from customer360.publication import reconstruction

    settings = get_settings()
    if json:
        done = reconstruction.reconstruct(settings, again=again, progress=Silent())
        typer.echo(json_module.dumps([one.as_json() for one in done]))
        return
    with Terminal() as progress:
        done = reconstruction.reconstruct(settings, again=again, progress=progress)
    for one in done:
        out().print(str(one))
