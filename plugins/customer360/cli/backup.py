"""``c360 backup``, ``c360 restore``: keep what is here, and bring it back when it is lost."""

from __future__ import annotations

import dataclasses
import json as json_module
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from customer360.cli.options import JsonOption
from customer360.errors import Customer360Error
from customer360.progress import Terminal
from customer360.settings import get_settings
from customer360.terminal import counted, out

backup_app = typer.Typer(help="Make a backup; list, check and remove backups.", invoke_without_command=True)

_MEGABYTE = 1_000_000
_Name = Annotated[str, typer.Argument(help="A name that `c360 backup list` shows; the newest by default.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(backup_app, name="backup")
    app.command("restore")(restore)


@backup_app.callback()
def backup(
    context: typer.Context,
    wait: Annotated[float, typer.Option(help="Seconds to wait for a build that is at work.", min=0)] = 600,
    json: JsonOption = False,
) -> None:
    """Make a backup of the warehouse and the landed files now; list, check and remove backups.

    It is encrypted with the key in C360_BACKUP_KEY_FILE and goes to C360_BACKUP_URL. Builds wait while the database is
    dumped; loads go on.
    """
    if context.invoked_subcommand:
        return
    from customer360.backup.take import take

    with Terminal() as progress:
        made = take(get_settings(), trigger="c360 backup", progress=progress, wait_seconds=wait)
    if json:
        typer.echo(json_module.dumps(dataclasses.asdict(made), default=str))
        return
    out().print(str(made))
    for name in made.removed:
        out().print(f"Removed: {name}")


@backup_app.command("list")
def list_backups(json: JsonOption = False) -> None:
    """List the backups in C360_BACKUP_URL, oldest first. Needs no key."""
    from customer360.backup.place import Place

    place = Place(get_settings())
    found = place.listed()
    if json:
        typer.echo(json_module.dumps([dataclasses.asdict(one) for one in found], default=str))
        return
    table = Table("backup", "taken at (UTC)", "MB", "")
    for one in found:
        state = "" if one.is_whole else "not finished"
        table.add_row(one.name, f"{one.taken_at:%Y-%m-%d %H:%M:%S}", f"{one.bytes / _MEGABYTE:,.1f}", state)
    if found:
        out().print(table)
    out().print(f"{counted(len(found), 'backup')} in {place.url}.")


@backup_app.command("verify")
def verify(
    name: _Name = "",
    trial: Annotated[
        bool, typer.Option("--trial", help="Restore it into a server that is thrown away, and run `c360 verify` there.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Read every byte of a backup: nothing is changed, cut off or missing, and the key opens it. Exit 1 otherwise."""
    from customer360 import restore as restoring
    from customer360.backup.check import check
    from customer360.backup.place import Place
    from customer360.backup.sealing import key_of

    settings = get_settings()
    with Terminal() as progress:
        if trial:
            tried = restoring.try_out(settings, name, progress=progress)
        else:
            place = Place(settings)
            checked = check(place, place.find(name).name, key_of(settings), progress)
    if trial:
        _print_restored(tried, json=json)
        return
    facts: dict[str, Any] = {
        "name": checked.name,
        "taken_at": checked.manifest.taken_at,
        "bytes": checked.bytes,
        "tables": len(checked.manifest.tables),
        "rows": checked.manifest.row_count,
        "landed_files": checked.manifest.landed_files,
        "product_version": checked.manifest.product_version,
    }
    if json:
        typer.echo(json_module.dumps(facts))
        return
    taken_at = datetime.fromisoformat(checked.manifest.taken_at)
    out().print(
        f"{checked.name} is whole: as of {taken_at:%Y-%m-%d %H:%M:%S} UTC, {checked.manifest.row_count:,} rows of "
        f"{len(checked.manifest.tables)} tables, {checked.bytes / _MEGABYTE:,.1f} MB."
    )


@backup_app.command("prune")
def prune(
    keep: Annotated[int, typer.Option(help="How many of the newest stay.", min=1)],
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only named.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove all but the newest backups, and what is left of backups that were cut off."""
    from customer360.backup import take

    removed = take.prune(get_settings(), keep=keep, dry_run=not yes)
    if json:
        typer.echo(json_module.dumps({"removed": removed, "dry_run": not yes}))
        return
    for name in removed:
        out().print(f"{'Removed' if yes else 'Would be removed'}: {name}")
    out().print(f"{counted(len(removed), 'backup')}{'' if yes or not removed else '; --yes removes them'}.")


@backup_app.command("new-key")
def new_key(
    file: Annotated[Path, typer.Argument(help="A file that does not exist yet, away from C360_HOME and the backups.")],
    json: JsonOption = False,
) -> None:
    """Write a new key for backups to a file that only you may read."""
    from customer360.backup import sealing

    settings = get_settings()
    sealing.check_away(file.resolve(), settings)
    public = sealing.new_key(file)
    if json:
        typer.echo(json_module.dumps({"file": str(file), "public_key": public}))
        return
    out().print(f"The key is in {file}. Its public part: {public}")
    out().print("Next: keep a copy of the file off this machine; without it no backup can be read.")
    out().print(f"Next: set C360_BACKUP_KEY_FILE={file}")


def restore(
    name: _Name = "",
    adopt: Annotated[
        bool,
        typer.Option("--adopt", help="On a server of your own: give the roles of the lost installation new passwords."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Restore a backup into an empty C360_HOME and database. Nobody can read until it is complete.

    It needs C360_BACKUP_URL and C360_BACKUP_KEY_FILE. A restore that was cut off goes on when it is run again.
    """
    from customer360 import restore as restoring

    with Terminal() as progress:
        restored = restoring.restore(get_settings(), name, adopt=adopt, progress=progress)
    _print_restored(restored, json=json)


def _print_restored(restored: Any, *, json: bool) -> None:
    if json:
        typer.echo(json_module.dumps(dataclasses.asdict(restored), default=str))
    else:
        out().print(str(restored))
        if restored.waiting_files:
            out().print(f"{counted(restored.waiting_files, 'landed file')} came after the backup. Next: c360 run")
    if restored.broken:
        raise Customer360Error(
            "The warehouse is as it was backed up, and these checks do not hold: " + "; ".join(restored.broken),
            "Run `c360 verify`, which says for each what to do.",
        )
