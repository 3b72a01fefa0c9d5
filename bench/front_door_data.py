"""A million orders in every format: what the front door is measured with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

PART = 1_000_000
STATUSES = ("placed", "paid", "shipped", "delivered", "cancelled", "returned")
CHANNELS = ("web", "app", "store", "phone", "marketplace")
COUNTRIES = ("US", "DE", "FR", "GB", "NL")


def orders(count: int, *, seed: int = 1, first: int = 0) -> pa.Table:
    """Orders with 12 fields and one to three items each, reproducible by ``seed``."""
    random = np.random.default_rng(seed)
    number = np.arange(first, first + count)
    digits = pa.array(number).cast(pa.string())
    ordered = 1_700_000_000_000_000 + random.integers(0, 60_000_000, count) * 1_000_000
    customers = pa.array(random.integers(1, count // 4 + 2, count)).cast(pa.string())
    item_counts = random.integers(1, 4, count)
    total_items = int(item_counts.sum())
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(item_counts, out=offsets[1:])
    items = pa.StructArray.from_arrays(
        [
            pc.binary_join_element_wise("sku-", pa.array(random.integers(1, 5000, total_items)).cast(pa.string()), ""),
            pa.array(random.integers(1, 5, total_items)),
            _money(random.integers(100, 20_000, total_items)),
        ],
        names=["sku", "quantity", "unit_price"],
    )
    zone = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "order_id": pc.binary_join_element_wise("order-", pc.utf8_lpad(digits, 9, "0"), ""),
            "updated_at": pa.array(ordered + random.integers(0, 864_000, count) * 1_000_000).cast(zone),
            "ordered_at": pa.array(ordered).cast(zone),
            "status": _choice(random, STATUSES, count),
            "currency": _choice(random, ("USD", "EUR"), count),
            "total_amount": _money(random.integers(500, 100_000, count)),
            "discount_amount": _money(random.integers(0, 500, count)),
            "tax_amount": _money(random.integers(0, 2_000, count)),
            "customer_id": pc.binary_join_element_wise("c", customers, ""),
            "email": pc.binary_join_element_wise("customer", customers, "@example.com", ""),
            "sales_channel": _choice(random, CHANNELS, count),
            "country": _choice(random, COUNTRIES, count),
            "items": pa.ListArray.from_arrays(pa.array(offsets), items),
        }
    )


def _money(cents: np.ndarray) -> pa.Array:
    whole = pa.array(cents).cast(pa.decimal128(19, 0))
    return pc.divide(whole.cast(pa.decimal128(24, 2)), pa.scalar(Decimal(100), pa.decimal128(3, 0))).cast(
        pa.decimal128(12, 2)
    )


def _choice(random: np.random.Generator, choices: tuple[str, ...], count: int) -> pa.Array:
    return pa.array(choices).take(pa.array(random.integers(0, len(choices), count)))


def _as_text(table: pa.Table, *, quoted: bool) -> pa.Table:
    """Every column as the text of its JSON value (strings quoted if asked)."""
    from customer360.contract.feeds import ORDERS
    from customer360.contract.typed_values import conform
    from customer360.front_door.rows_to_copy import json_of_array

    columns = {}
    for name in table.column_names:
        values = table.column(name).combine_chunks()
        if name == "items":
            text = json_of_array(ORDERS.by_name["items"], conform(ORDERS.by_name["items"], values).values)
        elif pa.types.is_timestamp(values.type):
            text = pc.replace_substring(values.cast(pa.timestamp("s")).cast(pa.string()), " ", "T")
            text = pc.binary_join_element_wise('"' if quoted else "", text, 'Z"' if quoted else "Z", "")
        elif pa.types.is_decimal(values.type):
            text = values.cast(pa.string())
        else:
            text = pc.binary_join_element_wise('"', values, '"', "") if quoted else values
        columns[name] = text
    return pa.table(columns)


def parts(count: int, *, seed: int) -> Iterator[pa.Table]:
    """The same in tables of a million orders at most, however many there are."""
    for first in range(0, count, PART):
        yield orders(min(PART, count - first), seed=seed + first, first=first)


def write(tables: Iterable[pa.Table], folder: Path, name: str) -> dict[str, Path]:
    """The tables as JSON Lines, CSV and Parquet; returns the files by format."""
    files = {suffix: folder / f"{name}.{suffix}" for suffix in ("jsonl", "csv", "parquet")}
    parquet = None
    with files["jsonl"].open("wb") as jsonl, files["csv"].open("wb") as csv:
        for table in tables:
            parquet = parquet or pq.ParquetWriter(files["parquet"], table.schema)
            parquet.write_table(table)
            pv.write_csv(_as_text(table, quoted=False), csv, pv.WriteOptions(include_header=csv.tell() == 0))
            _write_lines(table, jsonl)
    if parquet is not None:
        parquet.close()
    return files


def _write_lines(table: pa.Table, stream: BinaryIO) -> None:
    text = _as_text(table, quoted=True)
    pieces = [pc.binary_join_element_wise(f'"{n}":', text.column(n), "") for n in text.column_names]
    lines = pc.binary_join_element_wise("{", pc.binary_join_element_wise(*pieces, ","), "}\n", "")
    for chunk in lines.chunks:
        offsets = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        stream.write(memoryview(chunk.buffers()[2])[int(offsets[0]) : int(offsets[-1])])
