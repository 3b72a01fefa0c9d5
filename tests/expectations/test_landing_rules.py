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
from tests.pipeline.front_door import ABSENT, MAKERS, Record, order, session, ticket

LANDED_AT = datetime(2026, 3, 10, tzinfo=UTC)


def judged(feed: str, records: list[Record]) -> list[list[suites.Reason]]:
    """Why the gate refuses each of some records."""
    chunk = read_again(FEEDS[feed], {"format": "jsonl"}, [json.dumps(record) for record in records])
    reasons = suites.LandingGate(FEEDS[feed], LANDED_AT).check(chunk)
    return [reasons.get(row, []) for row in range(len(records))]


def messages(feed: str, record: Record) -> list[str]:
    """Why the gate refuses a record."""
    return [reason.message for reason in judged(feed, [record])[0]]


@cache
def judgements(feed: str) -> dict[str, list[suites.Reason]]:
    """The reasons of every bad and good record of a feed, judged in one chunk."""
    records: list[Any] = [case[1] for case in [*BAD, *GOOD] if case[0] == feed]
    return dict(zip(map(repr, records), judged(feed, records), strict=True))


def item(**fields: Any) -> list[Record]:
    return [{"sku": "tea", "quantity": 2, "unit_price": "6.25"} | fields]


def refund(**fields: Any) -> list[Record]:
    return [{"refund_id": "r1", "refunded_at": "2026-03-03T00:00:00Z", "amount": "1.00", "reason": "broken"} | fields]


BAD: list[tuple[str, Record, str]] = [
    ("orders", order(order_id=ABSENT), "order_id is missing"),
    ("orders", order(order_id=""), "order_id is missing"),
    ("orders", order(order_id=None), "order_id is missing"),
    ("orders", order(order_id="x" * 129), "order_id has 129 characters, at most 128 are allowed"),
    ("orders", order(order_id=17), "order_id is a number, text was expected"),
    ("orders", order(order_id="a\x00b"), "order_id holds a NUL character"),
    ("orders", order(updated_at=ABSENT), "updated_at is missing"),
    ("orders", order(updated_at="2026-02-28T10:00:00Z"),
     "updated_at is before ordered_at: 2026-02-28T10:00:00Z < 2026-03-01T09:00:00Z"),
    ("orders", order(ordered_at="2026-03-01T10:00:00"), "ordered_at has no time zone offset: 2026-03-01T10:00:00"),
    ("orders", order(ordered_at="2026-03-01"), "ordered_at has no time zone offset: 2026-03-01"),
    ("orders", order(ordered_at="yesterday"), "ordered_at is not an ISO 8601 time with an offset: yesterday"),
    ("orders", order(ordered_at="2026-02-30T00:00:00Z"),
     "ordered_at is not an ISO 8601 time with an offset: 2026-02-30T00:00:00Z"),
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
    ("orders", order(currency="usd"), "currency is not an ISO 4217 currency code: usd must be written USD"),
    ("orders", order(currency="XXX"), "currency is not an ISO 4217 currency code: XXX"),
    ("orders", order(total_amount=ABSENT), "total_amount is missing"),
    ("orders", order(total_amount="-0.01"), "total_amount is less than 0: -0.01"),
    ("orders", order(total_amount="1.00001"), "total_amount has more than 4 decimals: 1.00001"),
    ("orders", order(total_amount="1,000.00"),
     "total_amount is not a number: 1,000.00 (decimals stand after a point, thousands are not separated)"),
    ("orders", order(status=" Paid"),
     "status is not one of placed, paid, shipped, delivered, cancelled, returned: Paid must be written paid"),
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
    ("orders", order(email="a" * 513), "email has 513 characters, at most 512 are allowed"),
    ("orders", order(items=[]),
     "items is an empty array; leave the field out when the items are unknown"),
    ("orders", order(items="tea"), "items is not an array of objects"),
    ("orders", order(items=["tea"]), "items[1] is not an object"),
    ("orders", order(items=item(sku=None)), "items[1].sku is missing"),
    ("orders", order(items=item(quantity=None)), "items[1].quantity is missing"),
    ("orders", order(items=item(unit_price=None)), "items[1].unit_price is missing"),
    ("orders", order(items=item(quantity=0)), "items[1].quantity is not more than 0: 0"),
    ("orders", order(items=item() + item(quantity=-1)), "items[2].quantity is not more than 0: -1"),
    ("orders", order(items=item(unit_price="-1")), "items[1].unit_price is less than 0: -1"),
    ("orders", order(items=item(list_price="-1")), "items[1].list_price is less than 0: -1"),
    ("orders", order(items=item(unit_cost="-1")), "items[1].unit_cost is less than 0: -1"),
    ("orders", order(items=item(discount_amount="-1")), "items[1].discount_amount is less than 0: -1"),
    ("orders", order(items=item(returned_quantity=-1)), "items[1].returned_quantity is less than 0: -1"),
    ("orders", order(items=item(returned_quantity=3)), "items[1].returned_quantity is more than quantity: 3 > 2"),
    ("orders", order(items=item(unit_price="1.23456")), "items[1].unit_price has more than 4 decimals: 1.23456"),
    ("orders", order(refunds=refund(amount=0)), "refunds[1].amount is not more than 0: 0"),
    ("orders", order(refunds=refund(amount="13")), "the refunds add up to more than total_amount: 13 > 12.5"),
    ("orders", order(refunds=refund(amount="7") + refund(amount="6")),
     "the refunds add up to more than total_amount: 13 > 12.5"),
    ("orders", order(refunds=refund(amount=None)), "refunds[1].amount is missing"),
    ("orders", order(refunds=refund(refunded_at=None)), "refunds[1].refunded_at is missing"),
    ("orders", order(refunds=refund(refunded_at="2026-03-03T00:00:00")),
     "refunds[1].refunded_at has no time zone offset: 2026-03-03T00:00:00"),
    ("orders", order(refunds=refund(refunded_at="2999-03-03T00:00:00Z")),
     "refunds[].refunded_at is before 1995 or more than 1 day after the batch landed"),
    ("orders", order(delivered_at="2026-02-01T00:00:00Z"),
     "delivered_at is before ordered_at: 2026-02-01 < 2026-03-01T09:00:00Z"),
    ("orders", order(promised_delivery_at="2999-01-01T00:00:00Z"),
     "promised_delivery_at is more than 3660 days after the batch landed: 2999-01-01"),
    ("orders", order(sales_channel="shop"),
     "sales_channel is not one of web, app, store, phone, marketplace: shop"),
    ("orders", order(country="UK"), "country is not an ISO 3166-1 alpha-2 country code: UK"),
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
    ("web_sessions", session(page_views=10**19), "page_views is not a whole number: 1••• (20 characters)"),
    *(
        ("web_sessions", session(**{name: -1}), f"{name} is less than 0: -1")
        for name in ("product_views", "searches", "add_to_carts", "checkouts_started", "engaged_seconds")
    ),
    ("web_sessions", session(engaged_seconds=601), "engaged_seconds is longer than started_at to ended_at: 601 > 600"),
    ("web_sessions", session(device_type="fridge"),
     "device_type is not one of desktop, mobile, tablet, app, other: fridge"),
    ("support_tickets", ticket(ticket_id=ABSENT), "ticket_id is missing"),
    ("support_tickets", ticket(updated_at="2026-02-28T10:00:00Z"),
     "updated_at is before created_at: 2026-02-28T10:00:00Z < 2026-03-01T10:00:00Z"),
    ("support_tickets", ticket(status="asleep"), "status is not one of new, open, pending, solved, closed: asleep"),
    ("support_tickets", ticket(channel="fax"),
     "channel is not one of email, phone, chat, web, social, store: fax"),
    ("support_tickets", ticket(category="praise"),
     "category is not one of complaint, question, return, delivery, payment, product, other: praise"),
    ("support_tickets", ticket(customer_id=ABSENT), "none of customer_id, email, phone is given"),
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
    ("support_tickets", ticket(compensation_amount="5"), "compensation_amount is given without currency"),
    ("support_tickets", ticket(currency="EUR"), "currency is given without compensation_amount"),
    ("support_tickets", ticket(compensation_amount="5", currency="eur"),
     "currency is not an ISO 4217 currency code: eur must be written EUR"),
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
        if time.kind == "time"
    ),
    *(
        (name, MAKERS[name](**{of.name: ["x"]}), f"{of.name} is an array or object, ")
        for name, feed in FEEDS.items()
        for of in feed.fields
        if of.kind != "array"
    ),
    *(
        (name, MAKERS[name](**fields), message)
        for name in FEEDS
        for fields, message in (
            ({"source": "Shop B"}, "source must be 1 to 40 of a-z, 0-9, _ and -"),
            ({"source": "x" * 41}, "source must be 1 to 40 of a-z, 0-9, _ and -"),
            ({"deleted": "maybe"}, "deleted is neither true nor false: maybe"),
            ({"contact_preferences": "x"}, "contact_preferences is not"),
            ({"contact_preferences": [{"allowed": True}]}, "contact_preferences[1].channel is missing"),
            (
                {"contact_preferences": [{"channel": "fax", "allowed": True}]},
                "contact_preferences[1].channel must be one of email, sms, phone, post: fax",
            ),
            (
                {"contact_preferences": [{"channel": "sms"}]},
                "contact_preferences[1].allowed or preferred must be there",
            ),
            (
                {"contact_preferences": [{"channel": "sms", "allowed": "perhaps"}]},
                "contact_preferences[1].allowed is neither true nor false: perhaps",
            ),
        )
    ),
    *(
        (name, MAKERS[name](**{of.name: "x" * 600}), f"{of.name} has 600 characters")
        for name, feed in FEEDS.items()
        for of in feed.fields
        if of.max_length
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
    ("orders", order(total_amount="9999999999999999.9999")),
    ("orders", order(total_amount="1.50000")),
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
        for name in FEEDS
    ),
    ("web_sessions", session()),
    ("web_sessions", session(ended_at="2026-03-02T10:00:00Z", engaged_seconds=86400, page_views=0)),
    ("web_sessions", session(page_views="3.0", device_type="app", country="wherever")),
    ("support_tickets", ticket()),
    ("support_tickets", ticket(satisfaction_score=4.5, satisfaction_scale_max=5, subject="x" * 5000)),
    ("support_tickets", ticket(compensation_amount="5", currency="EUR")),
]


@pytest.mark.parametrize(("feed", "record", "message"), BAD, ids=[message[:60] for _, _, message in BAD])
def test_a_row_that_breaks_a_rule_is_told_so(feed: str, record: Record, message: str) -> None:
    assert any(reason.message.startswith(message) for reason in judgements(feed)[repr(record)])


@pytest.mark.parametrize(("feed", "record"), GOOD)
def test_a_row_that_keeps_every_rule_passes(feed: str, record: Record) -> None:
    assert judgements(feed)[repr(record)] == []


def test_a_row_is_told_all_its_reasons_in_the_order_of_the_suite() -> None:
    assert messages("orders", order(total_amount="-1", status="lost", country="UK", items=[])) == [
        "status is not one of placed, paid, shipped, delivered, cancelled, returned: lost",
        "items is an empty array; leave the field out when the items are unknown",
        "country is not an ISO 3166-1 alpha-2 country code: UK",
        "total_amount is less than 0: -1",
    ]


@pytest.mark.parametrize("feed", FEEDS)
def test_every_expectation_of_a_landing_suite_says_what_and_why(feed: str) -> None:
    expectations = suites.landing_suite(feed).expectations
    assert len(expectations) > 25
    for expectation in expectations:
        assert expectation.description
        assert len(expectation.notes) > 15


@pytest.mark.parametrize("feed", FEEDS)
def test_every_critical_expectation_was_seen_red(feed: str) -> None:
    red = {(reason.rule, reason.field) for reasons in judgements(feed).values() for reason in reasons}
    expected = {
        (one.rule, one.subject) for one in suites.landing_suite(feed).expectations if one.severity == "critical"
    }
    elements = {(rule, subject) for rule, subject in expected if rule == "readable" and subject in {"items", "refunds"}}
    assert len(expected) > 20
    assert expected - elements - {("readable", "(record)")} <= red


def test_no_message_holds_a_personal_value() -> None:
    secret = "ann.secret@example.com"
    for name in ("status", "currency", "country", "total_amount", "ordered_at", "customer_id", "sales_channel"):
        spoiled: dict[str, Any] = {name: secret}
        told = messages("orders", order(**spoiled))
        assert all("secret" not in message for message in told)
        assert told or name == "customer_id"
    assert "secret" not in str(messages("orders", order(items=[{"sku": secret, "quantity": secret}])))


def test_every_maker_of_the_tests_makes_a_good_record() -> None:
    assert all(messages(feed, maker(1)) == [] for feed, maker in MAKERS.items())
