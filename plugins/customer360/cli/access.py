"""``c360 access``: who may read the warehouse, and who may log in to Airflow as what."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from typing import Annotated, cast

import typer
from rich.table import Table

from customer360 import warehouse
from customer360.cli.options import JsonOption
from customer360.errors import ConfigurationError
from customer360.settings import get_settings
from customer360.stack import airflow_users
from customer360.terminal import counted, out
from customer360.warehouse import logins

access_app = typer.Typer(
    help="Who may read the warehouse and log in to Airflow: one log-in per person or tool.", no_args_is_help=True
)

_NAME = Annotated[str, typer.Argument(help="The person or tool, such as ann or dashboard_finance.")]
_SOON = "It holds once `c360 up` has restarted Airflow."


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(access_app, name="access")


@access_app.command("add")
def add(
    name: _NAME,
    reads: Annotated[
        str, typer.Option("--as", help=f"Log-in to the warehouse, one of: {', '.join(warehouse.READERS)}.")
    ] = "",
    airflow: Annotated[str, typer.Option(help=f"Log-in to Airflow, one of: {', '.join(airflow_users.ROLES)}.")] = "",
    json: JsonOption = False,
) -> None:
    """Make a log-in to the warehouse, to Airflow, or both. The passwords are shown once."""
    if not reads and not airflow:
        raise ConfigurationError("Say what the log-in is for.", "Add --as bi_reader, --airflow viewer, or both.")
    if reads and reads not in warehouse.READERS:
        raise ConfigurationError(
            f"There is no kind of reader {reads!r}.", f"Choose one of: {', '.join(warehouse.READERS)}."
        )
    airflow_users.check_role(airflow)
    settings = get_settings()
    said = {"name": name}
    if reads:
        said["warehouse"] = logins.add(settings, name, cast(warehouse.Reader, reads))
    if airflow:
        said["airflow_password"] = airflow_users.add(settings, name, airflow)
    _say(said, json, _SOON if airflow else "")


@access_app.command("list")
def list_access(json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False) -> None:
    """Every log-in, what it may do, and how many sessions it has open."""
    settings = get_settings()
    users = airflow_users.users(settings)
    rows = {login.name: asdict(login) | {"airflow": ""} for login in logins.listed(settings)}
    for name, role in users.items():
        empty = {"name": name, "kind": "", "role": "", "connection_limit": None, "open_sessions": 0}
        rows[name] = rows.get(name, empty) | {"airflow": role}
    if json:
        typer.echo(json_module.dumps([rows[name] for name in sorted(rows)]))
        return
    table = Table("name", "reads as", "name in the server", "sessions", "of at most", "Airflow")
    for name in sorted(rows):
        row = rows[name]
        limit = "" if row["connection_limit"] is None else str(row["connection_limit"])
        table.add_row(name, row["kind"], row["role"], str(row["open_sessions"]), limit, row["airflow"])
    out().print(table)


@access_app.command("revoke")
def revoke(name: _NAME, json: JsonOption = False) -> None:
    """Remove a log-in: its sessions in the warehouse end now, those in Airflow when `c360 up` restarts it."""
    settings = get_settings()
    in_airflow = airflow_users.revoke(settings, name)
    ended: int | None = None
    if name in {login.name for login in logins.listed(settings)} or not in_airflow:
        ended = logins.revoke(settings, name)
    if json:
        typer.echo(json_module.dumps({"name": name, "in_airflow": in_airflow, "ended_sessions": ended}))
        return
    if in_airflow:
        out().print(f"{name} no longer logs in to Airflow. Open sessions end with the next `c360 up`.")
    if ended is not None:
        out().print(f"{name} no longer logs in to the warehouse; {counted(ended, 'open session')} ended.")


@access_app.command("rotate")
def rotate(name: _NAME, json: JsonOption = False) -> None:
    """Give a log-in new passwords, shown once. The old ones no longer let anyone in."""
    settings = get_settings()
    said = {"name": name}
    if name in airflow_users.users(settings):
        said["airflow_password"] = airflow_users.rotate(settings, name)
    if name in {login.name for login in logins.listed(settings)} or len(said) == 1:
        said["warehouse"] = logins.rotate(settings, name)
    _say(said, json, "")


def _say(said: dict[str, str], json: bool, note: str) -> None:
    if json:
        typer.echo(json_module.dumps(said))
        return
    for what, value in said.items():
        typer.echo(f"{what.replace('_', ' '):<17}{value}")
    if note:
        out().print(note)
