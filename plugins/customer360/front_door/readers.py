"""Readers: a landed file of any format as a stream of typed chunks, in bounded memory.

Each format has a fast way over whole blocks (Arrow) and a slow way over single records (Python). A block that the
fast way refuses is narrowed down, so that only records out of shape go the slow way; both give the same values.
A file that cannot be read at all raises :class:`UnreadableFileError`, whose message is the reason of the refusal.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

from customer360.contract.feeds import Feed, Field
from customer360.contract.records import (
    LONG_TEXT,
    MAX_BRACKETS,
    RECORD,
    Chunk,
    NumberText,
    Problems,
    Unknown,
    array_of_cells,
    arrow_type,
    conform,
    from_python,
    json_schema,
    loads,
    read_json_block,
    unknown_in_elements,
)
from customer360.front_door.file_names import printable
from customer360.front_door.formats import UnreadableFileError, format_of

BLOCK_BYTES = 24 << 20
"""Text taken at a time: some 40,000 orders. Larger blocks gain no speed and cost four times their size in memory."""
MAX_RECORD_BYTES = 16 << 20
"""A longer record is a bomb or a broken file."""
MAX_COLUMNS = 2_000
MAX_INFLATION = 400
"""A gzip file that grows by more than this factor (real exports: 5-30) is a bomb."""
INFLATION_FLOOR = 256 << 20
"""… unless what it grows to is small anyway."""
PARQUET_ROWS = 60_000
_NARROW = 2_048  # lines that are tried again together after a block was refused


@dataclass
class Reading:
    """How a file is read: enough to read single records of it again."""

    format: str
    delimiter: str = ","
    header: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For ``ops.batches.reading``."""
        if self.format != "csv":
            return {"format": self.format}
        return {"format": "csv", "delimiter": self.delimiter, "header": self.header}


@dataclass
class Source:
    """An opened file of a feed: its chunks, and how it was read."""

    feed: Feed
    reading: Reading
    chunks: Iterator[Chunk]
    position: Callable[[], int]
    """Bytes of the landed file consumed so far, for progress."""


def open_source(feed: Feed, name: str, stream: BinaryIO, *, block_bytes: int = BLOCK_BYTES) -> Source:
    """Begin to read a landed file.

    Args:
        stream: the file, opened for reading; for Parquet it must be seekable. The caller closes it.

    Raises:
        UnreadableFileError: it is empty, damaged, of another format than its name says, or lacks a required column.
            Damage further down raises it while the chunks are read.
    """
    kind = format_of(name)
    if kind == "parquet":
        return _open_parquet(feed, stream)
    blocks = _without_mark(plain(name, stream), block_bytes)
    source = _open_csv(feed, blocks) if kind == "csv" else _open_jsonl(feed, blocks)
    source.position = stream.tell
    return source


# --- text: blocks of whole records -----------------------------------------------------------------------------------


class _Inflated(io.RawIOBase):
    """A gzip stream that raises plain words, and stops where it turns out to be a bomb."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj(wbits=31)
        self._given = 0
        self._taken = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes; b"" at the end."""
        while True:
            if self._inflate.eof:
                left = self._inflate.unused_data or self._stream.read(1 << 16)
                if not left.strip(b"\0"):
                    return b""
                self._inflate = zlib.decompressobj(wbits=31)  # gzip files may be concatenated
                raw = left
            else:
                raw = self._inflate.unconsumed_tail or self._stream.read(1 << 20)
                self._taken += 0 if self._inflate.unconsumed_tail else len(raw)
                if not raw:
                    raise UnreadableFileError("the gzip data ends too early: the file was cut off")
            try:
                data = self._inflate.decompress(raw, size)
            except zlib.error as error:
                raise UnreadableFileError("it is not valid gzip data") from error
            if data:
                self._given += len(data)
                if self._given > INFLATION_FLOOR and self._given > self._taken * MAX_INFLATION:
                    raise UnreadableFileError(
                        f"the gzip data grows to more than {MAX_INFLATION} times its size: it looks like a bomb"
                    )
                return data


def plain(name: str, stream: BinaryIO) -> BinaryIO:
    """The bytes of a file, inflated where its name ends in ``.gz``. Damage and bombs raise UnreadableFileError."""
    return _Inflated(stream) if name.lower().endswith(".gz") else stream  # type: ignore[return-value]


Blocks = Callable[[int], bytes]
"""Gives up to so many further bytes, b"" at the end."""


def _without_mark(stream: BinaryIO, block_bytes: int) -> _Text:
    return _Text(stream, block_bytes)


class _Text:
    """The bytes of a text file, without a byte order mark, cut where the caller says."""

    def __init__(self, stream: BinaryIO, block_bytes: int) -> None:
        self._stream = stream
        self._block_bytes = block_bytes
        self._rest = b""
        self._at_end = False
        self._fill(4096)
        if self._rest.startswith(b"\xef\xbb\xbf"):
            self._rest = self._rest[3:]
        if self._rest.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UnreadableFileError("it is UTF-16 text; UTF-8 was expected")
        if self._rest.startswith((b"\x1f\x8b", b"PAR1", b"PK\x03\x04")):
            raise UnreadableFileError("its content is not text: is the file named after another format?")
        if not self._rest.strip():
            self._fill(block_bytes)
            if self._at_end and not self._rest.strip():
                raise UnreadableFileError("it is empty")

    def _fill(self, size: int) -> None:
        """Read until ``size`` bytes wait, or the end."""
        parts = [self._rest]
        have = len(self._rest)
        while have < size and not self._at_end:
            data = self._stream.read(size - have)
            if not data:
                self._at_end = True
            parts.append(data)
            have += len(data)
        self._rest = b"".join(parts)

    def header_line(self) -> bytes:
        """The first line that is not blank."""
        while True:
            self._fill(max(4096, len(self._rest)))
            end = self._rest.find(b"\n")
            while end < 0 and not self._at_end and len(self._rest) <= MAX_RECORD_BYTES:
                self._fill(len(self._rest) * 4)
                end = self._rest.find(b"\n")
            if end < 0 and len(self._rest) > MAX_RECORD_BYTES:
                raise UnreadableFileError(f"its first line is longer than {MAX_RECORD_BYTES >> 20} MB")
            line, self._rest = (self._rest, b"") if end < 0 else (self._rest[: end + 1], self._rest[end + 1 :])
            if line.strip() or (self._at_end and not self._rest):
                return line

    def blocks(self, last_record_end: Callable[[bytes], int]) -> Iterator[bytes]:
        """Blocks that end at the end of a record, the last one with a line feed added if it has none.

        Args:
            last_record_end: gives the position after the last complete record of a block, or 0.

        Raises:
            UnreadableFileError: a record does not end within MAX_RECORD_BYTES.
        """
        size = self._block_bytes
        while True:
            self._fill(size)
            if self._at_end and len(self._rest) <= size:
                if self._rest:
                    yield self._rest if self._rest.endswith(b"\n") else self._rest + b"\n"
                return
            cut = last_record_end(self._rest)
            if cut:
                block, self._rest = self._rest[:cut], self._rest[cut:]
                size = self._block_bytes
                yield block
            elif len(self._rest) > MAX_RECORD_BYTES:
                cut = self._rest.find(b"\n") + 1
                if not cut:
                    raise UnreadableFileError(f"a line is longer than {MAX_RECORD_BYTES >> 20} MB")
                block, self._rest = (
                    self._rest[:cut],
                    self._rest[cut:],
                )  # a quote that never closes: one line steps aside
                yield block
            else:
                size = min(len(self._rest) * 2, MAX_RECORD_BYTES + 1)


def _decoded(raw: bytes) -> str:
    """A record as text that PostgreSQL can keep: what is no UTF-8, and NUL, are written as escapes."""
    return raw.decode(errors="backslashreplace").replace("\x00", "\\x00")


# --- JSON Lines ------------------------------------------------------------------------------------------------------


def _open_jsonl(feed: Feed, text: _Text) -> Source:
    return Source(feed, Reading("jsonl"), _Jsonl(feed).chunks(text), lambda: 0)


class _Jsonl:
    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.schema = json_schema(feed)
        self.known = frozenset(feed.by_name)
        self.arrays = [of for of in feed.fields if of.kind == "array"]
        self.has_extra = False
        """Whether unknown fields were met: from then on each record is searched for them."""

    def chunks(self, text: _Text) -> Iterator[Chunk]:
        rows = 0
        seen: set[str] = set()
        for block in text.blocks(lambda block: block.rfind(b"\n") + 1):
            lines = _Lines(block)
            if len(lines) == 0:
                continue
            chunk = self.chunk(lines, rows + 1)
            rows += len(chunk)
            if not set(self.feed.required) <= seen:
                # A JSON object may leave a field out, so a column is missing only if no record at all has it. The
                # first block decides: a file that brings it later is as odd as one that never does.
                seen |= {
                    name
                    for name in self.feed.required
                    if chunk.columns[name].null_count < len(chunk) or chunk.problems.get(name)
                }
                absent = [name for name in self.feed.required if name not in seen]
                if absent and len(chunk.problems.get(RECORD, ())) < len(chunk) and not self._mentions(block, absent):
                    raise UnreadableFileError(_missing_columns(absent))
            yield chunk
        if rows == 0:
            raise UnreadableFileError("it is empty")

    @staticmethod
    def _mentions(block: bytes, names: Sequence[str]) -> bool:
        return all(f'"{name}"'.encode() in block for name in names)

    def chunk(self, lines: _Lines, first_row: int) -> Chunk:
        """All lines of a block as one chunk."""
        parts: list[_Part] = []
        if lines.are_plain:
            self._parse(lines, 0, len(lines), parts)
        else:
            self._parse_apart(lines, range(len(lines)), parts)
        part = _Part.joined(self.feed, parts)
        return Chunk(
            feed=self.feed,
            row_numbers=np.arange(first_row, first_row + len(lines), dtype=np.int64),
            columns=part.columns,
            problems=part.problems,
            record=lambda row: _decoded(lines[row]),
            extra=part.extra,
            unknown_fields=part.unknown_fields,
        )

    def _parse(self, lines: _Lines, start: int, end: int, parts: list[_Part]) -> None:
        part = self._fast(lines.text(start, end), np.arange(start, end), lines)
        if part is not None:
            parts.append(part)
        elif end - start > _NARROW:
            for place in range(start, end, _NARROW):
                self._parse(lines, place, min(place + _NARROW, end), parts)
        else:
            self._parse_apart(lines, range(start, end), parts)

    def _parse_apart(self, lines: _Lines, rows: Sequence[int], parts: list[_Part]) -> None:
        """Send the odd records the slow way, and the others together the fast one."""
        plain = [row for row in rows if self._looks_plain(lines[row])]
        part = self._fast(b"\n".join(lines[row] for row in plain) + b"\n", np.array(plain), lines) if plain else None
        if part is not None:
            parts.append(part)
        odd = sorted(set(rows) - set(plain)) if part is not None else list(rows)
        for start in range(0, len(odd), _NARROW):
            parts.append(self._slow([lines[row] for row in odd[start : start + _NARROW]], odd[start : start + _NARROW]))

    def _looks_plain(self, line: bytes) -> bool:
        if len(line) > LONG_TEXT and line.count(b"[") + line.count(b"{") > MAX_BRACKETS:
            return False
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            return False
        if type(record) is not dict:
            return False
        return all(_fits(of, record.get(of.name)) for of in self.feed.fields)

    def _fast(self, block: bytes, rows: np.ndarray, lines: _Lines) -> _Part | None:
        if not lines.is_utf8:
            return None
        table = None
        if not self.has_extra:
            try:
                table = read_json_block(block, self.schema, "error")
            except pa.ArrowInvalid as error:
                if "unexpected field" not in str(error):
                    return None
                self.has_extra = True
        if table is None:
            try:
                table = read_json_block(block, self.schema, "ignore")
            except pa.ArrowInvalid:
                return None
        if table.num_rows != len(rows):
            return None
        part = _Part(rows)
        for of in self.feed.fields:
            part.columns[of.name], unfit = conform(of, table.column(of.name))
            part.note(of.name, unfit)
        if self.has_extra:
            self._keep_extra(part, [lines[int(row)] for row in rows])
        return part

    def _keep_extra(self, part: _Part, records: list[bytes]) -> None:
        """Unknown fields, byte for byte as they came."""
        decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        decode_array = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
        extras: list[str | None] = []
        for record in records:
            raw = decode(record)
            extra: dict[str, Any] = {name: raw[name] for name in raw.keys() - self.known}
            for of in self.arrays:
                value = raw.get(of.name)
                if value is not None and bytes(value) != b"null":
                    inner = [
                        {name: v for name, v in element.items() if name not in of.element_names}
                        for element in decode_array(value)
                    ]
                    if any(inner):
                        extra[of.name] = inner
            part.count_unknown(extra)
            extras.append(_storable(msgspec.json.encode(extra)) if extra else None)
        part.extra = pa.array(extras, pa.string())

    def _slow(self, records: list[bytes], rows: Sequence[int]) -> _Part:
        part = _Part(np.array(rows))
        parsed: list[dict[str, Any]] = []
        unreadable: Problems = {}
        for row, raw in enumerate(records):
            value: Any = {}
            try:
                value = loads(raw.decode())
                if not isinstance(value, dict):
                    unreadable[row] = "is not a JSON object"
                elif len(value) > MAX_COLUMNS:
                    unreadable[row] = f"has more than {MAX_COLUMNS} fields"
            except UnicodeDecodeError:
                unreadable[row] = "is not valid UTF-8 text"
            except RecursionError:
                unreadable[row] = "is nested too deeply"
            except ValueError as error:
                unreadable[row] = f"is not valid JSON ({_json_fault(error)})"
            parsed.append({} if row in unreadable else value)
        part.note(RECORD, unreadable)
        for of in self.feed.fields:
            part.columns[of.name], unfit = from_python(of, [record.get(of.name) for record in parsed])
            part.note(of.name, unfit)
        extras: list[str | None] = []
        for record in parsed:
            extra = {name: value for name, value in record.items() if name not in self.known}
            for of in self.arrays:
                if inner := unknown_in_elements(of, record.get(of.name)):
                    extra[of.name] = inner
            part.count_unknown(extra)
            extras.append(_storable(dumps(extra)) if extra else None)
        part.extra = pa.array(extras, pa.string()) if any(extras) else None
        return part


class _Lines:
    """The non-blank lines of a block, found without copying them."""

    def __init__(self, block: bytes) -> None:
        self.block = block
        array = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(array == 10)
        starts = np.empty_like(ends)
        starts[0:1] = 0
        starts[1:] = ends[:-1] + 1
        # A line that begins with a space or is blank is looked at one by one.
        last = array[np.maximum(ends - 1, 0)]
        carriage = last == 13
        stops = np.where(carriage, ends - 1, ends)
        tidy = (array[starts] == 123) & (array[np.maximum(stops - 1, 0)] == 125) & (stops > starts)
        self.are_plain = bool(tidy.all())
        if not self.are_plain:
            blank = np.array(
                [not block[a:b].strip(b" \t\r\n") for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
            )
            starts, stops = starts[~blank], stops[~blank]
        elif int((stops - starts).max()) > LONG_TEXT:
            for place in np.flatnonzero(stops - starts > LONG_TEXT):
                line = block[starts[place] : stops[place]]
                self.are_plain &= line.count(b"[") + line.count(b"{") <= MAX_BRACKETS
        self.starts, self.stops = starts, stops
        self.is_utf8 = block.isascii() or _is_utf8(block)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> bytes:
        line = self.block[self.starts[row] : self.stops[row]]
        return line if self.are_plain else line.strip(b" \t\r")

    def text(self, start: int, end: int) -> bytes:
        """Lines ``start`` to ``end`` in one piece."""
        return self.block if (start, end) == (0, len(self)) else self.block[self.starts[start] : self.stops[end - 1]]


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _fits(of: Field, value: Any) -> bool:
    """Whether Arrow's reader is likely to take a value; only a guess that saves time."""
    if value is None:
        return True
    kind = type(value)
    if of.kind == "array":
        return kind is list and all(
            type(element) is dict and all(_fits(inner, element.get(inner.name)) for inner in of.elements)
            for element in value
        )
    if of.kind in {"text", "time"}:
        return kind is str
    if of.kind == "boolean":
        return kind is bool
    if of.kind == "integer":
        return kind is int
    if kind is float:
        return of.kind == "number" or round(value, 4) == value
    if kind is str:
        return value.replace(".", "", 1).isdecimal() and len(value.partition(".")[2]) <= 4
    return kind is int


def _json_fault(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} at character {error.pos + 1}"
    return "it cannot be read"


def dumps(value: Any) -> bytes:
    """JSON of what :func:`records.loads` gave, with each number as it was written."""
    if isinstance(value, NumberText):
        return value.encode() if value not in {"NaN", "Infinity", "-Infinity"} else json.dumps(str(value)).encode()
    if isinstance(value, dict):
        return b"{" + b",".join(_dumps_text(key) + b":" + dumps(v) for key, v in value.items()) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(dumps, value)) + b"]"
    return _dumps_text(value)


def _dumps_text(value: Any) -> bytes:
    # A lone surrogate is no text; PostgreSQL's jsonb would refuse its escape.
    text = json.dumps(value, ensure_ascii=False)
    return text.encode(errors="replace")


# What JSON may say and PostgreSQL's jsonb cannot hold: NUL, lone surrogates, numbers beyond numeric's range.
_BEYOND_JSONB = re.compile(rb"\\u0000|\\u[dD][89a-fA-F]|[eE][+-]?0*[1-9][0-9]{3}|[0-9]{1000}")


def _storable(raw: bytes) -> str:
    """Unknown fields as jsonb can hold them; what it cannot is kept as the text that it was."""
    text = raw.decode(errors="replace")
    if _BEYOND_JSONB.search(raw) or text.count("[") + text.count("{") > MAX_BRACKETS:
        return json.dumps({"(as text)": text}, ensure_ascii=False)
    return text


# --- parts of a chunk ------------------------------------------------------------------------------------------------


class _Part:
    """Some rows of a chunk, typed, on their way back into the order of the file."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.columns: dict[str, pa.Array] = {}
        self.problems: dict[str, Problems] = {}
        self.extra: pa.Array | None = None
        self.unknown_fields: dict[str, int] = {}

    def note(self, name: str, problems: Problems) -> None:
        """Keep problems, whose rows count within this part."""
        if problems:
            self.problems.setdefault(name, {}).update(problems)

    def count_unknown(self, extra: dict[str, Any]) -> None:
        """Count each unknown field of one record; those of elements as ``items[].colour``."""
        for name, value in extra.items():
            names = {f"{name}[].{key}" for element in value for key in element} if _is_inner(value) else {name}
            for full in names:
                full = printable(full)
                if full in self.unknown_fields or len(self.unknown_fields) < MAX_COLUMNS:
                    self.unknown_fields[full] = self.unknown_fields.get(full, 0) + 1

    @classmethod
    def joined(cls, feed: Feed, parts: list[_Part]) -> _Part:
        """One part of all, in the order of the file."""
        if len(parts) == 1 and not np.any(np.diff(parts[0].rows) < 0):
            return parts[0]
        rows = np.concatenate([part.rows for part in parts])
        order = np.argsort(rows, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        whole = cls(rows[order])
        take = pa.array(order)
        for of in feed.fields:
            whole.columns[of.name] = pa.concat_arrays([part.columns[of.name] for part in parts]).take(take)
        offset = 0
        for part in parts:
            for name, problems in part.problems.items():
                whole.note(name, {int(place[offset + row]): reason for row, reason in problems.items()})
            for name, count in part.unknown_fields.items():
                whole.unknown_fields[name] = whole.unknown_fields.get(name, 0) + count
            offset += len(part.rows)
        if any(part.extra is not None for part in parts):
            whole.extra = pa.concat_arrays(
                [part.extra if part.extra is not None else pa.nulls(len(part.rows), pa.string()) for part in parts]
            ).take(take)
        return whole


def _is_inner(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)


def _missing_columns(names: Sequence[str], present: Sequence[str] = ()) -> str:
    plural = "columns" if len(names) > 1 else "column"
    told = f"the required {plural} {', '.join(names)} {'are' if len(names) > 1 else 'is'} missing"
    alike = {_loosely(name): name for name in reversed(present)}
    meant = [f"{printable(alike[_loosely(name)])} for {name}" for name in names if _loosely(name) in alike]
    return f"{told}; it has {', '.join(meant)}: names must be exactly those of the contract" if meant else told


def _loosely(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


# --- CSV -------------------------------------------------------------------------------------------------------------


def _open_csv(feed: Feed, text: _Text) -> Source:
    line = text.header_line()
    try:
        head = line.decode()
    except UnicodeDecodeError as error:
        raise UnreadableFileError("its header is not UTF-8 text") from error
    if "\x00" in head:
        raise UnreadableFileError("its header holds a NUL character: is it text at all?")
    if "\r" in head.rstrip("\r\n"):
        raise UnreadableFileError("its lines end in a carriage return alone; LF or CRLF was expected")
    delimiter, header = _header(feed, head)
    if len(header) > MAX_COLUMNS:
        raise UnreadableFileError(f"it has {len(header):,} columns; more than {MAX_COLUMNS:,} are not read")
    twice = sorted({name for name in header if header.count(name) > 1 and name})
    if twice:
        raise UnreadableFileError(f"its header names a column twice: {', '.join(twice)[:200]}")
    absent = [name for name in feed.required if name not in header]
    if absent:
        raise UnreadableFileError(_missing_columns(absent, header))
    header = [name or f"column {place}" for place, name in enumerate(header, 1)]
    reader = _Csv(feed, delimiter, header)
    return Source(feed, Reading("csv", delimiter, header), reader.chunks(text), lambda: 0)


def _header(feed: Feed, line: str) -> tuple[str, list[str]]:
    """The delimiter, which is the one that finds most of the feed's columns, and the names of the columns."""
    best: tuple[int, str, list[str]] = (-1, ",", [])
    for delimiter in ",;\t|":
        try:
            names = next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])
        except csv.Error:
            continue
        names = [name.strip() for name in names]
        found = len(feed.by_name.keys() & set(names))
        if found > best[0]:
            best = (found, delimiter, names)
    return best[1], best[2]


class _Csv:
    def __init__(self, feed: Feed, delimiter: str, header: list[str]) -> None:
        self.feed = feed
        self.delimiter = delimiter
        self.header = header
        self.unknown = [name for name in header if name not in feed.by_name]
        self.types = dict.fromkeys(header, pa.string())

    def chunks(self, text: _Text) -> Iterator[Chunk]:
        rows = 0
        for block in text.blocks(_last_csv_record_end):
            chunk = self.chunk(block, rows + 1)
            rows += len(chunk)
            if len(chunk):
                yield chunk
        if rows == 0:
            raise UnreadableFileError("it has a header but no rows")

    def chunk(self, block: bytes, first_row: int) -> Chunk:
        """A block of whole records as one chunk."""
        columns = self._fast(block)
        if columns is not None:
            count = len(columns[self.header[0]])
            record = _CsvTexts(self, block, count, columns)
            return _typed_chunk(self.feed, columns, {}, count, first_row, record)
        columns, problems, texts = self._slow(block)
        return _typed_chunk(self.feed, columns, problems, len(texts), first_row, texts.__getitem__)

    def _fast(self, block: bytes) -> dict[str, pa.Array] | None:
        try:
            table = pv.read_csv(
                pa.BufferReader(block),
                read_options=pv.ReadOptions(column_names=self.header, block_size=len(block) + 1, use_threads=False),
                parse_options=pv.ParseOptions(delimiter=self.delimiter, newlines_in_values=b'"' in block),
                convert_options=pv.ConvertOptions(column_types=self.types, strings_can_be_null=False),
            )
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return None
        return {name: _one(table.column(name)) for name in self.header}

    def _slow(self, block: bytes) -> tuple[dict[str, pa.Array], dict[str, Problems], list[str]]:
        lines = _split_lines(block)
        rows: list[list[str | None]] = []
        problems: Problems = {}
        texts: list[str] = []
        place = 0
        while place < len(lines):
            reader = csv.reader(_some(lines, place), delimiter=self.delimiter)
            fault = ""
            try:
                cells = next(reader)
            except csv.Error:
                cells, fault = [], "cannot be split into columns"
            used = reader.line_num
            raw = "".join(lines[place : place + used])
            if used > 1 and (fault or len(cells) != len(self.header) or raw.count('"') % 2):
                # A stray quote swallowed the lines that follow. One line steps aside, the others are read.
                used, raw, fault = 1, lines[place], "opens a quote that is not closed where it should be"
            if cells or fault:
                self._keep_row(cells, fault, raw, rows, problems, texts)
            place += used
        columns = {name: pa.array([row[index] for row in rows], pa.string()) for index, name in enumerate(self.header)}
        return columns, {RECORD: problems} if problems else {}, texts

    def _keep_row(
        self,
        cells: Sequence[str],
        fault: str,
        raw: str,
        rows: list[list[str | None]],
        problems: Problems,
        texts: list[str],
    ) -> None:
        row = len(rows)
        empty: list[str | None] = [None] * len(self.header)
        if fault:
            problems[row] = fault
        elif len(cells) != len(self.header):
            problems[row] = f"has {len(cells)} columns where the header has {len(self.header)}"
        elif not raw.isascii() and any("\udc80" <= character <= "\udcff" for character in raw):
            problems[row] = "is not valid UTF-8 text"
        rows.append(empty if row in problems else list(cells))
        texts.append(_decoded(raw.rstrip("\r\n").encode(errors="surrogateescape")))


_MAX_LINES = 1_000  # of one CSV record; a longer one is an unclosed quote


def _some(lines: list[str], start: int) -> Iterator[str]:
    for place in range(start, min(start + _MAX_LINES, len(lines))):
        yield lines[place]


class _CsvTexts:
    """The records of a CSV block as they came, found when the first one is asked for: few blocks have a bad row."""

    def __init__(self, table: _Csv, block: bytes, count: int, columns: dict[str, pa.Array]) -> None:
        self._table, self._block, self._count, self._columns = table, block, count, columns
        self._spans: np.ndarray | None = None
        self._texts: list[str] | None = None

    def __call__(self, row: int) -> str:
        if self._spans is None and self._texts is None:
            self._find()
        if self._spans is not None:
            start, end = self._spans[row]
            return _decoded(self._block[start:end].rstrip(b"\r\n"))
        if self._texts is not None and len(self._texts) == self._count:
            return self._texts[row]
        out = io.StringIO()  # the two readers disagree on where records end; the cells are still those that were read
        csv.writer(out, delimiter=self._table.delimiter, lineterminator="").writerow(
            [column[row].as_py() for column in self._columns.values()]
        )
        return out.getvalue()

    def _find(self) -> None:
        array = np.frombuffer(self._block, np.uint8)
        ends = np.flatnonzero(array == 10)
        if b'"' in self._block:
            ends = ends[np.searchsorted(np.flatnonzero(array == 34), ends) % 2 == 0]
        starts = np.concatenate([[0], ends[:-1] + 1])
        stops = ends + 1
        blank = (stops - starts == 1) | ((stops - starts == 2) & (array[starts] == 13))
        spans = np.stack([starts[~blank], stops[~blank]], axis=1)
        if len(spans) == self._count:
            self._spans = spans
        else:
            self._texts = self._table._slow(self._block)[2]


def _split_lines(block: bytes) -> list[str]:
    """Lines by line feeds alone: str.splitlines would also split at U+2028 and other characters of the text."""
    return [line + "\n" for line in block.decode(errors="surrogateescape").split("\n")[:-1]]


def _last_csv_record_end(block: bytes) -> int:
    """The position after the last line feed outside quotes, or 0."""
    end = block.rfind(b"\n") + 1
    if b'"' not in block:
        return end
    for _ in range(64):  # a quoted value seldom has more lines
        if not end or block.count(b'"', 0, end) % 2 == 0:
            return end
        end = block.rfind(b"\n", 0, end - 1) + 1
    array = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(array == 10)
    outside = ends[np.searchsorted(np.flatnonzero(array == 34), ends) % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _typed_chunk(
    feed: Feed,
    columns: dict[str, pa.Array],
    problems: dict[str, Problems],
    count: int,
    first_row: int,
    record: Callable[[int], str],
) -> Chunk:
    """Type the columns of a CSV or Parquet block, and gather what no field of the feed claims."""
    part = _Part(np.arange(first_row, first_row + count, dtype=np.int64))
    part.problems = problems
    inner: dict[str, Unknown] = {}
    for of in feed.fields:
        values = columns.get(of.name)
        if values is None:
            part.columns[of.name] = pa.nulls(count, arrow_type(of))
        elif of.kind == "array" and pa.types.is_string(values.type):
            part.columns[of.name], unfit, inner[of.name] = array_of_cells(of, values)
            part.note(of.name, unfit)
        else:
            part.columns[of.name], unfit = conform(of, values)
            part.note(of.name, unfit)
            if of.kind == "array":
                inner[of.name] = _unknown_in_structs(of, values)
    _gather_extra(feed, part, columns, inner)
    return Chunk(feed, part.rows, part.columns, part.problems, record, part.extra, part.unknown_fields)


def _unknown_in_structs(of: Field, values: pa.Array) -> Unknown:
    """Unknown fields within the elements of a Parquet array."""
    if not (pa.types.is_list(values.type) and pa.types.is_struct(values.type.value_type)):
        return {}
    if {child.name for child in values.type.value_type} <= of.element_names:
        return {}
    found: Unknown = {}
    for row, value in enumerate(values.to_pylist()):
        pruned = [
            {key: v for key, v in (element or {}).items() if v is not None and key not in of.element_names}
            for element in value or ()
        ]
        if any(pruned):
            found[row] = pruned
    return found


def _gather_extra(feed: Feed, part: _Part, columns: dict[str, pa.Array], inner: dict[str, Unknown]) -> None:
    """Put what no field of the feed claims into ``extra``; an unknown column that is empty is reported all the same."""
    extras: dict[int, dict[str, Any]] = {}
    for name, values in columns.items():
        if name in feed.by_name:
            continue
        part.unknown_fields.setdefault(printable(name), 0)
        for row, value in enumerate(values.to_pylist()):
            if value is not None and value != "":
                extras.setdefault(row, {})[name] = value
    for name, rows in inner.items():
        for row, elements in rows.items():
            extras.setdefault(row, {})[name] = elements
    if not extras:
        return
    texts: list[str | None] = [None] * len(part.rows)
    for row, extra in extras.items():
        part.count_unknown(extra)
        texts[row] = _storable(_dumps_plain(extra))
    part.extra = pa.array(texts, pa.string())


def _dumps_plain(value: Any) -> bytes:
    if isinstance(value, NumberText | dict | list):
        if isinstance(value, dict):
            return b"{" + b",".join(_dumps_text(key) + b":" + _dumps_plain(v) for key, v in value.items()) + b"}"
        if isinstance(value, list):
            return b"[" + b",".join(map(_dumps_plain, value)) + b"]"
        return dumps(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return _dumps_text(str(value))
    return json.dumps(value, ensure_ascii=False, default=_as_text).encode(errors="replace")


def _as_text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


# --- Parquet ---------------------------------------------------------------------------------------------------------


def _open_parquet(feed: Feed, stream: BinaryIO) -> Source:
    try:
        file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20)
        names = file.schema_arrow.names
        rows = file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
        raise UnreadableFileError("it is not a readable Parquet file: its footer is damaged or missing") from error
    if len(names) > MAX_COLUMNS:
        raise UnreadableFileError(f"it has {len(names):,} columns; more than {MAX_COLUMNS:,} are not read")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UnreadableFileError(f"it names a column twice: {', '.join(twice)[:200]}")
    absent = [name for name in feed.required if name not in names]
    if absent:
        raise UnreadableFileError(_missing_columns(absent, names))
    if rows == 0:
        raise UnreadableFileError("it has no rows")
    return Source(feed, Reading("parquet"), _parquet_chunks(feed, file, rows), stream.tell)


def _parquet_chunks(feed: Feed, file: pq.ParquetFile, expected: int) -> Iterator[Chunk]:
    rows = 0
    batches = file.iter_batches(batch_size=PARQUET_ROWS, use_threads=True)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
            raise UnreadableFileError(f"its data is damaged after row {rows:,}") from error
        if batch is None:
            break
        if batch.num_rows == 0:
            continue
        yield _parquet_chunk(feed, batch, rows + 1)
        rows += batch.num_rows
    if rows != expected:
        raise UnreadableFileError(f"its footer promises {expected:,} rows and {rows:,} are there")


def _parquet_chunk(feed: Feed, batch: pa.RecordBatch, first_row: int) -> Chunk:
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))

    def record(row: int) -> str:
        values = {}
        for name, column in columns.items():
            try:
                value = column[row].as_py()
            except (UnicodeDecodeError, ValueError, OverflowError):
                value = str(column[row].cast(pa.binary()).as_py()) if pa.types.is_string(column.type) else None
            if value is not None:
                values[name] = value
        return _decoded(_dumps_plain(values))

    return _typed_chunk(feed, columns, {}, batch.num_rows, first_row, record)


def read_again(feed: Feed, reading: dict[str, Any], records: Sequence[str]) -> Chunk:
    """Read single records of a batch once more, for a release: row n of the chunk is record n.

    A record of a Parquet file was kept as a JSON object, so it is read as one.
    """
    encoded = [record.encode() for record in records]
    if reading.get("format") != "csv":
        lines = _Jsonl(feed)
        part = lines._slow(encoded, range(len(encoded)))
        numbers = np.arange(1, len(encoded) + 1, dtype=np.int64)
        return Chunk(feed, numbers, part.columns, part.problems, lambda row: records[row], part.extra,
                     part.unknown_fields)  # fmt: skip
    table = _Csv(feed, reading["delimiter"], list(reading["header"]))
    rows: list[list[str | None]] = []
    problems: Problems = {}
    texts: list[str] = []
    for record in records:
        cells = next(csv.reader(io.StringIO(record, newline=""), delimiter=table.delimiter), [])
        table._keep_row(cells, "", record, rows, problems, texts)
    columns = {name: pa.array([row[index] for row in rows], pa.string()) for index, name in enumerate(table.header)}
    return _typed_chunk(feed, columns, {RECORD: problems} if problems else {}, len(rows), 1, lambda row: records[row])
