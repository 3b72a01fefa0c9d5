"""Contract 1.1 from a landed file to the published tables: sources, deletions, reused ids, booleans, preferences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from customer360 import warehouse
from customer360.contract.feeds import FEEDS
from customer360.front_door import landing, load
from customer360.oncall import conditions
from customer360.oncall.conditions import View
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline import front_door
from tests.pipeline.shop import Record, at, feed_of, load_all, order, rows, session, ticket

pytestmark = pytest.mark.builds


def land(settings: Settings, folder: Path, name: str, *records: Record) -> None:
    """Take records through the front door, one file per feed."""
    for feed in {feed_of(record) for record in records}:
        path = folder / f"{name}-{feed}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records if feed_of(record) == feed))
        landing.put(settings, feed, path)
    assert load.ingest(settings).quarantined_count == 0


def assert_holds(settings: Settings, *, full: bool = False) -> None:
    report = verify(settings, full=full)
    assert [check for check in report.checks if not check.holds] == []
    assert all(money.difference == 0 for money in report.money)


def found(settings: Settings, kind: str) -> list[conditions.Finding]:
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        return list(conditions.CONDITIONS[kind](View(connection, settings)))


def test_two_shops_have_the_same_numbers(settings: Settings, tmp_path: Path) -> None:
    shops = [
        order("1001", customer_id="7", email="ann@example.org", total="80.00", **_bought("tea", "5.00")),
        order(
            "1001", customer_id="7", email="bob@example.org", total="30.00", source="shop-b", **_bought("hat", "3.00")
        ),
        order("1002", email="ann@example.org", source="shop-b"),
        session("s1", device="d1", order_id="1001"),
        session("s1", device="d2", order_id="1001", source="shop-b"),
        ticket("t1", email="help@example.org", order_id="1001", source="shop-b"),
        ticket("t2", customer_id="7"),
        order("a/1", customer_id="7"),
    ]
    land(settings, tmp_path, "first", *shops)
    build(settings, "test")
    orders = "select order_key, source, order_id, total_amount::int from marts.fct_orders order by 1"
    assert rows(settings, orders) == [
        ("/a/1", "", "a/1", 100),
        ("1001", "", "1001", 80),
        ("shop-b/1001", "shop-b", "1001", 30),
        ("shop-b/1002", "shop-b", "1002", 100),
    ]
    assert rows(settings, "select order_key, sku from marts.fct_order_items order by 1") == [
        ("1001", "tea"),
        ("shop-b/1001", "hat"),
    ]
    assert rows(settings, "select order_key, amount::int from marts.fct_refunds order by 1") == [
        ("1001", 5),
        ("shop-b/1001", 3),
    ]
    # A session and a ticket mean the order of their own source, and customer 7 of one shop is not 7 of the other; an
    # address is the same person everywhere.
    customer = dict(
        rows(
            settings,
            """
            select order_key, customer_key from marts.fct_orders
            union all select session_key, customer_key from marts.fct_sessions
            union all select ticket_key, customer_key from marts.fct_tickets
            """,
        )
    )
    assert customer["shop-b/s1"] == customer["shop-b/1001"] != customer["1001"] == customer["s1"]
    assert customer["t2"] == customer["/a/1"] == customer["1001"] == customer["shop-b/1002"]
    assert rows(settings, "select order_key from marts.fct_tickets where order_key is not null") == [("shop-b/1001",)]
    assert found(settings, "id_conflict") == []
    assert_holds(settings, full=True)


def _bought(sku: str, refunded: str) -> dict[str, Any]:
    return {
        "items": [{"sku": sku, "quantity": 1, "unit_price": "10.00"}],
        "refunds": [{"refund_id": "r", "refunded_at": at(3), "amount": refunded}],
    }


def test_what_its_source_deletes_leaves_every_table_and_comes_back(settings: Settings, tmp_path: Path) -> None:
    both: dict[str, Any] = {"customer_id": "c1", "email": "ann@example.org"}
    land(
        settings,
        tmp_path,
        "first",
        order("o1", **both, **_bought("tea", "5.00")),
        order("o2", email="bob@example.org"),
        session("s1", device="d1", customer_id="c1"),
        ticket("t1", email="bob@example.org"),
    )
    build(settings, "test")
    refresh_daily(settings, trigger="test")
    assert rows(settings, "select count(*) from marts.customer_360") == [(2,)]
    before = published(settings)

    gone = [
        order("o1", version=1, deleted=True, **both, **_bought("tea", "5.00")),
        session("s1", device="d1", customer_id="c1", updated_at=at(1), deleted=True),
        ticket("t1", version=1, email="bob@example.org", deleted=True),
    ]
    land(settings, tmp_path, "gone", *gone)
    build(settings, "test")
    assert published(settings) == {
        "fct_orders": [("o2",)],
        "fct_order_items": [],
        "fct_refunds": [],
        "fct_sessions": [],
        "fct_tickets": [],
        "customer_360": [("100.0000", 1, 0, 0)],
    }
    assert rows(settings, "select sum(gross_amount), sum(refunded_amount) from marts.fct_daily_revenue") == [(100, 0)]
    restated = (
        "select count(*) > 0 from ops.restatements where table_name = 'fct_daily_revenue' and figure = 'gross_amount'"
    )
    assert rows(settings, restated) == [(True,)]
    told = [check for check in verify(settings).checks if "their source has deleted" in check.name]
    assert len(told) == 3
    assert [str(money.deleted) for money in verify(settings).money] == ["95.0000"]
    refresh_daily(settings, trigger="test")
    assert_holds(settings, full=True)

    land(
        settings,
        tmp_path,
        "back",
        order("o1", version=2, **both, **_bought("tea", "5.00")),
        session("s1", device="d1", customer_id="c1", updated_at=at(2)),
        ticket("t1", version=2, email="bob@example.org", deleted=False),
    )
    build(settings, "test")
    assert published(settings) == before
    refresh_daily(settings, trigger="test")
    assert_holds(settings, full=True)


def published(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    columns = {
        "fct_orders": "order_key",
        "fct_order_items": "order_key, sku",
        "fct_refunds": "order_key, amount",
        "fct_sessions": "session_key",
        "fct_tickets": "ticket_key",
        "customer_360": "gross_amount::text, order_count, session_count, ticket_count",
    }
    return {table: sorted(rows(settings, f"select {names} from marts.{table}")) for table, names in columns.items()}


def test_a_reused_id_is_seen_and_called(settings: Settings, tmp_path: Path) -> None:
    ours: dict[str, Any] = {"status": "delivered", "total": "80.00", "email": "ada@shopa.test"}
    land(settings, tmp_path, "70-shop-a", order("1001", **ours), order("1002", email="bob@shopa.test"))
    build(settings, "test")
    assert found(settings, "id_conflict") == []
    theirs = order("1001", day=30, total="30.00", email="cyd@shopb.test")
    grown = order("1002", day=0, version=9, email="bob@shopa.test", customer_id="b", status="delivered")
    land(settings, tmp_path, "71-shop-b", theirs, grown, order("1003", email="dan@shopb.test"))
    build(settings, "test")
    conflicts = "select order_key from marts.fct_orders where has_id_conflict"
    assert rows(settings, conflicts) == [("1001",)]
    (finding,) = found(settings, "id_conflict")
    assert (finding.key, finding.evidence["keys"]) == ("id_conflict:orders", ["1001"])
    assert found(settings.with_(id_conflict_alert_records=2), "id_conflict") == []
    assert_holds(settings, full=True)


@pytest.mark.parametrize(
    ("versions", "is_conflict"),
    [
        ([session("s", device="a"), session("s", device="b", day=3)], True),
        ([session("s", device="a"), session("s", device="b")], False),
        ([session("s", device="a"), session("s", device="a", day=3)], False),
        ([ticket("t", email="a@x.test"), ticket("t", email="b@x.test", day=3)], True),
        ([ticket("t", email="a@x.test", phone="1"), ticket("t", email="b@x.test", phone="1", day=3)], False),
        ([ticket("t", email="a@x.test"), ticket("t", customer_id="b", day=3)], False),
        ([ticket("t", email="A@x.test"), ticket("t", email="a@x.test", day=3)], False),
    ],
)
def test_only_another_record_is_a_conflict_of_ids(
    settings: Settings, versions: list[Record], is_conflict: bool
) -> None:
    load_all(settings, versions)
    with warehouse.connect("transformer", settings) as connection:
        connection.execute("update ops.batches set claimed_at = now()")
    from customer360.models import runner

    feed = FEEDS[feed_of(versions[0])]
    runner.run_models(settings, "tag:staging", run_id=None)
    flag = f"select has_id_conflict from staging.{feed.staged}"
    assert rows(settings, flag, role="transformer") == [(is_conflict,)]


@pytest.mark.slow
def test_ids_that_were_loaded_with_blanks_are_one_order(settings: Settings) -> None:
    """What version 1.0 has loaded: a blank belonged to an id then."""
    same: dict[str, Any] = {"email": "c@shop-a.test", "total": "10.00"}
    load_all(settings, [order("PAD1", **same), order("PAD1   ", **same), order("\u3000PAD1", **same)])
    build(settings, "test")
    found = rows(settings, "select order_key, order_id, version_count, has_version_conflict from marts.fct_orders")
    assert found == [("PAD1", "PAD1", 1, False)]
    load_all(settings, [order("PAD1 ", version=1, email="c@shop-a.test", total="12.00")])
    build(settings, "test")
    assert rows(settings, "select order_id, total_amount::int from marts.fct_orders") == [("PAD1", 12)]
    assert_holds(settings, full=True)


PREFERENCES = [
    {"channel": "email", "allowed": False, "stated_at": "2026-03-01T10:00:00.000000Z"},
    {"channel": "sms", "preferred": True},
]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_booleans_and_preferences_mean_the_same_in_every_format(settings: Settings, kind: str) -> None:
    records = [
        front_door.order(1, source="shop_b", deleted=True, contact_preferences=PREFERENCES),
        front_door.order(2, deleted=False),
        front_door.order(3),
    ]
    content = front_door.WRITERS[kind](records)
    outcome = front_door.ingest_one(settings, "orders", f"one.{kind}", content)
    assert (outcome.state, outcome.rows) == ("loaded", 3)
    loaded = front_door.raw_rows(settings, "orders", "order_key, source, deleted, contact_preferences", "order_id")
    assert loaded == [("shop_b/o1", "shop_b", True, PREFERENCES), ("o2", None, False, None), ("o3", None, None, None)]


def test_booleans_of_a_csv_are_written_as_people_write_them(settings: Settings) -> None:
    words = ["TRUE", "no", "1", "0", "Yes", "False", ""]
    records = [front_door.order(n, deleted=word) for n, word in enumerate(words, 1)]
    front_door.ingest_one(settings, "orders", "one.csv", front_door.csv_text(records))
    loaded = front_door.raw_rows(settings, "orders", "deleted", "row_number")
    assert loaded == [(True,), (False,), (True,), (False,), (True,), (False,), (None,)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"deleted": "maybe"}, "deleted is neither true nor false: maybe"),
        ({"source": "Shop B"}, "source must be 1 to 40 of a-z, 0-9, _ and -"),
        ({"source": "a/b"}, "source must be 1 to 40 of a-z, 0-9, _ and -"),
    ],
)
def test_what_cannot_be_used_is_called_by_its_name(settings: Settings, fields: Record, message: str) -> None:
    front_door.ingest_one(settings, "orders", "one.jsonl", front_door.jsonl([front_door.order(1, **fields)]))
    assert message in str(front_door.reasons(settings))
