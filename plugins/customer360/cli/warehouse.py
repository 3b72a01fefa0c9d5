"""``c360 url``: where to connect; ``c360 adopt-settings``: change the warehouse's time zone or currency."""

from __future__ import annotations

from typing import Annotated

import typer

from customer360 import warehouse
from customer360.errors import ConfigurationError
from customer360.settings import get_settings
from customer360.warehouse import agreement


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("url")(url)
    app.command("adopt-settings")(adopt_settings)


def url(
    role: Annotated[str, typer.Option(help="One of: " + ", ".join(warehouse.ROLES))] = "bi_reader",
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Print the connection URL for psql or a BI tool. It holds the role's password."""
    if role not in warehouse.ROLES:
        raise ConfigurationError(f"There is no role {role!r}.", "Choose one of: " + ", ".join(warehouse.ROLES))
    settings = get_settings()
    known: warehouse.Role = role  # type: ignore[assignment]
    is_reader = known in warehouse.READERS
    target = warehouse.reader_url(known, settings) if is_reader else warehouse.url(known, settings)
    if json:
        import json as json_module

        typer.echo(json_module.dumps({"role": role, "url": target}))
    else:
        typer.echo(target)


def adopt_settings() -> None:
    """Make this shell's time zone and currency those of the warehouse, on purpose. The next run builds everything."""
    settings = get_settings()
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        changed = agreement.adopt(connection, settings)
    if not changed:
        typer.echo("Nothing to change: the warehouse has these settings.")
    for name, before in changed.items():
        typer.echo(f"{name}: {before or 'none'} -> {getattr(settings, name)}")
    if changed:
        typer.echo("Next: c360 run --full-refresh")
