"""Parquet as typed chunks, whatever types its writer chose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from customer360.contract.feeds import Feed
from customer360.contract.json_values import dumps_plain
from customer360.contract.records import Chunk, Problems
from customer360.contract.typed_values import plain_array
from customer360.front_door.chunk_parts import table_part
from customer360.front_door.formats import MAX_COLUMNS, Reading, Source, UnreadableFileError, missing_columns
from customer360.front_door.text_blocks import decoded

PARQUET_ROWS = 60_000
_DAMAGED = (pa.ArrowException, OSError, ValueError, UnicodeDecodeError)
_SPARK = b"org.apache.spark.version"


def open_parquet(feed: Feed, stream: BinaryIO, timezone: str) -> Source:
    """Begin to read Parquet.

    Args:
        timezone: the zone of time columns that say none; "" if nobody knows.

    Raises:
        UnreadableFileError: the file is damaged, lacks a required column, or has one whose times have no zone.
    """
    try:
        # Read in nanoseconds, what lies outside 1677-2262 would turn into other times.
        file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20, coerce_int96_timestamp_unit="us")
        names = file.schema_arrow.names
        rows = file.metadata.num_rows
    except _DAMAGED as error:
        raise UnreadableFileError("it is not a readable Parquet file: its footer is damaged or missing") from error
    if len(names) > MAX_COLUMNS:
        raise UnreadableFileError(f"it has {len(names):,} columns; more than {MAX_COLUMNS:,} are not read")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UnreadableFileError(f"it names a column twice: {', '.join(twice)[:200]}")
    absent = [name for name in feed.required if name not in names]
    if absent:
        raise UnreadableFileError(missing_columns(absent, names))
    if rows == 0:
        raise UnreadableFileError("it has no rows")
    zone = _zone(feed, file, timezone)
    return Source(feed, Reading("parquet", timezone=zone), _chunks(feed, file, rows, zone), stream.tell)


def _zone(feed: Feed, file: pq.ParquetFile, timezone: str) -> str:
    """The zone of the time columns that say none; "" if there is no such column.

    Spark keeps INT96 times in UTC and signs its files. Whoever else writes a time without a zone may mean any.
    """
    kinds = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))
    naive = [of.name for of in feed.fields if of.name in kinds and of.kind in {"time", "array"}
             and _has_naive_time(kinds[of.name])]  # fmt: skip
    if not naive:
        return ""
    physical = {file.schema.column(place).path.split(".")[0]: file.schema.column(place).physical_type
                for place in range(len(file.schema))}  # fmt: skip
    is_spark = _SPARK in (file.metadata.metadata or {})
    if is_spark and all(physical.get(name) == "INT96" for name in naive):
        return "UTC"
    if timezone:
        return timezone
    needed = [name for name in naive if feed.by_name[name].required]
    if needed:
        raise UnreadableFileError(
            f"the times in {', '.join(needed)} have no time zone; write timestamps with a zone, or set "
            "C360_PARQUET_TIMEZONE to the zone that they are in (UTC for the INT96 times of Spark)"
        )
    return ""


def _has_naive_time(kind: pa.DataType) -> bool:
    if pa.types.is_timestamp(kind):
        return kind.tz is None
    return pa.types.is_nested(kind) and any(_has_naive_time(kind.field(n).type) for n in range(kind.num_fields))


def _chunks(feed: Feed, file: pq.ParquetFile, expected: int, zone: str) -> Iterator[Chunk]:
    rows = 0
    batches = file.iter_batches(batch_size=PARQUET_ROWS, use_threads=True)
    while True:
        try:
            batch = next(batches, None)
        except _DAMAGED as error:
            raise UnreadableFileError(f"its data is damaged after row {rows:,}") from error
        if batch is None:
            break
        if batch.num_rows == 0:
            continue
        yield _chunk(feed, batch, rows + 1, zone)
        rows += batch.num_rows
    if rows != expected:
        raise UnreadableFileError(f"its footer promises {expected:,} rows and {rows:,} are there")


def _chunk(feed: Feed, batch: pa.RecordBatch, first_row: int, zone: str) -> Chunk:
    columns = {name: plain_array(values) for name, values in zip(batch.schema.names, batch.columns, strict=True)}
    problems: dict[str, Problems] = {}
    if zone:
        for of in feed.fields:
            if of.name in columns and of.kind in {"time", "array"} and _has_naive_time(columns[of.name].type):
                columns[of.name], twice = _zoned(columns[of.name], zone)
                if twice:
                    problems[of.name] = dict.fromkeys(twice, f"falls into an hour that the clocks of {zone} show twice")

    def plain(row: int, name: str) -> object:
        column = columns[name]
        try:
            return column[row].as_py()
        except (UnicodeDecodeError, ValueError, OverflowError):
            return column[row].cast(pa.binary()).as_py() if pa.types.is_string(column.type) else str(column[row])

    def record(row: int) -> str:
        values = {name: plain(row, name) for name in columns}
        return decoded(dumps_plain({name: value for name, value in values.items() if value is not None}))

    def value(row: int, name: str) -> bytes:
        return dumps_plain(plain(row, name)) if name in columns else b""

    part = table_part(feed, columns, problems, batch.num_rows, first_row)
    return part.chunk(feed, part.rows, record, value)


def _zoned(values: pa.Array, zone: str) -> tuple[pa.Array, list[int]]:
    """Times without a zone as times of a zone, and the rows that could be either of two moments.

    A time that the clocks skip is taken as the moment at which they do.
    """
    kind = values.type
    if pa.types.is_timestamp(kind) and kind.tz is None:
        values = values.cast(pa.timestamp("us"), safe=False)
        first = pc.assume_timezone(values, zone, ambiguous="earliest", nonexistent="latest")
        last = pc.assume_timezone(values, zone, ambiguous="latest", nonexistent="latest")
        unclear = pc.fill_null(pc.not_equal(first, last), False)
        if pc.any(unclear).as_py():
            rows = np.flatnonzero(unclear.to_numpy(zero_copy_only=False)).tolist()
            return pc.if_else(unclear, pa.scalar(None, first.type), first), rows
        return first, []
    if pa.types.is_list(kind):
        inner, _ = _zoned(pc.list_flatten(values), zone)
        lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
        offsets = np.zeros(len(values) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        mask = values.is_null() if values.null_count else None
        return pa.ListArray.from_arrays(pa.array(offsets), inner, mask=mask), []
    if pa.types.is_struct(kind):
        children = [_zoned(child, zone)[0] for child in values.flatten()]
        mask = values.is_null() if values.null_count else None
        return pa.StructArray.from_arrays(children, names=[child.name for child in kind], mask=mask), []
    return values, []
