"""JSON Lines, and JSON documents that hold an array of records, as typed chunks.

Whole blocks go the fast way (Arrow). A block that it refuses is narrowed down, so that only records out of shape go
the slow way (Python); both give the same values.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson
import pyarrow as pa

from customer360.contract.feeds import Feed, Field
from customer360.contract.json_values import LONG_TEXT, MAX_BRACKETS, dumps, loads, storable
from customer360.contract.records import RECORD, Chunk, Problems
from customer360.contract.typed_values import conform, from_python, json_schema, read_json_block, unknown_in_elements
from customer360.front_door.chunk_parts import Part
from customer360.front_door.formats import MAX_COLUMNS, Reading, Source, UnreadableFileError, missing_columns
from customer360.front_door.text_blocks import MAX_RECORD_BYTES, TextBlocks, decoded

_NARROW = 2_048  # lines that are tried again together after a block was refused
_DECIMALS = 18  # of a number in the wide schema


def open_jsonl(feed: Feed, text: TextBlocks) -> Source:
    """Begin to read JSON Lines, or a JSON array."""
    blocks = _lines_of_document(text) if _is_document(text.head) else text.blocks(lambda block: block.rfind(b"\n") + 1)
    return Source(feed, Reading("jsonl"), Jsonl(feed).chunks(blocks), lambda: 0)


class Jsonl:
    """The reader of a feed's JSON objects, one per line."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.known = frozenset(feed.by_name)
        self.arrays = [of for of in feed.fields if of.kind == "array"]
        self.texts = [of for of in feed.fields if of.kind == "text"]
        self.has_extra = False
        """Whether unknown fields were met: from then on each record is searched for them."""
        self.schemas = [json_schema(feed), json_schema(feed, is_wide=True)]
        """What Arrow is asked for, tried in turn."""

    def chunks(self, blocks: Iterator[bytes]) -> Iterator[Chunk]:
        """The records of blocks of whole lines."""
        rows = 0
        seen: set[str] = set()
        for block in blocks:
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
                    raise UnreadableFileError(missing_columns(absent))
            yield chunk
        if rows == 0:
            raise UnreadableFileError("it is empty")

    @staticmethod
    def _mentions(block: bytes, names: Sequence[str]) -> bool:
        return all(f'"{name}"'.encode() in block for name in names)

    def chunk(self, lines: _Lines, first_row: int) -> Chunk:
        """All lines of a block as one chunk."""
        parts: list[Part] = []
        if lines.are_plain:
            self._parse(lines, 0, len(lines), parts)
        else:
            self._parse_apart(lines, range(len(lines)), parts)
        numbers = np.arange(first_row, first_row + len(lines), dtype=np.int64)
        return Part.joined(self.feed, parts).chunk(
            self.feed, numbers, lambda row: decoded(lines[row]), lambda row, name: field_as_it_came(lines[row], name)
        )

    def _parse(self, lines: _Lines, start: int, end: int, parts: list[Part]) -> None:
        part = self._fast(lines.text(start, end), np.arange(start, end), lines)
        if part is not None:
            parts.append(part)
        elif end - start > _NARROW:
            for place in range(start, end, _NARROW):
                self._parse(lines, place, min(place + _NARROW, end), parts)
        else:
            self._parse_apart(lines, range(start, end), parts)

    def _parse_apart(self, lines: _Lines, rows: Sequence[int], parts: list[Part]) -> None:
        """Send the odd records the slow way, and the others together the fast one."""
        plain = [row for row in rows if self._looks_plain(lines[row])]
        part = self._fast(b"\n".join(lines[row] for row in plain) + b"\n", np.array(plain), lines) if plain else None
        if part is not None:
            parts.append(part)
        odd = sorted(set(rows) - set(plain)) if part is not None else list(rows)
        for start in range(0, len(odd), _NARROW):
            some = odd[start : start + _NARROW]
            parts.append(self.one_by_one([lines[row] for row in some], some))

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

    def _fast(self, block: bytes, rows: np.ndarray, lines: _Lines) -> Part | None:
        if not lines.is_utf8:
            return None
        table = self._table(block, lines[int(rows[0])])
        if table is None or table.num_rows != len(rows):
            return None
        part = Part(rows)
        for of in self.feed.fields:
            part.add(of, conform(of, table.column(of.name)))
        if self.has_extra:
            self._keep_extra(part, [lines[int(row)] for row in rows])
        return part

    def _table(self, block: bytes, first: bytes) -> pa.Table | None:
        if not self.has_extra:
            try:
                return read_json_block(block, self.schemas[0], "error")
            except pa.ArrowInvalid as error:
                self.has_extra = "unexpected field" in str(error)
        for schema in [*self.schemas, *self._with_numbers(first)]:
            try:
                table = read_json_block(block, schema, "ignore" if self.has_extra else "error")
            except pa.ArrowInvalid as error:
                if "unexpected field" in str(error):
                    self.has_extra = True
                    return self._table(block, first)
                continue
            if schema not in self.schemas:
                self.schemas.append(schema)
            return table
        return None

    def _with_numbers(self, line: bytes) -> list[pa.Schema]:
        """The schema for a file whose ids are whole numbers, as its first record has them."""
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            return []
        numbers = frozenset(of.name for of in self.texts if type(record) is dict and type(record.get(of.name)) is int)
        return [json_schema(self.feed, is_wide=True, numbers=numbers)] if numbers else []

    def _keep_extra(self, part: Part, records: list[bytes]) -> None:
        """Unknown fields, byte for byte as they came."""
        decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        decode_array = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
        extras: list[str | None] = []
        for record in records:
            raw = decode(record)
            extra: dict[str, Any] = {}
            for name in raw.keys() - self.known:
                if bytes(raw[name]) == b"null":
                    part.see_unknown(name)
                else:
                    extra[name] = raw[name]
            for of in self.arrays:
                value = raw.get(of.name)
                if value is not None and bytes(value) != b"null":
                    inner = [
                        {name: v for name, v in element.items() if name not in of.element_names and bytes(v) != b"null"}
                        for element in decode_array(value)
                    ]
                    if any(inner):
                        extra[of.name] = inner
            part.count_unknown(extra)
            extras.append(storable(msgspec.json.encode(extra)) if extra else None)
        part.extra = pa.array(extras, pa.string())

    def one_by_one(self, records: list[bytes], rows: Sequence[int]) -> Part:
        """Records as a part, each read on its own: the slow way."""
        part = Part(np.array(rows))
        read = [_object(raw) for raw in records]
        parsed = [value for value, _ in read]
        unreadable: Problems = {row: fault for row, (_, fault) in enumerate(read) if fault}
        part.note(RECORD, unreadable)
        for of in self.feed.fields:
            part.add(of, from_python(of, [record.get(of.name) for record in parsed]))
        extras: list[str | None] = []
        for record in parsed:
            extra = {}
            for name, value in record.items():
                if name in self.known:
                    continue
                if value is None:
                    part.see_unknown(name)
                else:
                    extra[name] = value
            for of in self.arrays:
                if inner := unknown_in_elements(of, record.get(of.name)):
                    extra[of.name] = inner
            part.count_unknown(extra)
            extras.append(storable(dumps(extra)) if extra else None)
        part.extra = pa.array(extras, pa.string()) if any(extras) else None
        return part


_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _object(raw: bytes) -> tuple[dict[str, Any], str]:
    """A record as an object (an empty one if it cannot be read), and why it cannot be read, if so."""
    fault = ""
    try:
        value = loads(raw.decode())
        if not isinstance(value, dict):
            fault = "is not a JSON object"
        elif len(value) > MAX_COLUMNS:
            fault = f"has more than {MAX_COLUMNS} fields"
    except UnicodeDecodeError:
        fault = "is not valid UTF-8 text"
    except RecursionError:
        fault = "is nested too deeply"
    except ValueError as error:
        fault = f"is not valid JSON ({_json_fault(error)})"
    return ({} if fault else value), fault


def field_as_it_came(record: bytes, name: str) -> bytes:
    """A field of a JSON object, in JSON; b"" if it has none of that name."""
    try:
        value = _RAW_FIELDS(record).get(name)
        return b"" if value is None else bytes(value)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        try:
            whole = loads(record.decode())
        except (ValueError, RecursionError):
            return b""
        return dumps(whole[name]) if isinstance(whole, dict) and name in whole else b""


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
    if kind is str:
        return value.replace(".", "", 1).isdecimal() and len(value.partition(".")[2]) <= _DECIMALS
    return kind is int or kind is float


def _json_fault(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} at character {error.pos + 1}"
    return "it cannot be read"


# --- documents: a JSON array, or objects that take several lines -----------------------------------------------------

_DOCUMENT = re.compile(rb"\s*(\[\s*([{\]]|$)|\{\s*\r?\n)")
_BETWEEN = re.compile(r"[\s,\[\]]*")


def _is_document(head: bytes) -> bool:
    return _DOCUMENT.match(head) is not None


def _lines_of_document(text: TextBlocks) -> Iterator[bytes]:
    """The objects of a JSON document, each on a line of its own, in blocks.

    Raises:
        UnreadableFileError: the document is damaged, or cut off.
    """
    decode = json.JSONDecoder().raw_decode
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    waiting, lines, count = "", [], 0
    pieces = text.pieces()
    is_last = False
    while not is_last:
        piece = next(pieces, b"")
        is_last = not piece
        waiting += decoder.decode(piece, is_last)
        place = 0
        while (place := _BETWEEN.match(waiting, place).end()) < len(waiting):  # type: ignore[union-attr]
            try:
                _, end = decode(waiting, place)
            except RecursionError as error:
                raise UnreadableFileError(f"record {count + 1:,} of its JSON array is nested too deeply") from error
            except ValueError as error:
                if is_last or len(waiting) - place > MAX_RECORD_BYTES:
                    raise UnreadableFileError(_why_no_document(error, count, waiting, place)) from error
                break
            # A line feed inside a value would be escaped: those that are there stand between values.
            lines.append(waiting[place:end].replace("\r", " ").replace("\n", " "))
            count, place = count + 1, end
        waiting = waiting[place:]
        if lines:
            yield ("\n".join(lines) + "\n").encode(errors="surrogateescape")
            lines = []


def _why_no_document(error: ValueError, count: int, waiting: str, place: int) -> str:
    fault = _json_fault(error)
    if isinstance(error, json.JSONDecodeError):
        if not waiting[error.pos :].strip() or error.msg.startswith("Unterminated string"):
            return f"its JSON ends too early, within record {count + 1:,}: the file was cut off"
        fault = f"{error.msg.lower()} at character {error.pos - place + 1}"
    return f"its JSON is not valid: record {count + 1:,}, {fault}"
