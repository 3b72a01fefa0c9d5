"""Which commands there are: one line per ``cli_*`` module. Imports happen here, so that ``c360 --help`` stays quick."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add every command to the application."""
    from customer360 import (
        cli_build,
        cli_churn,
        cli_demo,
        cli_front_door,
        cli_identity,
        cli_oncall,
        cli_quarantine,
        cli_report,
        cli_sample,
        cli_stack,
        cli_warehouse,
    )

    cli_warehouse.register(app)
    cli_front_door.register(app)
    cli_build.register(app)
    cli_quarantine.register(app)
    cli_stack.register(app)
    cli_demo.register(app)
    cli_report.register(app)
    cli_sample.register(app)
    cli_oncall.register(app)
    cli_churn.register(app)
    cli_identity.register(app)
