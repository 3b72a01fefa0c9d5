"""``c360 monitor``, ``c360 incident``: what is wrong now, told to people."""

from __future__ import annotations

import contextlib
import json as json_module
import logging
import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from customer360 import warehouse
from customer360.cli.completion import drills_of, runbooks_of
from customer360.cli.options import JsonOption
from customer360.settings import PROJECT_ROOT, get_settings, load_settings
from customer360.terminal import counted, out

incident_app = typer.Typer(help="The open incidents, and closing one by hand.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("monitor")(monitor)
    app.add_typer(incident_app, name="incident")
    app.command("drill")(drill)
    app.command("runbook")(runbook)


def runbook(
    name: Annotated[
        str, typer.Argument(help="A kind of incident or the name of a DAG, or list.", autocompletion=runbooks_of)
    ],
    json: JsonOption = False,
) -> None:
    """Print a runbook: how to look, which command fixes it, and what proves that it is fixed."""
    from customer360.errors import Customer360Error

    pages = {path.stem: path for path in sorted((PROJECT_ROOT / "docs" / "runbooks").glob("*.md"))}
    if name == "list":
        typer.echo(json_module.dumps(list(pages)) if json else "\n".join(pages))
        return
    if name not in pages:
        raise Customer360Error(f"There is no runbook {name!r}.", "Run `c360 runbook list`.")
    text = pages[name].read_text(encoding="utf-8")
    typer.echo(json_module.dumps({"name": name, "text": text}) if json else text)


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
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
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
    else:
        for change in seen.changes:
            out().print(f"Incident {change.incident_id}: {change.event}.")
        _print_incidents(found)
    if found:
        raise typer.Exit(1)


def _print_incidents(found: list[dict[str, Any]]) -> None:
    """The open incidents with all that a person needs; no table, for a command that is cut cannot be pasted."""
    from customer360.oncall.conditions import label_of

    out().print(f"{counted(len(found), 'open incident')}." if found else "Nothing is wrong.")
    for row in found:
        since = f"{row['first_seen_at']:%Y-%m-%d %H:%M}"
        out().print(f"\n{row['incident_id']}  {row['severity']} since {since} UTC: {row['summary']}", markup=False)
        out().print(
            f"  {label_of(row['command'])}: {row['command']}\n  runbook: c360 runbook {row['kind']}", markup=False
        )


@incident_app.command("list")
def list_incidents(json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False) -> None:
    """The open incidents with the command that fixes each."""
    from customer360.oncall import incidents

    with warehouse.connect("oncall", get_settings()) as connection:
        found = incidents.open_incidents(connection)
    if json:
        typer.echo(json_module.dumps(found, default=str))
        return
    _print_incidents(found)


@incident_app.command("close")
def close_incident(
    incident_id: Annotated[int, typer.Argument(help="The incident's number, as `c360 incident list` shows it.")],
    because: Annotated[str, typer.Option(help="Why it is no longer worth anybody's night.")],
    json: JsonOption = False,
) -> None:
    """Close an incident by hand. It stays closed as long as its cause lasts, and opens again if that comes back."""
    from customer360.front_door import ledger
    from customer360.oncall import incidents

    with warehouse.connect("owner", get_settings(), autocommit=True) as connection:
        incidents.close(connection, incident_id, who=ledger.me(), why=because)
    if json:
        typer.echo(json_module.dumps({"incident_id": incident_id, "state": "closed"}))
        return
    out().print(f"Incident {incident_id} is closed.")


@incident_app.command("end-run")
def end_run(
    because: Annotated[str, typer.Option(help="Why; it goes into the server's log.")], json: JsonOption = False
) -> None:
    """End the run that writes: its lease and its sessions are taken away, its work is done by the next run."""
    from customer360.errors import Customer360Error

    holder = warehouse.end_holder(get_settings())
    if not holder:
        raise Customer360Error("No run is writing.", "Run `c360 status`.")
    logging.getLogger(__name__).warning("%s was ended: %s", holder, because)
    if json:
        typer.echo(json_module.dumps({"ended": str(holder), "next": "c360 run"}))
        return
    out().print(f"{holder} was ended. Next: c360 run")


def drill(
    name: Annotated[str, typer.Argument(help="A runbook's name, or list.", autocompletion=drills_of)],
    home: Annotated[
        Path | None, typer.Option(help="Folder of the drill: with --check and --end, as it was said.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Say whether the situation is mended.")] = False,
    end: Annotated[bool, typer.Option("--end", help="Stop the scratch installation and remove it.")] = False,
    json: JsonOption = False,
) -> None:
    """Practise a runbook: put a scratch installation of its own into that situation; say whether you mended it."""
    from customer360.oncall import drills
    from customer360.settings import Settings
    from customer360.stack import processes
    from customer360.stack.airflow_environment import dags_folder

    console = out()
    if name == "list":
        known = {one: (scene.__doc__ or "").strip() for one, scene in (drills.DRILLS | drills.STACK_DRILLS).items()}
        if json:
            typer.echo(json_module.dumps([{"drill": one, "situation": what} for one, what in known.items()]))
            return
        for one, what in known.items():
            console.print(f"{one:<28}{what}")
        return
    if check or end:
        _judge_drill(name, home, check=check, end=end, json=json)
        return
    if name not in drills.DRILLS | drills.STACK_DRILLS:
        raise drills.DrillError(f"There is no drill {name!r}.", "Run `c360 drill list`.")
    folder = Path(tempfile.mkdtemp(prefix=f"c360-drill-{name}-"))
    with_airflow = name in drills.AIRFLOW_DRILLS
    own = {"C360_DAGS": str(folder / "dags")} if with_airflow else {}
    if with_airflow:  # a copy, which the person may break
        shutil.copytree(dags_folder(Settings()), own["C360_DAGS"], ignore=shutil.ignore_patterns("__pycache__"))
    settings = load_settings({"C360_HOME": str(folder)} | own)
    minutes = ", with an Airflow that must notice what happens: up to six minutes" if with_airflow else ""
    try:
        with console.status(f"Setting up a scratch installation{minutes}…"):
            processes.up(settings, airflow=with_airflow)
            drills.stock(settings, folder / "files")
            scene = drills.begin(name, settings, folder / "files")
            scene.environment |= own
    except BaseException:
        processes.down(settings)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / "drill.json").write_text(
        json_module.dumps({"environment": scene.environment, "processes": scene.processes})
    )
    if json:
        told = {"drill": name, "home": str(folder), "told": scene.told or None}
        typer.echo(json_module.dumps(told | {"environment": {"C360_HOME": str(folder)} | scene.environment}))
        return
    exports = " ".join(f"{key}={value}" for key, value in ({"C360_HOME": str(folder)} | scene.environment).items())
    console.print(f"Something is wrong with the installation in {folder}. You are woken.\n")
    console.print(f"  export {exports}\n  c360 status\n")
    if scene.told:
        console.print(scene.told + "\n")
    console.print(f"Mended? c360 drill {name} --home {folder} --check\nDone?   c360 drill {name} --home {folder} --end")


def _judge_drill(name: str, home: Path | None, *, check: bool, end: bool, json: bool) -> None:
    """Say whether a drill's situation is mended (exit code 1: not yet), and remove its installation."""
    from customer360.errors import Customer360Error
    from customer360.oncall import drills
    from customer360.stack import processes

    if home is None or not (home / "drill.json").is_file():
        raise Customer360Error("That is no folder of a drill.", f"Run `c360 drill {name}` first; it says its folder.")
    kept = json_module.loads((home / "drill.json").read_text())
    settings = load_settings(dict(kept["environment"]) | {"C360_HOME": str(home)})
    is_mended = drills.is_over(name, settings) if check else None
    if json and (check or end):
        is_gone = end and is_mended is not False
        typer.echo(json_module.dumps({"drill": name, "is_mended": is_mended, "is_gone": is_gone}))
    if is_mended is False:
        if not json:
            out().print("Not yet: the incident is still open.")
        raise typer.Exit(1)
    if is_mended and not json:
        out().print("[green]Mended:[/] the incident has closed.")
    if end:
        for pid in kept["processes"]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        processes.down(settings)
        shutil.rmtree(home, ignore_errors=True)
        if not json:
            out().print("The scratch installation is gone.")
