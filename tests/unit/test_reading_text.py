"""Shapes of text files that exports and spreadsheets write, and numbers as producers write them; no server needed."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.contract.feeds import ORDERS
from customer360.contract.records import Chunk
from customer360.contract.typed_values import conform
from customer360.front_door import readers
from customer360.front_door.formats import UnreadableFileError
from customer360.front_door.rows_to_copy import csv_of, json_of_array

LINE = "o1,2026-03-02T10:00:00Z,2026-03-01T10:00:00Z,paid,USD,12.50,ann@example.com"
HEADER = "order_id,updated_at,ordered_at,status,currency,total_amount,email"


def record(order_id: str = "o1", **fields: Any) -> dict[str, Any]:
    return dict(zip(HEADER.split(","), LINE.split(","), strict=True)) | {"order_id": order_id} | fields


def read(name: str, content: str | bytes, **options: Any) -> list[Chunk]:
    data = content if isinstance(content, bytes) else content.encode()
    return list(readers.open_source(ORDERS, name, io.BytesIO(data), **options).chunks)


def ids(chunks: list[Chunk]) -> list[str | None]:
    return [one for chunk in chunks for one in chunk.columns["order_id"].to_pylist()]


# --- JSON documents --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("block_bytes", [64, 1 << 20])
def test_a_json_array_is_read_like_its_lines(indent: int | None, block_bytes: int) -> None:
    found = [record(f"o{n}", region='a\n"b" ] } é 🛒', items=[{"quantity": n, "unit_price": 1}]) for n in range(1, 9)]
    chunks = read("a.jsonl", json.dumps(found, indent=indent, ensure_ascii=False), block_bytes=block_bytes)
    assert ids(chunks) == [f"o{n}" for n in range(1, 9)]
    assert chunks[0].columns["region"][0].as_py() == 'a\n"b" ] } é 🛒'
    assert json.loads(chunks[0].record(0)) == found[0]
    numbers = [int(number) for chunk in chunks for number in chunk.row_numbers]
    assert numbers == list(range(1, 9))


def test_objects_that_take_several_lines_are_read() -> None:
    content = "\n".join(json.dumps(record(f"o{n}"), indent=2) for n in (1, 2))
    assert ids(read("a.jsonl", content)) == ["o1", "o2"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "it is empty"),
        (json.dumps([record(), record()])[:-30], "its JSON ends too early, within record 2: the file was cut off"),
        ("[" + json.dumps(record()) + ', {"a" 1}]', "its JSON is not valid: record 2"),
    ],
)
def test_a_damaged_document_is_refused_whole(content: str, reason: str) -> None:
    with pytest.raises(UnreadableFileError, match=reason):
        read("a.jsonl", content)


# --- CSV as spreadsheets write it ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{LINE}\n",
        f"sep=,\n{HEADER}\n{LINE}\n",
        f'"sep=;"\r\n{HEADER}\r\n{LINE}\r\n'.replace(",", ";"),
        f"sep=^\n{HEADER}\n{LINE}\n".replace(",", "^"),
        f"Orders of March\n\nas of 2026-03-09,,,\n{HEADER}\n{LINE}\n",
        f"\ufeff{HEADER},,\n{LINE},,\n,,,,,,,,\n , ,,,,,,,\n",
        f"{HEADER}\n,,,,,,\n{LINE}\n,,,,,,\n",
        f"{HEADER}\n\n{LINE}\n  \n",
        f'{HEADER},region\n{LINE},"two\nlines"\n,,,,,,,\n',
    ],
)
def test_csv_is_read_around_what_is_no_record(content: str) -> None:
    (chunk,) = read("a.csv", content)
    assert ids([chunk]) == ["o1"]
    assert chunk.problems == {}
    assert chunk.unknown_fields == {}
    assert chunk.record(0).replace(";", ",").replace("^", ",").startswith("o1,2026-03-02T10:00:00Z")
    assert chunk.value(0, "total_amount") == b'"12.50"'


def test_a_bad_row_below_blank_ones_is_kept_as_it_came() -> None:
    (chunk,) = read("a.csv", f"{HEADER}\n,,,,,,\n{LINE}\n,,,,,,\n{LINE.replace('o1', 'o2')},too many\n")
    assert ids([chunk]) == ["o1", None]
    assert chunk.record(1).startswith("o2,")
    assert chunk.problems == {"(record)": {1: "has 8 columns where the header has 7"}}


def test_titles_without_a_header_are_refused_with_what_is_missing() -> None:
    with pytest.raises(UnreadableFileError, match="the required columns updated_at"):
        read("a.csv", "Orders\norder_id,status,currency\n1,2,3\n")


# --- numbers ---------------------------------------------------------------------------------------------------------


def money(*texts: str) -> tuple[list[Decimal | None], dict[int, str]]:
    typed = conform(ORDERS.by_name["total_amount"], pa.array(texts))
    return typed.values.to_pylist(), typed.problems


def test_the_noise_of_floats_is_rounded_away_and_real_decimals_are_not() -> None:
    values, problems = money(
        "0.30000000000000004", "19.989999999999998", " 12.50 ", "1.00001", "1e2", "11.428571428571"
    )
    assert values == [Decimal("0.3"), Decimal("19.99"), Decimal("12.5"), None, Decimal(100), None]
    assert problems == {3: "has more than 4 decimals: 1.00001", 5: "has more than 4 decimals: 11.428571428571"}


@given(st.integers(-(10**11), 10**11), st.integers(1, 400))
def test_a_sum_of_floats_is_the_amount_that_was_meant(cents: int, parts: int) -> None:
    amount = cents / 100
    noisy = sum([amount / parts] * parts)
    if abs(noisy - amount) < 4e-10:
        assert money(repr(noisy)) == ([Decimal(cents) / 100], {})


def test_prices_and_quantities_are_rounded_to_six_decimals() -> None:
    cell = json.dumps([{"quantity": "0.3333333333333333333333", "unit_price": 11.428571428571429, "list_price": 6.25}])
    typed = conform(ORDERS.by_name["items"], pa.array([cell]))
    assert typed.problems == {}
    (text,) = json_of_array(ORDERS.by_name["items"], typed.values).to_pylist()
    assert text == '[{"quantity":0.333333,"unit_price":11.428571,"list_price":6.2500}]'
    whole = conform(ORDERS.by_name["items"], pa.array(['[{"quantity":2,"unit_price":"6.5"}]']))
    (text,) = json_of_array(ORDERS.by_name["items"], whole.values).to_pylist()
    assert text == '[{"quantity":2,"unit_price":6.5000}]', "what version 1.0 wrote is written alike"


def test_a_chunk_is_written_as_postgres_reads_it() -> None:
    (chunk,) = read("a.jsonl", json.dumps(record(region='a,"b"\n', something={"new": 1})))
    written = csv_of(chunk, 7).to_pybytes().decode()
    assert written.startswith('7,1,"o1",2026-03-02 10:00:00.000000,2026-03-01 10:00:00.000000,"paid","USD",12.5000,')
    assert '"a,""b""\n",,,,"{""something"":{""new"": 1}}"' in written


# --- ids -------------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12))
def test_an_id_is_the_same_in_every_format_and_however_it_is_padded(text: str) -> None:
    typed = conform(ORDERS.by_name["customer_id"], pa.array([text, f"\u00a0{text}\u2003 "], pa.string()))
    first, second = typed.values.to_pylist()
    assert first == second
    assert first is None or (first == first.strip(" \u00a0\u2003") and first != "")


def test_whole_numbers_as_ids_take_the_fast_way() -> None:
    lines = "".join(json.dumps(record() | {"order_id": n, "customer_id": n * 2}) + "\n" for n in range(1, 50))
    reader = readers.Jsonl(ORDERS)
    chunk = next(reader.chunks(iter([lines.encode()])))
    assert chunk.columns["order_id"].to_pylist() == [str(n) for n in range(1, 50)]
    assert len(reader.schemas) == 3, "the schema with numbers was found, and is kept for the next block"
