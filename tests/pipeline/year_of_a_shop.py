"""A year and more of a shop that was installed today: records in which everything happens that a figure depends on."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np

from tests.pipeline.shop import Record

ARTICLES = (
    ("tea", "drinks", "leaf"),
    ("coffee", "drinks", "bean"),
    ("mug", "kitchen", "clay"),
    ("pan", "kitchen", "iron"),
)


def make_items(chance: np.random.Generator, total: int) -> list[dict[str, Any]]:
    """One to three lines, some of them sent back in part, some without a category."""
    found = []
    for place in chance.choice(len(ARTICLES), size=int(chance.integers(1, 4)), replace=False):
        sku, category, brand = ARTICLES[place]
        line: dict[str, Any] = {"sku": sku, "quantity": int(chance.integers(1, 4)), "unit_price": round(total / 7, 2)}
        if chance.random() < 0.9:
            line |= {"category": category, "brand": brand}
        if chance.random() < 0.15:
            line["returned_quantity"] = 1
        found.append(line)
    return found


def make_records(seed: int, today: date, *, customers: int = 40, days: int = 420) -> list[Record]:
    """Orders, visits and tickets of a shop in which everything happens that a published figure depends on."""
    chance = np.random.default_rng(seed)

    def at(days_ago: float) -> datetime:
        return datetime.combine(today, time(), UTC) - timedelta(days=float(days_ago))

    found: list[Record] = []
    for customer in range(customers):
        ago = float(chance.uniform(20, days))
        rhythm = float(chance.choice([9, 25, 60]))
        number = 0
        while ago > 0.5 and number < 14:
            placed, total = at(ago), int(chance.choice([20, 90, 260, 700]))
            order: Record = {
                "order_id": f"{customer}-{number}", "customer_id": f"c{customer}", "ordered_at": placed.isoformat(),
                "updated_at": placed.isoformat(), "currency": "USD", "total_amount": str(total),
                "items": make_items(chance, total),
                "status": str(chance.choice(["delivered", "paid", "placed", "cancelled"], p=[0.7, 0.15, 0.05, 0.1])),
                "sales_channel": str(chance.choice(["web", "store", "app"])),
                "tax_amount": str(round(total * 0.1, 2)), "shipping_amount": "4.90",
                "discount_amount": str(int(chance.choice([0, 0, 5]))),
            }  # fmt: skip
            if chance.random() < 0.1:
                order["currency"] = "EUR"
            if order["status"] == "delivered":
                order["promised_delivery_at"] = (placed + timedelta(days=6)).isoformat()
                order["delivered_at"] = (placed + timedelta(days=float(chance.uniform(0, 12)))).isoformat()
            if chance.random() < 0.3:
                shares = chance.choice([0.1, 0.5], size=int(chance.integers(1, 3)))
                days_after = chance.uniform(0, 60, size=len(shares))
                back = [
                    {"refund_id": f"r{n}", "amount": str(round(total * share, 2)),
                     "refunded_at": (placed + timedelta(days=float(after))).isoformat()}
                    for n, (share, after) in enumerate(zip(shares, days_after, strict=True))
                ]  # fmt: skip
                order["refunds"] = [refund for refund in back if refund["refunded_at"] < at(0).isoformat()]
            if chance.random() < 0.3:
                order["coupon_code"] = f"REF-c{int(chance.integers(0, customers))}"
            found.append(order)
            number += 1
            ago -= float(chance.exponential(rhythm)) + (0 if chance.random() < 0.1 else 0.6)
        for number in range(int(chance.integers(0, 6))):
            began = at(chance.uniform(1, days))
            visit: Record = {
                "session_id": f"{customer}-{number}", "anonymous_id": f"d{customer}", "customer_id": f"c{customer}",
                "started_at": began.isoformat(), "ended_at": (began + timedelta(minutes=9)).isoformat(),
                "updated_at": (began + timedelta(minutes=9)).isoformat(), "page_views": int(chance.integers(1, 9)),
                "product_views": int(chance.integers(0, 3)), "add_to_carts": int(chance.integers(0, 2)),
                "searches": int(chance.integers(0, 2)), "checkouts_started": int(chance.integers(0, 2)),
            }  # fmt: skip
            if chance.random() < 0.5:
                visit |= {"engaged_seconds": int(chance.integers(1, 500)), "utm_medium": "email"}
            if chance.random() < 0.3:
                visit["order_id"] = f"{customer}-0"
            found.append(visit)
        for number in range(int(chance.integers(0, 5))):
            created = at(chance.uniform(2, days))
            ticket: Record = {
                "ticket_id": f"{customer}-{number}", "customer_id": f"c{customer}", "created_at": created.isoformat(),
                "updated_at": created.isoformat(), "status": "open", "channel": "email",
                "category": str(chance.choice(["question", "complaint"], p=[0.8, 0.2])),
            }  # fmt: skip
            if chance.random() < 0.7:
                ticket |= {"first_response_at": (created + timedelta(hours=5)).isoformat(), "replies": 2, "reopens": 1}
            if chance.random() < 0.2:
                ticket |= {"compensation_amount": "7.50", "currency": "USD"}
            solved = created + timedelta(days=float(chance.exponential(25)))
            if solved < at(0):
                ticket |= {"status": "solved", "resolved_at": solved.isoformat(), "updated_at": solved.isoformat()}
                if chance.random() < 0.8:
                    ticket |= {"satisfaction_score": int(chance.choice([2, 4, 5, 5])), "satisfaction_scale_max": 5}
            found.append(ticket)
    return found
