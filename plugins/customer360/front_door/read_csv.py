"""CSV as typed chunks: whole blocks by Arrow, blocks that it refuses row by row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from customer360.contract.feeds import Feed
from customer360.contract.json_values import dumps_text
from customer360.contract.personal_patterns import masked_text
from customer360.contract.records import RECORD, Chunk, Problems
from customer360.front_door.chunk_parts import table_part
from customer360.front_door.file_names import printable
from customer360.front_door.formats import MAX_COLUMNS, Reading, Source, UnreadableFileError, missing_columns
from customer360.front_door.text_blocks import TextBlocks, decoded

_DELIMITERS = ",;\t|"
_TITLE_LINES = 20
"""So many lines may stand above the header, as reports have them."""
_MAX_LINES = 1_000  # of one record; a longer one is an unclosed quote
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


def open_csv(feed: Feed, text: TextBlocks) -> Source:
    """Begin to read CSV: find its delimiter and its header.

    Raises:
        UnreadableFileError: there is no header with the required columns.
    """
    delimiter, header = _find_header(feed, text)
    header = [name or f"column {place}" for place, name in enumerate(header, 1)]
    return Source(feed, Reading("csv", delimiter, header), Csv(feed, delimiter, header).chunks(text), lambda: 0)


def _find_header(feed: Feed, text: TextBlocks) -> tuple[str, list[str]]:
    """The delimiter and the column names, below a line ``sep=;`` and titles if there are any."""
    delimiters = _DELIMITERS
    best: list[str] = []
    for number in range(_TITLE_LINES + 1):
        line = text.header_line()
        if not line:
            break
        try:
            head = line.decode()
        except UnicodeDecodeError as error:
            raise UnreadableFileError("its header is not UTF-8 text") from error
        if "\x00" in head:
            raise UnreadableFileError("its header holds a NUL character: is it text at all?")
        if "\r" in head.rstrip("\r\n"):
            raise UnreadableFileError("its lines end in a carriage return alone; LF or CRLF was expected")
        if number == 0 and (said := _SEPARATOR.fullmatch(head)):
            delimiters = said[1]
            continue
        delimiter, names = _header(feed, head, delimiters)
        if set(feed.required) <= set(names):
            _insist_on_names(names)
            return delimiter, names
        if not best or _known(feed, names) > _known(feed, best):
            best = names
    _insist_on_names(best)
    raise UnreadableFileError(missing_columns([name for name in feed.required if name not in best], best))


def _insist_on_names(header: list[str]) -> None:
    if len(header) > MAX_COLUMNS:
        raise UnreadableFileError(f"it has {len(header):,} columns; more than {MAX_COLUMNS:,} are not read")
    twice = sorted({name for name in header if header.count(name) > 1 and name})
    if twice:
        shown = ", ".join(printable(masked_text(name)) for name in twice)
        raise UnreadableFileError(f"its header names a column twice: {shown[:200]}")


def _header(feed: Feed, line: str, delimiters: str) -> tuple[str, list[str]]:
    """The delimiter, which is the one that finds most of the feed's columns, and the names of the columns."""
    best: tuple[int, str, list[str]] = (-1, ",", [])
    for delimiter in delimiters:
        try:
            names = next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])
        except (csv.Error, ValueError, TypeError):
            continue
        names = [name.strip() for name in names]
        found = _known(feed, names)
        if found > best[0]:
            best = (found, delimiter, names)
    return best[1], best[2]


def _known(feed: Feed, names: list[str]) -> int:
    return len(feed.by_name.keys() & set(names))


class Csv:
    """The reader of a feed's CSV whose delimiter and header are known."""

    def __init__(self, feed: Feed, delimiter: str, header: list[str]) -> None:
        self.feed = feed
        self.delimiter = delimiter
        self.header = header
        self.types = dict.fromkeys(header, pa.string())

    def chunks(self, text: TextBlocks) -> Iterator[Chunk]:
        """The rows below the header."""
        rows = 0
        for block in text.blocks(_last_record_end):
            chunk = self.chunk(block, rows + 1)
            rows += len(chunk)
            if len(chunk):
                yield chunk
        if rows == 0:
            raise UnreadableFileError("it has a header but no rows")

    def chunk(self, block: bytes, first_row: int) -> Chunk:
        """A block of whole records as one chunk."""
        columns = self._fast(block)
        if columns is None:
            columns, problems, texts = self.slow(block)
            return self._chunk(columns, problems, len(texts), first_row, texts.__getitem__)
        count = len(columns[self.header[0]])
        kept = _filled_rows(columns, columns[self.feed.id_field])
        if len(kept) < count:
            columns = {name: values.take(pa.array(kept)) for name, values in columns.items()}
        return self._chunk(columns, {}, len(kept), first_row, _Texts(self, block, count, columns, kept))

    def again(self, records: Sequence[str]) -> Chunk:
        """Single records, as they stood in the file."""
        rows: list[list[str | None]] = []
        problems: Problems = {}
        texts: list[str] = []
        for record in records:
            cells = next(csv.reader(io.StringIO(record, newline=""), delimiter=self.delimiter), [])
            self._keep_row(cells, "", record, rows, problems, texts)
        return self._chunk(self._columns(rows), {RECORD: problems} if problems else {}, len(rows), 1,
                           lambda row: records[row])  # fmt: skip

    def _chunk(self, columns: dict[str, pa.Array], problems: dict[str, Problems], count: int, first_row: int,
               record: object) -> Chunk:  # fmt: skip
        # A spreadsheet saves columns beyond the last one that has a name; empty ones say nothing.
        named = {
            name: values
            for name, values in columns.items()
            if not (name.startswith("column ") and not pc.any(pc.greater(pc.binary_length(values), 0)).as_py())
        }
        part = table_part(self.feed, named, problems, count, first_row)
        return part.chunk(
            self.feed,
            part.rows,
            record,  # type: ignore[arg-type]
            lambda row, name: dumps_text(columns[name][row].as_py()) if name in columns else b"",
        )

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

    def slow(self, block: bytes) -> tuple[dict[str, pa.Array], dict[str, Problems], list[str]]:
        """The columns of a block read row by row, what is wrong with its rows, and the rows as they came."""
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
            if fault or any(cell.strip() for cell in cells):
                self._keep_row(cells, fault, raw, rows, problems, texts)
            place += used
        return self._columns(rows), {RECORD: problems} if problems else {}, texts

    def _columns(self, rows: list[list[str | None]]) -> dict[str, pa.Array]:
        return {name: pa.array([row[index] for row in rows], pa.string()) for index, name in enumerate(self.header)}

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
        texts.append(decoded(raw.rstrip("\r\n").encode(errors="surrogateescape")))


def _filled_rows(columns: dict[str, pa.Array], ids: pa.Array) -> np.ndarray:
    """The rows that have anything in them: spreadsheets save rows below the last one, of delimiters alone."""
    blank = _is_blank(ids)
    if not pc.any(blank).as_py():
        return np.arange(len(ids))
    for values in columns.values():
        blank = pc.and_(blank, _is_blank(values))
    return np.flatnonzero(pc.invert(blank).to_numpy(zero_copy_only=False))


def _is_blank(values: pa.Array) -> pa.Array:
    try:
        return pc.equal(pc.binary_length(pc.utf8_trim_whitespace(values)), 0)
    except pa.ArrowInvalid:  # bytes that are no text
        return pc.equal(pc.binary_length(values), 0)


def _some(lines: list[str], start: int) -> Iterator[str]:
    for place in range(start, min(start + _MAX_LINES, len(lines))):
        yield lines[place]


class _Texts:
    """The records of a CSV block as they came, found when the first one is asked for: few blocks have a bad row."""

    def __init__(self, table: Csv, block: bytes, count: int, columns: dict[str, pa.Array], kept: np.ndarray) -> None:
        self._table, self._block, self._count, self._columns, self._kept = table, block, count, columns, kept
        self._spans: np.ndarray | None = None
        self._texts: list[str] | None = None

    def __call__(self, row: int) -> str:
        if self._spans is None and self._texts is None:
            self._find()
        if self._spans is not None:
            start, end = self._spans[self._kept[row]]
            return decoded(self._block[start:end].rstrip(b"\r\n"))
        if self._texts is not None and len(self._texts) == len(self._kept):
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
            self._texts = self._table.slow(self._block)[2]


def _split_lines(block: bytes) -> list[str]:
    """Lines by line feeds alone: str.splitlines would also split at U+2028 and other characters of the text."""
    return [line + "\n" for line in block.decode(errors="surrogateescape").split("\n")[:-1]]


def _last_record_end(block: bytes) -> int:
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
