"""Which shape an export has, by its name. DAG files import this module, so it imports little."""

from __future__ import annotations

from customer360.errors import Customer360Error

SUFFIXES = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json",
    ".parquet": "parquet",
}  # fmt: skip


class SourceFileError(Customer360Error):
    """A file cannot be read by its source; it is refused whole."""


def shape_of(name: str) -> str:
    """csv, json or parquet, by a file's name; ``.gz`` may follow.

    Raises:
        SourceFileError: the name ends in something else.
    """
    lowered = name.lower().removesuffix(".gz")
    shape = SUFFIXES.get(lowered[lowered.rfind(".") :] if "." in lowered else "")
    if shape is None or (shape == "parquet" and name.lower().endswith(".gz")):
        raise SourceFileError(
            "its name does not end in one of .csv, .tsv, .json, .jsonl, .ndjson (each also .gz), .parquet",
            "Rename the file to say its format.",
        )
    return shape
