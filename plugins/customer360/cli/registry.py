"""Which commands there are: one line per module of this package. Imports happen here: ``c360 --help`` stays quick."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add every command to the application."""
    from customer360.cli import (
        access,
        backup,
        build,
        churn,
        demo,
        erasure,
        explanation,
        front_door,
        history,
        identity,
        oncall,
        quarantine,
        rates,
        receive,
        report,
        sample,
        sources,
        stack,
        warehouse,
    )

    warehouse.register(app)
    access.register(app)
    backup.register(app)
    erasure.register(app)
    front_door.register(app)
    sources.register(app)
    receive.register(app)
    build.register(app)
    history.register(app)
    explanation.register(app)
    rates.register(app)
    quarantine.register(app)
    stack.register(app)
    demo.register(app)
    report.register(app)
    sample.register(app)
    oncall.register(app)
    churn.register(app)
    identity.register(app)
