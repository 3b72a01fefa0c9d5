"""The formats of landed files, by their names."""

from __future__ import annotations

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")


class UnreadableFileError(Exception):
    """The batch is refused whole. The message is written for the person who sent the file."""


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
