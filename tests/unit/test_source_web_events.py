"""The three sources of web events: Google Analytics 4, Snowplow, Segment.

Fields: support.google.com/analytics/answer/7029846 (BigQuery export schema) and /3437719; docs.snowplow.io, "Canonical
event" and the ecommerce schemas; segment.com/docs/connections/spec (Common fields, Page, Track, Identify, Ecommerce).
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.source_trials import Outcome, jsonl, run

START = datetime(2026, 5, 1, 10, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def without_source(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what the contract's next version adds."""
    return {key: value for key, value in record.items() if key not in {"source", "customer_id"}}


# --- Google Analytics 4 ----------------------------------------------------------------------------------------------


def ga4(name: str, seconds: float, visitor: str | None = "123.456", session: int | None = 77, **parameters: Any) -> Any:
    params = {"page_location": "https://shop.example/cart?email=ann@x.example", **parameters}
    params |= {"ga_session_id": session} if session else {}
    return {
        "event_date": "20260501", "event_timestamp": str(int(at(seconds).timestamp() * 1_000_000)), "event_name": name,
        "event_params": [
            {"key": key, "value": {"int_value": str(v)} if isinstance(v, int) else {"string_value": v}}
            for key, v in params.items()
        ],
        "user_pseudo_id": visitor, "platform": "WEB", "stream_id": "1",
        "device": {"category": "mobile", "mobile_brand_name": "Acme"}, "geo": {"country": "Germany", "city": "Ulm"},
    }  # fmt: skip


VISIT = [
    ga4("session_start", 0, page_location="https://shop.example/?utm_source=news&utm_medium=email&utm_campaign=May%20sale",
        page_referrer="https://mail.example/inbox?id=7"),
    ga4("page_view", 1, engagement_time_msec=1500),
    ga4("view_item", 30), ga4("view_search_results", 40), ga4("add_to_cart", 60), ga4("begin_checkout", 70),
    ga4("page_view", 90, engagement_time_msec=2900) | {"user_id": "u-9"},
    ga4("purchase", 120) | {"ecommerce": {"transaction_id": "5430000000001", "purchase_revenue": 19.9}},
]  # fmt: skip
SESSION = {
    "session_id": "123.456.77", "updated_at": "2026-06-01T12:00:00.000000Z", "anonymous_id": "123.456",
    "started_at": "2026-05-01T10:00:00.000000Z", "ended_at": "2026-05-01T10:02:00.000000Z", "page_views": 2,
    "product_views": 1, "searches": 1, "add_to_carts": 1, "checkouts_started": 1, "engaged_seconds": 4,
    "order_id": "5430000000001", "device_type": "mobile", "country": "Germany", "landing_page": "https://shop.example/",
    "referrer": "https://mail.example/inbox", "utm_source": "news", "utm_medium": "email", "utm_campaign": "May sale",
}  # fmt: skip


def test_events_of_analytics_are_one_session() -> None:
    done = run("ga4", "events.jsonl", jsonl(*VISIT))
    assert (done.reasons, done.conversion.unknown_columns) == ({}, [])
    assert without_source(done.only) == SESSION
    assert (done.conversion.records, done.conversion.continuations) == (1, len(VISIT) - 1)


def test_the_order_of_events_in_the_file_does_not_matter() -> None:
    assert without_source(run("ga4", "events.jsonl", jsonl(*reversed(VISIT))).only) == SESSION


def test_a_session_is_a_visitor_and_a_number_and_events_without_either_are_set_aside() -> None:
    done = run("ga4", "events.jsonl", jsonl(
        ga4("page_view", 0), ga4("page_view", 1, visitor="9.9"), ga4("page_view", 2, session=78),
        ga4("page_view", 3, visitor=None), ga4("page_view", 4, session=None),
    ))  # fmt: skip
    assert [record["session_id"] for record in done.records.values()] == ["123.456.77", "9.9.77", "123.456.78"]
    assert done.asides == {
        "no session (ga_session_id is missing)": 1,
        "no visitor (user_pseudo_id is empty: consent was not given)": 1,
    }


def test_parquet_of_analytics_gives_the_same_session() -> None:
    """BigQuery's Parquet has real numbers where its JSON has texts, and DOUBLE among them."""
    rows = []
    for event in VISIT:
        params = [
            {"key": p["key"], "value": {
                "string_value": p["value"].get("string_value"), "double_value": None,
                "int_value": int(p["value"]["int_value"]) if "int_value" in p["value"] else None}}
            for p in event["event_params"]
        ]  # fmt: skip
        rows.append(event | {"event_timestamp": int(event["event_timestamp"]), "event_params": params,
                             "ecommerce": event.get("ecommerce"), "user_id": event.get("user_id")})  # fmt: skip
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    assert without_source(run("ga4", "events.parquet", out.getvalue()).only) == SESSION


def test_marketing_that_analytics_collected_wins_over_the_address_and_direct_is_none() -> None:
    event = ga4("page_view", 0) | {"collected_traffic_source": {"manual_source": "(direct)", "manual_medium": "(none)"}}
    assert "utm_source" not in run("ga4", "events.jsonl", jsonl(event)).only


# --- Snowplow --------------------------------------------------------------------------------------------------------


def snowplow(number: int, event: str, seconds: float, **changes: Any) -> dict[str, Any]:
    moment = at(seconds).strftime("%Y-%m-%d %H:%M:%S.") + f"{int(seconds * 1000 % 1000):03d}"
    return {
        "app_id": "shop", "platform": "web", "event_id": f"00000000-0000-0000-0000-{number:012d}", "event": event,
        "event_name": event, "collector_tstamp": moment, "derived_tstamp": moment, "user_id": None,
        "domain_userid": "visitor-1", "domain_sessionid": "session-1", "domain_sessionidx": 3,
        "page_url": "https://shop.example/mug?q=1", "page_referrer": "https://search.example/?q=mug",
        "mkt_source": None, "mkt_medium": None, "mkt_campaign": None, "geo_country": "DE", "dvce_type": "Computer",
        "tr_orderid": None,
    } | changes  # fmt: skip


ACTION = "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1"
ACTIONS = [
    snowplow(1, "page_view", 0, mkt_source="news", mkt_campaign="may"), snowplow(2, "page_ping", 10),
    snowplow(3, "page_ping", 20), snowplow(4, "snowplow_ecommerce_action", 30, **{ACTION: {"type": "product_view"}}),
    snowplow(5, "snowplow_ecommerce_action", 40, **{ACTION: {"type": "add_to_cart"}}),
    snowplow(6, "snowplow_ecommerce_action", 50, **{ACTION: {"type": "transaction"},
             "contexts_com_snowplowanalytics_snowplow_ecommerce_transaction_1": [{"transaction_id": "o-1"}]}),
]  # fmt: skip


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    import json

    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)), restval="")
    writer.writeheader()
    writer.writerows(
        {key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in row.items()}
        for row in rows
    )
    return out.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    for name in ("collector_tstamp", "derived_tstamp"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].cast(pa.timestamp("ms")))
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


@pytest.mark.parametrize(("name", "write"), [("e.jsonl", lambda rows: jsonl(*rows)), ("e.csv", as_csv),
                                             ("e.parquet", as_parquet)])  # fmt: skip
def test_events_of_snowplow_are_one_session_in_every_format(name: str, write: Any) -> None:
    done = run("snowplow", name, write(ACTIONS))
    assert (done.reasons, done.conversion.unknown_columns) == ({}, [])
    assert without_source(done.only) == {
        "session_id": "session-1", "updated_at": "2026-06-01T12:00:00.000000Z", "anonymous_id": "visitor-1",
        "started_at": "2026-05-01T10:00:00.000000Z", "ended_at": "2026-05-01T10:00:50.000000Z", "page_views": 1,
        "product_views": 1, "searches": 0, "add_to_carts": 1, "checkouts_started": 0, "engaged_seconds": 20,
        "order_id": "o-1", "device_type": "desktop", "country": "DE", "landing_page": "https://shop.example/mug",
        "referrer": "https://search.example/", "utm_source": "news", "utm_campaign": "may",
    }  # fmt: skip


def test_events_sent_twice_bots_and_servers_are_set_aside() -> None:
    bot = {"contexts_com_iab_snowplow_spiders_and_robots_1": [{"spiderOrRobot": True}]}
    done = run("snowplow", "e.jsonl", jsonl(
        snowplow(1, "page_view", 0), snowplow(1, "page_view", 0), snowplow(2, "page_view", 1, **bot),
        snowplow(3, "page_view", 2, domain_userid=None), snowplow(4, "page_view", 3, domain_sessionid=None),
    ))  # fmt: skip
    assert (done.only["page_views"], done.conversion.set_aside) == (1, 4)
    assert sorted(done.asides) == [
        "a bot, by the IAB list", "no session (domain_sessionid is empty)", "no visitor (domain_userid is empty)",
        "sent twice (its event_id came before)",
    ]  # fmt: skip


# --- Segment ---------------------------------------------------------------------------------------------------------


def segment(number: int, kind: str, seconds: float, **changes: Any) -> dict[str, Any]:
    return {
        "messageId": f"m-{number}", "type": kind, "anonymousId": "anon-1", "userId": None,
        "timestamp": at(seconds).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "receivedAt": at(seconds + 1).strftime("%Y-%m-%dT%H:%M:%S.000Z"), "channel": "client", "integrations": {},
        "context": {"page": {"url": "https://shop.example/a?x=1", "referrer": "https://r.example/?q"},
                    "userAgentData": {"mobile": True}, "library": {"name": "analytics.js"}},
    } | changes  # fmt: skip


def track(number: int, event: str, seconds: float, **properties: Any) -> dict[str, Any]:
    return segment(number, "track", seconds, event=event, properties=properties)


def segmented(*messages: dict[str, Any]) -> Outcome:
    done = run("segment", "messages.jsonl", jsonl(*messages))
    assert (done.reasons, done.conversion.unknown_columns) == ({}, [])
    return done


def test_messages_of_segment_are_one_session() -> None:
    done = segmented(
        segment(1, "page", 0), track(2, "Product Viewed", 60), track(3, "Products Searched", 70),
        track(4, "Product Added", 80), track(5, "Checkout Started", 90),
        segment(6, "identify", 100, userId="u-9", traits={"email": "ann@buyer.example"}),
        track(7, "Order Completed", 120, order_id="o-1", total=19.9),
    )  # fmt: skip
    assert without_source(done.only) == {
        "session_id": "anon-1.1777629600000", "updated_at": "2026-06-01T12:00:00.000000Z", "anonymous_id": "anon-1",
        "started_at": "2026-05-01T10:00:00.000000Z", "ended_at": "2026-05-01T10:02:00.000000Z", "page_views": 1,
        "product_views": 1, "searches": 1, "add_to_carts": 1, "checkouts_started": 1, "email": "ann@buyer.example",
        "order_id": "o-1", "device_type": "mobile", "landing_page": "https://shop.example/a",
        "referrer": "https://r.example/",
    }  # fmt: skip


def test_half_an_hour_of_silence_or_another_campaign_begins_the_next_session() -> None:
    def campaign(name: str) -> dict[str, Any]:
        return {"context": {"campaign": {"source": name, "medium": "cpc", "name": name}}}

    done = segmented(
        segment(1, "page", 0), segment(2, "page", 1800), segment(3, "page", 3601),
        segment(4, "page", 3700, **campaign("a")), segment(5, "page", 3710), segment(6, "page", 3720, **campaign("b")),
        segment(7, "page", 10, anonymousId="anon-2"),
    )  # fmt: skip
    assert [(r["anonymous_id"], r["page_views"]) for r in done.records.values()] == [
        ("anon-1", 2), ("anon-1", 3), ("anon-1", 1), ("anon-2", 1),
    ]  # fmt: skip


def test_messages_of_servers_repeated_ones_and_groups_are_set_aside() -> None:
    done = segmented(segment(1, "page", 0), segment(1, "page", 0), segment(2, "track", 1, anonymousId=None, userId="u"),
                     segment(3, "group", 2))  # fmt: skip
    assert done.asides == {
        "sent twice (its messageId came before)": 1, "no visitor (anonymousId is empty: sent by a server)": 1,
        "a group message": 1,
    }  # fmt: skip
