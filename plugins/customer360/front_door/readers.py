"""Readers: a landed file of any format as a stream of typed chunks, in bounded memory.

One module per format (read_jsonl, read_csv, read_parquet). A file that cannot be read at all raises
:class:`UnreadableFileError`, whose message is the reason of the refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from customer360.contract.feeds import Feed
from customer360.contract.records import Chunk
from customer360.front_door.formats import Source, format_of
from customer360.front_door.read_csv import Csv, open_csv
from customer360.front_door.read_jsonl import Jsonl, field_as_it_came, open_jsonl
from customer360.front_door.read_parquet import open_parquet
from customer360.front_door.text_blocks import BLOCK_BYTES, TextBlocks, plain


def open_source(
    feed: Feed, name: str, stream: BinaryIO, *, block_bytes: int = BLOCK_BYTES, parquet_timezone: str = ""
) -> Source:
    """Begin to read a landed file.

    Args:
        stream: the file, opened for reading; for Parquet it must be seekable. The caller closes it.
        parquet_timezone: the zone of Parquet times that name none.

    Raises:
        UnreadableFileError: it is empty, damaged, of another format than its name says, or lacks a required column.
            Damage further down raises it while the chunks are read.
    """
    kind = format_of(name)
    if kind == "parquet":
        return open_parquet(feed, stream, parquet_timezone)
    text = TextBlocks(plain(name, stream), block_bytes)
    source = open_csv(feed, text) if kind == "csv" else open_jsonl(feed, text)
    source.position = stream.tell
    return source


def read_again(feed: Feed, reading: dict[str, Any], records: Sequence[str]) -> Chunk:
    """Read single records of a batch once more, for a release: row n of the chunk is record n.

    A record of a Parquet file was kept as a JSON object, so it is read as one.
    """
    if reading.get("format") == "csv":
        return Csv(feed, reading["delimiter"], list(reading["header"])).again(records)
    encoded = [record.encode() for record in records]
    part = Jsonl(feed).one_by_one(encoded, range(len(encoded)))
    numbers = np.arange(1, len(encoded) + 1, dtype=np.int64)
    return part.chunk(feed, numbers, lambda row: records[row], lambda row, name: field_as_it_came(encoded[row], name))
