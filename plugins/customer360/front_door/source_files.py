"""A vendor's export at the front door: converted by its source into a private file, then read as any batch.

Nothing but the export is kept. A replay converts it again, by the source as it is then.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np
from psycopg.types.json import Jsonb

from customer360.contract.feeds import Feed
from customer360.contract.records import Chunk
from customer360.front_door import landing
from customer360.front_door.formats import Reading, Source, UnreadableFileError
from customer360.front_door.ledger import Batch
from customer360.front_door.readers import open_source
from customer360.front_door.text_blocks import plain
from customer360.settings import Settings
from customer360.sources import declaration
from customer360.sources.conversion import Conversion, convert
from customer360.sources.input_files import InputFile, SourceFileError, prepare
from customer360.warehouse import Connection


@contextmanager
def converted(settings: Settings, batch: Batch) -> Iterator[Conversion]:
    """A batch's file, converted; the output is removed at the end of the block.

    Raises:
        UnreadableFileError: the file is not one of the source's, or is damaged: the batch is refused.
        SourceError: the source is missing or cannot run.
        ConversionError: the source does not account for every record.
        FileNotFoundError: the file was taken away.
    """
    assert batch.source is not None  # noqa: S101 - the caller asks for a source's batch alone
    assert batch.location is not None  # noqa: S101 - released batches have no source
    source, namespace = declaration.of_folder(settings, batch.source)
    if source.feed.name != batch.feed:  # a later version of the source may give another feed
        raise declaration.SourceError(
            f"Batch {batch.batch_id} was loaded into {batch.feed}; {source.name} gives {source.feed.name} now.",
            "Hold the batch and land its file again: it is a new batch of the other feed.",
        )
    try:
        with (
            landing.open_file(settings, batch.location) as stream,
            prepared(settings, batch.file_name, stream, [source]) as (file, folder),
        ):
            yield convert(
                source,
                file,
                folder,
                namespace=namespace,
                exported_at=exported_at(batch.file_name, batch.file_modified_at or batch.landed_at),
                memory_mb=settings.source_memory_mb,
            )
    except SourceFileError as error:
        raise UnreadableFileError(f"{error}. {error.next_step}".strip().rstrip(".")) from error


@contextmanager
def opened(feed: Feed, conversion: Conversion) -> Iterator[Source]:
    """The converted records as any batch's, but that a row's number is that of the vendor's record it came from."""
    if not conversion.records:  # every record was set aside: that is no fault
        yield Source(feed, Reading("parquet"), iter(()), lambda: 0)
        return
    with conversion.output.open("rb") as stream:
        source = open_source(feed, conversion.output.name, stream)
        source.chunks = _numbered(source.chunks, conversion.record_numbers)
        yield source


def _numbered(chunks: Iterator[Chunk], numbers: np.ndarray) -> Iterator[Chunk]:
    start = 0
    for chunk in chunks:
        yield replace(chunk, row_numbers=numbers[start : start + len(chunk)])
        start += len(chunk)


@contextmanager
def prepared(
    settings: Settings, name: str, stream: BinaryIO, sources: list[declaration.Source]
) -> Iterator[tuple[InputFile, Path]]:
    """A file's records as DuckDB reads them, in a private folder that is removed at the end of the block.

    Raises:
        SourceFileError: the file is empty, damaged, or of another format than its name says.
    """
    work = settings.home / "conversions"  # large exports spill to disk: more of it than /tmp may have
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="c360-", dir=work) as folder:
        try:
            file = prepare(name.rsplit("/", 1)[-1], plain(name, stream), Path(folder), sources)
        except UnreadableFileError as error:
            raise SourceFileError(str(error)) from error
        yield file, Path(folder)


def exported_at(name: str, modified_at: datetime) -> datetime:
    """When a file was exported: by its name (``…@20260501T100000Z.csv``), else when it was last changed."""
    return landing.time_in_name(name) or modified_at


def enter(connection: Connection, batch_id: int, conversion: Conversion) -> None:
    """Enter into the ledger what became of a file's records, in the transaction that loads them."""
    connection.execute(
        """
        insert into ops.conversions (batch_id, source, source_version, source_digest, namespace, input_rows,
            record_rows, continuation_rows, aside_rows, asides, defaults, unknown_columns, exported_at, output_hash)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        on conflict (batch_id) do update set source = excluded.source, source_version = excluded.source_version,
            source_digest = excluded.source_digest, namespace = excluded.namespace, input_rows = excluded.input_rows,
            record_rows = excluded.record_rows, continuation_rows = excluded.continuation_rows,
            aside_rows = excluded.aside_rows, asides = excluded.asides, defaults = excluded.defaults,
            unknown_columns = excluded.unknown_columns, exported_at = excluded.exported_at,
            output_hash = excluded.output_hash, converted_at = clock_timestamp()
        """,
        [
            batch_id,
            conversion.source,
            conversion.version,
            conversion.digest,
            conversion.namespace,
            conversion.input_records,
            conversion.records,
            conversion.continuations,
            conversion.set_aside,
            Jsonb(conversion.asides),
            Jsonb(conversion.defaults),
            Jsonb(conversion.unknown_columns),
            conversion.exported_at,
            conversion.output_hash,
        ],
    )
