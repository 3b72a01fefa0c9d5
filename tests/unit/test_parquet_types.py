"""A Parquet file means what its JSON Lines twin means, whatever types its writer chose."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from customer360.contract.feeds import ORDERS
from customer360.contract.records import Chunk
from customer360.contract.typed_values import plain_array
from customer360.front_door import readers
from customer360.front_door.formats import UnreadableFileError

TEXTS = [
    pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.binary(),
    pa.large_binary(), pa.binary_view(),
]  # fmt: skip
WHOLES = [pa.int64(), pa.int32(), pa.uint64(), pa.decimal128(20, 0), pa.decimal128(22, 2), pa.float64()]
MONEYS = [
    pa.decimal128(12, 2),
    pa.decimal128(30, 10),
    pa.decimal256(40, 4),
    pa.float64(),
    pa.string(),
    pa.large_string(),
]
TIMES = [
    pa.timestamp("s", "UTC"), pa.timestamp("ms", "Europe/Berlin"), pa.timestamp("us", "UTC"),
    pa.timestamp("ns", "+05:30"), pa.string(), pa.large_string(),
]  # fmt: skip
LISTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view]

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
unknowns = st.fixed_dictionaries(
    {},
    optional={
        "colour": texts.filter(bool),
        "weight": st.integers(-(10**6), 10**6),
        "gift": st.booleans(),
        "maker": st.fixed_dictionaries({}, optional={"name": texts.filter(bool), "tags": st.lists(texts, max_size=2)}),
    },
)
items = st.lists(
    st.tuples(
        st.fixed_dictionaries(
            {"sku": texts, "quantity": st.integers(0, 9), "unit_price": st.integers(0, 99999).map(lambda n: n / 100)},
        ),
        unknowns,
    ).map(lambda both: both[0] | both[1]),
    max_size=3,
)  # fmt: skip
records = st.lists(
    st.fixed_dictionaries(
        {
            "order_id": st.integers(0, 2**31 - 1).map(str),
            "customer_id": st.none() | st.integers(0, 2**31 - 1).map(str),
            "email": st.none() | texts,
            "status": st.sampled_from(["paid", "Paid", "lost"]),
            "currency": st.just("USD"),
            "total_amount": st.integers(0, 10**7).map(lambda cents: str(Decimal(cents) / 100)),
            "ordered_at": st.integers(0, 800_000_000).map(
                lambda s: datetime.fromtimestamp(978_000_000 + s, UTC).isoformat()
            ),
            "items": st.none() | items,
            "remark": st.none() | texts.filter(bool),
        }
    ).map(lambda record: record | {"updated_at": record["ordered_at"]}),
    min_size=1,
    max_size=5,
)


def column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Texts as a column of any type that can say the same."""
    if pa.types.is_timestamp(kind):
        moments = [None if v is None else datetime.fromisoformat(v) for v in values]
        return pa.array(moments, pa.timestamp("us", "UTC")).cast(kind)
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string()).dictionary_encode()
    if pa.types.is_floating(kind):
        return pa.array([None if v is None else float(v) for v in values], kind)
    if pa.types.is_integer(kind):
        return pa.array([None if v is None else int(v) for v in values], kind)
    if pa.types.is_decimal(kind):
        return pa.array([None if v is None else Decimal(v) for v in values], kind)
    return pa.array(values, pa.string()).cast(kind)


def item_type(data: st.DataObject) -> pa.DataType:
    text = data.draw(st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]))
    whole = data.draw(st.sampled_from([pa.int64(), pa.int16(), pa.float64()]))
    a_list = data.draw(st.sampled_from(LISTS))
    maker = pa.struct([("name", text), ("tags", a_list(text))])
    fields = [("sku", text), ("quantity", whole), ("unit_price", pa.float64()), ("colour", text),
              ("weight", pa.int64()), ("gift", pa.bool_()), ("maker", maker)]  # fmt: skip
    return a_list(pa.struct(fields))


def meaning(chunk: Chunk) -> dict[str, Any]:
    extra = chunk.extra.to_pylist() if chunk.extra is not None else [None] * len(chunk)
    return {
        "columns": {name: values.to_pylist() for name, values in chunk.columns.items()},
        "problems": {name: sorted(rows) for name, rows in chunk.problems.items() if rows},
        "mended": chunk.mended,
        "extra": [_without_nothing(json.loads(text)) if text else None for text in extra],
    }


def _without_nothing(value: Any) -> Any:
    """In a column an element has all its fields: an object without any, and none at all, look alike."""
    if isinstance(value, dict):
        kept = {key: _without_nothing(v) for key, v in value.items()}
        return {key: v for key, v in kept.items() if v not in ({}, [], None)}
    return [_without_nothing(v) for v in value] if isinstance(value, list) else value


def read(format_: str, content: bytes, **options: Any) -> Chunk:
    (chunk,) = readers.open_source(ORDERS, f"a.{format_}", io.BytesIO(content), **options).chunks
    return chunk


def parquet(columns: dict[str, pa.Array], **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(records, st.data())
def test_a_parquet_file_means_what_its_twin_means(found: list[dict[str, Any]], data: st.DataObject) -> None:
    kinds = {
        "order_id": TEXTS + WHOLES, "customer_id": TEXTS + WHOLES, "email": TEXTS, "status": TEXTS, "currency": TEXTS,
        "total_amount": MONEYS, "ordered_at": TIMES, "updated_at": TIMES, "remark": TEXTS[:4],
    }  # fmt: skip
    columns = {
        name: column([record[name] for record in found], data.draw(st.sampled_from(kind)))
        for name, kind in kinds.items()
    }
    columns["items"] = pa.array([record["items"] for record in found], item_type(data))
    batch = {
        name: plain_array(values) if values.type in {pa.string_view(), pa.binary_view()} else values
        for name, values in columns.items()
    }
    twin = "".join(json.dumps(record) + "\n" for record in found).encode()
    try:
        content = parquet(columns)
    except pa.ArrowNotImplementedError:  # this writer has no views; another one's reader gives them all the same
        content = parquet({**batch, "items": plain_array(columns["items"])})
    assert meaning(read("parquet", content)) == meaning(read("jsonl", twin))


def small(**columns: pa.Array) -> dict[str, pa.Array]:
    whole = {
        "order_id": pa.array(["a"]), "updated_at": pa.array([datetime(2026, 3, 2)]),
        "ordered_at": pa.array([datetime(2026, 3, 1)]), "status": pa.array(["paid"]), "currency": pa.array(["USD"]),
        "total_amount": pa.array([Decimal("9.90")]), "email": pa.array(["a@example.com"]),
    }  # fmt: skip
    return whole | columns


def test_times_without_a_zone_are_refused_until_somebody_names_it() -> None:
    content = parquet(small())
    with pytest.raises(UnreadableFileError, match=r"updated_at, ordered_at have no time zone.*C360_PARQUET_TIMEZONE"):
        read("parquet", content)
    chunk = read("parquet", content, parquet_timezone="America/New_York")
    assert chunk.columns["ordered_at"].to_pylist() == [datetime(2026, 3, 1, 5, tzinfo=UTC)]
    source = readers.open_source(ORDERS, "a.parquet", io.BytesIO(content), parquet_timezone="America/New_York")
    assert source.reading.as_json() == {"format": "parquet", "timezone": "America/New_York"}
    again = readers.read_again(ORDERS, source.reading.as_json(), [chunk.record(0)])
    assert again.columns["ordered_at"].to_pylist() == [datetime(2026, 3, 1, 5, tzinfo=UTC)]


def test_what_spark_signs_with_int96_is_utc() -> None:
    table = pa.table(small()).replace_schema_metadata({"org.apache.spark.version": "3.5.1"})
    out = io.BytesIO()
    pq.write_table(table, out, use_deprecated_int96_timestamps=True)
    chunk = read("parquet", out.getvalue())
    assert chunk.columns["ordered_at"].to_pylist() == [datetime(2026, 3, 1, tzinfo=UTC)]


def test_an_hour_that_the_clocks_show_twice_is_not_guessed() -> None:
    zone = "Europe/Berlin"
    chunk = read("parquet", parquet(small(ordered_at=pa.array([datetime(2026, 10, 25, 2, 30)]))), parquet_timezone=zone)
    assert chunk.problems["ordered_at"] == {0: "falls into an hour that the clocks of Europe/Berlin show twice"}
    chunk = read("parquet", parquet(small(ordered_at=pa.array([datetime(2026, 10, 25, 3, 30)]))), parquet_timezone=zone)
    assert chunk.columns["ordered_at"].to_pylist() == [datetime(2026, 10, 25, 2, 30, tzinfo=UTC)]


def test_nested_times_without_a_zone_follow_the_setting() -> None:
    refunds = pa.array([[{"refund_id": "r", "refunded_at": datetime(2026, 3, 3), "amount": 1.5}]])
    chunk = read("parquet", parquet(small(refunds=refunds)), parquet_timezone="UTC")
    assert chunk.columns["refunds"].to_pylist()[0][0]["refunded_at"] == datetime(2026, 3, 3, tzinfo=UTC)
    assert chunk.problems == {}


def test_ids_that_are_numbers_or_bytes_are_the_text_of_them() -> None:
    aware = {
        "updated_at": pa.array([datetime(2026, 3, 2, tzinfo=UTC)]),
        "ordered_at": pa.array([datetime(2026, 3, 1, tzinfo=UTC)]),
    }
    for value, kind, text in (
        (7005, pa.int32(), "7005"), (7005.0, pa.float64(), "7005"), (b"x1", pa.binary(2), "x1"),
        (Decimal(7005), pa.decimal128(38, 0), "7005"), (float("nan"), pa.float64(), None), (0.5, pa.float64(), None),
        (2.0**60, pa.float64(), None), (5.43e22, pa.float64(), None),
    ):  # fmt: skip
        chunk = read("parquet", parquet(small(customer_id=pa.array([value], kind), **aware)))
        assert chunk.columns["customer_id"].to_pylist() == [text]
        assert ("customer_id" in chunk.problems) == (text is None and value == value)
