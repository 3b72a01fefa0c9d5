"""What a backup says of itself: when and from what it was taken, and every count that a restore compares."""

from __future__ import annotations

import msgspec

from customer360.backup.place import MANIFEST, Place
from customer360.backup.sealing import Key, SealedFileError, opened_bytes, sealed_bytes

FORMAT = 1


class Part(msgspec.Struct, frozen=True):
    """A file of a backup: its size and SHA-256 as it lies there, sealed."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """The content of a backup's manifest."""

    format: int
    product_version: str
    taken_at: str
    """ISO 8601, UTC: everything that was committed before is in the backup, and nothing else."""
    server_version: int
    """Major version of the server that was dumped."""
    program_version: int
    """Major version of the pg_dump that dumped it."""
    installation: str
    role_prefix: str
    agreed: dict[str, str]
    """The settings that a warehouse keeps: time zone and currency."""
    landing_url: str
    tables: dict[str, int]
    """Rows of every table, counted in the snapshot that was dumped."""
    parts: dict[str, Part]
    landed_files: int | None
    """How many landed files the backup holds; None if the landing zone is not a part of it."""

    @property
    def row_count(self) -> int:
        """Rows of all tables."""
        return sum(self.tables.values())


def write(place: Place, name: str, key: Key, manifest: Manifest) -> int:
    """Make a backup whole; returns the manifest's size in bytes."""
    data = sealed_bytes(key, msgspec.json.encode(manifest))
    with place.write(name, MANIFEST) as stream:
        stream.write(data)
    return len(data)


def read(place: Place, name: str, key: Key) -> Manifest:
    """The manifest of a backup.

    Raises:
        BackupMissingError: it is not there.
        SealedFileError: it is damaged, was sealed with another key, or is of a later version of this product.
    """
    with place.read(name, MANIFEST) as stream:
        data = opened_bytes(key, stream.read(), name=f"{name}/{MANIFEST}")
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except msgspec.ValidationError:
        found = None
    if found is None or found.format != FORMAT:
        raise SealedFileError(
            f"{name} was made by another version of customer360, whose backups this one does not read.",
            "Install that version, restore, and upgrade then.",
        )
    return found
