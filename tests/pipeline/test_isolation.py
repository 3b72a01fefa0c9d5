"""Poison is isolated by itself: rows that stop a build are found, quarantined, and everything else is published.

The rows skip the front door, which would refuse the kinds that are known: what stops a build tomorrow is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from customer360 import warehouse
from customer360.models import runner
from customer360.models.runner import ModelsFailedError
from customer360.publication import isolation
from customer360.publication.build import build
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline.conftest import copy_of
from tests.pipeline.shop import Record, load, order, rows, session, ticket

pytestmark = pytest.mark.builds

POISON = [{"sku": "tea", "quantity": "much", "unit_price": "5.00"}]  # no number: the facts cannot hold it


@pytest.fixture(scope="module")
def seeded(embedded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An empty warehouse whose seeds are loaded, to be copied."""
    with copy_of(embedded, tmp_path_factory.mktemp("landing")) as settings:
        runner.run_models(settings, "tag:staging", run_id=None)
        yield settings


@pytest.fixture
def shop(seeded: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A warehouse with one published order."""
    with copy_of(seeded, tmp_path / "landing") as settings:
        load(settings, "orders", [order("before", customer_id="c0")])
        build(settings, "test")
        yield settings


def good_batches(settings: Settings, count: int) -> None:
    """Batches of all feeds that nothing is wrong with."""
    for n in range(count):
        records: tuple[tuple[str, list[Record]], ...] = (
            ("orders", [order(f"good{n}", customer_id=f"c{n}")]),
            ("web_sessions", [session(f"s{n}", customer_id=f"c{n}")]),
            ("support_tickets", [ticket(f"t{n}", customer_id=f"c{n}")]),
        )
        load(settings, *records[n % 3])


def quarantined(settings: Settings) -> list[tuple[int, int, str]]:
    """Batch, row number and rule of the open rows."""
    return rows(
        settings,
        "select batch_id, row_number, reasons -> 0 ->> 'rule' from quarantine.rows where state = 'open' order by 1, 2",
        "oncall",
    )


def test_one_poison_row_among_good_batches_is_quarantined_and_all_else_is_published(shop: Settings) -> None:
    good_batches(shop, 3)
    poisoned = load(
        shop,
        "orders",
        [
            order("fine", customer_id="x"),
            order("poison", items=POISON, customer_id="y"),
            order("too", customer_id="z"),
        ],
    )
    good_batches(shop, 6)
    summary = build(shop, "test")
    assert summary.publication_id is not None
    assert quarantined(shop) == [(poisoned, 2, isolation.RULE)]
    published = {row[0] for row in rows(shop, "select order_id from marts.fct_orders")}
    assert {"before", "fine", "too"} <= published
    assert "poison" not in published
    assert rows(shop, "select count(*) from quarantine.suspended", "owner") == [(0,)]
    (record,) = rows(shop, "select record from quarantine.rows", "loader")[0]
    assert json.loads(record)["items"][0]["quantity"] == "much"
    (why,) = rows(shop, "select reasons -> 0 ->> 'message' from quarantine.rows", "oncall")[0]
    assert "failed because of it" in why
    assert "much" not in why
    report = verify(shop)
    assert [check for check in report.checks if not check.holds] == []


POISONS: dict[str, tuple[str, Record]] = {
    "a quantity that is no number": ("orders", order("poison", items=POISON, customer_id="y")),
    "items that are no list": ("orders", order("poison", items={"sku": "tea"}, customer_id="y")),
    "a refund without an amount that can be read": (
        "orders",
        order(
            "poison",
            customer_id="y",
            refunds=[{"refund_id": "r", "refunded_at": "2026-03-02T00:00:00Z", "amount": "x"}],
        ),
    ),
    "a refund of no day": (
        "orders",
        order("poison", customer_id="y", refunds=[{"refund_id": "r", "refunded_at": "someday", "amount": "1"}]),
    ),
    "a total below zero": ("orders", order("poison", total="-5.00", customer_id="y")),
    "a status that nobody knows": ("orders", order("poison", status="teleported", customer_id="y")),
    "a statement that is no list": (
        "orders",
        order("poison", contact_preferences={"channel": "email"}, customer_id="y"),
    ),
    "pages below zero": ("web_sessions", session("poison", page_views=-3, customer_id="y")),
    "replies below zero": ("support_tickets", ticket("poison", replies=-1, customer_id="y")),
    "a score above its scale": (
        "support_tickets",
        ticket("poison", customer_id="y", satisfaction_score="7", satisfaction_scale_max="5"),
    ),
}
"""What no gate before raw would let in, and some later stage cannot use: SQL that fails, or a gate that says so."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", POISONS)
def test_each_kind_of_poison_among_twenty_good_batches_stops_nobody(shop: Settings, kind: str) -> None:
    feed, poison = POISONS[kind]
    good_batches(shop, 11)
    poisoned = load(shop, feed, [poison])
    good_batches(shop, 20)
    summary = build(shop, "test")
    assert summary.publication_id is not None
    fact = {"orders": "fct_orders", "web_sessions": "fct_sessions", "support_tickets": "fct_tickets"}[feed]
    id_ = {"orders": "order_id", "web_sessions": "session_id", "support_tickets": "ticket_id"}[feed]
    is_published = rows(shop, f"select exists (select from marts.{fact} where {id_} = 'poison')") == [(True,)]
    assert quarantined(shop) == ([] if is_published else [(poisoned, 1, isolation.RULE)])
    assert rows(shop, "select count(distinct order_id) from marts.fct_orders where order_id like 'good%'") == [(7,)]
    report = verify(shop, full=True)
    assert [check for check in report.checks if not check.holds] == []


def test_without_isolation_the_build_stops_as_it_says(shop: Settings) -> None:
    load(shop, "orders", [order("poison", items=POISON, customer_id="y")])
    good_batches(shop, 1)
    with pytest.raises(ModelsFailedError) as stopped:
        build(shop.with_(isolate=False), "test")
    assert stopped.value.sqlstate == "22P02"
    assert quarantined(shop) == []


def test_a_failure_that_is_there_without_the_new_batches_too_touches_nothing(shop: Settings) -> None:
    good_batches(shop, 3)
    with warehouse.connect("owner", shop, autocommit=True) as connection:
        # What was published before is to blame, as if a model were wrong for rows that are there already.
        connection.execute("update raw.orders set items = %s where order_id = 'before'", [json.dumps(POISON)])
        connection.execute("insert into ops.dirty values ('order', 'before')")
    before = rows(shop, "select batch_id, state, loaded_rows from ops.batches order by 1", "owner")
    with pytest.raises(ModelsFailedError):
        build(shop, "test")
    assert rows(shop, "select batch_id, state, loaded_rows from ops.batches order by 1", "owner") == before
    assert quarantined(shop) == []
    assert rows(shop, "select count(*) from quarantine.suspended", "owner") == [(0,)]


@pytest.mark.slow
def test_more_poisoned_batches_than_isolation_may_take_out_stop_the_build_and_say_so(shop: Settings) -> None:
    for n in range(4):
        load(shop, "orders", [order(f"poison{n}", items=POISON, customer_id="y")])
    good_batches(shop, 1)
    with pytest.raises(ModelsFailedError, match="More than 3 of 5 are to blame"):
        build(shop, "test")
    assert quarantined(shop) == []
    assert rows(shop, "select count(*) from raw.orders", "owner") == [(6,)]


def test_rows_that_a_dead_run_left_suspended_are_put_back(shop: Settings) -> None:
    good_batches(shop, 1)
    with warehouse.connect("owner", shop) as connection:
        connection.execute(
            """
            with gone as (delete from raw.orders where order_id = 'good0' returning *)
            insert into quarantine.suspended select 'orders', batch_id, row_number, to_jsonb(gone) from gone
            """
        )
    build(shop, "test")
    assert ("good0",) in rows(shop, "select order_id from marts.fct_orders")
    assert [check for check in verify(shop).checks if not check.holds] == []


@pytest.mark.parametrize("sqlstate", ["53100", "55P03", "57014", "08006", "40P01"])
def test_disk_lock_cancel_and_connection_are_never_about_data(sqlstate: str) -> None:
    result = runner.ModelResult("model", "error", 0.0, None, "no matter", sqlstate)
    assert not isolation.is_about_data(ModelsFailedError("failed", "", [result]))
    assert isolation.is_about_data(
        ModelsFailedError("failed", "", [runner.ModelResult("model", "error", 0.0, None, "no matter", "22003")])
    )
