"""The bytes of a landed text file, unpacked, in blocks of whole records and in bounded memory."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from customer360.front_door.formats import UnreadableFileError

BLOCK_BYTES = 24 << 20
"""Text taken at a time: some 40,000 orders. Larger blocks gain no speed and cost four times their size in memory."""
MAX_RECORD_BYTES = 16 << 20
"""A longer record is a bomb or a broken file."""
MAX_INFLATION = 400
"""A gzip file that grows by more than this factor (real exports: 5-30) is a bomb."""
INFLATION_FLOOR = 256 << 20
"""… unless what it grows to is small anyway."""


class Inflated(io.RawIOBase):
    """A gzip stream that raises plain words, and stops where it turns out to be a bomb."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj(wbits=31)
        self._given = 0
        self._taken = 0

    def readable(self) -> bool:
        """Yes: asked by what wraps the stream."""
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
    return Inflated(stream) if name.lower().endswith(".gz") else stream  # type: ignore[return-value]


class TextBlocks:
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

    @property
    def head(self) -> bytes:
        """The first bytes, which are not consumed."""
        return self._rest[:4096]

    def pieces(self) -> Iterator[bytes]:
        """The bytes, cut anywhere."""
        while True:
            self._fill(self._block_bytes)
            if not self._rest:
                return
            piece, self._rest = self._rest, b""
            yield piece

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


def decoded(raw: bytes) -> str:
    """A record as text that PostgreSQL can keep: what is no UTF-8, and NUL, are written as escapes."""
    return raw.decode(errors="backslashreplace").replace("\x00", "\\x00")
