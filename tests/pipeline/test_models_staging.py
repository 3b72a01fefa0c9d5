"""Staging: one row per id, the right one, whatever arrived in which order and when it became known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from customer360 import warehouse
from customer360.models import runner
from customer360.settings import Settings
from tests.pipeline.models_shop import claim, mark_batch_dirty, one, rows
from tests.pipeline.shop import NOON, Record, at, load, load_all, order, session, ticket

AS_OF = "asof_20260301"  # one prefix for all: each one is a parse of the project


def stage(settings: Settings) -> None:
    claim(settings)
    runner.run_models(settings, "tag:staging", run_id=None)


def stage_as_of(settings: Settings, known_until: str) -> None:
    claim(settings)
    variables = {"schema_prefix": AS_OF, "known_until": known_until}
    runner.run_models(settings, "tag:staging", run_id=None, full_refresh=True, variables=variables)


def test_the_greatest_updated_at_wins_whatever_arrived_last(settings: Settings) -> None:
    arrivals = {"o1": [0, 1, 2], "o2": [2, 1, 0], "o3": [1, 2, 0]}
    for turn in range(3):
        load(settings, "orders", [order(o, version=n[turn], total=f"{n[turn]}.00") for o, n in arrivals.items()])
        stage(settings)
    found = rows(
        settings, "select distinct total_amount::int, version_count, has_version_conflict from staging.stg_orders"
    )
    assert found == [(2, 3, False)]


def test_the_same_record_again_counts_once_and_keeps_its_earliest_known_time(settings: Settings) -> None:
    first = load(settings, "orders", [order("o1", total="5.00")])
    stage(settings)
    earliest = rows(settings, "select known_at from staging.stg_orders")
    load(settings, "orders", [order("o1", total="5.00"), order("o1", total="5.00")])
    stage(settings)
    found = one(settings, "select batch_id, version_count, has_version_conflict, known_at from staging.stg_orders")
    assert (found["batch_id"], found["version_count"], found["has_version_conflict"]) == (first, 1, False)
    assert found["known_at"] == earliest[0][0]


def test_two_contents_of_one_version_are_decided_alike_in_any_order_and_shown(settings: Settings) -> None:
    def version(order_id: str, total: str) -> Record:
        return order(order_id, total=total)

    load(settings, "orders", [version("o1", "1.00"), version("o2", "2.00")])
    stage(settings)
    load(settings, "orders", [version("o1", "2.00"), version("o2", "1.00")])
    stage(settings)
    found = rows(settings, "select has_version_conflict, version_count from staging.stg_orders")
    assert found == [(True, 2), (True, 2)]
    winners = rows(settings, "select order_id, total_amount from staging.stg_orders order by 1")
    load(settings, "orders", [version("o1", "1.00"), version("o2", "2.00")])
    stage(settings)
    assert rows(settings, "select order_id, total_amount from staging.stg_orders order by 1") == winners


def test_ties_are_decided_alike_whatever_the_servers_time_zone(settings: Settings) -> None:
    load(settings, "orders", [order(f"o{n}", total=f"{total}.00") for n in range(20) for total in (1, 2)])
    stage(settings)
    winners = rows(settings, "select order_id, total_amount from staging.stg_orders order by 1")
    with warehouse.admin(settings) as connection:
        connection.execute(warehouse.query(f"alter database {settings.database} set timezone = 'Asia/Tokyo'"))
    runner.run_models(settings, "tag:staging", run_id=None, full_refresh=True)
    assert rows(settings, "select order_id, total_amount from staging.stg_orders order by 1") == winners


def test_what_the_feed_leaves_out_has_the_feeds_default(settings: Settings) -> None:
    load(settings, "orders", [order("o1")])
    load(settings, "web_sessions", [session("s1")])
    load(settings, "support_tickets", [ticket("t1")])
    stage(settings)
    assert rows(
        settings, "select discount_amount, shipping_amount, tax_amount, sales_channel, items from staging.stg_orders"
    ) == [(0, 0, 0, "web", None)]
    assert rows(
        settings,
        "select product_views, searches, add_to_carts, checkouts_started, engaged_seconds"
        " from staging.stg_web_sessions",
    ) == [(0, 0, 0, 0, None)]
    assert rows(settings, "select priority, replies, reopens from staging.stg_support_tickets") == [("normal", 0, 0)]


def test_only_claimed_batches_are_seen(settings: Settings) -> None:
    load(settings, "orders", [order("o1")])
    runner.run_models(settings, "tag:staging", run_id=None)
    assert rows(settings, "select * from staging.stg_orders") == []


def test_a_held_batch_is_out_and_comes_back(settings: Settings) -> None:
    load(settings, "orders", [order("o1", total="1.00"), order("o2", total="1.00")])
    wrong = load(settings, "orders", [order("o1", version=1, total="9.00"), order("o3", total="9.00")])
    stage(settings)
    staged = "select order_id, total_amount::int from staging.stg_orders order by 1"
    everything = [("o1", 9), ("o2", 1), ("o3", 9)]
    assert rows(settings, staged) == everything
    for state, expected in (("held", [("o1", 1), ("o2", 1)]), ("loaded", everything)):
        with warehouse.connect("transformer", settings) as connection:
            connection.execute("delete from ops.dirty")
            connection.execute("update ops.batches set state = %s where batch_id = %s", [state, wrong])
            mark_batch_dirty(connection, "orders", wrong)
        stage(settings)
        assert rows(settings, staged) == expected


@pytest.mark.builds
def test_a_reopened_ticket_keeps_its_first_resolution_and_the_time_of_its_first_score(settings: Settings) -> None:
    scored = {"satisfaction_score": 2, "satisfaction_scale_max": 5}
    versions = [
        ticket("t1", version=1, status="solved", resolved_at=at(0.5)),
        ticket("t1", version=2, status="solved", resolved_at=at(0.5), **scored),
        ticket("t1", version=3, status="open", reopens=1, **scored),
        ticket("t1", version=9, status="solved", resolved_at=at(8), reopens=1, **scored),
    ]
    for version in (versions[3], versions[0], versions[2], versions[1]):
        load(settings, "support_tickets", [version])
        stage(settings)
    found = one(settings, "select first_resolved_at, resolved_at, satisfaction_at from staging.stg_support_tickets")
    assert found == {
        "first_resolved_at": NOON + timedelta(days=0.5),
        "resolved_at": NOON + timedelta(days=8),
        "satisfaction_at": NOON + timedelta(days=2),
    }


def test_a_score_that_was_taken_back_has_no_time(settings: Settings) -> None:
    load(settings, "support_tickets", [ticket("t1", satisfaction_score=1, satisfaction_scale_max=1)])
    load(settings, "support_tickets", [ticket("t1", version=1)])
    stage(settings)
    assert rows(settings, "select satisfaction_score, satisfaction_at from staging.stg_support_tickets") == [
        (None, None)
    ]


HISTORY_ORDER = order(
    "o1",
    version=20,
    status="returned",
    customer_id="c1",
    delivered_at=at(4),
    promised_delivery_at=at(3),
    refunds=[
        {"refund_id": "r1", "refunded_at": at(10), "amount": "10.00"},
        {"refund_id": "r2", "refunded_at": at(20), "amount": "20.00"},
    ],
)


@pytest.mark.builds
def test_history_is_known_piece_by_piece_at_its_own_times(settings: Settings) -> None:
    load(settings, "orders", [HISTORY_ORDER], is_history=True)
    for day, status, delivered, refunds in (
        (0, "placed", False, None),
        (4, "placed", True, None),
        (10, "placed", True, ["r1"]),
        (20, "returned", True, ["r1", "r2"]),
    ):
        stage_as_of(settings, at(day))
        found = one(settings, f"select * from {AS_OF}_staging.stg_orders")
        assert (found["status"], found["delivered_at"] is not None) == (status, delivered)
        assert (found["refunds"] and [refund["refund_id"] for refund in found["refunds"]]) == refunds
        assert (found["total_amount"], found["customer_id"], found["known_at"]) == (100, "c1", NOON)


@pytest.mark.builds
def test_history_does_not_exist_before_its_own_time(settings: Settings) -> None:
    load(settings, "orders", [HISTORY_ORDER], is_history=True)
    load(settings, "web_sessions", [session("s1")], is_history=True)
    load(settings, "support_tickets", [ticket("t1")], is_history=True)
    stage_as_of(settings, at(-0.001))
    for feed in ("orders", "web_sessions", "support_tickets"):
        assert rows(settings, f"select * from {AS_OF}_staging.stg_{feed}") == []
    # A session is known when it has ended.
    stage_as_of(settings, at(0))
    assert rows(settings, f"select count(*) from {AS_OF}_staging.stg_web_sessions") == [(0,)]
    assert rows(settings, f"select count(*) from {AS_OF}_staging.stg_support_tickets") == [(1,)]


@pytest.mark.builds
def test_a_tickets_history_tells_status_and_score_from_their_version_on(settings: Settings) -> None:
    told: Record = {"first_response_at": at(1), "satisfaction_score": 5, "satisfaction_scale_max": 5}
    load(
        settings,
        "support_tickets",
        [
            ticket("t1", version=2, status="solved", resolved_at=at(2), first_response_at=at(1)),
            ticket("t1", version=9, status="closed", resolved_at=at(8), **told),
        ],
        is_history=True,
    )
    expected = {
        0.5: ("new", None, None, None, None),
        1: ("new", 1, None, None, None),
        2: ("solved", 1, 2, 2, None),
        8.5: ("solved", 1, 2, 8, None),
        9: ("closed", 1, 2, 8, 9),
    }
    for day, seen in expected.items():
        stage_as_of(settings, at(day))
        found = one(settings, f"select * from {AS_OF}_staging.stg_support_tickets")
        times = [found[c] for c in ("first_response_at", "first_resolved_at", "resolved_at", "satisfaction_at")]
        assert (found["status"], *((t - NOON).total_seconds() / 86400 if t else None for t in times)) == seen
        assert (found["satisfaction_score"] is not None) == (day == 9)


@pytest.mark.builds
def test_what_came_by_the_ordinary_way_is_known_from_its_load_on(settings: Settings) -> None:
    before = datetime.now(UTC)
    load(settings, "orders", [HISTORY_ORDER])
    stage_as_of(settings, before.isoformat())
    assert rows(settings, f"select * from {AS_OF}_staging.stg_orders") == []
    stage_as_of(settings, datetime.now(UTC).isoformat())
    found = one(settings, f"select status, jsonb_array_length(refunds) as refunds from {AS_OF}_staging.stg_orders")
    assert found == {"status": "returned", "refunds": 2}


@pytest.mark.builds
def test_an_as_of_build_leaves_the_live_tables_alone(settings: Settings) -> None:
    load(settings, "orders", [HISTORY_ORDER], is_history=True)
    stage(settings)
    stage_as_of(settings, at(1))
    assert rows(settings, "select status from staging.stg_orders") == [("returned",)]


def test_a_deletion_is_known_when_it_was_landed_and_in_history_from_its_version_on(settings: Settings) -> None:
    gone = [
        order("o1", version=3, deleted=True),
        session("s1", updated_at=at(3), deleted=True),
        ticket("t1", version=3, deleted=True),
    ]
    load_all(settings, [order("o1"), session("s1"), ticket("t1")], is_history=True)
    load_all(settings, gone, is_history=True)
    load_all(settings, [order("o2")], is_history=True)
    load_all(settings, [order("o2", version=3, deleted=True)])
    claim(settings)
    deleted = "select is_deleted from {}_staging.stg_{} order by 1"
    for day, is_deleted in ((2, False), (4, True)):
        stage_as_of(settings, at(day))
        assert rows(settings, deleted.format(AS_OF, "orders")) == [(False,), (is_deleted,)]
        assert rows(settings, deleted.format(AS_OF, "web_sessions")) == [(is_deleted,)]
        assert rows(settings, deleted.format(AS_OF, "support_tickets")) == [(is_deleted,)]


def test_a_refund_without_a_time_is_dated_by_the_version_where_it_was_first_seen(settings: Settings) -> None:
    undated, dated = {"refund_id": "r1", "amount": "3.00"}, {"amount": "2.00", "refunded_at": at(0.5)}
    nameless = {"amount": "1.00", "reason": "late"}
    found = "select refund ->> 'amount', (refund ->> 'refunded_at')::timestamptz from staging.stg_orders, "
    found += "jsonb_array_elements(refunds) as refund order by 1"
    load(settings, "orders", [order("o1", version=4, refunds=[undated, dated, nameless])])
    stage(settings)
    moments = {amount: (moment - NOON) / timedelta(days=1) for amount, moment in rows(settings, found)}
    assert moments == {"1.00": 4, "2.00": 0.5, "3.00": 4}
    load(settings, "orders", [order("o1", version=6, refunds=[{**undated, "reason": "broken"}, dated, nameless])])
    stage(settings)
    moments = {amount: (moment - NOON) / timedelta(days=1) for amount, moment in rows(settings, found)}
    assert moments == {"1.00": 4, "2.00": 0.5, "3.00": 4}, "a later version moves nothing"
    load(settings, "orders", [order("o1", version=2, refunds=[undated])])
    stage(settings)
    moments = {amount: (moment - NOON) / timedelta(days=1) for amount, moment in rows(settings, found)}
    assert moments == {"1.00": 4, "2.00": 0.5, "3.00": 2}, "an older one that arrives late does"
