"""The landing zone: where producers put files, each of which is one immutable batch.

``<landing>/<feed>/<name>`` for fresh files, ``<landing>/<feed>/history/<name>`` for a backfill; a vendor's own export
in ``<landing>/sources/<source>/`` and its ``history/`` likewise. The zone is a folder or any fsspec URL
(``s3://bucket/landing``). A dot-file or ``.part`` is being written and is not looked at. What is no
regular file, or has a name that nobody should have to handle, is listed with the reason why it is refused, and never
opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from customer360 import object_store
from customer360.contract.feeds import FEEDS, feed_named
from customer360.errors import Customer360Error
from customer360.front_door.file_names import fault_of_name, is_in_progress, printable, without_personal
from customer360.front_door.formats import UnreadableFileError, format_of
from customer360.settings import Settings
from customer360.sources import declaration
from customer360.sources.file_shapes import SourceFileError, shape_of

HISTORY = "history"
SOURCES = "sources"


class LandingError(Customer360Error):
    """A file cannot be put into the landing zone."""


@dataclass(frozen=True)
class LandedFile:
    """A file in the landing zone, as it was found."""

    feed: str
    name: str
    """The file's name, made printable; with ``history/`` before it for a backfill."""
    location: str
    """Full path or URL."""
    is_history: bool
    bytes: int
    modified_ns: int
    """Time of the last change in nanoseconds since 1970 (0 where the store does not tell)."""
    refused_because: str = ""
    """Why it must not be opened, if so."""
    source: str | None = None
    """The folder in ``sources/`` that it lies in: a source, and ``@namespace`` where that is not the source's own."""

    @property
    def modified_at(self) -> datetime:
        """When its producer finished it."""
        return datetime.fromtimestamp(self.modified_ns / 1e9, UTC)


def is_remote(settings: Settings) -> bool:
    """Whether the landing zone is an object store."""
    return object_store.is_remote(settings.landing_url)


@dataclass(frozen=True)
class Folder:
    """A folder of the landing zone whose files are batches of a feed."""

    path: str
    """Below the landing zone."""
    feed: str
    is_history: bool
    source: str | None = None

    @property
    def shown(self) -> str:
        """What stands before a file's name in the ledger."""
        within = self.path if self.source else HISTORY if self.is_history else ""
        return f"{within}/" if within else ""


def folders(settings: Settings, feed: str | None = None) -> list[Folder]:
    """The folders of a feed, or of all: its own, and those of the sources that give records of it."""
    places: list[tuple[str, str, str | None]] = [(name, name, None) for name in ([feed] if feed else FEEDS)]
    places += [
        (f"{SOURCES}/{folder}", of, folder) for folder, of in source_folders(settings).items() if feed in {None, of}
    ]
    return [
        Folder(f"{path}/{HISTORY}" if is_history else path, of, is_history, source)
        for path, of, source in places
        for is_history in (False, True)
    ]


def source_folders(settings: Settings) -> dict[str, str]:
    """The folders in ``sources/`` of the landing zone, each with the feed of its source.

    A folder whose source does not exist or cannot be read is left out; :func:`lost_folders` has those with files.
    """
    found: dict[str, str] = {}
    for folder in _subfolders(settings):
        with contextlib.suppress(declaration.SourceError):
            found[folder] = declaration.of_folder(settings, folder)[0].feed.name
    return found


@dataclass(frozen=True)
class LostFolder:
    """A folder in ``sources/`` that holds files and is no source's: nothing reads them."""

    name: str
    files: int
    why: str


def lost_folders(settings: Settings) -> list[LostFolder]:
    """The folders in ``sources/`` whose finished files are not read, each with the reason."""
    found: list[LostFolder] = []
    list_folder = _remote_files if is_remote(settings) else _local_files
    for name in _subfolders(settings):
        try:
            declaration.of_folder(settings, name)
        except declaration.SourceError as error:
            places = (
                Folder(f"{SOURCES}/{name}", "", False, name),
                Folder(f"{SOURCES}/{name}/{HISTORY}", "", True, name),
            )
            if count := sum(1 for place in places for _ in list_folder(settings, place)):
                found.append(LostFolder(printable(name), count, str(error)))
    return found


def _subfolders(settings: Settings) -> list[str]:
    if is_remote(settings):
        system, root = _remote(settings)
        try:
            entries = system.ls(f"{root}/{SOURCES}", detail=True)
        except FileNotFoundError:
            return []
        return sorted(entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == "directory")
    zone = Path(settings.landing_url) / SOURCES
    if zone.is_symlink():
        return []
    try:
        return sorted(entry.name for entry in os.scandir(zone) if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def prepare(settings: Settings) -> None:
    """Create the folders of a local landing zone that are missing."""
    if is_remote(settings):
        return
    zone = Path(settings.landing_url)
    for feed in FEEDS:
        (zone / feed / HISTORY).mkdir(parents=True, exist_ok=True)
    for path in declaration.paths(settings):
        (zone / SOURCES / path.stem / HISTORY).mkdir(parents=True, exist_ok=True)


def files(settings: Settings, feed: str | None = None) -> list[LandedFile]:
    """Every file that a producer has finished, oldest first."""
    list_folder = _remote_files if is_remote(settings) else _local_files
    found = [file for folder in folders(settings, feed) for file in list_folder(settings, folder)]
    return sorted(found, key=lambda file: (file.modified_ns, file.location))


def _local_files(settings: Settings, within: Folder) -> Iterator[LandedFile]:
    folder = Path(settings.landing_url) / within.path
    if folder.is_symlink() or folder.parent.is_symlink():
        return  # the zone itself may be a link, a feed's folder in it may not: it would lead elsewhere
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if is_in_progress(entry.name) or (entry.name == HISTORY and not within.is_history and entry.is_dir()):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # taken away since the folder was read
        reason, is_regular = fault_of_name(entry.name), stat.S_ISREG(status.st_mode)
        if not is_regular:
            reason = f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no regular file')}; only regular files are read"
        location = os.fsencode(entry.path).decode(errors="backslashreplace")
        if not is_regular or location != entry.path:  # it is never opened, so that it need not be found again
            location = f"{location[: -len(Path(location).name)]}{without_personal(Path(location).name)}"
        yield LandedFile(
            feed=within.feed,
            name=f"{within.shown}{printable(without_personal(entry.name))}",
            location=location,
            is_history=within.is_history,
            bytes=status.st_size,
            modified_ns=status.st_mtime_ns,
            refused_because=reason,
            source=within.source,
        )


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def without_personal_name(settings: Settings, file: LandedFile) -> LandedFile:
    """The file under a name without personal values, which it is given now if its own has some.

    The ledger, logs and pages name files. Where the landing zone cannot be written the file keeps its name.
    """
    folder, slash, name = file.location.rpartition("/")
    if without_personal(name) == name:
        return file
    for candidate in _names(f"{folder}{slash}{without_personal(name)}"):
        try:
            if is_remote(settings):
                system, _ = _remote(settings)
                if system.exists(candidate):
                    continue
                system.mv(file.location, candidate)
                system.invalidate_cache()
            else:
                os.link(file.location, candidate, follow_symlinks=False)  # fails where a rename would overwrite
                os.unlink(file.location)
        except FileExistsError:
            continue
        except OSError:  # somebody else has renamed it just now, or nobody may
            return file
        prefix = file.name.rpartition("/")
        return replace(
            file, location=candidate, name=f"{prefix[0]}{prefix[1]}{printable(candidate.rpartition('/')[2])}"
        )
    raise AssertionError("names do not end")


def open_file(settings: Settings, file_location: str) -> contextlib.AbstractContextManager[BinaryIO]:
    """Open a landed file for reading.

    Raises:
        FileNotFoundError: it was taken away.
        OSError: a local path is a link, which is never followed.
    """
    if is_remote(settings):
        return _remote(settings)[0].open(file_location, "rb")
    descriptor = os.open(file_location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{file_location} is no regular file")
    return os.fdopen(descriptor, "rb")


def content_hash(settings: Settings, location: str) -> tuple[str, int]:
    """SHA-256 of a landed file, and how many bytes were hashed."""
    digest = hashlib.sha256()
    size = 0
    with open_file(settings, location) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def put(settings: Settings, feed: str, source: Path, *, history: bool = False, name: str = "") -> LandedFile:
    """Put a copy of a file into the landing zone, so that it appears there whole or not at all.

    A file of that name with the same content is left as it is (the landing is repeated without effect); one with
    other content is never overwritten: the new one gets a number in its name.

    Raises:
        UnknownFeedError: there is no such feed.
        LandingError: the source is no regular file, or its name is refused.
    """
    feed_named(feed)
    name = name or source.name
    try:
        format_of(name)
    except UnreadableFileError as error:
        raise LandingError(f"{printable(name)}: {error}.", "Rename the file to tell its format.") from error
    return _put(settings, Folder(f"{feed}/{HISTORY}" if history else feed, feed, history), source, name)


def put_export(
    settings: Settings,
    source_name: str,
    file: Path,
    *,
    namespace: str = "",
    exported_at: datetime | None = None,
    history: bool = False,
) -> LandedFile:
    """Put a copy of a vendor's export into the folder of its source, as :func:`put` does.

    Args:
        namespace: of the ids, where it is not the source's own (two shops of one vendor).
        exported_at: when the export was made; by default, when the file was last changed. It becomes part of the
            name where the source dates records by it.

    Raises:
        SourceError: there is no such source, or its file is wrong.
        LandingError: the file is no regular file, or its name is refused.
    """
    folder = declaration.folder_of(source_name, namespace)
    source, _ = declaration.of_folder(settings, folder)
    try:
        shape = shape_of(file.name)
    except SourceFileError as error:
        raise LandingError(f"{printable(file.name)}: {error}.", error.next_step) from error
    if shape not in source.shapes:
        raise LandingError(
            f"{printable(file.name)} is {shape}; {source.name} reads {', '.join(source.shapes)}.",
            f"{source.page or 'docs/sources.md'} says how to get the file.",
        )
    if not file.is_file():
        raise LandingError(f"{file} is no readable file.", "Check the path.")
    name = file.name
    if source.dated_by_export and (exported_at or time_in_name(name) is None):
        moment = exported_at or datetime.fromtimestamp(file.stat().st_mtime, UTC)
        name = with_time(name, moment)
    path = f"{SOURCES}/{folder}/{HISTORY}" if history else f"{SOURCES}/{folder}"
    return _put(settings, Folder(path, source.feed.name, history, folder), file, name)


_TIME_IN_NAME = re.compile(r"@(\d{8}T\d{6}Z)(?=[.~]|$)")


def with_time(name: str, moment: datetime) -> str:
    """A file's name with a time before its suffix: ``orders@20260501T100000Z.csv``."""
    stem, dot, suffix = _TIME_IN_NAME.sub("", name).partition(".")
    return f"{stem}@{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}{dot}{suffix}"


def time_in_name(name: str) -> datetime | None:
    """The time that :func:`with_time` put into a name, if any."""
    found = _TIME_IN_NAME.search(name)
    try:
        return datetime.strptime(found[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def _put(settings: Settings, folder: Folder, source: Path, name: str) -> LandedFile:
    if reason := fault_of_name(name) or ("its name is that of an unfinished file" if is_in_progress(name) else ""):
        raise LandingError(f"{printable(name)} is refused: {reason}.", "Rename the file.")
    if not source.is_file():
        raise LandingError(f"{source} is no readable file.", "Check the path.")
    name = without_personal(name)
    put_there = _put_remote if is_remote(settings) else _put_local
    location = put_there(settings, folder.path, name, source)
    return next(file for file in files(settings, folder.feed) if file.location == location)


def _names(place: str) -> Iterator[str]:
    """The name itself, then with ``~2``, ``~3``, … before its suffix."""
    yield place
    folder, slash, name = place.rpartition("/")
    stem, dot, suffix = name.partition(".")
    number = 2
    while True:
        yield f"{folder}{slash}{stem}~{number}{dot}{suffix}"
        number += 1


def _put_local(settings: Settings, folder: str, place: str, source: Path) -> str:
    prepare(settings)
    zone = Path(settings.landing_url) / folder
    zone.mkdir(parents=True, exist_ok=True)
    partial = zone / f".{uuid.uuid4().hex}.part"
    try:
        shutil.copyfile(source, partial)
        _flush(partial)  # who has landed a file may remove its own copy: a power cut must not empty this one
        for candidate in _names(place):
            target = zone / candidate
            try:
                os.link(partial, target)  # fails where a rename would overwrite
            except FileExistsError:
                if not target.is_symlink() and _same_content(target, partial):
                    return str(target)
                continue
            _flush(zone)
            return str(target)
    except OSError as error:
        raise LandingError(
            f"{source.name} could not be copied into {zone}: {error.strerror or error}.",
            "Free some space or check the permissions, then land it again.",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    raise AssertionError("names do not end")


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same_content(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while True:
            blocks = first.read(1 << 20), second.read(1 << 20)
            if blocks[0] != blocks[1]:
                return False
            if not blocks[0]:
                return True


# --- object stores ---------------------------------------------------------------------------------------------------


def _remote(settings: Settings) -> tuple[Any, str]:
    """The file system of the landing zone, and the zone's root within it."""
    return object_store.open_store(settings.landing_url)


def _remote_files(settings: Settings, within: Folder) -> Iterator[LandedFile]:
    system, root = _remote(settings)
    try:
        entries = system.ls(f"{root}/{within.path}", detail=True)
    except FileNotFoundError:
        return
    for entry in entries:
        name = entry["name"].rsplit("/", 1)[-1]
        if entry["type"] != "file" or not name or is_in_progress(name):
            continue
        modified = entry.get("LastModified") or entry.get("last_modified") or entry.get("mtime") or 0
        seconds = modified.timestamp() if isinstance(modified, datetime) else float(modified)
        yield LandedFile(
            feed=within.feed,
            name=f"{within.shown}{printable(without_personal(name))}",
            location=entry["name"],
            is_history=within.is_history,
            bytes=entry["size"] or 0,
            modified_ns=int(seconds * 1e9),
            refused_because=fault_of_name(name),
            source=within.source,
        )


def _put_remote(settings: Settings, folder: str, place: str, source: Path) -> str:
    system, root = _remote(settings)
    for candidate in _names(place):
        target = f"{root}/{folder}/{candidate}"
        if system.exists(target):
            digest = hashlib.sha256(source.read_bytes()).hexdigest()
            if content_hash(settings, target)[0] == digest:
                return target
            continue
        system.put(str(source), target)  # an object appears whole or not at all
        system.invalidate_cache()
        return target
    raise AssertionError("names do not end")


# --- corrections -----------------------------------------------------------------------------------------------------

CORRECTIONS = "corrections"
"""Beside the feeds' folders: corrected rows of the quarantine, for who releases them through Airflow."""


@contextlib.contextmanager
def correction(settings: Settings, name: str) -> Iterator[Path]:
    """A private copy of ``<landing>/corrections/<name>``, for as long as the block runs: it holds personal data.

    Raises:
        LandingError: there is no such regular file directly in that folder.
    """
    with tempfile.TemporaryDirectory(prefix="c360-correction-") as folder:
        place, copy = _correction(settings, name), Path(folder) / name
        try:
            with open_file(settings, place) as stream, copy.open("wb") as target:
                shutil.copyfileobj(stream, target)
        except OSError as error:
            raise LandingError(
                f"{printable(name)} cannot be read in {settings.landing_url}/{CORRECTIONS}: {error.strerror or error}.",
                "Put the corrected file there; `c360 quarantine export` makes one to correct.",
            ) from None  # not for Airflow to try again: no retry puts the file there
        yield copy


def remove_correction(settings: Settings, name: str) -> None:
    """Remove a corrected file that has been released."""
    remove(settings, _correction(settings, name))


def _correction(settings: Settings, name: str) -> str:
    if reason := fault_of_name(name):
        raise LandingError(f"{printable(name)} is refused: {reason}.", "Give the file's name alone.")
    if is_remote(settings):
        return f"{_remote(settings)[1]}/{CORRECTIONS}/{name}"
    folder = Path(settings.landing_url) / CORRECTIONS
    if folder.is_symlink():
        raise LandingError(f"{folder} is a symbolic link, which is not followed.", "Make it a folder.")
    return str(folder / name)


def remove(settings: Settings, location: str) -> None:
    """Remove a landed file; it may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        if is_remote(settings):
            _remote(settings)[0].rm(location)
        else:
            os.unlink(location)
