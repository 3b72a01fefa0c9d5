"""Where backups lie: a folder per backup, in a folder or a bucket. Its manifest is written last and makes it whole."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from customer360 import object_store
from customer360.backup.sealing import SUFFIX
from customer360.errors import ConfigurationError, Customer360Error
from customer360.settings import Settings

DATABASE, LANDING, MANIFEST = (f"{name}{SUFFIX}" for name in ("database", "landing", "manifest"))
_NAME = re.compile(r"c360-(\d{8}T\d{6}Z)(-\d+)?")


class BackupMissingError(Customer360Error):
    """There is no such backup."""


@dataclass(frozen=True)
class Stored:
    """A backup as it lies there, before anything of it is opened."""

    name: str
    taken_at: datetime
    bytes: int
    is_whole: bool
    """Whether it was finished: a backup without a manifest was cut off while it was made."""


class Place:
    """The place of an installation's backups."""

    def __init__(self, settings: Settings) -> None:
        if not settings.backup_url:
            raise ConfigurationError(
                "C360_BACKUP_URL is not set: there is no place for backups.",
                "Set it to a folder on another disk, or to a bucket such as s3://bucket/backups.",
            )
        self.url = settings.backup_url
        self.is_remote = object_store.is_remote(self.url)
        if not self.is_remote:
            folder = Path(self.url).resolve()
            inside = next((one for one in (settings.home, Path(settings.landing_url).resolve())
                           if folder.is_relative_to(one)), None)  # fmt: skip
            if inside is not None:
                raise ConfigurationError(
                    f"The place of the backups, {folder}, lies in {inside} and would be lost with it.",
                    "Set C360_BACKUP_URL to a folder on another disk, or to a bucket.",
                )
        self._system, self._root = object_store.open_store(self.url)

    def listed(self) -> list[Stored]:
        """Every backup that lies there, oldest first."""
        found = []
        for entry in self._entries(self._root):
            name = entry["name"].rstrip("/").rsplit("/", 1)[-1]
            matched = _NAME.fullmatch(name)
            if entry["type"] == "directory" and matched:
                parts = {part["name"].rsplit("/", 1)[-1]: part["size"] or 0 for part in self._entries(self._path(name))}
                taken_at = datetime.strptime(matched[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                found.append(Stored(name, taken_at, sum(parts.values()), MANIFEST in parts))
        return sorted(found, key=lambda one: (one.taken_at, one.name))

    def find(self, name: str = "") -> Stored:
        """The backup of a name; the newest whole one by default.

        Raises:
            BackupMissingError: there is none, or it was cut off while it was made.
        """
        listed = self.listed()
        whole = [one for one in listed if one.is_whole]
        if not name and whole:
            return whole[-1]
        found = next((one for one in listed if one.name == name), None)
        if found is None or not found.is_whole:
            what = f"The backup {name} was not finished" if found else f"There is no backup {name}".rstrip()
            raise BackupMissingError(f"{what} in {self.url}.", "`c360 backup list` names those that are whole.")
        return found

    def begin(self, moment: datetime) -> str:
        """A new backup's name, with its folder."""
        base = f"c360-{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"
        taken = {one.name for one in self.listed()}
        name = next(
            name for number in range(1, 100) if (name := f"{base}-{number}" if number > 1 else base) not in taken
        )
        if not self.is_remote:
            Path(self._root).mkdir(parents=True, exist_ok=True, mode=0o700)
            (Path(self._root) / name).mkdir(mode=0o700)
        return name

    @contextlib.contextmanager
    def write(self, name: str, part: str) -> Iterator[Any]:
        """A part of a backup, opened to be written; it appears when the block ends well."""
        path = self._path(name, part)
        target = path if self.is_remote else f"{path}.part"
        with self._system.open(target, "wb") as stream:
            yield stream
        if not self.is_remote:
            Path(target).chmod(0o600)
            Path(target).replace(path)

    @contextlib.contextmanager
    def read(self, name: str, part: str) -> Iterator[Any]:
        """A part of a backup, opened to be read.

        Raises:
            BackupMissingError: it is not there.
        """
        try:
            stream = self._system.open(self._path(name, part), "rb")
        except FileNotFoundError:
            raise BackupMissingError(
                f"{name}/{part} is missing in {self.url}.", "`c360 backup verify` says which backups are whole."
            ) from None
        with stream:
            yield stream

    def remove(self, name: str) -> None:
        """Remove a backup: its manifest first, so that what is left of it is no backup."""
        with contextlib.suppress(FileNotFoundError):
            self._system.rm(self._path(name, MANIFEST))
        with contextlib.suppress(FileNotFoundError):
            self._system.rm(self._path(name), recursive=True)

    def write_beside(self, part: str, data: bytes) -> None:
        """A file beside the backups, exchanged at once."""
        if not self.is_remote:
            Path(self._root).mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.write("", part) as stream:
            stream.write(data)

    def read_beside(self, part: str) -> bytes | None:
        """What :meth:`write_beside` wrote; None if it never did."""
        try:
            return bytes(self._system.cat_file(self._path("", part)))
        except FileNotFoundError:
            return None

    def _entries(self, path: str) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = self._system.ls(path, detail=True)
        except FileNotFoundError:
            return []
        return found

    def _path(self, *parts: str) -> str:
        return "/".join([self._root, *filter(None, parts)])
