"""``c360 url``: where to connect; ``c360 adopt-settings``: change the warehouse's time zone or currency."""

from __future__ import annotations

import json as json_module
from typing import Annotated

import typer

from customer360 import warehouse
from customer360.cli.completion import roles_of
from customer360.cli.options import JsonOption
from customer360.errors import ConfigurationError
from customer360.settings import get_settings
from customer360.warehouse import agreement

_QUERYING = ("bi_reader", "pii_reader", "oncall")


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("url")(url)
    app.command("adopt-settings")(adopt_settings)
    app.command("sql")(sql)


def url(
    role: Annotated[
        str, typer.Option(help="One of: " + ", ".join(warehouse.ROLES), autocompletion=roles_of)
    ] = "bi_reader",
    json: JsonOption = False,
) -> None:
    """Print the connection URL for psql or a BI tool. It holds the role's password."""
    if role not in warehouse.ROLES:
        raise ConfigurationError(f"There is no role {role!r}.", "Choose one of: " + ", ".join(warehouse.ROLES))
    settings = get_settings()
    known: warehouse.Role = role  # type: ignore[assignment]
    is_reader = known in warehouse.READERS
    target = warehouse.reader_url(known, settings) if is_reader else warehouse.url(known, settings)
    if json:
        typer.echo(json_module.dumps({"role": role, "url": target}))
    else:
        typer.echo(target)


def adopt_settings(json: JsonOption = False) -> None:
    """Make this shell's time zone and currency those of the warehouse, on purpose. The next run builds everything."""
    settings = get_settings()
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        changed = agreement.adopt(connection, settings)
    if json:
        now = {name: {"before": before, "now": getattr(settings, name)} for name, before in changed.items()}
        typer.echo(json_module.dumps({"changed": now, "next": "c360 run --full-refresh" if changed else None}))
        return
    if not changed:
        typer.echo("Nothing to change: the warehouse has these settings.")
    for name, before in changed.items():
        typer.echo(f"{name}: {before or 'none'} -> {getattr(settings, name)}")
    if changed:
        typer.echo("Next: c360 run --full-refresh")


def sql(
    statement: Annotated[str, typer.Argument(help="One SQL query; - reads it from standard input.")],
    role: Annotated[
        str, typer.Option(help="One of: " + ", ".join(_QUERYING), autocompletion=lambda: list(_QUERYING))
    ] = "bi_reader",
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array of objects.")] = False,
) -> None:
    """Query the published tables and the operating tables, read only; no psql is needed."""
    import sys

    from psycopg.rows import dict_row
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from customer360.terminal import counted, out
    from customer360.warehouse.server import open_url

    if role not in _QUERYING:
        raise ConfigurationError(f"{role!r} cannot query here.", "Choose one of: " + ", ".join(_QUERYING))
    known: warehouse.Role = role  # type: ignore[assignment]
    text = sys.stdin.read() if statement == "-" else statement
    settings = get_settings()
    is_reader = known in warehouse.READERS
    target = warehouse.reader_url(known, settings) if is_reader else warehouse.url(known, settings)
    with open_url(target, autocommit=False, application_name="customer360 sql") as connection:
        connection.read_only = True
        with connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(warehouse.query(text))
            rows = cursor.fetchall() if cursor.description else []
            names = [column.name for column in cursor.description or ()]
    if json:
        typer.echo(json_module.dumps(rows, default=str))
        return
    table = Table(*map(escape, names))
    for row in rows:
        table.add_row(*(Text("" if row[name] is None else str(row[name])) for name in names))
    out().print(table)
    out().print(f"{counted(len(rows), 'row')}.")
