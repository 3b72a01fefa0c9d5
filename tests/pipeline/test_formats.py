"""The same records mean the same in every format."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from customer360.contract.feeds import FEEDS, Field
from customer360.contract.records import RECORD, Chunk
from customer360.front_door import readers
from customer360.settings import Settings
from tests.pipeline.front_door import WRITERS, Record, csv_text, ingest_one, jsonl, order, parquet, raw_rows

# A lone byte order mark is null in CSV and unfit in JSON Lines; in neither is it a time or a number.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff"), max_size=12) | st.sampled_from(
    [
        "",
        " ",
        "null",
        "NaN",
        "1,000.00",
        "0x1F",
        "=1+1",
        'a"b',
        "a\\b",
        "a\r\nb",
        "x\ufeffy",
        "\u2028",
        "[]",
        "{}",
        "é☃𝒳",
    ]
)
moneys = st.decimals(-1, 10**17, places=5).map(str) | st.decimals(0, 10**6, places=2).map(str)
times = st.builds(
    lambda moment, minutes: moment.replace(tzinfo=timezone(timedelta(minutes=minutes))).isoformat(),
    st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
)


def values(of: Field) -> st.SearchStrategy[Any]:
    """Values of a field: mostly fitting, at times any text, at times none."""
    fitting: st.SearchStrategy[Any]
    if of.kind == "array":
        element = st.fixed_dictionaries({}, optional={inner.name: values(inner) for inner in of.elements})
        return st.none() | st.lists(element, min_size=1, max_size=3)
    if of.choices:
        fitting = st.sampled_from(of.choices[:6])
    elif of.kind == "time":
        fitting = times
    elif of.kind == "money":
        fitting = moneys
    elif of.kind in {"number", "integer"}:
        fitting = st.integers(-2, 2**70).map(str) | st.integers(0, 9).map(str)
    else:
        fitting = texts
    return st.one_of(fitting, fitting, fitting, st.none(), texts)


def records(feed: str) -> st.SearchStrategy[list[Record]]:
    """Lists of records in which each field is present in all or absent from all: a column, in a table."""
    fields = FEEDS[feed].fields
    return st.lists(st.fixed_dictionaries({of.name: values(of) for of in fields}), min_size=1, max_size=4)


def read(feed: str, format_: str, content: bytes) -> Chunk:
    source = readers.open_source(FEEDS[feed], f"a.{format_}", io.BytesIO(content))
    (chunk,) = source.chunks
    return chunk


def meaning(feed: str, chunk: Chunk) -> tuple[dict[str, list[Any]], dict[str, list[int]]]:
    """All that the gate looks at: the typed values, and which rows have a value that does not fit."""
    columns = {of.name: chunk.columns[of.name].to_pylist() for of in FEEDS[feed].fields}
    unfit = {name: sorted(problems) for name, problems in chunk.problems.items()}
    for name, rows in unfit.items():
        for row in rows:
            columns[name.removesuffix("[]")][row] = "unfit"
    return columns, unfit


@pytest.mark.parametrize("feed", FEEDS)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_same_records_give_the_same_rows_in_every_format(feed: str, data: st.DataObject) -> None:
    _means_the_same(feed, data)


@pytest.mark.slow
@pytest.mark.parametrize("feed", FEEDS)
@hypothesis_settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_same_records_give_the_same_rows_in_every_format_at_length(feed: str, data: st.DataObject) -> None:
    _means_the_same(feed, data)


@pytest.mark.parametrize("quantity", ["99999999999999999999", "100000000000000000000", "1e20", "-1e20"])
@pytest.mark.parametrize("total", ["1.00", "0.00000"])
def test_a_number_of_more_digits_than_its_type_fits_in_no_format(quantity: str, total: str) -> None:
    """Five decimals of one field made the reader take all numbers by a narrower way."""
    record = {of.name: None for of in FEEDS["orders"].fields} | {
        "total_amount": total,
        "items": [{"quantity": quantity}],
    }
    found = {
        format_: meaning("orders", read("orders", format_, writer(_columns_of_text("orders", [record], format_))))
        for format_, writer in WRITERS.items()
    }
    assert found["csv"] == found["jsonl"] == found["parquet"]
    assert ("items[]" in found["csv"][1]) == (abs(Decimal(quantity)) >= 10**20)


def _means_the_same(feed: str, data: st.DataObject) -> None:
    found = data.draw(records(feed))
    meanings = {
        format_: meaning(feed, read(feed, format_, writer(_columns_of_text(feed, found, format_))))
        for format_, writer in WRITERS.items()
    }
    assert meanings["csv"] == meanings["jsonl"]
    assert meanings["parquet"] == meanings["jsonl"]


def _columns_of_text(feed: str, found: list[Record], format_: str) -> list[Record]:
    """For Parquet, arrays whose elements all have the same fields: a column has one type there."""
    if format_ != "parquet":
        return found
    arrays = {of.name: [inner.name for inner in of.elements] for of in FEEDS[feed].fields if of.kind == "array"}
    whole = []
    for record in found:
        record = dict(record)
        for name, inner in arrays.items():
            if record[name] is not None:
                record[name] = [{key: element.get(key) for key in inner} for element in record[name]]
        whole.append(record)
    return whole


@hypothesis_settings(max_examples=100, deadline=None)
@given(
    st.decimals(0, 10**15, places=4), st.integers(1, 10**6), st.datetimes(datetime(1996, 1, 1), datetime(2026, 1, 1))
)
@example(Decimal("0.1"), 3, datetime(2000, 1, 1))
@example(Decimal("123456789012345.6789"), 1, datetime(2000, 1, 1, 0, 0, 0, 1))
def test_numbers_and_times_mean_the_same_in_the_types_of_each_format(
    amount: Decimal, quantity: int, moment: datetime
) -> None:
    aware = moment.replace(tzinfo=UTC)
    as_text = order(1, total_amount=str(amount), ordered_at=aware.isoformat(), updated_at=aware.isoformat())
    as_text["items"] = [{"sku": "a", "quantity": quantity, "unit_price": str(amount)}]
    as_number = jsonl([as_text]).replace(f'"{amount}"'.encode(), str(amount).encode())
    as_type = as_text | {"total_amount": amount, "ordered_at": aware, "updated_at": aware}
    as_type["items"] = [{"sku": "a", "quantity": quantity, "unit_price": amount}]
    expected = meaning("orders", read("orders", "jsonl", jsonl([as_text])))
    assert expected[1] == {}
    assert meaning("orders", read("orders", "jsonl", as_number)) == expected
    assert meaning("orders", read("orders", "csv", csv_text([as_text]))) == expected
    assert meaning("orders", read("orders", "parquet", parquet([as_type]))) == expected


def test_the_three_formats_give_the_same_raw_rows(settings: Settings) -> None:
    rows = [
        order(1, region='é "☃" \\ 𝒳', discount_amount="0.1", refunds=[
            {"refund_id": "r", "refunded_at": "2026-03-03T00:00:00+05:30", "amount": "1.5", "reason": None}]),
        order(2, region="", items=[{"sku": 'a"\\\n', "quantity": 1.5, "unit_price": "0.0001"}]),
        order(3, items=None, region=" "),
    ]  # fmt: skip
    found = []
    for format_, writer in WRITERS.items():
        ingest_one(settings, "orders", f"a.{format_}", writer(rows))
        columns = "order_id, updated_at, total_amount, discount_amount, items::text, refunds::text, region, extra"
        found.append(raw_rows(settings, "orders", columns, "batch_id desc, row_number")[:3])
    assert found[0] == found[1] == found[2]
    assert found[0][0][6] == 'é "☃" \\ 𝒳'


def test_the_slow_way_and_the_fast_way_agree() -> None:
    lines = jsonl(
        [order(n, total_amount=n / 4, items=[{"sku": "x", "quantity": n, "unit_price": 0.1}]) for n in range(1, 50)]
    )
    feed = FEEDS["orders"]
    fast = read("orders", "jsonl", lines)
    slow = readers.read_again(feed, {"format": "jsonl"}, lines.decode().splitlines())
    mixed = read("orders", "jsonl", lines + b'{"order_id": 5}\n')
    assert not fast.problems
    for of in feed.fields:
        assert fast.columns[of.name].equals(slow.columns[of.name]), of.name
        assert fast.columns[of.name].equals(mixed.columns[of.name][:49]), of.name


def test_a_null_that_ends_the_process_in_arrow_does_not_end_ours() -> None:
    """pyarrow 26 crashes on a bare null; the reader keeps such lines away from it."""
    chunk = read("orders", "jsonl", b"null\n" + jsonl([order(1)]) + b' null\ntrue\n[null]\n1\n"x"\n')
    assert len(chunk.problems[RECORD]) == 6
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
    chunk = read("orders", "jsonl", jsonl([order(1)]) + deep + b"\n")
    assert chunk.problems[RECORD] == {1: "is nested too deeply"}
    cell = order(1, items=json.loads("[" * 400 + "]" * 400))
    assert read("orders", "csv", csv_text([cell])).problems["items"] == {0: "[1] is not an object"}
