"""``c360 url``: where to connect."""

from __future__ import annotations

from typing import Annotated

import typer

from customer360 import warehouse
from customer360.errors import ConfigurationError
from customer360.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("url")(url)


def url(
    role: Annotated[str, typer.Option(help="One of: " + ", ".join(warehouse.ROLES))] = "bi_reader",
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Print the connection URL for psql or a BI tool. It holds the role's password."""
    if role not in warehouse.ROLES:
        raise ConfigurationError(f"There is no role {role!r}.", "Choose one of: " + ", ".join(warehouse.ROLES))
    settings = get_settings()
    target = warehouse.url(role, settings)  # type: ignore[arg-type]
    if json:
        import json as json_module

        typer.echo(json_module.dumps({"role": role, "url": target}))
    else:
        typer.echo(target)
