"""Typed chunks as the CSV that PostgreSQL's COPY reads, and the duplicates within a batch.

Arrow writes the CSV. What Arrow cannot write (arrays, decimals of a fixed form) is turned into text by joins over
whole columns first: a million orders take about a second, where a loop over records would take half a minute.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from customer360.contract.feeds import PIECE_PRICE, UNIT_PRICE, Feed, Field
from customer360.contract.records import Chunk

_NO_TEXT = pa.scalar(None, pa.string())


def csv_of(chunk: Chunk, batch_id: int, rows: np.ndarray | None = None) -> pa.Buffer:
    """The rows of a chunk (or some of them) as CSV with the columns of ``raw.<feed>``."""
    table = raw_table(chunk, batch_id, rows)
    sink = pa.BufferOutputStream()
    pv.write_csv(table, sink, pv.WriteOptions(include_header=False, batch_size=16_384))
    return sink.getvalue()


def raw_table(chunk: Chunk, batch_id: int, rows: np.ndarray | None = None) -> pa.Table:
    """The rows of a chunk with the columns of ``raw.<feed>``, in types that Arrow writes as PostgreSQL reads them."""
    take = None if rows is None else pa.array(rows)
    count = len(chunk) if rows is None else len(rows)
    numbers = chunk.row_numbers if rows is None else chunk.row_numbers[rows]
    columns: list[pa.Array] = [pa.repeat(pa.scalar(batch_id, pa.int64()), count), pa.array(numbers)]
    for of in chunk.feed.fields:
        values = chunk.columns[of.name]
        columns.append(_writable(of, values if take is None else values.take(take)))
    extra = chunk.extra if chunk.extra is not None else pa.nulls(len(chunk), pa.string())
    columns.append(extra if take is None else extra.take(take))
    return pa.Table.from_arrays(columns, names=list(chunk.feed.raw_columns))


def _writable(of: Field, values: pa.Array) -> pa.Array:
    if of.kind == "time":
        # Written without its zone a time takes a twentieth as long; the loading session's zone is UTC.
        return values.cast(pa.timestamp("us"))
    if of.kind == "number":
        return number_text(values)
    if of.kind == "array":
        return json_of_array(of, values)
    return values


def number_text(values: pa.Array) -> pa.Array:
    """Decimals as the shortest text that means them."""
    if values.null_count == len(values):
        return pa.nulls(len(values), pa.string())
    try:
        return values.cast(pa.int64()).cast(pa.string())
    except pa.ArrowInvalid:
        return pc.replace_substring_regex(values.cast(pa.string()), r"\.?0+$", "")


def price_text(values: pa.Array) -> pa.Array:
    """Prices with four decimals, as money has them, or as many more as they need."""
    try:
        return values.cast(pa.decimal128(24, 4)).cast(pa.string())
    except pa.ArrowInvalid:
        return pc.replace_substring_regex(values.cast(pa.string()), r"(\.\d{4}\d*?)0+$", r"\1")


def json_of_array(of: Field, values: pa.Array) -> pa.Array:
    """An array of objects as JSON text: one form for every format, money with four decimals, nulls left out."""
    if values.null_count == len(values):
        return pa.nulls(len(values), pa.string())
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    elements = pc.list_flatten(values)
    pieces = []
    for inner, child in zip(of.elements, elements.flatten(), strict=True):
        if child.null_count < len(child):
            pieces.append(_json_piece(inner, child))
    if not pieces:
        objects = pa.repeat(pa.scalar("{}"), len(elements))
    else:
        joined = pc.binary_join_element_wise(*pieces, ",", null_handling="skip")
        objects = pc.binary_join_element_wise("{", joined, "}", "")
    mask = values.is_null() if values.null_count else None
    lists = pa.ListArray.from_arrays(pa.array(offsets), objects, mask=mask)
    return pc.binary_join_element_wise("[", pc.binary_join(lists, ","), "]", "")


def _json_piece(inner: Field, child: pa.Array) -> pa.Array:
    key = json.dumps(inner.name) + ":"
    if inner.kind == "text":
        return pc.binary_join_element_wise(key + '"', json_escaped(child), '"', "")
    if inner.kind == "time":
        text = child.cast(pa.timestamp("us")).cast(pa.string())
        return pc.binary_join_element_wise(key + '"', pc.replace_substring(text, " ", "T"), 'Z"', "")
    if inner.kind == "number":
        text = price_text(child) if inner.limits in (UNIT_PRICE, PIECE_PRICE) else number_text(child)
        return pc.binary_join_element_wise(key, text, "")
    return pc.binary_join_element_wise(key, child.cast(pa.string()), "")


def json_escaped(texts: pa.Array) -> pa.Array:
    """Text as it stands between the quotes of a JSON string."""
    if len(texts) == 0:
        return texts
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    if len(data) and int(data.min()) < 32:
        return pa.array(
            [None if t is None else json.dumps(t, ensure_ascii=False)[1:-1] for t in texts.to_pylist()], pa.string()
        )
    if (data == 92).any():
        texts = pc.replace_substring(texts, "\\", "\\\\")
    if (data == 34).any():
        texts = pc.replace_substring(texts, '"', '\\"')
    return texts


# --- duplicates ------------------------------------------------------------------------------------------------------

_ODD = np.uint64(0x9E3779B97F4A7C15)


class Repeats:
    """Finds rows that may repeat an earlier row of the same batch, in memory that the size of the file bounds.

    Two identical records have the same id and version. Their 64-bit hash is looked up in a table of bits: a row whose
    bits were set before *may* be a repetition (the server compares it in full before it counts as one), a row whose
    bits were not is none.
    """

    def __init__(self, feed: Feed, file_bytes: int) -> None:
        self._feed = feed
        # A record takes 50 bytes and more even when packed; 8 bytes of table per record keep false alarms rare.
        bits = max(16, min(26, int(file_bytes // 8).bit_length()))
        self._mask = np.uint64((1 << bits) - 1)
        self._shift = np.uint64(64 - bits)
        self._seen = np.zeros(1 << bits, np.bool_)

    def suspects(self, chunk: Chunk, rows: np.ndarray) -> np.ndarray:
        """Those of ``rows`` (ascending rows of the chunk) that may repeat an earlier one."""
        ids = chunk.columns[self._feed.id_field]
        versions = chunk.columns["updated_at"].cast(pa.int64())
        if len(rows) != len(chunk):
            take = pa.array(rows)
            ids, versions = ids.take(take), versions.take(take)
        hashes = pd.util.hash_array(ids.to_numpy(zero_copy_only=False), categorize=False)
        hashes = (hashes ^ (versions.to_numpy(zero_copy_only=False).astype(np.uint64) * _ODD)) * _ODD
        first, second = hashes >> self._shift, (hashes * _ODD) >> self._shift
        known = self._seen[first] & self._seen[second]
        self._seen[first] = True
        self._seen[second] = True
        unique, firsts = np.unique(hashes, return_index=True)
        if len(unique) < len(hashes):
            again = np.ones(len(hashes), np.bool_)
            again[firsts] = False
            known |= again
        return rows[known]
