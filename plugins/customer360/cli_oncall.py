"""``c360 monitor``, ``c360 incident``: what is wrong now, told to people."""

from __future__ import annotations

import json as json_module
import logging
import signal
import threading
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from customer360 import warehouse
from customer360.settings import get_settings

incident_app = typer.Typer(help="The open incidents, and closing one by hand.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("monitor")(monitor)
    app.add_typer(incident_app, name="incident")


def monitor(
    once: Annotated[
        bool, typer.Option("--once", help="Look once and end: for cron. Exit 1 if anything is open.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --once, print a JSON object.")] = False,
) -> None:
    """Look for what is wrong, open and close incidents, send alerts. Runs until stopped unless --once."""
    from customer360.oncall import incidents
    from customer360.oncall import monitor as monitoring

    settings = get_settings()
    if not once:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        try:
            monitoring.watch(settings, stop)
        except KeyboardInterrupt:
            stop.set()
        return
    seen = monitoring.look_once(settings)
    with warehouse.connect("oncall", settings) as connection:
        found = incidents.open_incidents(connection)
    if json:
        typer.echo(json_module.dumps({"open": found, "changes": [vars(c) for c in seen.changes]}, default=str))
    elif not found:
        Console().print("Nothing is wrong.")
    if found:
        raise typer.Exit(1)


@incident_app.command("list")
def list_incidents(json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False) -> None:
    """The open incidents with the command that fixes each."""
    from customer360.oncall import incidents

    with warehouse.connect("oncall", get_settings()) as connection:
        found = incidents.open_incidents(connection)
    if json:
        typer.echo(json_module.dumps(found, default=str))
        return
    table = Table("id", "severity", "what", "since", "do", title=f"{len(found)} open incidents")
    for row in found:
        since = f"{row['first_seen_at']:%Y-%m-%d %H:%M}"
        table.add_row(str(row["incident_id"]), row["severity"], row["summary"], since, row["command"])
    Console().print(table)


@incident_app.command("close")
def close_incident(
    incident_id: Annotated[int, typer.Argument(help="The incident's number, as `c360 incident list` shows it.")],
    because: Annotated[str, typer.Option(help="Why it is no longer worth anybody's night.")],
) -> None:
    """Close an incident by hand. It stays closed as long as its cause lasts, and opens again if that comes back."""
    from customer360 import ledger
    from customer360.oncall import incidents

    with warehouse.connect("owner", get_settings(), autocommit=True) as connection:
        incidents.close(connection, incident_id, who=ledger.me(), why=because)
    Console().print(f"Incident {incident_id} is closed.")
