"""A small shop as three vendors export it: Shopify's CSV, Zendesk's JSON, Google Analytics' events."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from tests.unit.source_trials import SHOPIFY_HEADER

Row = dict[str, Any]
"""Columns of Shopify's order export, as files of 2025 and 2026 have them."""

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
BERLIN = timezone(timedelta(hours=1))


def shop_time(moment: datetime) -> str:
    """A time as Shopify's CSV writes it."""
    return moment.astimezone(BERLIN).strftime("%Y-%m-%d %H:%M:%S %z")


def shopify_csv(rows: Sequence[Row], newline: str = "\n") -> bytes:
    """Lines of the export, under its header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, SHOPIFY_HEADER, restval="", lineterminator=newline)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def shop_orders(seed: int = 1, customers: int = 25) -> list[Row]:
    """Lines of orders of a made-up shop: partial and whole refunds, cancelled and test orders, tips, notes, a till."""
    choose = random.Random(seed)
    lines: list[Row] = []
    number = 1000
    for customer in range(customers):
        for _ in range(choose.randint(1, 4)):
            number += 1
            created = START + timedelta(hours=choose.randint(0, 24 * 60))
            items = [(f"SKU-{choose.randint(1, 9)}", choose.randint(1, 3), choose.choice((450, 1999, 12000)))
                     for _ in range(choose.randint(1, 3))]  # fmt: skip
            subtotal = sum(quantity * cents for _, quantity, cents in items)
            shipping, tip = choose.choice((0, 490)), choose.choice((0, 0, 200))
            total = subtotal + shipping + tip
            tax = total * 19 // 119
            kind = choose.choice(("paid", "paid", "fulfilled", "refunded", "partly", "cancelled", "test", "pending"))
            refund = total if kind == "refunded" else choose.randint(1, subtotal) if kind == "partly" else 0
            first: Row = {
                "Name": f"#{number}",
                "Email": f"buyer{customer}@shop.example",
                "Financial Status": {
                    "fulfilled": "paid", "refunded": "refunded", "partly": "partially_refunded", "cancelled": "voided",
                    "test": "paid", "pending": "pending",
                }.get(kind, "paid"),
                "Paid at": "" if kind in {"pending", "cancelled"} else shop_time(created + timedelta(seconds=4)),
                "Fulfillment Status": "fulfilled" if kind == "fulfilled" else "unfulfilled",
                "Fulfilled at": shop_time(created + timedelta(days=1)) if kind == "fulfilled" else "",
                "Currency": "USD",
                "Subtotal": f"{subtotal / 100:.2f}",
                "Shipping": f"{shipping / 100:.2f}",
                "Taxes": f"{tax / 100:.2f}",
                "Total": f"{total / 100:.2f}",
                "Discount Amount": "0.00",
                "Notes": 'ring twice, "please"\nsecond line' if choose.random() < 0.2 else "",
                "Cancelled at": shop_time(created + timedelta(hours=2)) if kind == "cancelled" else "",
                "Payment Method": "(for testing) Bogus Gateway" if kind == "test" else "Shopify Payments",
                "Refunded Amount": f"{refund / 100:.2f}",
                "Vendor": "Acme",
                "Id": str(5_430_000_000_000 + number),
                "Source": choose.choice(("web", "pos", "iphone")),
                "Billing Country": "DE",
            }  # fmt: skip
            for place, (sku, quantity, cents) in enumerate(items):
                line = dict(first) if place == 0 else {"Name": first["Name"], "Email": first["Email"]}
                line |= {
                    "Created at": shop_time(created),
                    "Lineitem quantity": str(quantity),
                    "Lineitem name": f"Thing {sku}",
                    "Lineitem price": f"{cents / 100:.2f}",
                    "Lineitem sku": sku,
                    "Lineitem discount": "0.00",
                }
                lines.append(line)
            if tip:
                lines.append(
                    {
                        "Name": first["Name"],
                        "Email": first["Email"],
                        "Created at": shop_time(created),
                        "Lineitem quantity": "1",
                        "Lineitem name": "Tip",
                        "Lineitem price": f"{tip / 100:.2f}",
                    }
                )
    return lines


def zendesk_pages(emails: Sequence[str], seed: int = 1, size: int = 20) -> list[Row]:
    """Pages of the incremental export with side-loaded users and metric sets."""
    choose = random.Random(seed)
    users = [{"id": 400 + place, "email": email.upper(), "phone": None, "name": "A Customer",
              "updated_at": "2026-03-01T00:00:00Z"} for place, email in enumerate(emails)]  # fmt: skip
    tickets: list[Row] = []
    metrics: list[Row] = []
    for number in range(1, len(emails) + size):
        user = choose.choice(users)
        created = START + timedelta(hours=choose.randint(0, 24 * 60))
        status = choose.choice(("new", "open", "pending", "hold", "solved", "closed", "deleted"))
        is_done = status in {"solved", "closed"}
        tickets.append(
            {
                "id": number,
                "requester_id": user["id"],
                "status": status,
                "priority": choose.choice((None, "low", "normal", "high", "urgent")),
                "type": choose.choice((None, "question", "incident", "problem", "task")),
                "via": {"channel": choose.choice(("email", "web", "chat", "voice", "api")), "source": {}},
                "tags": choose.choice(([], ["vip"], ["complaint", "vip"], ["delivery"])),
                "subject": "Where is it?",
                "raw_subject": "Where is it?",
                "description": "I would like to know.",
                "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "updated_at": (created + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "generated_timestamp": int((created + timedelta(days=2, minutes=1)).timestamp()),
                "satisfaction_rating": {"score": choose.choice(("unoffered", "offered", "good", "bad"))},
            }
        )
        metrics.append(
            {
                "ticket_id": number,
                "replies": choose.randint(0, 5),
                "reopens": choose.randint(0, 1),
                "solved_at": (created + timedelta(hours=30)).strftime("%Y-%m-%dT%H:%M:%SZ") if is_done else None,
                "reply_time_in_minutes": {"calendar": choose.choice((None, 12, 90)), "business": None},
                "updated_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )
    return [
        {
            "tickets": tickets[start : start + size],
            "users": users,
            "metric_sets": metrics[start : start + size],
            "count": size,
            "end_of_stream": False,
            "end_time": 1,
        }
        for start in range(0, len(tickets), size)
    ]


def ga4_event(name: str, at: datetime, visitor: str, session: int, **parameters: Any) -> Row:
    """One event as BigQuery extracts it to JSON: 64-bit numbers are texts."""
    params = {"ga_session_id": session, "page_location": "https://shop.example/", **parameters}
    return {
        "event_date": at.strftime("%Y%m%d"),
        "event_timestamp": str(int(at.timestamp() * 1_000_000)),
        "event_name": name,
        "event_params": [
            {"key": key, "value": {"int_value": str(v)} if isinstance(v, int) else {"string_value": v}}
            for key, v in params.items()
        ],
        "user_pseudo_id": visitor,
        "platform": "WEB",
        "device": {"category": "mobile"},
        "geo": {"country": "Germany"},
    }


def ga4_events(order_of: dict[str, tuple[str, datetime]], seed: int = 1) -> list[Row]:
    """Sessions of one visitor per e-mail address, of which one ends in that address's order.

    Args:
        order_of: address -> id and time of one of its orders.
    """
    choose = random.Random(seed)
    events: list[Row] = []
    for place, (order_id, ordered_at) in enumerate(order_of.values()):
        visitor = f"{1000 + place}.{1700000000 + place}"
        for back in range(choose.randint(1, 4)):
            at, session = ordered_at - timedelta(days=back, minutes=10), 1_770_000_000 + back
            pages = choose.randint(1, 5)
            events.append(ga4_event("session_start", at, visitor, session))
            events += [
                ga4_event(
                    "page_view", at + timedelta(seconds=20 * page + 1), visitor, session, engagement_time_msec=900
                )
                for page in range(pages)
            ]
            if choose.random() < 0.5:
                events.append(ga4_event("view_item", at + timedelta(seconds=150), visitor, session))
            if back == 0:
                events.append(
                    ga4_event("purchase", at + timedelta(minutes=9), visitor, session)
                    | {"ecommerce": {"transaction_id": order_id}}
                )
    events.append(ga4_event("page_view", START, "", 1) | {"user_pseudo_id": None})
    return sorted(events, key=lambda event: event["event_timestamp"])


def cents(text: str) -> Decimal:
    """Money of an export, exactly."""
    return Decimal(text or "0")


def jsonl(rows: Sequence[Row]) -> bytes:
    """JSON Lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
