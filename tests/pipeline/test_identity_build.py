"""Identity inside the build: what it moves reaches marts, and nothing else does."""

from __future__ import annotations

from datetime import date

import pytest

from customer360.front_door import replay
from customer360.identity import operators
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.publication.verify import verify
from customer360.settings import Settings
from customer360.warehouse.run_log import GateBlockedError
from tests.pipeline.shop import load, load_all, order, rows, session

pytestmark = pytest.mark.builds

_CROSSWALK = "select customer_key, present_customer_key, reason from marts.customer_key_crosswalk order by 1"


def test_a_merge_moves_the_records_and_the_crosswalk_leads_the_old_key_on(settings: Settings) -> None:
    load_all(settings, [order("o1", email="ann@inbox.example"), order("o2", day=1, customer_id="c1")])
    build(settings, "test")
    assert rows(settings, _CROSSWALK) == [(1, 1, "first_seen"), (2, 2, "first_seen")]
    load_all(settings, [session("s1", day=2, customer_id="c1", email="ann@inbox.example")])
    build(settings, "test")
    assert rows(
        settings, "select customer_key, order_count, session_count, identifier_count from marts.customer_360"
    ) == [(1, 2, 1, 2)]
    assert rows(settings, "select distinct customer_key from marts.fct_orders") == [(1,)]
    assert rows(settings, _CROSSWALK) == [(1, 1, "first_seen"), (2, 1, "merged")]
    assert rows(settings, "select evidence from marts.customer_key_crosswalk where customer_key = 2") == [
        ({"rule": "strong", "record_type": "session", "record_id": "s1"},)
    ]
    assert rows(settings, "select key from marts.deleted_keys where table_name = 'marts.customer_360'") == [
        ({"customer_key": 2},)
    ]


def test_a_decision_alone_is_work_for_the_next_run(settings: Settings) -> None:
    load_all(settings, [order("o1", customer_id="c1"), order("o2", day=1, customer_id="c2")])
    build(settings, "test")
    operators.join(settings, "customer_id:c1", "customer_id:c2", decided_by="kim", because="a re-registration")
    assert build(settings, "test").state == "succeeded"
    assert rows(settings, "select customer_key, order_count from marts.customer_360") == [(1, 2)]
    assert build(settings, "test").state == "idle"
    assert build(settings, "test", full_refresh=True).state == "succeeded"
    assert rows(settings, "select customer_key, order_count from marts.customer_360") == [(1, 2)]


@pytest.mark.slow
def test_the_past_knows_nothing_of_a_later_merge_and_has_today_s_keys(settings: Settings) -> None:
    first = [order("o1", email="ann@inbox.example"), order("o2", day=1, customer_id="c1")]
    load_all(settings, [*first, order("o3", day=20, customer_id="c1", email="ann@inbox.example")], is_history=True)
    build(settings, "test")
    refresh_daily(settings, trigger="test")
    keys = rows(settings, "select customer_key, identifier_type from state.customer_key_map order by 1", "transformer")
    refresh_daily(settings, date(2026, 3, 11), trigger="test")
    assert rows(settings, "select customer_key, order_count from asof_20260311.customer_360 order by 1") == [
        (keys[0][0], 1),
        (keys[1][0], 1),
    ]
    assert rows(settings, "select customer_key, order_count from marts.customer_360") == [(keys[0][0], 3)]
    assert rows(settings, "select count(*) from state.customer_key_map", "transformer") == [(2,)]


@pytest.mark.slow
def test_a_key_that_was_never_published_is_not_in_the_crosswalk(settings: Settings) -> None:
    load_all(settings, [order("o1", customer_id="c1")])
    build(settings, "test")
    bad = load(settings, "orders", [order("o2", customer_id="c2", total="-5.00")])
    with pytest.raises(GateBlockedError):
        build(settings.with_(isolate=False), "test")
    replay.hold(settings, bad, who="test", why="negative total")
    load_all(settings, [order("o3", day=1, email="ann@inbox.example")])
    build(settings, "test")
    # Key 2 was given to c2 in the run that the gate stopped, and is nobody's since: no reader has ever seen it.
    assert rows(settings, "select customer_key, present_customer_key from marts.customer_key_crosswalk order by 1") == [
        (1, 1),
        (3, 3),
    ]
    load_all(settings, [session("s1", day=2, customer_id="c1", email="ann@inbox.example")])
    build(settings, "test")
    assert rows(settings, _CROSSWALK) == [(1, 1, "first_seen"), (3, 1, "merged")]
    assert verify(settings, full=True).holds
    build(settings, "test", full_refresh=True)
    assert rows(settings, _CROSSWALK) == [(1, 1, "first_seen"), (3, 1, "merged")]
