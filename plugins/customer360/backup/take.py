"""Take a backup: one moment of the whole warehouse, and the landed files, sealed and counted.

The writer's lease is held while the database is dumped, so that no build is cut in two; loads go on beside it. Rows
are counted in the snapshot that pg_dump reads, and a restore counts them again.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import PurePath
from typing import Any

from psycopg import sql

from customer360 import __version__, kill_points, warehouse
from customer360.backup import manifest as manifests
from customer360.backup import programs, registry
from customer360.backup.manifest import Manifest, Part
from customer360.backup.place import DATABASE, LANDING, Place
from customer360.backup.sealing import Counted, Key, key_of
from customer360.front_door import landing
from customer360.progress import Progress, Silent
from customer360.setting_rules import masked_url
from customer360.settings import Settings
from customer360.warehouse import Connection, agreement, query
from customer360.warehouse.run_log import told
from customer360.warehouse.server import credentials

MTIME = "C360.mtime_ns"
"""The header of a landed file in the archive: its time of change, by which the ledger knows it again."""
_MEGABYTE = 1_000_000
# What is left of a backup that was killed; younger remains may be a backup that is being made.
_REMAINS = timedelta(days=1)


@dataclass(frozen=True)
class Backup:
    """A backup that was made."""

    name: str
    place: str
    taken_at: datetime
    seconds: float
    waited_seconds: float
    """How long it held the writer's lease."""
    bytes: int
    tables: int
    rows: int
    landed_files: int | None
    removed: list[str]
    """Older backups that were removed after it (C360_BACKUP_KEEP)."""

    def __str__(self) -> str:
        landed = "" if self.landed_files is None else f", {self.landed_files:,} landed files"
        return (
            f"{self.name}: {self.rows:,} rows of {self.tables} tables{landed}, {self.bytes / _MEGABYTE:,.1f} MB in "
            f"{self.seconds:.1f} s"
        )


def take(settings: Settings, *, trigger: str, progress: Progress | None = None, wait_seconds: float = 600) -> Backup:
    """Make a backup of the warehouse as it is now, and remove the oldest ones beyond C360_BACKUP_KEEP.

    Raises:
        ConfigurationError: no place or no key is set, or the key lies with the data or with the backups.
        warehouse.WriterBusyError: a build did not finish in ``wait_seconds``.
        ProgramsError: pg_dump is missing or failed.
    """
    key, place, progress = key_of(settings), Place(settings), progress or Silent()
    began = datetime.now(UTC)
    name = ""
    try:
        with warehouse.writer_lock(settings, wait_seconds=wait_seconds, who=f"backup by {trigger}"):
            leased = datetime.now(UTC)
            with _snapshot(settings) as (connection, snapshot):
                taken_at = datetime.now(UTC)
                name = place.begin(taken_at)
                version = connection.info.server_version // 10_000
                tools = programs.for_server(version)
                tables = count(connection, progress)
                agreed = agreement.recorded(connection)
                parts = {DATABASE: _dump(settings, tools, snapshot, place, name, key, progress)}
                registry.send(connection, settings)
            kill_points.reach("backup.dumped")
        waited = (datetime.now(UTC) - leased).total_seconds()
        landed = None
        if settings.backup_landing and not landing.is_remote(settings):
            parts[LANDING], landed = _copy_landing(settings, place, name, key, progress)
        kill_points.reach("backup.copied")
        progress.stage("write the manifest")
        made = Manifest(
            format=manifests.FORMAT,
            product_version=__version__,
            taken_at=taken_at.isoformat(),
            server_version=version,
            program_version=tools.version,
            installation=str(credentials(settings).get("installation", "")),
            role_prefix=settings.role_prefix,
            agreed=agreed,
            landing_url=settings.landing_url,
            tables=tables,
            parts=parts,
            landed_files=landed,
        )
        size = manifests.write(place, name, key, made) + sum(part.bytes for part in parts.values())
    except BaseException as error:
        if name:
            with contextlib.suppress(Exception):
                place.remove(name)
        with contextlib.suppress(Exception):
            _record(settings, name or None, began, error=told(error))
        raise
    _record(settings, name, began, taken_at=taken_at, bytes=size, tables=len(tables), rows=made.row_count, files=landed)
    removed = prune(settings)
    seconds = (datetime.now(UTC) - began).total_seconds()
    return Backup(
        name, settings.backup_url, taken_at, round(seconds, 1), round(waited, 1), size, len(tables), made.row_count,
        landed, removed,
    )  # fmt: skip


def is_due(settings: Settings) -> bool:
    """Whether the schedule wants a backup now: the last good one is older than C360_BACKUP_HOURS."""
    if not settings.backup_url or not settings.backup_hours:
        return False
    with warehouse.connect("oncall", settings) as connection:
        return not warehouse.scalar(
            connection,
            "select exists (select from ops.backups where state = 'succeeded' and taken_at > now() - %s)",
            [timedelta(hours=settings.backup_hours)],
        )


def prune(settings: Settings, *, keep: int | None = None, dry_run: bool = False) -> list[str]:
    """Remove all but the newest ``keep`` backups (default C360_BACKUP_KEEP; 0: none); returns their names."""
    keep = settings.backup_keep if keep is None else keep
    place = Place(settings)
    listed = place.listed()
    whole = [one for one in listed if one.is_whole]
    old = whole[: max(0, len(whole) - keep)] if keep else []
    remains = [one for one in listed if not one.is_whole and one.taken_at < datetime.now(UTC) - _REMAINS]
    for one in () if dry_run else (*old, *remains):
        place.remove(one.name)
    return [one.name for one in (*old, *remains)]


# ---- the database ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _snapshot(settings: Settings) -> Iterator[tuple[Connection, str]]:
    with warehouse.connect("owner", settings, application_name="customer360 backup") as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        connection.execute("set local idle_in_transaction_session_timeout = 0")  # pg_dump may work for longer
        yield connection, warehouse.scalar(connection, "select pg_export_snapshot()")


def count(connection: Connection, progress: Progress) -> dict[str, int]:
    """Rows of every table in the schemas of the warehouse, by schema.table."""
    tables = connection.execute(
        """
        select n.nspname, c.relname from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and not c.relispartition and n.nspname = any(%s) order by 1, 2
        """,
        [list(warehouse.SCHEMAS)],
    ).fetchall()
    progress.stage("count the rows", len(tables))
    counts = {}
    for schema, table in tables:
        statement = sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table))
        row = connection.execute(statement).fetchone()
        counts[f"{schema}.{table}"] = int(row[0]) if row else 0
        progress.step(f"{schema}.{table}")
    return counts


def _dump(
    settings: Settings,
    tools: programs.Programs,
    snapshot: str,
    place: Place,
    name: str,
    key: Key,
    progress: Progress,
) -> Part:
    progress.stage("dump the database")
    arguments = [
        "--format=custom",
        "--compress=1",  # gzip: stronger ones take much longer and save little
        f"--snapshot={snapshot}",
        "--lock-wait-timeout=60000",
        *(f"--schema={schema}" for schema in warehouse.SCHEMAS),
    ]
    with tempfile.TemporaryFile() as said, place.write(name, DATABASE) as target:
        process = subprocess.Popen(
            tools.command("pg_dump", *arguments),
            stdout=subprocess.PIPE,
            stderr=said,
            env=programs.environment(warehouse.url("owner", settings)),
            start_new_session=True,  # Ctrl-C is for this process, which ends it
        )
        try:
            counted = Counted(target, partial(_said, progress, []))
            key.seal(process.stdout, counted)  # type: ignore[arg-type]
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        if code:
            said.seek(0)
            raise failed("pg_dump", said.read().decode(errors="replace"))
    return Part(counted.bytes, counted.sha256)


def failed(program: str, said: str) -> programs.ProgramsError:
    """What a program said, without the lines that may quote rows."""
    lines = [line for line in said.splitlines() if "error:" in line or "ERROR:" in line]
    return programs.ProgramsError(
        f"{program} failed: {(lines or said.splitlines() or ['it says nothing'])[-1].strip()[:500]}",
        "Run the same command again; if it repeats, `c360 status` says what is wrong with the warehouse.",
    )


def _said(progress: Progress, total: list[int], size: int) -> None:
    total.append(size)
    if len(total) == 64:  # every few megabytes
        total[:] = [sum(total)]
    progress.note(f"{sum(total) / _MEGABYTE:,.0f} MB")


# ---- the landed files -----------------------------------------------------------------------------------------------


def _copy_landing(settings: Settings, place: Place, name: str, key: Key, progress: Progress) -> tuple[Part, int]:
    listed = [file for file in landing.files(settings) if not file.refused_because]
    progress.stage("copy the landed files", len(listed))
    reading, writing = os.pipe()
    failure: list[BaseException] = []
    packed: list[str] = []

    def pack() -> None:
        try:
            with os.fdopen(writing, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
                for file in listed:
                    if _pack(settings, archive, file):
                        packed.append(file.name)
                    progress.step(file.name)
        except BaseException as error:
            failure.append(error)

    with place.write(name, LANDING) as target, os.fdopen(reading, "rb") as source:
        packer = threading.Thread(target=pack, name="landed files", daemon=True)
        packer.start()
        counted = Counted(target)
        key.seal(source, counted)
        packer.join()
        if failure:
            raise failure[0]
    return Part(counted.bytes, counted.sha256), len(packed)


def _pack(settings: Settings, archive: tarfile.TarFile, file: landing.LandedFile) -> bool:
    """Add a landed file; one that `c360 tidy` has removed since it was listed is left out."""
    try:
        opened = landing.open_file(settings, file.location)
    except FileNotFoundError:
        return False
    with opened as stream:
        entry = tarfile.TarInfo(str(PurePath(file.location).relative_to(PurePath(settings.landing_url))))
        entry.size = os.fstat(stream.fileno()).st_size
        entry.mode, entry.mtime = 0o600, file.modified_ns // 1_000_000_000
        entry.pax_headers = {MTIME: str(file.modified_ns)}
        archive.addfile(entry, stream)
    return True


# ---- the journal ----------------------------------------------------------------------------------------------------


def _record(
    settings: Settings,
    name: str | None,
    began: datetime,
    *,
    error: str | None = None,
    taken_at: datetime | None = None,
    bytes: int = 0,
    tables: int = 0,
    rows: int = 0,
    files: int | None = None,
) -> None:
    values: list[Any] = [name, shown(settings.backup_url), "failed" if error else "succeeded", began, taken_at, bytes,
                         tables, rows, files, error]  # fmt: skip
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        connection.execute(
            query("""
            insert into ops.backups (name, place, state, started_at, taken_at, bytes, table_count, row_count,
                landed_files, error) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """),
            values,
        )


def shown(url: str) -> str:
    """A place as it may be shown: a URL may hold a key."""
    return masked_url(url).strip("'") if "@" in url else url
