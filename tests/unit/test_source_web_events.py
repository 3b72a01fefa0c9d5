"""The three sources of web events: Google Analytics 4, Snowplow, Segment.

Fields: support.google.com/analytics/answer/7029846 (BigQuery export schema) and /3437719; docs.snowplow.io, "Canonical
event" and the ecommerce schemas; segment.com/docs/connections/spec (Common fields, Page, Track, Identify, Ecommerce).
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.source_trials import Outcome, jsonl, run

START = datetime(2026, 5, 1, 10, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def without_source(record: dict[str, Any]) -> dict[str, Any]:
    """A record without the namespace and the ids of people and events."""
    return {key: value for key, value in record.items() if key not in {"source", "customer_id", "event_id"}}


def names(done: Outcome) -> list[str]:
    """What the events are called, in the order of the file."""
    return [record["name"] for record in done.records.values()]


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


def test_events_of_analytics_land_one_by_one() -> None:
    done = run("ga4", "events.jsonl", jsonl(*VISIT))
    assert (done.reasons, done.conversion.unknown_columns) == ({}, [])
    assert (done.conversion.records, done.conversion.continuations) == (len(VISIT), 0)
    assert names(done) == [
        "session_start", "page_view", "product_view", "search", "add_to_cart", "checkout_started", "page_view",
        "order_placed",
    ]  # fmt: skip
    first, second, *_, last = done.records.values()
    assert without_source(first) == {
        "updated_at": "2026-06-01T12:00:00.000000Z", "occurred_at": "2026-05-01T10:00:00.000000Z",
        "anonymous_id": "123.456", "name": "session_start", "session_id": "123.456.77", "device_type": "mobile",
        "country": "Germany", "page_url": "https://shop.example/", "referrer": "https://mail.example/inbox",
        "utm_source": "news", "utm_medium": "email", "utm_campaign": "May sale",
    }  # fmt: skip
    assert (second["engaged_seconds"], last["order_id"]) == (Decimal("1.500"), "5430000000001")
    assert [record.get("customer_id") for record in done.records.values()][5:] == [None, "u-9", None]


def test_an_event_of_analytics_has_the_same_id_in_every_file_that_holds_it() -> None:
    """Google exports a day again for up to three days; two events that are alike are two events."""
    twice = [*VISIT, VISIT[1]]
    ids = {record["event_id"] for record in run("ga4", "events.jsonl", jsonl(*twice)).records.values()}
    assert len(ids) == len(twice)
    later = run("ga4", "other.jsonl", jsonl(ga4("page_view", 500), *reversed(twice)))
    assert ids < {record["event_id"] for record in later.records.values()}


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


def test_parquet_of_analytics_gives_the_same_events() -> None:
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
    assert run("ga4", "events.parquet", out.getvalue()).records == run("ga4", "e.jsonl", jsonl(*VISIT)).records


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
def test_events_of_snowplow_are_the_same_in_every_format(name: str, write: Any) -> None:
    done = run("snowplow", name, write(ACTIONS))
    assert (done.reasons, done.conversion.unknown_columns) == ({}, [])
    assert names(done) == ["page_view", "page_ping", "page_ping", "product_view", "add_to_cart", "order_placed"]
    first, ping, *_, last = done.records.values()
    assert without_source(first) == {
        "occurred_at": "2026-05-01T10:00:00.000000Z", "anonymous_id": "visitor-1", "name": "page_view",
        "session_id": "session-1", "page_url": "https://shop.example/mug", "referrer": "https://search.example/",
        "utm_source": "news", "utm_campaign": "may", "device_type": "desktop", "country": "DE", "engaged_seconds": 0,
    }  # fmt: skip
    assert first["event_id"] == "00000000-0000-0000-0000-000000000001"
    assert (ping["engaged_seconds"], last["order_id"]) == (10, "o-1")


def test_a_checkout_of_snowplow_starts_with_its_first_step() -> None:
    step = "contexts_com_snowplowanalytics_snowplow_ecommerce_checkout_step_1"
    done = run("snowplow", "e.jsonl", jsonl(*(
        snowplow(n, "snowplow_ecommerce_action", n, **{ACTION: {"type": "checkout_step"}, step: [{"step": n}]})
        for n in (1, 2)
    )))  # fmt: skip
    assert names(done) == ["checkout_started", "checkout_step"]


def test_events_sent_twice_and_servers_are_set_aside_and_bots_are_marked() -> None:
    bot = {"contexts_com_iab_snowplow_spiders_and_robots_1": [{"spiderOrRobot": True}]}
    done = run("snowplow", "e.jsonl", jsonl(
        snowplow(1, "page_view", 0), snowplow(1, "page_view", 0), snowplow(2, "page_view", 1, **bot),
        snowplow(3, "page_view", 2, domain_userid=None), snowplow(4, "page_view", 3, domain_sessionid=None),
    ))  # fmt: skip
    assert [(record.get("session_id"), record.get("is_bot")) for record in done.records.values()] == [
        ("session-1", None), ("session-1", True), (None, None),
    ]  # fmt: skip
    assert sorted(done.asides) == ["no visitor (domain_userid is empty)", "sent twice (its event_id came before)"]


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


def test_messages_of_segment_are_events() -> None:
    done = segmented(
        segment(1, "page", 0), track(2, "Product Viewed", 60), track(3, "Products Searched", 70),
        track(4, "Product Added", 80), track(5, "Checkout Started", 90),
        segment(6, "identify", 100, userId="u-9", traits={"email": "ann@buyer.example"}),
        track(7, "Order Completed", 120, order_id="o-1", total=19.9),
    )  # fmt: skip
    assert names(done) == [
        "page_view", "product_view", "search", "add_to_cart", "checkout_started", "identify", "order_placed",
    ]  # fmt: skip
    first, *_, identified, last = done.records.values()
    assert without_source(first) == {
        "occurred_at": "2026-05-01T10:00:00.000000Z", "anonymous_id": "anon-1", "name": "page_view",
        "page_url": "https://shop.example/a", "referrer": "https://r.example/", "device_type": "mobile",
    }  # fmt: skip
    assert (first["event_id"], identified["email"], last["order_id"]) == ("m-1", "ann@buyer.example", "o-1")


def test_the_campaign_of_a_message_wins_over_that_of_its_address() -> None:
    page = {"url": "https://shop.example/a?utm_source=news&utm_campaign=May+sale"}
    done = segmented(
        segment(1, "page", 0, context={"page": page}),
        segment(2, "page", 1, context={"page": page, "campaign": {"source": "ads", "medium": "cpc", "name": "spring"}}),
    )
    assert [(r["utm_source"], r["utm_campaign"]) for r in done.records.values()] == [
        ("news", "May sale"), ("ads", "spring"),
    ]  # fmt: skip


def test_messages_of_servers_repeated_ones_and_groups_are_set_aside() -> None:
    done = segmented(segment(1, "page", 0), segment(1, "page", 0), segment(2, "track", 1, anonymousId=None, userId="u"),
                     segment(3, "group", 2))  # fmt: skip
    assert done.asides == {
        "sent twice (its messageId came before)": 1, "no visitor (anonymousId is empty: sent by a server)": 1,
        "a group message": 1,
    }  # fmt: skip
