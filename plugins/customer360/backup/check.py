"""Whether a backup can be restored, as far as that shows without restoring it."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from dataclasses import dataclass
from typing import IO, cast

from customer360.backup import manifest as manifests
from customer360.backup import programs
from customer360.backup.manifest import Manifest
from customer360.backup.place import DATABASE, MANIFEST, Place
from customer360.backup.sealing import Counted, Key, SealedFileError
from customer360.progress import Progress


class _Nowhere:
    """Takes what is opened and keeps nothing."""

    def write(self, data: bytes, /) -> int:
        return len(data)

    def flush(self) -> None:
        pass


@dataclass(frozen=True)
class Checked:
    """A backup whose every byte was read."""

    name: str
    manifest: Manifest
    bytes: int


def check(place: Place, name: str, key: Key, progress: Progress) -> Checked:
    """Read all of a backup: every block is authentic, nothing is missing, and the archive lists its tables.

    Raises:
        BackupMissingError: the backup or a part of it is not there.
        SealedFileError: another key, a changed byte, a part that ends early, or a table that is not in the archive.
    """
    manifest = manifests.read(place, name, key)
    progress.stage("check the backup", len(manifest.parts))
    for part, expected in manifest.parts.items():
        with place.read(name, part) as stream:
            counted = Counted(stream)
            key.open(counted, _Nowhere(), name=f"{name}/{part}")
        if (counted.bytes, counted.sha256) != (expected.bytes, expected.sha256):
            raise SealedFileError(
                f"{name}/{part} is not the file that {MANIFEST} names: it was exchanged for another one.",
                "Use another backup: `c360 backup list`.",
            )
        progress.step(part)
    _check_contents(place, name, key, manifest)
    return Checked(name, manifest, sum(part.bytes for part in manifest.parts.values()))


def _check_contents(place: Place, name: str, key: Key, manifest: Manifest) -> None:
    """The archive's table of contents names every table that was counted."""
    command = programs.for_server(manifest.program_version).command("pg_restore", "--list")
    with (
        place.read(name, DATABASE) as stream,
        tempfile.TemporaryFile() as listing,
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=listing, stderr=said) as reader,
    ):
        # The contents stand first: the program ends once it has read them, and needs no more.
        with contextlib.suppress(BrokenPipeError), cast(IO[bytes], reader.stdin) as target:
            key.open(stream, target, name=name)
        code = reader.wait()
        listing.seek(0)
        said.seek(0)
        lines, words = listing.read().decode().splitlines(), said.read().decode(errors="replace").strip()
    if code:
        raise SealedFileError(
            f"The archive in {name} cannot be read: {words[:300]}.", "Use another backup: `c360 backup list`."
        )
    entries = [line.split() for line in lines]
    found = {f"{entry[4]}.{entry[5]}" for entry in entries if entry[3:4] == ["TABLE"] and entry[4] != "DATA"}
    missing = sorted(set(manifest.tables) - found)
    if missing:
        raise SealedFileError(
            f"{name} lacks {len(missing)} tables that its manifest counts, such as {missing[0]}.",
            "Use another backup: `c360 backup list`.",
        )
