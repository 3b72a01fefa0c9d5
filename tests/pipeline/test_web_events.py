"""Events become sessions: cut, grown, restated, left out, counted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from customer360 import warehouse
from customer360.front_door import replay
from customer360.oncall import conditions
from customer360.publication.build import build
from customer360.publication.retention import tidy
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline.shop import Record, event, load, load_all, order, rows, session
from tests.pipeline.vendor_exports import jsonl
from tests.unit.source_trials import run
from tests.unit.test_source_web_events import ACTIONS, VISIT, segment, track

pytestmark = pytest.mark.builds


def sessions(settings: Settings, columns: str = "session_id, page_views") -> list[tuple[Any, ...]]:
    return rows(settings, f"select {columns} from marts.fct_sessions order by started_at, session_key")


def publish(settings: Settings, *records: Record) -> None:
    load_all(settings, records)
    build(settings, "test")


def test_silence_and_another_campaign_begin_the_next_session(settings: Settings) -> None:
    publish(
        settings,
        event("a", 0), event("b", 30), event("c", 60.02),
        event("d", 61, utm_source="news"), event("e", 62), event("f", 63, utm_source="ads", utm_medium="cpc"),
        event("g", 5, device="d2"),
    )  # fmt: skip
    assert sessions(settings, "session_id, page_views, utm_source, channel") == [
        ("event:a", 2, None, "direct"),
        ("event:g", 1, None, "direct"),
        ("event:c", 3, "news", "other_campaign"),
        ("event:f", 1, "ads", "paid_search"),
    ]
    assert all(check.holds for check in verify(settings, full=True).checks)


@pytest.mark.slow
def test_a_late_event_restates_its_session(settings: Settings) -> None:
    publish(settings, event("a", 0), event("c", 50), event("v1", 0, session_id="v"))
    assert sessions(settings) == [("event:a", 1), ("v", 1), ("event:c", 1)]
    publish(settings, event("b", 25), event("v2", 500, session_id="v"))
    assert sessions(settings, "session_id, page_views, session_seconds") == [("event:a", 3, 3000), ("v", 2, 30000)]
    publish(settings, event("0", -5))
    assert sessions(settings) == [("event:0", 4), ("v", 2)]
    publish(settings, {**event("b", 25), "deleted": True, "updated_at": event("b", 26)["updated_at"]})
    assert sessions(settings) == [("event:0", 2), ("v", 2), ("event:c", 1)]
    report = verify(settings, full=True)
    assert [check for check in report.checks if not check.holds] == []


def unbroken(settings: Settings) -> None:
    """Principles 1 and 2 hold."""
    assert [check for check in verify(settings, full=True).checks if not check.holds] == []


def test_bots_and_the_shops_own_traffic_are_left_out_and_counted(settings: Settings) -> None:
    settings = settings.with_(internal_traffic="staging.shop.example, @shop.example", bot_session_events=10)
    publish(
        settings,
        event("a", 0),
        event("b", 0, device="d2", user_agent="Mozilla/5.0 (compatible; Googlebot/2.1)"),
        event("c", 0, device="d3", user_agent="Mozilla/5.0 (Linux; Android 10; CUBOT X19)"),
        event("d", 0, device="d4", page_url="https://staging.shop.example/?a"),
        event("e", 0, device="d5"), event("f", 1, device="d5", email="Ann@Shop.example"),
        event("g", 0, device="d6", session_id="long"), event("h", 1500, device="d6", session_id="long"),
        *(event(f"i{n}", n, device="d7") for n in range(11)),
    )  # fmt: skip
    assert sessions(settings) == [("event:a", 1), ("event:c", 1)]
    assert rows(
        settings,
        "select session_count, event_count, bot_session_count, bot_event_count, internal_session_count, "
        "internal_event_count, too_long_session_count, too_long_event_count from marts.fct_daily_web_traffic",
    ) == [(2, 2, 2, 12, 2, 3, 1, 2)]
    publish(settings, event("j", 12, device="d1", is_bot=True))
    assert sessions(settings) == [("event:c", 1)]
    unbroken(settings)


@pytest.mark.slow
def test_a_held_batch_takes_its_events_out_of_their_sessions(settings: Settings) -> None:
    publish(settings, event("a", 0), event("c", 50))
    (batch_id,) = load_all(settings, [event("b", 25)])
    build(settings, "test")
    assert sessions(settings) == [("event:a", 3)]
    replay.hold(settings, batch_id, who="Dana", why="test")
    build(settings, "test")
    assert sessions(settings) == [("event:a", 1), ("event:c", 1)]
    replay.unhold(settings, batch_id, who="Dana", why="test")
    build(settings, "test")
    assert sessions(settings) == [("event:a", 3)]
    unbroken(settings)


def test_one_source_that_lands_sessions_and_events_is_an_incident(settings: Settings) -> None:
    def found() -> list[str]:
        with warehouse.connect("oncall", settings, autocommit=True) as connection:
            view = conditions.View(connection, settings)
            return [one.key for one in conditions.CONDITIONS["sessions_counted_twice"](view)]

    publish(settings, event("a", session_id="v"), session("s", source="b"))
    assert found() == []
    publish(settings, session("v", page_views=7), event("z", source="b"))
    assert sorted(found()) == ["sessions_counted_twice:", "sessions_counted_twice:b"]
    # Of a session that is landed and built the landed one counts, once.
    assert ("v", 7) in sessions(settings)
    assert len(sessions(settings)) == 3
    unbroken(settings)


@pytest.mark.slow
def test_what_raw_lets_go_of_goes_on_as_a_session_that_a_late_event_restates(settings: Settings) -> None:
    settings = settings.with_(raw_retention_days=30)
    old = event("a", 0, customer_id="c1", email="ann@example.org")
    publish(settings, old, event("b", 10), event("bot", 0, device="d2", is_bot=True))
    with warehouse.connect("owner", settings) as connection:
        connection.execute("update ops.batches set loaded_at = loaded_at - interval '60 days'")
    summary = tidy(settings, now=datetime.now(UTC))
    assert summary.raw is not None
    assert summary.raw.frozen["web_events"] == 3
    assert rows(settings, "select count(*) from raw.web_events", "owner") == [(0,)]
    build(settings, "test")
    assert sessions(settings, "session_id, page_views, customer_key is null") == [("event:a", 2, False)]
    unbroken(settings)
    publish(settings, event("c", 20))
    assert sessions(settings, "session_id, page_views, customer_key is null") == [("event:a", 3, False)]
    unbroken(settings)


def test_orders_are_attributed_to_the_visits_before_them(settings: Settings) -> None:
    publish(
        settings,
        event("a", day=-3, utm_source="news", utm_medium="email", customer_id="c1"),
        event("b", day=-2),
        event("c", page_url="https://shop.example/", referrer="https://www.google.com/", customer_id="c1"),
        order("o1", day=0.01, customer_id="c1", total="10.00"),
        order("o2", customer_id="c2"),
    )
    shares = "select order_id, touch_number, channel, linear_net_amount::text, last_touch_weight::int"
    attributed = f"{shares} from marts.order_attribution order by 1, 2"
    assert rows(settings, attributed) == [
        ("o1", 1, "email", "5.0000", 0), ("o1", 2, "organic_search", "5.0000", 1), ("o2", 1, "unknown", "100.0000", 1),
    ]  # fmt: skip
    firsts = "select first_touch_channel from marts.customer_360 order by first_touch_channel"
    assert rows(settings, firsts) == [("email",), (None,)]
    publish(settings, event("0", day=-20, utm_source="ads", utm_medium="cpc", customer_id="c1"))
    assert [row[2:] for row in rows(settings, attributed)][:3] == [
        ("paid_search", "3.3333", 0), ("email", "3.3333", 0), ("organic_search", "3.3334", 1),
    ]  # fmt: skip
    assert rows(settings, firsts) == [("paid_search",), (None,)]
    unbroken(settings)


_FIGURES = """
    select session_id, started_at::text, ended_at::text, page_views, product_views, searches, add_to_carts,
        checkouts_started, engaged_seconds, order_id, device_type, country, landing_page, referrer, utm_source,
        utm_medium, utm_campaign
    from marts.fct_sessions
"""


def test_the_events_of_three_vendors_make_the_sessions_that_their_sources_made(settings: Settings) -> None:
    def carried(source: str, messages: list[Any]) -> list[Any]:
        done = run(source, "e.jsonl", jsonl(messages))
        assert done.reasons == {}
        records = [{"updated_at": one["occurred_at"], **one} for one in done.records.values()]
        load(settings, "web_events", [
            {name: str(value) if name == "engaged_seconds" else value for name, value in one.items()} for one in records
        ])  # fmt: skip
        build(settings, "test")
        return rows(settings, f"{_FIGURES} where source = '{source}'")

    assert carried("ga4", VISIT) == [(
        "123.456.77", "2026-05-01 10:00:00+00", "2026-05-01 10:02:00+00", 2, 1, 1, 1, 1, 4, "5430000000001", "mobile",
        "Germany", "https://shop.example/", "https://mail.example/inbox", "news", "email", "May sale",
    )]  # fmt: skip
    assert carried("snowplow", ACTIONS) == [(
        "session-1", "2026-05-01 10:00:00+00", "2026-05-01 10:00:50+00", 1, 1, 0, 1, 0, 20, "o-1", "desktop", "DE",
        "https://shop.example/mug", "https://search.example/", "news", None, "may",
    )]  # fmt: skip
    assert carried("segment", [
        segment(1, "page", 0), track(2, "Product Viewed", 60), track(3, "Products Searched", 70),
        track(4, "Product Added", 80), track(5, "Checkout Started", 90),
        segment(6, "identify", 100, userId="u-9", traits={"email": "ann@buyer.example"}),
        track(7, "Order Completed", 120, order_id="o-1", total=19.9),
    ]) == [(
        "event:m-1", "2026-05-01 10:00:00+00", "2026-05-01 10:02:00+00", 1, 1, 1, 1, 1, None, "o-1", "mobile", None,
        "https://shop.example/a", "https://r.example/", None, None, None,
    )]  # fmt: skip
