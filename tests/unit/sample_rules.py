"""The feeds' rules, read off feeds.md a second time in plain code: the judge of what the sample generator writes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Row = dict[str, Any]
Broken = set[tuple[str, str]]

ID = {"orders": "order_id", "web_sessions": "session_id", "support_tickets": "ticket_id"}
REQUIRED = {
    "orders": ("order_id", "updated_at", "ordered_at", "status", "currency", "total_amount"),
    "web_sessions": ("session_id", "updated_at", "anonymous_id", "started_at", "ended_at", "page_views"),
    "support_tickets": ("ticket_id", "updated_at", "created_at", "status", "channel", "category"),
}
TIMES = {
    "orders": ("updated_at", "ordered_at", "promised_delivery_at", "delivered_at"),
    "web_sessions": ("updated_at", "started_at", "ended_at"),
    "support_tickets": ("updated_at", "created_at", "first_response_at", "resolved_at"),
}
MONEY = {
    "orders": ("total_amount", "discount_amount", "shipping_amount", "tax_amount"),
    "web_sessions": (),
    "support_tickets": ("compensation_amount",),
}
COUNTS = {
    "orders": (),
    "web_sessions": (
        "page_views",
        "product_views",
        "searches",
        "add_to_carts",
        "checkouts_started",
        "engaged_seconds",
    ),
    "support_tickets": ("replies", "reopens"),
}
ENUMS = {
    "orders": {
        "status": {"placed", "paid", "shipped", "delivered", "cancelled", "returned"},
        "sales_channel": {"web", "app", "store", "phone", "marketplace"},
    },
    "web_sessions": {"device_type": {"desktop", "mobile", "tablet", "app", "other"}},
    "support_tickets": {
        "status": {"new", "open", "pending", "solved", "closed"},
        "channel": {"email", "phone", "chat", "web", "social", "store"},
        "category": {"complaint", "question", "return", "delivery", "payment", "product", "other"},
        "priority": {"low", "normal", "high", "urgent"},
    },
}
SOMEBODY = {
    "orders": ("customer_id", "email", "phone", "anonymous_id"),
    "web_sessions": ("anonymous_id",),
    "support_tickets": ("customer_id", "email", "phone"),
}
# The codes that the sample may use; the whole of ISO 4217 and 3166 is the front door's to know.
CURRENCIES = {"USD", "EUR", "GBP", "CAD", "CHF", "SEK", "PLN"}
COUNTRIES = {"US", "CA", "GB", "DE", "FR"}


def read_rows(path: Path) -> list[Row | None]:
    """The records of a file in order; None for a line that is no record. Empty cells are null."""
    if path.name.endswith(".parquet"):
        return list(pq.read_table(path).to_pylist())
    content = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
    text = content.decode("utf-8-sig")
    if ".jsonl" in path.name:
        return [_json_record(line) for line in text.splitlines()]
    lines = csv.reader(io.StringIO(text, newline=""))
    header = next(lines)
    return [_csv_record(header, values) for values in lines]


def _json_record(line: str) -> Row | None:
    try:
        record = json.loads(line, parse_float=Decimal)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def _csv_record(header: list[str], values: list[str]) -> Row | None:
    if len(values) != len(header):
        return None
    record: Row = {name: value or None for name, value in zip(header, values, strict=True)}
    for name in ("items", "refunds"):
        if record.get(name):
            record[name] = _json_cell(record[name])
    return record


def _json_cell(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError:
        return text


def moment(value: Any) -> Any:
    """The instant of a value that is one; None for null. ValueError if it is none; LookupError if it has no zone.

    Any, since most callers read a field that is required.
    """
    if value is None:
        return None
    at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    if at.tzinfo is None:
        raise LookupError(value)
    return at.astimezone(UTC)


def amount(value: Any) -> Any:
    """The number of a value that is one; None for null, InvalidOperation if it is none. Any, as above."""
    if value is None:
        return None
    number = Decimal(str(value))
    if not number.is_finite():
        raise InvalidOperation
    return number


def broken_rules(feed: str, row: Row, landed_at: datetime) -> Broken:
    """Field and rule for all that is wrong with the record."""
    broken: Broken = {(field, "required") for field in REQUIRED[feed] if row.get(field) is None}
    times: dict[str, Any] = {}
    for field in TIMES[feed]:
        try:
            times[field] = moment(row.get(field))
        except LookupError:
            broken.add((field, "time_zone"))
        except ValueError:
            broken.add((field, "time"))
    for field in MONEY[feed]:
        broken |= _money(field, row.get(field))
    for field in COUNTS[feed]:
        broken |= _count(field, row.get(field))
    for field, values in ENUMS[feed].items():
        if row.get(field) is not None and row[field] not in values:
            broken.add((field, "enum"))
    if all(row.get(field) is None for field in SOMEBODY[feed]) and feed != "web_sessions":
        broken.add(("customer_id", "identity"))
    more = {"orders": _order, "web_sessions": _session, "support_tickets": _ticket}[feed]
    return broken | more(row, times, landed_at)


def _money(field: str, value: Any) -> Broken:
    try:
        number = amount(value)
    except InvalidOperation:
        return {(field, "number")}
    if number is None:
        return set()
    broken: Broken = set()
    if number < 0:
        broken.add((field, "range"))
    if number != round(number, 4):
        broken.add((field, "decimals"))
    return broken


def _count(field: str, value: Any) -> Broken:
    if value is None:
        return set()
    if not re.fullmatch(r"-?\d+", str(value)):
        return {(field, "number")}
    return {(field, "range")} if int(value) < 0 else set()


def _order(row: Row, times: dict[str, Any], landed_at: datetime) -> Broken:
    broken: Broken = set()
    if row.get("order_id") is not None and not 1 <= len(row["order_id"]) <= 128:
        broken.add(("order_id", "length"))
    if row.get("currency") is not None and row["currency"] not in CURRENCIES:
        broken.add(("currency", "code"))
    if row.get("country") is not None and row["country"] not in COUNTRIES:
        broken.add(("country", "code"))
    ordered, updated, delivered = times.get("ordered_at"), times.get("updated_at"), times.get("delivered_at")
    if ordered and updated and ordered > updated:
        broken.add(("ordered_at", "order_of_times"))
    if ordered and (ordered.year < 1995 or ordered > landed_at + timedelta(days=1)):
        broken.add(("ordered_at", "range"))
    if ordered and delivered and delivered < ordered:
        broken.add(("delivered_at", "order_of_times"))
    if row.get("items") is not None and not _good_items(row["items"]):
        broken.add(("items", "items"))
    if row.get("refunds") is not None and not _good_refunds(row["refunds"], row.get("total_amount")):
        broken.add(("refunds", "refunds"))
    return broken


def _good_items(items: Any) -> bool:
    if not isinstance(items, list) or not items:
        return False
    for item in items:
        if any(item.get(name) is None for name in ("sku", "quantity", "unit_price")):
            return False
        quantity, returned = Decimal(item["quantity"]), Decimal(item.get("returned_quantity") or 0)
        if quantity <= 0 or not 0 <= returned <= quantity:
            return False
        for name in ("unit_price", "list_price", "unit_cost", "discount_amount"):
            if _money(name, item.get(name)):
                return False
    return True


def _good_refunds(refunds: Any, total: Any) -> bool:
    if not isinstance(refunds, list):
        return False
    amounts = [amount(refund.get("amount")) for refund in refunds]
    if any(value is None or value <= 0 for value in amounts) or any(moment(r["refunded_at"]) is None for r in refunds):
        return False
    try:
        whole = amount(total)
    except InvalidOperation:
        return True
    return whole is None or sum(value for value in amounts if value is not None) <= whole


def _session(row: Row, times: dict[str, Any], landed_at: datetime) -> Broken:
    broken: Broken = set()
    started, ended = times.get("started_at"), times.get("ended_at")
    if not started or not ended:
        return broken
    if ended < started:
        broken.add(("ended_at", "order_of_times"))
    if ended > started + timedelta(hours=24):
        broken.add(("ended_at", "too_long"))
    engaged = row.get("engaged_seconds")
    if engaged is not None and int(engaged) > (ended - started).total_seconds():
        broken.add(("engaged_seconds", "too_long"))
    return broken


def _ticket(row: Row, times: dict[str, Any], landed_at: datetime) -> Broken:
    broken: Broken = set()
    created = times.get("created_at")
    if created and times.get("updated_at") and created > times["updated_at"]:
        broken.add(("created_at", "order_of_times"))
    for field in ("first_response_at", "resolved_at"):
        if created and times.get(field) and times[field] < created:
            broken.add((field, "order_of_times"))
    score, scale = amount(row.get("satisfaction_score")), amount(row.get("satisfaction_scale_max"))
    if (score is None) != (scale is None):
        broken.add(("satisfaction_score", "pairs"))
    if scale is not None and scale not in (1, 3, 5, 7, 10, 100):
        broken.add(("satisfaction_scale_max", "enum"))
    if score is not None and scale is not None and not 0 <= score <= scale:
        broken.add(("satisfaction_score", "range"))
    if (row.get("compensation_amount") is None) != (row.get("currency") is None):
        broken.add(("compensation_amount", "pairs"))
    return broken
