"""Restore a backup into an empty home: complete, counted, without who was erased since, then open to readers.

Nothing is changed before every byte of the backup was read and found genuine. The database is filled in one
transaction, so that a restore that was cut off goes on where it stood. Until the end no reader can connect, and no
other command works with the home (:mod:`customer360.warehouse.restoring`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO

from customer360 import kill_points, wake, warehouse
from customer360.backup import programs, registry
from customer360.backup.check import check
from customer360.backup.manifest import Manifest
from customer360.backup.place import DATABASE, LANDING, Place
from customer360.backup.sealing import Counted, Key, key_of
from customer360.backup.take import MTIME, count, failed
from customer360.contract.feeds import FEEDS
from customer360.erasure import erase
from customer360.erasure.person import PersonError, find
from customer360.errors import ConfigurationError, Customer360Error
from customer360.front_door import erased, landing, ledger
from customer360.progress import Progress, Silent
from customer360.publication.verify import verify
from customer360.settings import Settings
from customer360.warehouse import agreement, embedded_server, query, restoring, roles

_MEGABYTE = 1_000_000
_HEADER_LINES = 60


class RestoreError(Customer360Error):
    """A backup could not be restored."""


@dataclass
class Restored:
    """What a restore brought back."""

    name: str
    taken_at: datetime
    """What was committed later is not in the warehouse; landed files bring it back."""
    seconds: float = 0
    tables: int = 0
    rows: int = 0
    landed_files: int = 0
    waiting_files: int = 0
    """Landed files that the restored ledger does not know: the next run loads them."""
    erased: int = 0
    """People who were erased after the backup was taken, and are erased again."""
    broken: list[str] = field(default_factory=list)
    """Checks of `c360 verify` that do not hold."""

    def __str__(self) -> str:
        return (
            f"{self.name} is restored as of {self.taken_at:%Y-%m-%d %H:%M:%S} UTC: {self.rows:,} rows of {self.tables} "
            f"tables, {self.landed_files:,} landed files, in {self.seconds:.1f} s"
        )


def restore(settings: Settings, name: str = "", *, adopt: bool = False, progress: Progress | None = None) -> Restored:
    """Restore a backup (default: the newest whole one) into the empty home and database of ``settings``.

    Args:
        adopt: on a server of one's own, give the roles of the lost installation new passwords.

    Raises:
        BackupMissingError: there is no such backup.
        SealedFileError: it is damaged, or was sealed with another key. Nothing was changed.
        ConfigurationError: home or database are not empty, or settings differ from the backup's. Nothing was changed.
        RestoreError: PostgreSQL refused a statement, or a table has other rows than were counted.
    """
    progress, began = progress or Silent(), datetime.now(UTC)
    key, place = key_of(settings), Place(settings)
    unfinished = restoring.begun(settings)
    name = place.find(name or unfinished.get("backup", "")).name
    _check_home(settings, name, unfinished)
    checked = check(place, name, key, progress)
    manifest = checked.manifest
    _check_settings(settings, manifest)
    restored = Restored(name, datetime.fromisoformat(manifest.taken_at), tables=len(manifest.tables),
                        rows=manifest.row_count)  # fmt: skip
    with restoring.working(settings):
        restoring.mark(settings, name)
        with _unmarked_if_refused(settings, is_new=not unfinished):
            roles.begin_restore(settings, manifest.installation, adopt=adopt, is_repeated=bool(unfinished))
        kill_points.reach("restore.begun")
        if not _is_filled(settings):
            _fill(settings, place, name, key, manifest, progress)
            _compare(settings, manifest, progress)
        kill_points.reach("restore.filled")
        progress.stage("bring the tables to this version")
        roles.finish_restore(settings)
        _settle(settings, manifest)
        if LANDING in manifest.parts and not landing.is_remote(settings):
            restored.landed_files = _bring_landing(settings, place, name, key, progress)
        restored.erased = _erase_again(settings, place, key, progress)
        restored.broken = [check.name for check in verify(settings, progress=progress).checks if not check.holds]
        kill_points.reach("restore.opened")
        with warehouse.connect("owner", settings, autocommit=True) as connection:
            connection.execute(
                "insert into ops.restores (name, taken_at, started_at, row_count) values (%s, %s, %s, %s)",
                [name, restored.taken_at, began, restored.rows],
            )
        restoring.end(settings)
        warehouse.open_restored(settings)
    restored.waiting_files = _waiting(settings)
    restored.seconds = round((datetime.now(UTC) - began).total_seconds(), 1)
    return restored


def try_out(settings: Settings, name: str = "", *, progress: Progress | None = None) -> Restored:
    """Restore a backup into a server that is thrown away afterwards: the only proof that it can be restored.

    Raises what :func:`restore` does.
    """
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="trial-", dir=settings.home) as folder:
        home = Path(folder)
        trial = settings.with_(home=home, warehouse_url="", landing="")
        try:
            return restore(trial, name, progress=progress)
        finally:
            embedded_server.stop(trial, immediate=True)


# ---- what must be so before anything is changed ---------------------------------------------------------------------


def _check_home(settings: Settings, name: str, unfinished: dict[str, str]) -> None:
    if unfinished:
        if unfinished["backup"] != name:
            raise ConfigurationError(
                f"{settings.home} holds an unfinished restore of {unfinished['backup']}.",
                f"Finish it with `c360 restore {unfinished['backup']}`, or choose an empty C360_HOME.",
            )
        return
    present = [one for one in ("roles.json", "postgres.json", "postgres") if (settings.home / one).exists()]
    if present:
        raise ConfigurationError(
            f"{settings.home} is not empty: it has {' and '.join(present)} of a warehouse. Nothing was changed.",
            "Set C360_HOME to an empty folder and run the same command again.",
        )


def _check_settings(settings: Settings, manifest: Manifest) -> None:
    differing = []
    if settings.role_prefix != manifest.role_prefix:
        differing.append(f"C360_ROLE_PREFIX={manifest.role_prefix}")
    for setting, value in manifest.agreed.items():
        if getattr(settings, setting) != value:
            differing.append(f"C360_{setting.upper()}={value}")
    if differing:
        raise ConfigurationError(
            "The backup is of an installation with other settings. Nothing was changed.",
            f"Set {' '.join(differing)} and run the same command again.",
        )


@contextlib.contextmanager
def _unmarked_if_refused(settings: Settings, *, is_new: bool) -> Iterator[None]:
    """What is refused before anything was made leaves no unfinished restore behind."""
    try:
        yield
    except ConfigurationError:
        if is_new and not (settings.home / "roles.json").exists():
            restoring.end(settings)
        raise


# ---- the database ---------------------------------------------------------------------------------------------------


def _admin_url(settings: Settings) -> str:
    if settings.is_embedded:
        return embedded_server.ensure_running(settings).url(settings.database)
    return settings.warehouse_url


def _is_filled(settings: Settings) -> bool:
    """Whether a restore that was cut off had filled the database, which is done in one transaction."""
    with warehouse.connect("owner", settings) as connection:
        return bool(warehouse.scalar(connection, "select to_regclass('ops.alembic_version')"))


def _fill(settings: Settings, place: Place, name: str, key: Key, manifest: Manifest, progress: Progress) -> None:
    """Run the backup's statements in one transaction: all of them, or none."""
    with warehouse.admin(settings) as connection:
        version = connection.info.server_version // 10_000
    if version < manifest.server_version:
        raise ConfigurationError(
            f"The backup is of PostgreSQL {manifest.server_version}, and the server is PostgreSQL {version}.",
            "Restore into a server of that version or a later one.",
        )
    progress.stage("fill the database")
    tools = programs.for_server(version, archive_version=manifest.program_version)
    load = (
        "psql",
        "--no-psqlrc",
        "--quiet",
        "--single-transaction",
        "--set=ON_ERROR_STOP=1",
        "--set=VERBOSITY=sqlstate",
    )
    variables = programs.environment(_admin_url(settings)) | {"PGOPTIONS": "-c synchronous_commit=off"}
    with (
        tempfile.TemporaryFile() as read_said,
        tempfile.TemporaryFile() as load_said,
        place.read(name, DATABASE) as stream,
        _started(tools.command("pg_restore", "--file=-"), read_said, variables, with_output=True) as reader,
        _started(tools.command(*load), load_said, variables) as loader,
    ):
        source = Counted(stream, partial(_said, progress, [], manifest.parts[DATABASE].bytes))
        failure: list[BaseException] = []
        opening = threading.Thread(
            target=_open, args=(key, source, reader.stdin, name, failure), name="backup", daemon=True
        )
        opening.start()
        with contextlib.suppress(BrokenPipeError):  # a statement was refused: the loader says which
            _pass_on(reader.stdout, loader.stdin, without_timeout=version < 17)
            opening.join()
            if reader.wait() == 0 and not failure and loader.stdin:
                loader.stdin.close()  # the end commits; without it the transaction is rolled back
                loader.wait()
        for program, process, said in (("psql", loader, load_said), ("pg_restore", reader, read_said)):
            if process.poll() or (process is loader and process.poll() is None and not failure):
                said.seek(0)
                error = failed(program, said.read().decode(errors="replace"))
                raise RestoreError(f"{error} Nothing was restored.", "Run the same command again.")
        if failure:
            raise failure[0]
    with warehouse.admin(settings) as connection:
        progress.stage("analyze the tables")
        connection.execute("analyze")


@contextlib.contextmanager
def _started(
    command: list[str], said: IO[bytes], variables: dict[str, str], *, with_output: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE if with_output else subprocess.DEVNULL, stderr=said,
        env=variables, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if stream:
                    stream.close()


def _open(key: Key, source: Any, target: Any, name: str, failure: list[BaseException]) -> None:
    try:
        with contextlib.suppress(BrokenPipeError), target:  # the program ended early and says why
            key.open(source, target, name=name)
    except BaseException as error:
        failure.append(error)


def _pass_on(source: Any, target: Any, *, without_timeout: bool) -> None:
    """Copy the statements; the one setting that servers before 17 do not know stands in the first lines."""
    for _ in range(_HEADER_LINES):
        line = source.readline()
        if not (without_timeout and line.startswith(b"SET transaction_timeout")):
            target.write(line)
    shutil.copyfileobj(source, target, 1 << 20)
    target.flush()


def _said(progress: Progress, sizes: list[int], total: int, size: int) -> None:
    sizes[:] = [sum(sizes) + size]
    progress.note(f"{sizes[0] / _MEGABYTE:,.0f} of {total / _MEGABYTE:,.0f} MB")


def _compare(settings: Settings, manifest: Manifest, progress: Progress) -> None:
    """Every table has the rows that were counted when the backup was taken."""
    with warehouse.connect("owner", settings) as connection:
        found = count(connection, progress)
    differing = {table: (rows, found.get(table)) for table, rows in manifest.tables.items() if found.get(table) != rows}
    if differing:
        table, (rows, present) = next(iter(differing.items()))
        raise RestoreError(
            f"{len(differing)} tables have other rows than the backup counted: {table} has {present}, not {rows}.",
            "Choose another backup (`c360 backup list`) and an empty C360_HOME.",
        )


def _settle(settings: Settings, manifest: Manifest) -> None:
    """What was true of the lost machine and is not of this one: who holds a lease, where landed files lie."""
    with warehouse.connect("owner", settings) as connection:
        connection.execute("update ops.leases set token = token + 1, released_at = clock_timestamp()")
        if manifest.landing_url != settings.landing_url:
            for table, column in (("ops.batches", "location"), ("ops.landing_seen", "path")):
                connection.execute(
                    query(
                        f"update {table} set {column} = %s || substr({column}, length(%s) + 1) "
                        f"where starts_with({column}, %s || '/')"
                    ),
                    [settings.landing_url, manifest.landing_url, manifest.landing_url],
                )
        agreement.adopt(connection, settings, only_missing=True)


# ---- the landed files -----------------------------------------------------------------------------------------------


def _bring_landing(settings: Settings, place: Place, name: str, key: Key, progress: Progress) -> int:
    """Put back the landed files that are missing; returns how many. A zone that has survived keeps what it has."""
    progress.stage("put back the landed files")
    landing.prepare(settings)
    zone, brought = Path(settings.landing_url), 0
    reading, writing = os.pipe()
    failure: list[BaseException] = []
    with place.read(name, LANDING) as stream, os.fdopen(reading, "rb") as source:
        target: BinaryIO = os.fdopen(writing, "wb")
        opening = threading.Thread(target=_open, args=(key, stream, target, name, failure), name="backup", daemon=True)
        opening.start()
        with tarfile.open(fileobj=source, mode="r|") as archive:
            for entry in archive:
                brought += _bring(archive, entry, zone)
                progress.step(entry.name)
        while source.read(1 << 20):  # what follows the archive's end, for the thread to end
            pass
        opening.join()
        if failure:
            raise failure[0]
    return brought


def _bring(archive: tarfile.TarFile, entry: tarfile.TarInfo, zone: Path) -> bool:
    safe = tarfile.data_filter(entry, str(zone))  # raises for a path that leads out of the zone
    path = zone / safe.name
    content = archive.extractfile(entry)
    if content is None or path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_file = path.with_name(f".{path.name}.part")
    with partial_file.open("wb") as target:
        shutil.copyfileobj(content, target, 1 << 20)
    partial_file.chmod(0o600)
    changed = int(entry.pax_headers.get(MTIME, entry.mtime * 1_000_000_000))
    os.utime(partial_file, ns=(changed, changed))
    partial_file.replace(path)
    return True


# ---- people who were erased -----------------------------------------------------------------------------------------


def _erase_again(settings: Settings, place: Place, key: Key, progress: Progress) -> int:
    """Erase whoever was erased since the backup, before anybody can read; returns how many people those were."""
    with warehouse.connect("owner", settings) as connection:
        known = registry.bring(connection, settings, place, key)
    if not known:
        return 0
    erase.finish_pending(settings, progress)
    digest_key = erased.digest_key(settings)
    count = 0
    with warehouse.connect("owner", settings) as connection:
        shown = connection.execute(
            "select identifier_type, identifier from state.customer_key_map union all "
            "select distinct 'anonymous_id', anonymous_id from identity.records where anonymous_id is not null"
        ).fetchall()
    for kind, text in shown:
        limit = known.get((kind, erased.digest(digest_key, (kind, text))))
        if limit is None:
            continue
        with contextlib.suppress(PersonError):  # a device of several people is nobody's
            with warehouse.connect("owner", settings) as connection:
                person = find(connection, settings, kind, text, before=limit)
            if any(person.records.values()):
                erase.erase(settings, (kind, text), who="restore", why="erased after the backup", before=limit,
                            progress=progress)  # fmt: skip
                count += 1
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        for (batch_id,) in connection.execute("select distinct batch_id from quarantine.rows").fetchall():
            if gone := erased.forget_quarantined(connection, settings, known, digest_key, batch_id=batch_id):
                ledger.record_action(
                    connection, batch_id, "erase", sum(gone.values()), "restore", "erased after the backup"
                )
        erased.remove_files(settings, connection)
    return count


# ---- proof ----------------------------------------------------------------------------------------------------------


def _waiting(settings: Settings) -> int:
    return sum(len(wake.waiting_files(settings, feed)) for feed in FEEDS)
