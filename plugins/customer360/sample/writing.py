"""Feed files in every format of the contract, written piece by piece."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from customer360.sample.calendar import stamp
from customer360.sample.columns import Ints, json_lines, json_text, single, time_text
from customer360.sample.manifest import FEEDS, SampleError

FORMATS = ("jsonl", "jsonl.gz", "csv", "csv.gz", "parquet")
CSV_CLOCK_MINUTES = -300
"""CSV exports show the same instants on a clock five hours behind UTC, so that no reader may ignore the offset."""
_SLICE_ROWS = 50_000


def check_formats(formats: Sequence[str]) -> None:
    """SampleError unless every format is one of the contract's."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise SampleError(f"No such format: {', '.join(unknown) or 'none given'}.", "Formats: " + ", ".join(FORMATS))


def fresh_format(batch: int, feed: str, formats: tuple[str, ...]) -> str:
    """The formats go round from batch to batch, each feed beginning with another one."""
    return formats[(batch - 1 + FEEDS.index(feed)) % len(formats)]


def fresh_path(batch: int, feed: str, edges: Ints, ending: str) -> str:
    """Where a file of a fresh batch lies. Its name holds the batch's end, so that no two are called alike."""
    return f"fresh/{batch:02d}/{feed}-{stamp(int(edges[batch]))}.{ending}"


class FeedWriter:
    """One file of a feed. The same tables give the same bytes. Use as a context manager, or close it."""

    def __init__(self, path: Path, file_format: str) -> None:
        self.path = path
        self.rows = 0
        self._format = file_format
        self._stack = ExitStack()
        self._file = _open(self._stack, path, file_format)
        self._parquet: pq.ParquetWriter | None = None
        self._csv: pa_csv.CSVWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Append the table's rows."""
        for start in range(0, table.num_rows, _SLICE_ROWS):
            self._write_slice(table.slice(start, _SLICE_ROWS))
        self.rows += table.num_rows

    def _write_slice(self, table: pa.Table) -> None:
        if self._format == "parquet":
            if self._parquet is None:
                self._parquet = self._stack.enter_context(pq.ParquetWriter(self._file, table.schema))
            self._parquet.write_table(table)
        elif self._format.startswith("csv"):
            texts = as_csv_texts(table)
            if self._csv is None:
                self._csv = self._stack.enter_context(pa_csv.CSVWriter(self._file, texts.schema))
            self._csv.write_table(texts)
        else:
            lines = json_lines(table)
            whole = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)
            self._file.write(pc.binary_join(whole, "\n")[0].as_buffer())
            self._file.write(b"\n")

    def close(self) -> None:
        """Finish the file."""
        self._stack.close()

    def __enter__(self) -> FeedWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(stack: ExitStack, path: Path, file_format: str) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = stack.enter_context(path.open("wb"))
    if not file_format.endswith(".gz"):
        return file
    # No name and no time in the header: the same rows give the same bytes.
    packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=1, mtime=0)
    return cast(BinaryIO, stack.enter_context(packed))


def as_csv_texts(table: pa.Table) -> pa.Table:
    """Every column as the text that CSV shows: JSON for lists, times with their offset, plain digits."""
    texts = {}
    for name in table.column_names:
        column = single(table.column(name))
        if pa.types.is_list(column.type):
            texts[name] = json_text(column)
        elif pa.types.is_timestamp(column.type):
            texts[name] = time_text(column, CSV_CLOCK_MINUTES)
        else:
            texts[name] = column.cast(pa.string())
    return pa.table(texts)


@dataclass(frozen=True)
class RawLine:
    """A line that goes into a text file as it stands, because no record of the feed would be written like that."""

    text: str


Row = dict[str, Any] | RawLine


def write_rows(
    path: Path, file_format: str, columns: Sequence[str], rows: Iterable[Row], *, dressed: bool = False
) -> None:
    """Write records that may break the feed's rules, as JSON Lines or CSV.

    ``dressed`` adds what some programs add: a byte order mark and, in CSV, carriage returns. Both are allowed.
    """
    with ExitStack() as stack:
        file = _open(stack, path, file_format)
        if dressed:
            file.write(b"\xef\xbb\xbf")
        text = stack.enter_context(io.TextIOWrapper(file, encoding="utf-8", newline=""))
        if file_format.startswith("csv"):
            end = "\r\n" if dressed else "\n"
            writer = csv.writer(text, lineterminator=end)
            writer.writerow(columns)
            for row in rows:
                if isinstance(row, RawLine):
                    text.write(row.text + end)
                else:
                    writer.writerow([_csv_value(row.get(name)) for name in columns])
        else:
            for row in rows:
                text.write(row.text if isinstance(row, RawLine) else json_row(row))
                text.write("\n")


def json_row(row: dict[str, Any]) -> str:
    """The record as one JSON object, null fields left out."""
    return json.dumps({k: v for k, v in row.items() if v is not None}, default=_plain, ensure_ascii=False)


def _csv_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | dict):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    return str(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return value
