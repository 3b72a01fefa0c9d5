"""One bad record for every rule of the feeds: what is broken, and how.

``rule`` is one of: required, length, time, time_zone, number, decimals, range, enum, code, order_of_times, too_long,
identity, items, refunds, pairs, line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from customer360.sample.writing import RawLine

Record = dict[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A way to break a rule: ``breaks`` changes a good record of the feed so that ``rule`` fails in ``field``."""

    field: str
    rule: str
    breaks: Callable[[Record], None]


@dataclass(frozen=True)
class BadLine:
    """A line of a text file that is no record at all."""

    formats: str
    line: RawLine


BROKEN_LINES = (
    BadLine("jsonl", RawLine('{"half": "a record')),
    BadLine("jsonl", RawLine("[1, 2, 3]")),
    BadLine("csv", RawLine(",".join(["surplus"] * 60))),
)


def _put(field: str, value: Any) -> Callable[[Record], None]:
    return lambda record: record.update({field: value})


def _missing(field: str) -> BadRow:
    return BadRow(field, "required", _put(field, None))


def _naive(field: str) -> BadRow:
    # A clock reading without a zone, as text: in which zone it was read is what nobody knows.
    return BadRow(
        field, "time_zone", lambda record: record.update({field: _some_time(record).strftime("%Y-%m-%dT%H:%M:%S")})
    )


def _some_time(record: Record) -> datetime:
    at = record["updated_at"]
    if not isinstance(at, datetime):
        raise TypeError("a bad row is made from a good record")
    return at


def _shifted(field: str, base: str, by: timedelta) -> Callable[[Record], None]:
    return lambda record: record.update({field: record[base] + by})


def _money_rules(field: str) -> list[BadRow]:
    return [
        BadRow(field, "number", _put(field, "a lot")),
        BadRow(field, "number", _put(field, "NaN")),
        BadRow(field, "range", _put(field, "-0.01")),
        BadRow(field, "decimals", _put(field, "1.00001")),
    ]


def _item(**changes: Any) -> Callable[[Record], None]:
    good = {"sku": "BAD-1", "quantity": 2, "unit_price": Decimal("3.50")}
    item = {name: value for name, value in {**good, **changes}.items() if value is not None}
    return lambda record: record.update({"items": [item]})


def _refunds(*refunds: Record) -> Callable[[Record], None]:
    def change(record: Record) -> None:
        at = record["ordered_at"]
        record["refunds"] = [
            {"refund_id": f"BAD-R{i}", "refunded_at": at, **refund} for i, refund in enumerate(refunds)
        ]

    return change


def _over_refunded(record: Record) -> None:
    half = Decimal(record["total_amount"]) / 2 + 1
    _refunds({"amount": half.quantize(Decimal("0.01"))}, {"amount": half.quantize(Decimal("0.01"))})(record)


def _nobody(*fields: str) -> Callable[[Record], None]:
    return lambda record: record.update(dict.fromkeys(fields))


def _in_the_future(record: Record) -> None:
    record["ordered_at"] = record["updated_at"] = "2999-01-01T00:00:00Z"


def _before_the_web(record: Record) -> None:
    record["ordered_at"] = "1970-01-01T00:00:00Z"


def _endless(record: Record) -> None:
    record["started_at"] = record["ended_at"] - timedelta(hours=24, seconds=1)
    record["engaged_seconds"] = 1


def _compensation(amount: Any, currency: Any) -> Callable[[Record], None]:
    return lambda record: record.update({"compensation_amount": amount, "currency": currency})


ORDERS = (
    _missing("order_id"),
    BadRow("order_id", "length", _put("order_id", "BAD-" + "9" * 125)),
    *(_missing(field) for field in ("updated_at", "ordered_at", "status", "currency", "total_amount")),
    _naive("updated_at"),
    _naive("ordered_at"),
    BadRow("updated_at", "time", _put("updated_at", "yesterday")),
    BadRow("ordered_at", "time", _put("ordered_at", "2026-02-30T10:00:00Z")),
    BadRow("ordered_at", "order_of_times", _shifted("ordered_at", "updated_at", timedelta(seconds=1))),
    BadRow("ordered_at", "range", _before_the_web),
    BadRow("ordered_at", "range", _in_the_future),
    BadRow("status", "enum", _put("status", "mislaid")),
    BadRow("currency", "code", _put("currency", "US$")),
    BadRow("currency", "code", _put("currency", "QQQ")),
    *_money_rules("total_amount"),
    BadRow("total_amount", "number", _put("total_amount", "1,000.00")),
    *(BadRow(field, "range", _put(field, "-1")) for field in ("discount_amount", "shipping_amount", "tax_amount")),
    BadRow("tax_amount", "number", _put("tax_amount", "19%")),
    BadRow("customer_id", "identity", _nobody("customer_id", "email", "phone", "anonymous_id")),
    *(BadRow("items", "items", _item(**{field: None})) for field in ("quantity", "unit_price")),
    *(
        BadRow("items", "items", _item(**{field: Decimal("-0.01")}))
        for field in ("list_price", "unit_cost", "discount_amount")
    ),
    BadRow("items", "items", _item(returned_quantity=3)),
    BadRow("items", "items", _item(returned_quantity=-1)),
    BadRow("refunds", "refunds", _refunds({"amount": Decimal("0.00")})),
    BadRow("refunds", "refunds", _refunds({"reason": "no amount"})),
    BadRow("refunds", "refunds", _over_refunded),
)

WEB_SESSIONS = (
    *(
        _missing(field)
        for field in ("session_id", "updated_at", "anonymous_id", "started_at", "ended_at", "page_views")
    ),
    _naive("updated_at"),
    _naive("started_at"),
    BadRow("ended_at", "time", _put("ended_at", "later")),
    BadRow("ended_at", "order_of_times", _shifted("ended_at", "started_at", timedelta(seconds=-1))),
    BadRow("ended_at", "too_long", _endless),
    BadRow("page_views", "range", _put("page_views", -1)),
    BadRow("page_views", "number", _put("page_views", "many")),
    BadRow("page_views", "number", _put("page_views", "2.5")),
)  # fmt: skip

SUPPORT_TICKETS = (
    *(_missing(field) for field in ("ticket_id", "updated_at", "created_at", "status", "channel", "category")),
    _naive("created_at"),
    BadRow("updated_at", "time", _put("updated_at", "soon")),
    BadRow("created_at", "order_of_times", _shifted("created_at", "updated_at", timedelta(seconds=1))),
    BadRow("status", "enum", _put("status", "lost")),
    BadRow("channel", "enum", _put("channel", "fax")),
    BadRow("category", "enum", _put("category", "praise")),
    BadRow("customer_id", "identity", _nobody("customer_id", "email", "phone")),
    BadRow("compensation_amount", "pairs", _compensation("5.00", None)),
    BadRow("compensation_amount", "range", _compensation("-5.00", "USD")),
)

BAD_ROWS: dict[str, tuple[BadRow, ...]] = {
    "orders": ORDERS,
    "web_sessions": WEB_SESSIONS,
    "support_tickets": SUPPORT_TICKETS,
}
