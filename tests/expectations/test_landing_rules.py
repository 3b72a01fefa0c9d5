"""Every rule of the contract (docs/feeds.md), seen red on a row that breaks it and green on one that does not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from customer360.contract.feeds import FEEDS
from customer360.front_door.readers import read_again
from customer360.gates import suites
from tests.pipeline.front_door import ABSENT, MAKERS, Record, event, order, session, ticket

LANDED_AT = datetime(2026, 3, 10, tzinfo=UTC)


def judged(feed: str, records: list[Record]) -> suites.Judged:
    """What the gate says of some records."""
    chunk = read_again(FEEDS[feed], {"format": "jsonl"}, [json.dumps(record) for record in records])
    return suites.LandingGate(FEEDS[feed], LANDED_AT).check(chunk)


def messages(feed: str, record: Record) -> list[str]:
    """Why the gate refuses a record."""
    return [reason.message for reason in judged(feed, [record]).reasons.get(0, ())]


@cache
def judgements(feed: str) -> tuple[dict[str, int], suites.Judged]:
    """Every bad, costly and good record of a feed, judged in one chunk: the row of each, and what was found."""
    records: list[Any] = [case[1] for case in [*BAD, *COSTS, *GOOD] if case[0] == feed]
    return {repr(record): row for row, record in enumerate(records)}, judged(feed, records)


def reasons_of(feed: str, record: Record) -> list[suites.Reason]:
    """The reasons of one of them."""
    rows, found = judgements(feed)
    return found.reasons.get(rows[repr(record)], [])


def item(**fields: Any) -> list[Record]:
    return [{"sku": "tea", "quantity": 2, "unit_price": "6.25"} | fields]


def refund(**fields: Any) -> list[Record]:
    return [{"refund_id": "r1", "refunded_at": "2026-03-03T00:00:00Z", "amount": "1.00", "reason": "broken"} | fields]


BAD: list[tuple[str, Record, str]] = [
    ("orders", order(order_id=ABSENT), "order_id is missing"),
    ("orders", order(order_id=""), "order_id is missing"),
    ("orders", order(order_id=None), "order_id is missing"),
    ("orders", order(order_id="x" * 129), "order_id has 129 characters, at most 128 are allowed"),
    ("orders", order(order_id="a\x00b"), "order_id holds a NUL character"),
    ("orders", order(updated_at=ABSENT), "updated_at is missing"),
    ("orders", order(updated_at="2026-02-28T10:00:00Z"),
     "updated_at is before ordered_at: 2026-02-28T10:00:00Z < 2026-03-01T09:00:00Z"),
    ("orders", order(ordered_at="2026-03-01T10:00:00"), "ordered_at has no time zone offset: 2026-03-01T10:00:00"),
    ("orders", order(ordered_at="2026-03-01"), "ordered_at is a date without a time of day and an offset: 2026-03-01"),
    ("orders", order(ordered_at="yesterday"), "ordered_at is not an ISO 8601 time with an offset: yesterday"),
    ("orders", order(ordered_at="2026-02-30T00:00:00Z"),
     "ordered_at names a day that does not exist: 2026-02-30T00:00:00Z"),
    ("orders", order(ordered_at=1772359200), "ordered_at is a number, an ISO 8601 time with an offset was expected"),
    ("orders", order(ordered_at="1994-12-31T23:59:59Z"), "ordered_at is before 1995: 1994-12-31"),
    ("orders", order(ordered_at="1970-01-01T00:00:00Z"), "ordered_at is before 1995: 1970-01-01"),
    ("orders", order(ordered_at="2026-03-11T00:00:01Z", updated_at="2026-03-11T00:00:01Z"),
     "ordered_at is more than 1 day after the batch landed: 2026-03-11"),
    ("orders", order(updated_at="2999-01-01T00:00:00Z"),
     "updated_at is more than 1 day after the batch landed: 2999-01-01"),
    ("orders", order(status="shiped"),
     "status is not one of placed, paid, shipped, delivered, cancelled, returned: shiped"),
    ("orders", order(status=ABSENT), "status is missing"),
    ("orders", order(currency="XXX"), "currency is not an ISO 4217 currency code: XXX"),
    ("orders", order(total_amount=ABSENT), "total_amount is missing"),
    ("orders", order(total_amount="-0.01"), "total_amount is less than 0: -0.01"),
    ("orders", order(total_amount="1.00001"), "total_amount has more than 4 decimals: 1.00001"),
    ("orders", order(total_amount="1,000.00"),
     "total_amount is not a number: 1,000.00 (decimals stand after a point, thousands are not separated)"),
    ("orders", order(total_amount="NaN"), "total_amount is not a number: N••• (3 characters)"),
    ("orders", order(total_amount=float("nan")), "total_amount is not a number: N••• (3 characters)"),
    ("orders", order(total_amount=float("inf")), "total_amount is not a number: I••• (8 characters)"),
    ("orders", order(total_amount="1e400"), "total_amount is larger than 16 digits before the decimal point"),
    ("orders", order(total_amount="1" + "0" * 16), "total_amount is larger than 16 digits before the decimal point"),
    ("orders", order(total_amount=True), "total_amount is true or false, a number was expected"),
    ("orders", order(total_amount=["12"]), "total_amount is an array or object, a number was expected"),
    ("orders", order(discount_amount="-1"), "discount_amount is less than 0: -1"),
    ("orders", order(shipping_amount="-1"), "shipping_amount is less than 0: -1"),
    ("orders", order(tax_amount="-1"), "tax_amount is less than 0: -1"),
    ("orders", order(customer_id=ABSENT, email=ABSENT),
     "none of customer_id, email, phone, anonymous_id is given"),
    ("orders", order(customer_id="", email=None), "none of customer_id, email, phone, anonymous_id is given"),
    ("orders", order(items=item(quantity=None)), "items[1].quantity is missing"),
    ("orders", order(items=item(unit_price=None)), "items[1].unit_price is missing"),
    ("orders", order(items=item() + item(quantity=-1)), "items[2].quantity is less than 0.000001: -1"),
    ("orders", order(items=item(list_price="-1")), "items[1].list_price is less than 0: -1"),
    ("orders", order(items=item(unit_cost="-1")), "items[1].unit_cost is less than 0: -1"),
    ("orders", order(items=item(discount_amount="-1")), "items[1].discount_amount is less than 0: -1"),
    ("orders", order(items=item(returned_quantity=-1)), "items[1].returned_quantity is less than 0: -1"),
    ("orders", order(items=item(returned_quantity=3)), "items[1].returned_quantity is more than quantity: 3 > 2"),
    ("orders", order(refunds=refund(amount=0)), "refunds[1].amount is not more than 0: 0"),
    ("orders", order(refunds=refund(amount="13")), "the refunds add up to more than total_amount: 13 > 12.5"),
    ("orders", order(refunds=refund(amount="7") + refund(amount="6", refund_id="r2")),
     "the refunds add up to more than total_amount: 13 > 12.5"),
    ("orders", order(refunds=refund(amount=None)), "refunds[1].amount is missing"),
    ("orders", order(refunds=refund(refunded_at="2026-03-03T00:00:00")),
     "refunds[1].refunded_at has no time zone offset: 2026-03-03T00:00:00"),
    ("orders", order(refunds=refund(refunded_at="2999-03-03T00:00:00Z")),
     "refunds[].refunded_at is before 1995 or more than 1 day after the batch landed"),
    ("web_sessions", session(session_id=ABSENT), "session_id is missing"),
    ("web_sessions", session(anonymous_id=ABSENT), "anonymous_id is missing"),
    ("web_sessions", session(ended_at="2026-03-01T09:59:59Z"),
     "ended_at is before started_at: 2026-03-01T09:59:59Z < 2026-03-01T10:00:00Z"),
    ("web_sessions", session(ended_at="2026-03-02T10:00:00.000001Z"),
     "ended_at is more than 24 hours after started_at: 2026-03-02T10:00:00Z > 2026-03-01T10:00:00Z"),
    ("web_sessions", session(started_at="1970-01-01T00:00:00Z", ended_at="1970-01-01T00:00:00Z"),
     "started_at is before 1995: 1970-01-01"),
    ("web_sessions", session(page_views=ABSENT), "page_views is missing"),
    ("web_sessions", session(page_views=-1), "page_views is less than 0: -1"),
    ("web_sessions", session(page_views=1.5), "page_views is not a whole number: 1.5"),
    ("web_sessions", session(page_views="0x1F"), "page_views is not a whole number: 0••• (4 characters)"),
    ("web_sessions", session(page_views=10**19), "page_views is out of range: 1••• (20 characters)"),
    ("support_tickets", ticket(ticket_id=ABSENT), "ticket_id is missing"),
    ("support_tickets", ticket(updated_at="2026-02-28T10:00:00Z"),
     "updated_at is before created_at: 2026-02-28T10:00:00Z < 2026-03-01T10:00:00Z"),
    ("support_tickets", ticket(status="asleep"), "status is not one of new, open, pending, solved, closed: asleep"),
    ("support_tickets", ticket(channel="fax"),
     "channel is not one of email, phone, chat, web, social, store: fax"),
    ("support_tickets", ticket(category="praise"),
     "category is not one of complaint, question, return, delivery, payment, product, other: praise"),
    ("support_tickets", ticket(customer_id=ABSENT), "none of customer_id, email, phone is given"),
    ("support_tickets", ticket(compensation_amount="5"), "compensation_amount is given without currency"),
    ("support_tickets", ticket(compensation_amount="-5", currency="EUR"), "compensation_amount is less than 0: -5"),
    *(
        (name, MAKERS[name](**{required: ABSENT}), f"{required} is missing")
        for name, feed in FEEDS.items()
        for required in feed.required
    ),
    *(
        (name, MAKERS[name](**{time.name: "1970-01-01T00:00:00Z"}), f"{time.name} is before 1995: 1970-01-01")
        for name, feed in FEEDS.items()
        for time in feed.fields
        if time.kind == "time" and time.required
    ),
    *(
        (name, MAKERS[name](**{of.name: ["x"]}), f"{of.name} is an array or object, ")
        for name, feed in FEEDS.items()
        for of in feed.fields
        if of.kind != "array" and of.costs_record
    ),
    *(
        (name, MAKERS[name](**{of.name: "x" * 600}), f"{of.name} has 600 characters")
        for name, feed in FEEDS.items()
        for of in feed.fields
        if of.max_length and of.required
    ),
    *(
        (name, MAKERS[name](**fields), message)
        for name in FEEDS
        for fields, message in (
            ({"source": "Shop B"}, "source must be 1 to 40 of a-z, 0-9, _ and -"),
            ({"source": "x" * 41}, "source must be 1 to 40 of a-z, 0-9, _ and -"),
            ({"deleted": "maybe"}, "deleted is neither true nor false: maybe"),
        )
    ),
    ("orders", order(order_id="5.43E+12"),
     "order_id was rounded by a spreadsheet, so that its digits are lost: 5.43E+12; format the column as text"),
    ("orders", order(order_id=7001.5), "order_id is a number with decimals, an id was expected: 7001.5"),
    ("orders", order(order_id="\u00a0\u2003"), "order_id is missing"),
    ("orders", order(customer_id=" ", email="\u3000"), "none of customer_id, email, phone, anonymous_id is given"),
    ("orders", order(updated_at="1795082400000"),
     "updated_at is a bare number, of which nothing says what it counts (seconds, milliseconds, days?)"),
    ("orders", order(updated_at="2026-03-02T25:00:00Z"), "updated_at names a time of day that does not exist"),
    ("orders", order(updated_at="2026-03-02T10:00:00+01:75"), "updated_at names an offset that does not exist"),
    ("orders", order(updated_at="2026-03-02 10:00:00 Europe/Berlin"),
     "updated_at names a time zone (E••• (13 characters))"),
    ("orders", order(total_amount="10000000000"), "total_amount is 10,000,000,000 or more: 10000000000"),
    ("orders", order(total_amount="0.00001"), "total_amount has more than 4 decimals: 0.00001"),
    ("orders", order(items=item(quantity="0.0000004")),
     "items[1].quantity is so small that it would be rounded to 0: 0.0000004"),
    ("orders", order(items=item(quantity="1000000.1")), "items[1].quantity is more than 1,000,000: 1000000.1"),
    ("orders", order(items=item(unit_price="1e10")), "items[1].unit_price is 10,000,000,000 or more: 10000000000"),
    ("orders", order(items=item(unit_price="-1e10")), "items[1].unit_price is less than -9999999999.999999"),
    ("orders", order(items=item(quantity=1000000, unit_price="10000")),
     "items[1].unit_price times quantity is 10,000,000,000 or more: 10000 x 1000000"),
    *(
        ("orders", order(items=item(**{name: "1e10"})), f"items[1].{name} is 10,000,000,000 or more: 10000000000")
        for name in ("list_price", "unit_cost", "discount_amount")
    ),
    ("orders", order(items=item(quantity=1000000, list_price="10000")), "items[1].list_price times quantity is"),
    ("orders", order(items=item(quantity=1000000, unit_cost="10000")), "items[1].unit_cost times quantity is"),
    ("orders", order(items=item(quantity=2, returned_quantity=1000001)),
     "items[1].returned_quantity is more than 1,000,000"),
    ("orders", order(refunds=refund(amount="1e10")), "refunds[1].amount is 10,000,000,000 or more: 10000000000"),
    ("orders", order(refunds=refund(amount="-1")), "refunds[1].amount is less than 0: -1"),
    ("orders", order(refunds="x"), "refunds is not an array of objects"),
    *(
        ("orders", MAKERS["orders"](**{name: "1e10"}), f"{name} is 10,000,000,000 or more: 10000000000")
        for name in ("discount_amount", "shipping_amount", "tax_amount")
    ),
    ("orders", order(refunds=refund(amount="12.56")), "the refunds add up to more than total_amount: 12.56 > 12.5"),
    ("web_sessions", session(page_views=10**9 + 1), "page_views is more than 1,000,000,000: 1••• (10 characters)"),
    ("support_tickets", ticket(compensation_amount="1e10", currency="EUR"),
     "compensation_amount is 10,000,000,000 or more"),
    ("support_tickets", ticket(compensation_amount="5", currency="gold"),
     "compensation_amount is given without currency"),
]  # fmt: skip

SOMEONE: dict[str, Record] = {
    "orders": {},
    "web_sessions": {},
    "support_tickets": {"email": "ann@example.com", "phone": "030 1234"},
    "web_events": {},
}
"""So that somebody is still named when one of them is lost."""

# A row that is loaded without a field: the message names the field first.
COSTS: list[tuple[str, Record, str]] = [
    *(
        (name, MAKERS[name](**SOMEONE[name], contact_preferences=given), message)
        for name, feed in FEEDS.items()
        if "contact_preferences" in feed.by_name
        for given, message in (
            ("x", "contact_preferences is not an array of objects"),
            ([{"allowed": True}], "contact_preferences[1].channel is missing"),
            (
                [{"channel": "fax", "allowed": True}],
                "contact_preferences[1].channel must be one of email, sms, phone, post: fax",
            ),
            ([{"channel": "sms"}], "contact_preferences[1].allowed or preferred must be there"),
            (
                [{"channel": "sms", "allowed": "perhaps"}],
                "contact_preferences[1].allowed is neither true nor false: perhaps",
            ),
            (
                [{"channel": "sms", "allowed": True, "stated_at": "2999-01-01T00:00:00Z"}],
                "contact_preferences[].stated_at is before 1995 or more than 1 day after the batch landed",
            ),
        )
    ),
    ("orders", order(email="a" * 513), "email has 513 characters, at most 512 are allowed"),
    ("orders", order(items=[]),
     "items is an empty array; leave the field out when the items are unknown"),
    ("orders", order(items="tea"), "items is not an array of objects"),
    ("orders", order(items=["tea"]), "items[1] is not an object"),
    ("orders", order(delivered_at="2026-02-01T00:00:00Z"),
     "delivered_at is before ordered_at: 2026-02-01 < 2026-03-01T09:00:00Z"),
    ("orders", order(promised_delivery_at="2999-01-01T00:00:00Z"),
     "promised_delivery_at is more than 3660 days after the batch landed: 2999-01-01"),
    ("orders", order(sales_channel="shop"),
     "sales_channel is not one of web, app, store, phone, marketplace: shop"),
    ("orders", order(country="XK"), "country is not an ISO 3166-1 alpha-2 country code: XK"),
    *(
        ("web_sessions", session(**{name: -1}), f"{name} is less than 0: -1")
        for name in ("product_views", "searches", "add_to_carts", "checkouts_started", "engaged_seconds")
    ),
    ("web_sessions", session(engaged_seconds=601), "engaged_seconds is longer than started_at to ended_at: 601 > 600"),
    ("web_sessions", session(device_type="fridge"),
     "device_type is not one of desktop, mobile, tablet, app, other: fridge"),
    ("support_tickets", ticket(priority="low!"),
     "priority is not one of low, normal, high, urgent: l••• (4 characters)"),
    ("support_tickets", ticket(first_response_at="2026-02-01T00:00:00Z"),
     "first_response_at is before created_at: 2026-02-01 < 2026-03-01T10:00:00Z"),
    ("support_tickets", ticket(resolved_at="2026-02-01T00:00:00Z"),
     "resolved_at is before created_at: 2026-02-01 < 2026-03-01T10:00:00Z"),
    ("support_tickets", ticket(replies=-1), "replies is less than 0: -1"),
    ("support_tickets", ticket(reopens=-1), "reopens is less than 0: -1"),
    ("support_tickets", ticket(satisfaction_score=4), "satisfaction_score is given without satisfaction_scale_max"),
    ("support_tickets", ticket(satisfaction_scale_max=5), "satisfaction_scale_max is given without satisfaction_score"),
    ("support_tickets", ticket(satisfaction_score=6, satisfaction_scale_max=5),
     "satisfaction_score is more than satisfaction_scale_max: 6 > 5"),
    ("support_tickets", ticket(satisfaction_score=-1, satisfaction_scale_max=5),
     "satisfaction_score is less than 0: -1"),
    ("support_tickets", ticket(satisfaction_score=1, satisfaction_scale_max=4),
     "satisfaction_scale_max is not one of 1, 3, 5, 7, 10, 100: 4"),
    ("support_tickets", ticket(currency="EUR"), "currency is given without compensation_amount"),
    ("orders", order(email="5.4E+12"), "email was rounded by a spreadsheet"),
    ("web_sessions", session(engaged_seconds=10**9 + 1), "engaged_seconds is more than 1,000,000,000"),
    *(
        ("web_sessions", session(**{name: 10**9 + 1}), f"{name} is more than 1,000,000,000")
        for name in ("product_views", "searches", "add_to_carts", "checkouts_started")
    ),
    ("web_events", event(updated_at="2026-02-28T10:00:00Z"),
     "updated_at is before occurred_at: 2026-02-28T10:00:00Z < 2026-03-01T10:00:00Z"),
    ("web_events", event(device_type="fridge"), "device_type is not one of desktop, mobile, tablet, app, other: "),
    ("web_events", event(engaged_seconds=-1), "engaged_seconds is less than 0: -1"),
    ("web_events", event(engaged_seconds=86401), "engaged_seconds is more than 86,400"),
    ("support_tickets", ticket(replies=10**9 + 1), "replies is more than 1,000,000,000"),
    ("support_tickets", ticket(reopens=10**9 + 1), "reopens is more than 1,000,000,000"),
    *(
        (name, MAKERS[name](**SOMEONE[name] | {time.name: "1970-01-01T00:00:00Z"}), f"{time.name} is before 1995: 1970")
        for name, feed in FEEDS.items()
        for time in feed.fields
        if time.kind == "time" and not time.required
    ),
    *(
        (name, MAKERS[name](**SOMEONE[name] | {of.name: {"a": 1}}), f"{of.name} is ")
        for name, feed in FEEDS.items()
        for of in feed.fields
        if not of.costs_record
    ),
    *(
        (name, MAKERS[name](**SOMEONE[name] | {of.name: "x" * 600}), f"{of.name} has 600 characters")
        for name, feed in FEEDS.items()
        for of in feed.fields
        if of.max_length and not of.required
    ),
]  # fmt: skip

GOOD: list[tuple[str, Record]] = [
    ("orders", order()),
    ("orders", order(order_id="x" * 128)),
    ("orders", order(ordered_at="2026-03-10T23:59:59Z", updated_at="2026-03-11T00:00:00Z")),
    ("orders", order(ordered_at="1995-01-01T00:00:00Z")),
    ("orders", order(updated_at="2026-03-01T09:00:00Z")),
    ("orders", order(updated_at="2026-03-02t10:00:00.123456789z")),
    ("orders", order(total_amount=0)),
    ("orders", order(total_amount="9999999999.9999")),
    ("orders", order(total_amount="1.50000")),
    ("orders", order(total_amount="30.000000000000004")),
    ("orders", order(order_id=7001, customer_id=17.0, coupon_code=2026)),
    ("orders", order(currency="usd", status=" Paid", country="uk")),
    ("orders", order(items=item(sku=None), customer_id=" c1\u00a0")),
    ("orders", order(items=item(unit_price="-5") + item(unit_price="11.428571428571429", quantity="0.3333333333333"))),
    ("orders", order(refunds=refund(amount="12.55"))),
    ("orders", order(refunds=refund(refunded_at=None))),
    ("orders", order(total_amount="5", tax_amount="4", shipping_amount="3")),
    ("orders", order(updated_at="20260302T100000Z", ordered_at="Sun, 1 Mar 2026 10:00:00 +0100")),
    ("orders", order(updated_at="2026-03-02 10:00:00 -0500", ordered_at=" 2026-03-01T10:00Z ")),
    ("orders", order(items=None, refunds=None, country=None)),
    ("orders", order(items=item(quantity=1.5, returned_quantity=1.5, colour="green"))),
    ("orders", order(refunds=refund(amount="12.50"))),
    ("orders", order(refunds=[])),
    ("orders", order(customer_id=None, email=None, phone="+49 30 1234")),
    ("orders", order(customer_id=None, email=None, anonymous_id="device")),
    ("orders", order(promised_delivery_at="2026-12-24T00:00:00Z", delivered_at="2026-03-01T09:00:00Z")),
    ("orders", order(something_new={"a": [1]})),
    *(
        (
            name,
            MAKERS[name](source="shop_b-2", deleted=False, contact_preferences=[{"channel": "sms", "preferred": True}]),
        )
        for name, feed in FEEDS.items()
        if "contact_preferences" in feed.by_name
    ),
    ("orders", order(deleted="Yes", contact_preferences=[{"channel": "SMS", "allowed": 1}])),
    ("web_sessions", session()),
    ("web_sessions", session(ended_at="2026-03-02T10:00:00Z", engaged_seconds=86400, page_views=0)),
    ("web_sessions", session(page_views="3.0", device_type="app", country="wherever")),
    ("web_events", event()),
    ("web_events", event(name="Anything at all", page_url="https://shop.example/?utm_source=a", engaged_seconds="1.5")),
    ("support_tickets", ticket()),
    ("support_tickets", ticket(satisfaction_score=4.5, satisfaction_scale_max=5, subject="x" * 5000)),
    ("support_tickets", ticket(compensation_amount="5", currency="EUR")),
]


@pytest.mark.parametrize(("feed", "record", "message"), BAD, ids=[message[:60] for _, _, message in BAD])
def test_a_row_that_breaks_a_rule_says_so(feed: str, record: Record, message: str) -> None:
    assert any(reason.message.startswith(message) for reason in reasons_of(feed, record))


@pytest.mark.parametrize(("feed", "record", "message"), COSTS, ids=[message[:60] for _, _, message in COSTS])
def test_an_optional_field_that_cannot_be_used_costs_that_field(feed: str, record: Record, message: str) -> None:
    rows, found = judgements(feed)
    row = rows[repr(record)]
    name = message.split(" ")[0].partition("[")[0]
    assert row not in found.reasons
    default = FEEDS[feed].by_name[name].default_from
    assert found.chunk.columns[name][row].as_py() == (found.chunk.columns[default][row].as_py() if default else None)
    assert found.chunk.extra is not None
    assert json.loads(found.chunk.extra[row].as_py())["unusable"][name] == record[name]


@pytest.mark.parametrize(
    ("feed", "record", "message"),
    [case for case in COSTS if "=" not in case[2]][:40],
    ids=[message[:60] for _, _, message in COSTS if "=" not in message][:40],
)
def test_why_a_field_cannot_be_used_is_said(feed: str, record: Record, message: str) -> None:
    found = judged(feed, [record])
    name = message.split(" ")[0].partition("[")[0]
    assert found.examples[name].startswith(message)
    assert set(found.unusable[name].values()) == {1}


@pytest.mark.parametrize(("feed", "record"), GOOD)
def test_a_row_that_keeps_every_rule_passes(feed: str, record: Record) -> None:
    rows, found = judgements(feed)
    assert reasons_of(feed, record) == []
    extra = found.chunk.extra[rows[repr(record)]].as_py() if found.chunk.extra else None
    assert "unusable" not in (extra or "")


def test_a_row_has_all_its_reasons_in_the_order_of_the_suite() -> None:
    assert messages("orders", order(total_amount="-1", status="lost", country="XK", items=[])) == [
        "status is not one of placed, paid, shipped, delivered, cancelled, returned: lost",
        "total_amount is less than 0: -1",
        "items is an empty array; leave the field out when the items are unknown",
        "country is not an ISO 3166-1 alpha-2 country code: XK",
    ]


def test_what_is_left_of_a_record_must_hold_by_itself() -> None:
    assert messages("support_tickets", ticket(compensation_amount="5", currency="gold")) == [
        "currency is not an ISO 4217 currency code: gold",
        "compensation_amount is given without currency",
    ]
    assert messages("orders", order(customer_id=ABSENT, email="a" * 513))[-1].startswith("none of customer_id")
    lost = judged("support_tickets", [ticket(satisfaction_score="good", satisfaction_scale_max=5)])
    assert lost.unusable == {"satisfaction_scale_max": {"pair": 1}, "satisfaction_score": {"readable": 1}}


def test_elements_that_are_none_are_left_out_and_the_array_is_kept_as_it_came() -> None:
    same = refund(amount="1")
    records = [
        order(1, items=item(quantity=0) + item(sku="b")),
        order(2, items=item(quantity="0.0")),
        order(3, refunds=same + same),
        order(4, refunds=same + refund(amount="2")),
        order(5, refunds=refund(refund_id=None) + refund(refund_id=None)),
        order(6, items=item(category={"a": 1})),
    ]
    found = judged("orders", records)
    items, refunds = found.chunk.columns["items"].to_pylist(), found.chunk.columns["refunds"].to_pylist()
    assert found.reasons == {}
    assert [one["sku"] for one in items[0]] == ["b"]
    assert items[1] is None
    assert [len(one) for one in refunds[2:5]] == [1, 1, 2]
    assert items[5][0]["category"] is None
    assert found.unusable == {
        "items[].category": {"readable": 1},
        "items[].quantity": {"zero": 2},
        "refunds[]": {"conflict": 1, "repeated": 1},
    }
    assert found.chunk.extra is not None
    kept = [json.loads(text or "{}").get("unusable") for text in found.chunk.extra.to_pylist()]
    assert kept[0] == {"items": records[0]["items"]}
    assert kept[3] == {"refunds": records[3]["refunds"]}
    assert kept[4] is None
    turned = judged("orders", [order(4, refunds=refund(amount="2") + same)])
    assert turned.chunk.columns["refunds"].to_pylist()[0] == refunds[3], "the order of two contents does not matter"


@pytest.mark.parametrize("feed", FEEDS)
def test_every_expectation_of_a_landing_suite_says_what_and_why(feed: str) -> None:
    expectations = suites.landing_suite(feed).expectations
    assert len(expectations) > 25
    for expectation in expectations:
        assert expectation.description
        assert len(expectation.notes) > 15


@pytest.mark.parametrize("feed", FEEDS)
def test_every_expectation_that_costs_something_was_seen_red(feed: str) -> None:
    found = judgements(feed)[1]
    red = {(reason.rule, reason.field) for reasons in found.reasons.values() for reason in reasons}
    red |= {(rule, name) for name, rules in found.unusable.items() for rule in rules}
    expected = [one for one in suites.landing_suite(feed).expectations if one.severity == "critical" or one.costs]
    assert len(expected) > 20
    # A rule about an element that costs the whole array is counted under the array's name.
    never = {
        (one.rule, one.subject)
        for one in expected
        if not {(one.rule, name) for name in (one.subject, *(one.costs if "[]" in one.subject else ()))} & red
    }
    assert never <= {("readable", "(record)")}


def test_no_message_holds_a_personal_value() -> None:
    secret = "ann.secret@example.com"  # pragma: allowlist secret
    for name in ("status", "currency", "country", "total_amount", "ordered_at", "customer_id", "sales_channel"):
        spoiled: dict[str, Any] = {name: secret}
        told = messages("orders", order(**spoiled))
        assert all("secret" not in message for message in told)
        assert told or not FEEDS["orders"].by_name[name].required
    assert "secret" not in str(messages("orders", order(items=[{"sku": secret, "quantity": secret}])))


def test_every_maker_of_the_tests_makes_a_good_record() -> None:
    assert all(messages(feed, maker(1)) == [] for feed, maker in MAKERS.items())
