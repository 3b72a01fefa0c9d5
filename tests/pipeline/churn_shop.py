"""A shop with every kind of record that a churn feature reads, and the same shop as the reference sees it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from customer360 import warehouse
from customer360.churn.features import ShopHistory
from customer360.settings import Settings
from tests.pipeline.shop import Record
from tests.unit.churn_shops import no_events, simulated_lines

OPENED = datetime(2025, 1, 1, 12, tzinfo=UTC)


def day(number: float) -> str:
    """Noon, `number` days after the shop opened."""
    return (OPENED + timedelta(days=number)).isoformat()


def eventful_records(customers: int, days: int, seed: int) -> list[Record]:
    """Orders with all their ends (cancelled, returned, refunded, late), sessions and tickets, for a backfill."""
    chance = random.Random(seed)
    records: list[Record] = []
    for customer in range(1, customers + 1):
        who = {"customer_id": f"c{customer}"}
        placed = sorted({chance.randrange(days) for _ in range(chance.choice([1, 1, 2, 3, 6, 12]))})
        for number, at in enumerate(placed):
            records.append(_order(chance, f"o{customer}-{number}", at, who))
        for number in range(chance.randrange(6)):
            records.append(_session(chance, f"s{customer}-{number}", chance.randrange(days), who))
        for number in range(chance.choice([0, 0, 0, 1, 2])):
            records.append(_ticket(chance, f"t{customer}-{number}", chance.randrange(days), who))
    return records


def _order(chance: random.Random, order_id: str, at: int, who: Record) -> Record:
    total = chance.choice([0, 20, 50, 120])
    status = chance.choices(["delivered", "paid", "cancelled", "returned"], [6, 2, 1, 1])[0]
    record: Record = {
        "order_id": order_id,
        "ordered_at": day(at),
        "updated_at": day(at + chance.choice([12, 40])),
        "status": status,
        "currency": "USD",
        "total_amount": str(total),
        "tax_amount": str(total / 10),
        "discount_amount": chance.choice([None, "0", "5"]),
        **who,
    }
    if chance.random() < 0.5:
        record["items"] = [{"sku": f"s{line}", "quantity": 1, "unit_price": "1"} for line in range(1 + at % 3)]
        record["sales_channel"] = ["store", "app"][at % 2]
    if chance.random() < 0.7:
        record["promised_delivery_at"] = day(at + 4)
        record["delivered_at"] = day(at + chance.choice([3, 9]))
    if total and status != "cancelled" and chance.random() < 0.2:
        record["refunds"] = [{"refund_id": "r1", "refunded_at": day(at + 11), "amount": "10"}]
    return record


def _session(chance: random.Random, session_id: str, at: int, who: Record) -> Record:
    return {
        "session_id": session_id,
        "updated_at": day(at + 0.01),
        "anonymous_id": f"d-{session_id}",
        "started_at": day(at),
        "ended_at": day(at + 0.005),
        "page_views": 3,
        "product_views": chance.randrange(4),
        "add_to_carts": chance.randrange(2),
        "order_id": chance.choice([None, None, f"of-{session_id}"]),
        **who,
    }


def _ticket(chance: random.Random, ticket_id: str, at: int, who: Record) -> Record:
    answer = chance.choice([None, 1, 3, 5])
    return {
        "ticket_id": ticket_id,
        "created_at": day(at),
        "updated_at": day(at + chance.choice([2, 30])),
        "status": chance.choice(["open", "solved"]),
        "channel": "email",
        "category": chance.choice(["complaint", "question"]),
        "satisfaction_score": answer,
        "satisfaction_scale_max": answer and 5,
        **who,
    }


def as_reference(records: list[Record], keys: dict[str, int]) -> ShopHistory:
    """The records as the reference wants them: a row for each day on which more of a backfilled record was known.

    Design, Known time: existence and amounts at the record's own time, refunds and delivery at theirs, status and
    satisfaction at updated_at (before: placed, new).
    """
    orders, refunds, sessions, tickets = [], [], [], []
    for record in records:
        key = keys[record["customer_id"]]
        if "ordered_at" in record:
            orders += _order_rows(record, key)
            refunds += [_refund_row(record, refund) for refund in record.get("refunds", [])]
        elif "session_id" in record:
            sessions.append(_session_row(record, key))
        else:
            tickets += _ticket_rows(record, key)
    empty = no_events()
    tables = {"orders": orders, "refunds": refunds, "sessions": sessions, "tickets": tickets}
    frames = {
        name: pd.DataFrame(rows, columns=getattr(empty, name).columns).sort_values("known_on", kind="stable")
        for name, rows in tables.items()
        if rows
    }
    return replace(empty, **frames)


def _on(time: str) -> pd.Timestamp:
    return pd.Timestamp(time).tz_convert("UTC").tz_localize(None).normalize()


def _order_rows(record: Record, key: int) -> list[dict[str, Any]]:
    total = float(record["total_amount"])
    placed = {
        "order_id": record["order_id"],
        "customer_key": key,
        "ordered_on": _on(record["ordered_at"]),
        "known_on": _on(record["ordered_at"]),
        "total_amount": total,
        "net_amount": total - float(record["tax_amount"]),
        "discount_amount": float(record["discount_amount"] or 0),
        "is_cancelled": False,
        "is_returned": False,
        "is_late": None,
        "item_count": float(len(record["items"])) if "items" in record else np.nan,
        "sales_channel": record.get("sales_channel", "web"),
    }
    rows = [placed]
    if "delivered_at" in record:
        is_late = record["delivered_at"] > record["promised_delivery_at"]
        rows.append({**placed, "known_on": _on(record["delivered_at"]), "is_late": is_late})
    status = record["status"]
    ended = {"is_cancelled": status == "cancelled", "is_returned": status == "returned"}
    rows.append({**rows[-1], **ended, "known_on": _on(record["updated_at"])})
    return rows


def _refund_row(record: Record, refund: Record) -> dict[str, Any]:
    total = float(record["total_amount"])
    net_share = (total - float(record["tax_amount"])) / total
    on = _on(refund["refunded_at"])
    net = float(refund["amount"]) * net_share
    return {"order_id": record["order_id"], "refunded_on": on, "known_on": on, "net_amount": net}


def _session_row(record: Record, key: int) -> dict[str, Any]:
    on = _on(record["started_at"])
    names = ("session_id", "product_views", "add_to_carts", "order_id")
    return {**{name: record[name] for name in names}, "customer_key": key, "started_on": on, "known_on": on}


def _ticket_rows(record: Record, key: int) -> list[dict[str, Any]]:
    created = {
        "ticket_id": record["ticket_id"],
        "customer_key": key,
        "created_on": _on(record["created_at"]),
        "known_on": _on(record["created_at"]),
        "is_open": True,
        "is_complaint": record["category"] == "complaint",
        "satisfaction": np.nan,
        "satisfaction_on": pd.NaT,
    }
    updated = {**created, "known_on": _on(record["updated_at"]), "is_open": record["status"] == "open"}
    if record["satisfaction_score"] is not None:
        score = record["satisfaction_score"] / 5
        updated |= {"satisfaction": score, "satisfaction_on": _on(record["updated_at"])}
        updated["is_complaint"] = updated["is_complaint"] or score <= 0.4
    return [created, updated]


def simulated_records(today: date, **shop: Any) -> list[Record]:
    """A simulated shop (see `simulated_lines`) whose last day is yesterday, as orders of a backfill."""
    lines = simulated_lines(**shop)
    shift = pd.Timestamp(today) - timedelta(days=1) - lines["ordered_on"].max()
    return [
        {
            "order_id": f"o{number}",
            "updated_at": f"{on:%Y-%m-%d}T12:00:00+00:00",
            "ordered_at": f"{on:%Y-%m-%d}T12:00:00+00:00",
            "status": "paid",
            "currency": "USD",
            "total_amount": f"{amount:.2f}",
            "customer_id": f"c{key}",
        }
        for number, (key, on, amount) in enumerate(
            zip(lines["customer_key"], lines["ordered_on"] + shift, lines["amount"], strict=True)
        )
    ]


def keys_of(settings: Settings) -> dict[str, int]:
    """The key of each customer_id."""
    with warehouse.connect("transformer", settings) as connection:
        rows = connection.execute(
            "select identifier, customer_key from identity.identifiers where identifier_type = 'customer_id'"
        ).fetchall()
    return dict(rows)
