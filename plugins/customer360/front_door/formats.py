"""The formats of landed files, by their names, and what is known of a file that is being read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from customer360.contract.feeds import Feed
from customer360.contract.personal_patterns import masked_text
from customer360.front_door.file_names import printable

if TYPE_CHECKING:  # DAG files import this module, and records need Arrow, which is slow to import
    from customer360.contract.records import Chunk

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")
MAX_COLUMNS = 2_000


class UnreadableFileError(Exception):
    """The batch is refused whole. The message is written for the person who sent the file."""


@dataclass
class Reading:
    """How a file is read: enough to read it, or single records of it, in the same way again."""

    format: str
    delimiter: str = ","
    header: list[str] = field(default_factory=list)
    timezone: str = ""
    """The zone of the Parquet columns that name none."""

    def as_json(self) -> dict[str, Any]:
        """For ``ops.batches.reading``."""
        if self.format == "csv":
            return {"format": "csv", "delimiter": self.delimiter, "header": _storable(self.header)}
        return {"format": self.format} | ({"timezone": self.timezone} if self.timezone else {})


def _storable(header: list[str]) -> list[str]:
    """The names of a header with personal values in them masked, each still once."""
    names: list[str] = []
    for name in header:
        masked = masked_text(name)
        names.append(f"{masked} {len(names) + 1}" if masked != name and masked in names else masked)
    return names


@dataclass
class Source:
    """An opened file of a feed: its chunks, and how it was read."""

    feed: Feed
    reading: Reading
    chunks: Iterator[Chunk]
    position: Callable[[], int]
    """Bytes of the landed file consumed so far, for progress."""


def format_of(name: str) -> str:
    """``jsonl``, ``csv`` or ``parquet``, by the file's name.

    Raises:
        UnreadableFileError: the name ends in something else.
    """
    lowered = name.lower()
    for suffix in SUFFIXES:
        if lowered.endswith(suffix):
            return suffix.split(".")[1]
    if lowered.endswith((".xlsx", ".xls", ".ods", ".numbers")):
        raise UnreadableFileError("it is a spreadsheet: save it as CSV UTF-8 in the spreadsheet program and land that")
    raise UnreadableFileError(f"the name does not end in one of {', '.join(SUFFIXES)}")


def missing_columns(names: Sequence[str], present: Sequence[str] = ()) -> str:
    """Why a file without some required columns is refused; names columns that were probably meant."""
    plural = "columns" if len(names) > 1 else "column"
    told = f"the required {plural} {', '.join(names)} {'are' if len(names) > 1 else 'is'} missing"
    alike = {_loosely(name): name for name in reversed(present)}
    meant = [f"{printable(alike[_loosely(name)])} for {name}" for name in names if _loosely(name) in alike]
    return f"{told}; it has {', '.join(meant)}: names must be exactly those of the contract" if meant else told


def _loosely(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
