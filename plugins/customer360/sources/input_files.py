"""An export as it lies on disk, prepared for DuckDB: plain, one record after the other, and counted.

The count is made here, in Python, from the bytes: what DuckDB read is checked against it afterwards.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from customer360.sources.declaration import Source
from customer360.sources.file_shapes import SourceFileError, shape_of

BLOCK_BYTES = 4 << 20
MAX_RECORD_BYTES = 16 << 20
"""A longer record is a broken file."""
MAX_DOCUMENT_BYTES = 256 << 20
"""A JSON array, or a document over several lines, is read whole; a larger one must come as JSON Lines."""
MAX_COLUMNS = 2_000
_LOOKED_AT = 200
"""Records from the beginning whose names of fields are looked at."""


@dataclass
class InputFile:
    """An export that DuckDB can read."""

    shape: str
    path: Path
    record_count: int
    """Records that Python counted."""
    names: list[str]
    """Columns of the header or the schema; of JSON, the fields that the first records have."""
    delimiter: str = ","
    beside: dict[str, Path] = field(default_factory=dict)
    """JSON Lines of each list that pages hold beside the records."""


def prepare(name: str, stream: BinaryIO, folder: Path, sources: Iterable[Source]) -> InputFile:
    """Write a file's records into ``folder`` in the form that DuckDB reads, and count them.

    Args:
        name: the file's name, which says its format.
        stream: its bytes, inflated already. The caller closes it.
        sources: the sources that may read it: they say how pages of an API are taken apart.

    Raises:
        SourceFileError: the file is empty, damaged, or of another format than its name says.
    """
    shape = shape_of(name)
    if shape == "parquet":
        return _prepare_parquet(stream, folder / "input.parquet")
    text = _Text(stream)
    if shape == "csv":
        return _prepare_csv(text, folder / "input.csv")
    return _prepare_json(text, folder, list(sources))


def check(source: Source, file: InputFile) -> None:
    """Check that a file is one of the source's.

    Raises:
        SourceFileError: it has another format, or lacks a column by which the source is recognised.
    """
    if file.shape not in source.shapes:
        raise SourceFileError(
            f"{source.name} reads {', '.join(source.shapes)}, this is {file.shape}",
            f"`c360 source list` shows what each source reads; docs/sources/{source.name}.md how to get the file.",
        )
    missing = lacking(source, file.names)
    if missing:
        raise SourceFileError(
            f"it is no {source.name} file: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing",
            "`c360 source try FILE` says which source knows its columns.",
        )


def lacking(source: Source, names: Iterable[str]) -> list[str]:
    """The columns by which the source is recognised and that are not among a file's or a record's names."""
    present = {loosely(name) for name in names}
    return [name for name in source.needs if loosely(name) not in present]


def loosely(name: str) -> str:
    """A column's name without regard to case and spaces around it."""
    return name.strip().lower()


# --- text ------------------------------------------------------------------------------------------------------------


class _Text:
    """The bytes of a text file without a byte order mark, with the first of them looked at."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.start = stream.read(BLOCK_BYTES)
        while len(self.start) < BLOCK_BYTES and (more := stream.read(BLOCK_BYTES - len(self.start))):
            self.start += more
        if self.start.startswith(b"\xef\xbb\xbf"):
            self.start = self.start[3:]
        if self.start.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise SourceFileError("it is UTF-16 text; UTF-8 was expected", "Save it as UTF-8.")
        if self.start.startswith((b"\x1f\x8b", b"PAR1", b"PK\x03\x04")):
            raise SourceFileError(
                "its content is not text: is the file named after another format?", "Unpack it, or rename it."
            )
        if not self.start.strip():
            raise SourceFileError("it is empty")

    def blocks(self) -> Iterator[bytes]:
        """The bytes, block by block."""
        yield self.start
        while block := self._stream.read(BLOCK_BYTES):
            yield block

    def whole(self) -> bytes:
        """All of them, where that is not too much to hold."""
        parts, size = [], 0
        for block in self.blocks():
            parts.append(block)
            size += len(block)
            if size > MAX_DOCUMENT_BYTES:
                raise SourceFileError(
                    f"it is one JSON document of more than {MAX_DOCUMENT_BYTES >> 20} MB",
                    "Write one record per line (JSON Lines): jq -c '.[]' FILE.json > FILE.jsonl",
                )
        return b"".join(parts)


# --- CSV -------------------------------------------------------------------------------------------------------------


def _prepare_csv(text: _Text, path: Path) -> InputFile:
    line, _, _ = text.start.lstrip(b"\r\n").partition(b"\n")
    try:
        head = line.decode().rstrip("\r")
    except UnicodeDecodeError as error:
        raise SourceFileError("its header is not UTF-8 text", "Save the file as UTF-8.") from error
    if "\x00" in head:
        raise SourceFileError("its header holds a NUL character: is it text at all?")
    if "\r" in head:
        raise SourceFileError("its lines end in a carriage return alone; LF or CRLF was expected")
    names, delimiter = _header(head)
    if len(names) > MAX_COLUMNS:
        raise SourceFileError(f"it has {len(names):,} columns; more than {MAX_COLUMNS:,} are not read")
    with path.open("wb") as target:
        count = _count_csv(text.blocks(), target.write, b"\r\n" if line.endswith(b"\r") else b"\n")
    if count < 2:
        raise SourceFileError("it has a header and no records")
    return InputFile("csv", path, count - 1, names, delimiter)


def _header(line: str) -> tuple[list[str], str]:
    """The names of the columns, and the delimiter: the one that gives most of them."""
    best: list[str] = []
    found = ","
    for delimiter in ",;\t|":
        try:
            names = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            continue
        if len(names) > len(best):
            best, found = names, delimiter
    return [name.strip() or f"column {place}" for place, name in enumerate(best, 1)], found


def _count_csv(blocks: Iterable[bytes], write: Callable[[bytes], object], line_end: bytes = b"\n") -> int:
    """Copy CSV and count its records, the header among them: lines that end outside quotes and are not blank."""
    count, is_quoted, has_content, last = 0, False, False, b""
    for block in blocks:
        write(block)
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == 10)
        quotes = np.flatnonzero(data == 34)
        outside = ends[(np.searchsorted(quotes, ends) + is_quoted) % 2 == 0]
        content = np.flatnonzero((data != 10) & (data != 13))
        if len(outside):
            filled = np.searchsorted(content, outside)  # bytes of content before each end
            counted = np.diff(filled, prepend=0) > 0
            count += int(counted[1:].sum()) + int(counted[0] or has_content)
            has_content = bool(len(content) > filled[-1])
        else:
            has_content = has_content or bool(len(content))
        is_quoted = bool((len(quotes) + is_quoted) % 2)
        last = block[-1:]
    if is_quoted:
        raise SourceFileError("a quoted value does not end: the file was cut off", "Fetch the export again.")
    if last != b"\n":
        write(line_end)
        count += has_content
    return count


# --- JSON ------------------------------------------------------------------------------------------------------------


_ANY = msgspec.json.Decoder(msgspec.Raw)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BREAKS = re.compile(rb"[\r\n]+")


def _prepare_json(text: _Text, folder: Path, sources: list[Source]) -> InputFile:
    lists: dict[str, set[str]] = {}
    for source in sources:
        if source.records:
            lists.setdefault(source.records, set()).update(source.beside)
    with _Records(folder, lists) as records:
        start = text.start.lstrip()
        if start.startswith(b"["):
            for document in _decoded(_LIST, text.whole(), "it"):
                records.add(bytes(document))
        elif not _is_one_line(start):
            records.add(text.whole())
        else:
            for block in _whole_lines(text.blocks()):
                records.add_lines(block)
    if not records.count:
        raise SourceFileError("it holds no records")
    return InputFile("json", records.path, records.count, list(records.names), beside=records.beside)


def _is_one_line(start: bytes) -> bool:
    """Whether the first line is a JSON value by itself, as in JSON Lines."""
    line, _, _ = start.partition(b"\n")
    try:
        _ANY.decode(line)
    except msgspec.DecodeError:
        return False
    return True


def _decoded(decoder: msgspec.json.Decoder, data: bytes, what: str):  # type: ignore[no-untyped-def]
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise SourceFileError(f"{what} is not valid JSON", "Fetch the export again; it may be cut off.") from error


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks that end with a line."""
    rest = b""
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end:
            yield rest + block[:end]
            rest = block[end:]
        else:
            rest += block
        if len(rest) > MAX_RECORD_BYTES:
            raise SourceFileError(f"a line is longer than {MAX_RECORD_BYTES >> 20} MB")
    if rest:
        yield rest + b"\n"


_BLANK_LINE = re.compile(rb"\n[ \t\r]*(?=\n)")


def _count_lines(block: bytes) -> int:
    """Lines of a block that are not blank."""
    return block.count(b"\n") - len(_BLANK_LINE.findall(b"\n" + block if block[:1].isspace() else block))


class _Records:
    """Writes records as JSON Lines; takes pages of an API apart."""

    def __init__(self, folder: Path, lists: dict[str, set[str]]) -> None:
        self.path = folder / "input.jsonl"
        self.beside = {name: folder / f"beside-{name}.jsonl" for names in lists.values() for name in names}
        self.lists = lists
        self.quoted = [json.dumps(name).encode() for name in lists]
        self.count = 0
        self.names: dict[str, None] = {}

    def __enter__(self) -> _Records:
        self._file = self.path.open("wb")
        self._files = {name: path.open("wb") for name, path in self.beside.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._file, *self._files.values()):
            file.close()

    def add_lines(self, block: bytes) -> None:
        """JSON Lines. Whether they are JSON is DuckDB's to say; only what may be a page is looked into here."""
        if self.count < _LOOKED_AT or self._may_be_page(block):
            for number, line in enumerate(block.split(b"\n"), self.count + 1):
                if not line.strip():
                    continue
                if self.count < _LOOKED_AT:
                    _decoded(_ANY, line, f"line {number:,}")
                self.add(line)
        else:
            self._file.write(block)
            self.count += _count_lines(block)

    def _may_be_page(self, data: bytes) -> bool:
        return any(name in data for name in self.quoted)

    def add(self, document: bytes) -> None:
        """A record, or a page of them."""
        if self._may_be_page(document) and document.lstrip().startswith(b"{"):
            page = _decoded(_OBJECT, document, "it")
            held = next((name for name in self.lists if bytes(page.get(name, b"")).startswith(b"[")), None)
            if held is not None:
                self._names_of_page(held, page)
                for record in _LIST.decode(page[held]):
                    self._write(bytes(record))
                for name in self.lists[held]:
                    for record in _LIST.decode(page[name]) if bytes(page.get(name, b"")).startswith(b"[") else ():
                        self._files[name].write(_BREAKS.sub(b" ", bytes(record)) + b"\n")
                return
        self._write(document)

    def _names_of_page(self, held: str, page: dict[str, msgspec.Raw]) -> None:
        for name in self.lists[held] & page.keys():
            self.names[name] = None

    def _write(self, record: bytes) -> None:
        self._file.write((_BREAKS.sub(b" ", record.strip()) if b"\n" in record else record) + b"\n")
        self.count += 1
        if self.count <= _LOOKED_AT and record.lstrip().startswith(b"{"):
            self.names.update(dict.fromkeys(_decoded(_OBJECT, record, f"record {self.count:,}")))


# --- Parquet ---------------------------------------------------------------------------------------------------------


def _prepare_parquet(stream: BinaryIO, path: Path) -> InputFile:
    with path.open("wb") as target:
        while block := stream.read(BLOCK_BYTES):
            target.write(block)
    try:
        schema = pq.read_schema(path)
        count = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceFileError("it is not a readable Parquet file: its footer is damaged or missing") from error
    if not count:
        raise SourceFileError("it has no rows")
    return InputFile("parquet", path, count, list(schema.names))
