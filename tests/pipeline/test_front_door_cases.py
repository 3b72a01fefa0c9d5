"""Files that neighbouring systems were seen to get wrong (tests/cases), from the landing zone to what BI reads.

All of them are landed in one shop, so that each is also a witness that the others stop nobody.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customer360 import warehouse
from customer360.front_door import load
from customer360.gates import data_docs
from customer360.publication.build import build
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline.front_door import drop
from tests.pipeline.shop import rows

CASES = Path(__file__).resolve().parents[1] / "cases"
pytestmark = pytest.mark.builds


@pytest.fixture(scope="module")
def published(module_settings: Settings) -> Settings:
    """A shop that all the cases were landed in, built and published once."""
    settings = module_settings.with_(parquet_timezone="UTC")
    for path in sorted(CASES.glob("*/*")):
        feed = "web_sessions" if "pageviews" in path.name else "orders"
        drop(settings, feed, path.name, path.read_bytes())
    summary = load.ingest(settings)
    assert not summary.refused
    assert not summary.failed
    build(settings, "test")
    return settings


def order(settings: Settings, order_id: str, columns: str) -> Any:
    found = rows(settings, f"select {columns} from marts.fct_orders where order_id = '{order_id}'")
    return found[0] if found else None


def is_published(settings: Settings, *order_ids: str) -> list[bool]:
    return [order(settings, one, "1") is not None for one in order_ids]


def aside(settings: Settings) -> dict[str, list[str]]:
    """Id (or the start of the record) -> the rules that put the row aside."""
    with warehouse.connect("loader", settings) as connection:
        found = connection.execute(
            """
            select coalesce(record::jsonb ->> 'order_id', record::jsonb ->> 'session_id'),
                (select array_agg((reason ->> 'rule') || ' ' || (reason ->> 'field') order by number)
                 from jsonb_array_elements(reasons) with ordinality as listed(reason, number))
            from quarantine.rows
            """
        ).fetchall()
    return dict(found)


def test_each_row_that_stepped_aside_has_its_true_reason(published: Settings) -> None:
    assert aside(published) == {
        "C1": ["limit total_amount"],
        "S1": ["limit page_views"],
        "S2": ["limit page_views"],
        "Q1": ["readable items[]"],
        "Q2": ["readable items[]"],
        "CUR2": ["choice currency"],
        "ST1": ["choice status"],
        "ST3": ["choice status"],
        "ST4": ["choice status"],
        "ITB": ["minimum total_amount"],
        " ": ["required order_id"],
        "WS1": ["someone customer_id, email, phone, anonymous_id"],
        "WS2": ["someone customer_id, email, phone, anonymous_id"],
        "TM20": ["readable updated_at"],
        "TM28": ["readable updated_at"],
        "RF5": ["readable refunds"],
        "RF7": ["minimum refunds[].amount"],
    }


def test_one_poisoned_file_stops_no_other(published: Settings) -> None:
    assert is_published(published, "C2", "GOOD1", "GOOD2") == [True] * 3


def test_an_optional_field_costs_itself_and_is_kept_as_it_came(published: Settings) -> None:
    countries = {"XK1": None, "UK1": "GB", "AN1": None, "us1": "US"}
    assert {one: order(published, one, "country")[0] for one in countries} == countries
    assert order(published, "CUR1", "currency, total_amount::int") == ("USD", 50)
    assert order(published, "ST2", "status") == ("delivered",)
    assert order(published, "CH1", "sales_channel") == ("web",)
    kept = rows(
        published, "select order_id, extra -> 'unusable' from raw.orders where order_id in ('XK1', 'CH1')", "owner"
    )
    assert dict(kept) == {"XK1": {"country": "XK"}, "CH1": {"sales_channel": "pos"}}
    counted = rows(published, "select unusable_fields from ops.batches where file_name = '15-choices.jsonl'", "oncall")
    assert counted == [({"country": {"choice": 2}, "sales_channel": {"choice": 1}},)]


def test_order_lines_that_are_no_article_are_lines(published: Settings) -> None:
    lines = rows(
        published,
        """
        select order_id, sku, quantity::float, unit_price::float, kept_amount::float from marts.fct_order_items
        where order_id like 'IT%' order by order_id, line_number
        """,
    )
    assert lines == [
        ("IT1", None, 1, 10, 10),
        ("IT2", None, 1, 10, 10),
        ("IT3", "A", 1, 11.4286, 11.4286),
        ("IT4", "A", 1, 11.4286, 11.4286),
        ("IT5", "A", 1, 10, 10),
        ("IT6", "A", 1, -5, 0),
        ("IT7", "A", 1, 10, 10),
        ("IT9", "A", 1.5, 3, 4.5),
        ("ITA", "A", 1, 10, 0),
    ]
    assert is_published(published, "IT8") == [True]


def test_padded_ids_are_one_order(published: Settings) -> None:
    found = rows(published, "select order_id from marts.fct_orders where lower(order_id) ~ 'pad1|emo|7001' order by 1")
    assert [one for (one,) in found] == ["7001", "EMO 🛒 1", "PAD1", "pad1"]


def test_every_time_with_an_offset_is_the_moment_that_it_says(published: Settings) -> None:
    found = rows(published, "select order_id, updated_at from marts.fct_orders where order_id like 'TM%'")
    ten = datetime(2026, 11, 20, 10, tzinfo=UTC)
    assert dict(found) == {
        **dict.fromkeys(("TM00", "TM02", "TM04", "TM06", "TM10", "TM18", "TM26"), ten),
        "TM08": ten.replace(hour=15),
        "TM12": ten.replace(microsecond=123456),
        "TM14": datetime(2026, 11, 21, tzinfo=UTC),
        "TM16": ten.replace(hour=4, minute=30),
        "TM22": datetime(2026, 11, 19, 20, tzinfo=UTC),
        "TM24": ten.replace(hour=9),
    }


def test_net_revenue_is_never_below_zero_and_the_floor_is_marked(published: Settings) -> None:
    columns = "net_amount::float, is_net_floored"
    found = {one: order(published, one, columns) for one in ("G1", "G2", "G3", "R1", "R2", "RFA")}
    assert found == {
        "G1": (0, True), "G2": (0, True), "G3": (63, False), "R1": (0, True), "R2": (50, False), "RFA": (0, False),
    }  # fmt: skip
    warned = rows(
        published,
        """
        select unexpected_count from ops.gate_results inner join ops.batches using (batch_id)
        where file_name = '01-netneg.jsonl' and severity = 'warning' and outcome = 'failed'
        """,
        "oncall",
    )
    assert warned == [(2,)]


def test_a_refund_counts_once_and_takes_back_no_more_than_was_charged(published: Settings) -> None:
    found = rows(
        published,
        """
        select order_id, amount::float, net_amount::float, refunded_at from marts.fct_refunds
        where order_id like 'RF%' order by order_id
        """,
    )
    next_day = datetime(2026, 11, 21, tzinfo=UTC)
    assert found == [
        ("RF2", 10, 10, next_day),
        ("RF3", 100, 100, next_day),
        ("RF4", 10, 10, datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("RF8", 5, 5, datetime(2026, 11, 1, tzinfo=UTC)),
        ("RFA", 3, 0, next_day),
    ]
    assert order(published, "RF3", "net_amount::float, original_refunded_amount::float") == (0, 100.01)


def test_shapes_that_spreadsheets_and_exports_write_are_understood(published: Settings) -> None:
    assert is_published(published, "EX1", "EX2", "AR2", "AR3") == [True] * 4
    landed = rows(
        published,
        "select file_name, landed_rows from ops.batches where file_name ~ '^(20|21|36)-' order by 1",
        "oncall",
    )
    assert landed == [("20-sep-line.csv", 1), ("21-excel-trailing.csv", 1), ("36-array.jsonl", 2)]


def test_parquet_means_the_same_in_every_arrow_type(published: Settings) -> None:
    found = rows(
        published, "select order_id, extra -> 'items', items from raw.orders where order_id ~ '^P[QL]'", "owner"
    )
    assert len(found) == 4
    assert {str(one[1:]) for one in found} == {
        str(([{"colour": "red", "gift_note": "hello"}], [{"sku": "A", "quantity": 2, "unit_price": 10.25}]))
    }


def test_spark_parquet_is_read_where_its_meaning_is_plain(published: Settings) -> None:
    assert is_published(published, "PI1", "PI2", "7005", "7006") == [True] * 4
    assert order(published, "PI1", "updated_at") == (datetime(2026, 11, 20, 10, tzinfo=UTC),)
    reading = rows(published, "select reading from ops.batches where file_name = '46-int96.parquet'", "oncall")
    assert reading == [({"format": "parquet", "timezone": "UTC"},)]


def test_more_new_fields_than_rows_are_kept_counted_and_shown(published: Settings) -> None:
    """GX counted two unexpected values among one row, and its Data Docs crashed on every later run."""
    kept = rows(published, "select extra from raw.orders where order_id = 'NF1'", "owner")
    assert kept == [({"gift": True, "note": "call first"},)]
    assert is_published(published, "NF1") == [True]
    counted = rows(
        published,
        """
        select checked_count, unexpected_count from ops.gate_results inner join ops.batches using (batch_id)
        where file_name = '60-two-new-fields.jsonl' and outcome = 'failed'
        """,
        "oncall",
    )
    assert counted == [(1, 1)]
    for _ in range(2):
        assert data_docs.build_data_docs(published).is_file()


def test_an_order_number_that_another_shop_uses_too_is_a_visible_conflict(published: Settings) -> None:
    conflicts = "select order_id from marts.fct_orders where has_id_conflict"
    assert rows(published, conflicts) == [("1001",)]
    assert is_published(published, "1002", "1003") == [True] * 2


def test_the_books_balance(published: Settings) -> None:
    found = verify(published, full=True)
    assert found.holds, found
