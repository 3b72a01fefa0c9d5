"""What a sample consists of: its files, in the order in which a shop would land them, and what is true about them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from customer360.errors import Customer360Error

FEEDS = ("orders", "web_sessions", "support_tickets")
FILE_NAME = "manifest.json"

Expected = Literal["loaded", "duplicate", "refused"]


class SampleError(Customer360Error):
    """A sample cannot be made or read as asked."""


@dataclass(frozen=True)
class SampleFile:
    """One file of a sample. ``batch`` is 0 for history, else the number of the fresh batch.

    ``rows`` counts records (a CSV's header is none), ``bad_rows`` those that break a rule of the feed and
    ``repeated_rows`` those identical to an earlier good row of the same file. ``expected`` is what the front door
    has to make of the file; the counts of a refused file are 0.
    """

    feed: str
    path: str
    batch: int
    expected: Expected
    rows: int
    bad_rows: int = 0
    repeated_rows: int = 0


@dataclass(frozen=True)
class SampleManifest:
    """A finished sample under ``out``. Paths of files are relative to it; ``totals`` is ``truth/totals.json``."""

    out: Path
    source: str
    seed: int | None
    customers: int
    start_at: datetime
    end_at: datetime
    fresh_from: datetime
    has_faults: bool
    has_hard_identity: bool
    files: tuple[SampleFile, ...]
    totals: dict[str, Any]

    def history(self, feed: str | None = None) -> list[SampleFile]:
        """Files to be landed as history."""
        return [file for file in self.files if file.batch == 0 and feed in (None, file.feed)]

    def fresh(self, batch: int | None = None, feed: str | None = None) -> list[SampleFile]:
        """Files to be landed as fresh batches: all, or those of one number."""
        return [
            file for file in self.files if file.batch > 0 and batch in (None, file.batch) and feed in (None, file.feed)
        ]

    @property
    def batches(self) -> list[int]:
        """Numbers of the fresh batches, in order."""
        return sorted({file.batch for file in self.files if file.batch > 0})

    def path(self, file: SampleFile) -> Path:
        """Where the file lies."""
        return self.out / file.path

    def as_dict(self) -> dict[str, Any]:
        """The manifest as JSON values, without the place where it lies."""
        values = asdict(self)
        del values["out"]
        for name in ("start_at", "end_at", "fresh_from"):
            values[name] = values[name].isoformat()
        return values


def write_manifest(manifest: SampleManifest) -> None:
    """Write ``manifest.json``: last, so that a directory with one holds a whole sample."""
    text = json.dumps(manifest.as_dict(), indent=1, ensure_ascii=False)
    (manifest.out / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def load_manifest(out: Path) -> SampleManifest:
    """Read a sample's manifest back; SampleError if there is none."""
    path = Path(out) / FILE_NAME
    if not path.is_file():
        raise SampleError(f"There is no sample in {out}: {FILE_NAME} is missing.", "c360 sample --out " + str(out))
    values = json.loads(path.read_text(encoding="utf-8"))
    for name in ("start_at", "end_at", "fresh_from"):
        values[name] = datetime.fromisoformat(values[name])
    values["files"] = tuple(SampleFile(**file) for file in values["files"])
    return SampleManifest(out=Path(out), **values)


def claim_directory(out: Path) -> None:
    """Make the directory; SampleError if something is in it already, because a half-old sample has no truth."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SampleError(f"{out} already holds something.", "Choose another --out, or remove it first.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SampleError(
            f"{out} cannot be made: {error.strerror}.", "Choose an --out that you may write to."
        ) from error
