"""``c360 up``, ``c360 down`` and what containers need of the stack: ``c360 set-up``, ``c360 airflow``."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from customer360.cli.options import JsonOption
from customer360.settings import Settings, get_settings
from customer360.terminal import out

if TYPE_CHECKING:
    from customer360.stack import processes

# Airflow's own threshold: its processes report every 5 s.
_LIVING_SECONDS = 30


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("folders")(folders)
    app.command("set-up")(set_up)
    app.command("airflow", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(airflow)


def up(
    no_airflow: Annotated[bool, typer.Option("--no-airflow", help="Only the warehouse and the monitor.")] = False,
    json: JsonOption = False,
) -> None:
    """Start the warehouse, Airflow and the monitor; print addresses and credentials. What runs already stays.

    With C360_RECEIVE=yes it starts the receiver of webhooks too.
    """
    from customer360.stack import processes

    settings = get_settings()
    if json:
        found = processes.up(settings, airflow=not no_airflow)
        typer.echo(json_module.dumps({name: str(value) for name, value in asdict(found).items() if value}))
        return
    with out().status("Starting…") as status:
        found = processes.up(settings, airflow=not no_airflow, progress=lambda line: _step(status, line))
    print_addresses(found)


def down(json: JsonOption = False) -> None:
    """Stop Airflow and the warehouse, and what a crash has left of them. Nothing of the data is lost."""
    from customer360.stack import processes

    settings: Settings = get_settings()
    with out().status("Stopping…") as status:
        stopped = processes.down(settings, progress=lambda line: status.update(f"Stopping {line}"))
    if json:
        typer.echo(json_module.dumps({"stopped": list(stopped)}))
        return
    out().print("Stopped: " + ", ".join(stopped) if stopped else "Nothing was running.")


def folders(json: JsonOption = False) -> None:
    """Print where things are: DAGs, Airflow plug-ins, dbt project, pages, sources, and what the product writes."""
    from customer360.settings import PROJECT_ROOT
    from customer360.stack.airflow_environment import PLUGINS, dags_folder

    settings = get_settings()
    found = {
        "home": settings.home,
        "landing": settings.landing_url,
        "dags": dags_folder(settings),
        "airflow_plugins": PLUGINS,
        "dbt_project": PROJECT_ROOT / "dbt_project",
        "docs": PROJECT_ROOT / "docs",
        "sources": PROJECT_ROOT / "sources",
        "own_sources": settings.home / "sources",
    }
    if json:
        typer.echo(json_module.dumps({name: str(place) for name, place in found.items()}))
        return
    for name, place in found.items():
        typer.echo(f"{name:<16} {place}")


def _step(status: object, line: str) -> None:
    """Show the step at work; keep it on the screen where there is no terminal to animate."""
    if out().is_terminal:
        status.update(line)  # type: ignore[attr-defined]
    else:
        out().print(line)


def print_addresses(found: processes.Addresses) -> None:
    """Where to look and how to log in. Lines are not wrapped, so that an address can be copied whole."""
    lines = []
    if found.airflow:
        lines.append(("Airflow", found.airflow, f"user {found.airflow_user}, password {found.airflow_password}"))
        lines.append(("Data Docs", str(found.data_docs_page), f"or the file {found.data_docs}"))
    else:
        lines.append(("Data Docs", str(found.data_docs), ""))
    if found.webhooks:
        lines.append(("Webhooks", found.webhooks, "c360 receive --check lists the hooks"))
    lines.append(("Warehouse", found.warehouse_url, "reads only; other roles: c360 url --role ROLE"))
    for name, where, how in lines:
        out().print(f"[bold]{name:<11}[/]{where}\n           [dim]{how}[/]")


def set_up(
    adopt: Annotated[
        bool, typer.Option("--adopt", help="This C360_HOME replaces a lost one: new passwords for the roles.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Prepare the warehouse, the secrets and Airflow's database, and end. For containers; `c360 up` does it too."""
    from customer360.stack import processes

    processes.set_up(get_settings(), adopt=adopt, progress=None if json else out().print)
    if json:
        typer.echo('{"done": true}')
    else:
        out().print("Set up.")


def airflow(context: typer.Context) -> None:
    """Run an airflow command in this installation's environment: c360 airflow dags list.

    Three words are its own: `c360 airflow health COMPONENT` (exit 0 if it lives), `c360 airflow password`, and
    `c360 airflow tidy [--dry-run]`, which removes old runs and their logs (C360_AIRFLOW_HISTORY_DAYS).
    """
    from customer360.stack import processes
    from customer360.stack.airflow_environment import airflow_secrets

    settings = get_settings()
    words = list(context.args) or ["--help"]
    if words == ["password"]:
        typer.echo(airflow_secrets(settings).admin_password)
    elif words[0] == "tidy" and set(words[1:]) <= {"--dry-run"}:
        from customer360.stack import tidying

        dry_run = "--dry-run" in words
        typer.echo(
            ("Would be removed: " if dry_run else "Removed: ") + f"{tidying.tidy_airflow(settings, dry_run=dry_run)}."
        )
    elif words[0] == "health" and len(words) == 2 and words[1] in processes.COMPONENTS:
        _check_health(settings, words[1])
    else:
        processes.run_airflow(settings, words)


def _check_health(settings: Settings, component: str) -> None:
    from customer360.stack import processes

    silent = processes.silent_seconds(settings, component)
    if silent is None or silent > _LIVING_SECONDS:
        raise processes.StackError(
            f"Airflow's {component} "
            + ("has never been heard." if silent is None else f"has been silent for {silent:.0f} s."),
            f"Read its log; start it again with `c360 up`, or in a container `docker compose restart {component}`.",
        )
    typer.echo(f"{component}: alive")
