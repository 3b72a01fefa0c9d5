"""docs/questions.md: every query runs, and its rows are those of a count made from the landed files alone.

A metric is the same number there, in the report and in its own SQL.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from customer360 import warehouse
from customer360.front_door import landing
from customer360.front_door.load import ingest
from customer360.models import runner
from customer360.publication import reconstruction
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.report import pictures
from customer360.settings import PROJECT_ROOT, Settings, get_settings

pytestmark = pytest.mark.builds

PAGE = (PROJECT_ROOT / "docs" / "questions.md").read_text()
QUERIES: dict[str, str] = dict(re.findall(r"^## (.+?)\n.*?```sql\n(.*?)```", PAGE, re.M | re.S))
ARTICLES = {"tea": ("drinks", 12), "coffee": ("drinks", 18), "mug": ("kitchen", 9), "kettle": ("kitchen", 60)}
FIRST_RESPONSE = {"low": 16, "normal": 8, "high": 4, "urgent": 1}
RESOLUTION = {"low": 40, "normal": 24, "high": 8, "urgent": 4}


@dataclass(frozen=True)
class Landed:
    """The landed files as they were written, and the shop that was made of them."""

    settings: Settings
    orders: pd.DataFrame
    lines: pd.DataFrame
    sessions: pd.DataFrame
    tickets: pd.DataFrame
    today: date


def make_orders(today: date) -> list[dict[str, Any]]:
    """Orders of 60 customers over 400 days; some refunded, in every way that a refund may speak of its article."""
    chance = np.random.default_rng(7)
    found = []
    for customer in range(60):
        day = int(chance.integers(60, 400))
        for number in range(int(chance.integers(1, 7))):
            day -= int(chance.integers(8, 60)) if number else 0
            if day < 20:
                break
            skus = chance.choice(list(ARTICLES), size=int(chance.integers(1, 3)), replace=False)
            items: list[dict[str, Any]] = [
                {"sku": str(sku), "category": ARTICLES[sku][0], "brand": "own", "quantity": int(chance.integers(1, 4)),
                 "unit_price": ARTICLES[sku][1]}
                for sku in skus
            ]  # fmt: skip
            total = sum(item["quantity"] * item["unit_price"] for item in items)
            at = datetime.combine(today - timedelta(days=day), time(10), UTC)
            order: dict[str, Any] = {
                "order_id": f"o{customer}-{number}", "customer_id": f"c{customer}",
                "email": f"person{customer}@example.org", "ordered_at": at.isoformat(),
                "updated_at": (at + timedelta(days=9)).isoformat(), "status": "delivered", "currency": "USD",
                "total_amount": total, "items": items, "delivered_at": (at + timedelta(days=3)).isoformat(),
            }  # fmt: skip
            kind = chance.random()
            refund = {"refund_id": f"r{customer}-{number}", "refunded_at": (at + timedelta(days=8)).isoformat()}
            if kind < 0.1:  # the article is named
                order["refunds"] = [refund | {"amount": items[-1]["unit_price"], "sku": items[-1]["sku"]}]
            elif kind < 0.2:  # one piece came back
                items[0]["returned_quantity"] = 1
                order["refunds"] = [refund | {"amount": items[0]["unit_price"]}]
            elif kind < 0.3:  # nothing is said: shared by the lines' amounts
                order["refunds"] = [refund | {"amount": 6}]
            elif kind < 0.34:
                order["status"] = "cancelled"
            if chance.random() < 0.4:
                said: dict[str, Any] = {"channel": "email", "allowed": bool(chance.random() < 0.7)}
                order["contact_preferences"] = [said, {"channel": "sms", "preferred": bool(chance.random() < 0.5)}]
            found.append(order)
    return found


def make_sessions(today: date) -> list[dict[str, Any]]:
    chance = np.random.default_rng(8)
    found = []
    for number in range(200):
        at = datetime.combine(today - timedelta(days=int(chance.integers(20, 300))), time(9), UTC)
        views, carts, checkouts = (int(chance.random() < share) for share in (0.7, 0.4, 0.3))
        found.append(
            {"session_id": f"s{number}", "anonymous_id": f"d{number % 50}", "customer_id": f"c{number % 50}",
             "started_at": at.isoformat(), "ended_at": (at + timedelta(minutes=5)).isoformat(),
             "updated_at": (at + timedelta(minutes=6)).isoformat(), "page_views": 3, "product_views": views,
             "add_to_carts": carts, "checkouts_started": checkouts,
             **({}, {"utm_source": "google", "utm_medium": "cpc"}, {"utm_medium": "email"})[number % 3],
             **({"order_id": f"o{number % 50}-0"} if checkouts and chance.random() < 0.6 else {})}
        )  # fmt: skip
    return found


def make_tickets(today: date) -> list[dict[str, Any]]:
    chance = np.random.default_rng(9)
    found = []
    for number in range(150):
        at = datetime.combine(today - timedelta(days=int(chance.integers(1, 200))), time(0), UTC)
        at += timedelta(minutes=int(chance.integers(0, 1440)))
        ticket: dict[str, Any] = {
            "ticket_id": f"t{number}", "customer_id": f"c{number % 60}", "created_at": at.isoformat(),
            "channel": ("email", "chat")[number % 2], "priority": list(FIRST_RESPONSE)[number % 4],
            "category": "question", "status": "open", "updated_at": at.isoformat(),
        }  # fmt: skip
        now = datetime.combine(today, time(0), UTC)
        answered = at + timedelta(hours=float(chance.exponential(20)))
        resolved = answered + timedelta(hours=float(chance.exponential(40)))
        if chance.random() < 0.75 and answered < now:
            ticket |= {"first_response_at": answered.isoformat(), "updated_at": answered.isoformat()}
            if chance.random() < 0.8 and resolved < now:
                ticket |= {"resolved_at": resolved.isoformat(), "status": "solved", "updated_at": resolved.isoformat()}
                if chance.random() < 0.5:
                    ticket |= {"satisfaction_score": int(chance.integers(1, 6)), "satisfaction_scale_max": 5}
        found.append(ticket)
    return found


@pytest.fixture(scope="module")
def shop(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Landed:
    """A shop made from three landed files, one of them with a row that steps aside."""
    settings, today = module_settings, module_settings.today()
    folder = tmp_path_factory.mktemp("files")
    feeds = {"orders": make_orders(today), "web_sessions": make_sessions(today), "support_tickets": make_tickets(today)}
    for feed, records in feeds.items():
        wrong = [records[0] | {"order_id": "wrong", "total_amount": "-5.50"}] if feed == "orders" else []
        path = folder / f"{feed}.jsonl"
        path.write_text("\n".join(json.dumps(record) for record in [*records, *wrong]) + "\n")
        landing.put(settings, feed, path)
    ingest(settings)
    build(settings, "test")
    refresh_daily(settings, trigger="test")
    reconstruction.reconstruct(settings)
    landed = {feed: pd.read_json(folder / f"{feed}.jsonl", lines=True) for feed in feeds}
    orders = landed["orders"][lambda all_: all_["order_id"] != "wrong"].reset_index(drop=True)
    orders["on"] = pd.to_datetime(orders["ordered_at"]).dt.date
    orders["valid"] = orders["status"] != "cancelled"
    orders["refunded"] = orders["refunds"].map(lambda listed: listed[0]["amount"] if isinstance(listed, list) else 0)
    lines = orders.explode("items", ignore_index=True)
    lines = pd.concat([lines.drop(columns="items"), pd.DataFrame(lines["items"].tolist())], axis=1)
    lines["amount"] = lines["quantity"] * lines["unit_price"]
    return Landed(settings, orders, lines, landed["web_sessions"], landed["support_tickets"], today)


def asked(shop: Landed, question: str, role: warehouse.Role = "bi_reader") -> list[dict[str, Any]]:
    """The rows of the page's query."""
    return rows_of(shop, QUERIES[question], role)


def rows_of(shop: Landed, statement: str, role: warehouse.Role = "bi_reader") -> list[dict[str, Any]]:
    """The rows of a query, as a reader."""
    with warehouse.connect(role, shop.settings) as connection:
        cursor = connection.execute(warehouse.query(statement))
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def rate(hits: float, of: float) -> Decimal | None:
    return Decimal(hits / of).quantize(Decimal("0.0001")) if of else None


def come_back(shop: Landed) -> None:
    valid = shop.orders[shop.orders["valid"]].sort_values(["ordered_at", "order_id"])
    first = valid.groupby("customer_id").first()
    dearest = shop.lines.sort_values("amount", ascending=False, kind="stable").groupby("order_id")["category"].first()
    expected: dict[str, list[bool]] = {}
    for customer, order in first.iterrows():
        if order["on"] <= shop.today - timedelta(days=90):
            later = valid[valid["customer_id"] == customer]["on"]
            back = ((later > order["on"]) & (later <= order["on"] + timedelta(days=90))).any()
            expected.setdefault(dearest[order["order_id"]], []).append(bool(back))
    got = {
        row["first_order_category"]: row for row in asked(shop, "Do customers come back, by what they bought first?")
    }
    assert set(expected) == set(got) == {"drinks", "kitchen"}
    for category, outcomes in expected.items():
        row = got[category]
        assert (row["customer_count"], row["came_back_count"]) == (len(outcomes), sum(outcomes))
        assert row["came_back_rate"] == rate(sum(outcomes), len(outcomes))


def channels_of(shop: Landed) -> pd.Series:
    """The channel of each customer's first session."""
    in_order = shop.sessions.sort_values(["started_at", "session_id"])
    first = in_order.drop_duplicates("customer_id").set_index("customer_id")
    paid = {"cpc": "paid_search", "email": "email"}
    return first["utm_medium"].map(lambda medium: paid.get(medium, "direct"))


def lifetime_value(shop: Landed) -> None:
    channels = channels_of(shop)
    valid = shop.orders[shop.orders["valid"]]
    brought = (valid["total_amount"] - valid["refunded"]).groupby(valid["customer_id"]).sum()
    known = pd.DataFrame({"brought": brought}).join(channels.rename("channel"), how="outer")
    everybody = {*shop.orders["customer_id"], *shop.sessions["customer_id"], *shop.tickets["customer_id"]}
    known = known.reindex(sorted(everybody))
    got = {row["first_touch_channel"]: row for row in asked(shop, "Which channel brings valuable customers?")}
    expected = dict(tuple(known.assign(channel=known["channel"].fillna("none")).groupby("channel")))
    assert {channel or "none" for channel in got} == set(expected) == {"none", "direct", "email", "paid_search"}
    for channel, group in expected.items():
        row = got[None if channel == "none" else channel]
        buyers, total = int(group["brought"].notna().sum()), Decimal(int(group["brought"].sum()))
        assert (row["customer_count"], row["buyer_count"], row["net_amount"]) == (len(group), buyers, total)
        assert row["lifetime_value_amount"] == rate(int(total), buyers)


def attribution(shop: Landed) -> None:
    sessions = shop.sessions.assign(
        at=pd.to_datetime(shop.sessions["started_at"]),
        channel=shop.sessions["utm_medium"].map(
            lambda medium: {"cpc": "paid_search", "email": "email"}.get(medium, "direct")
        ),
    ).sort_values(["at", "session_id"])
    expected: dict[str, list[float]] = {}
    for order in shop.orders[shop.orders["valid"]].to_dict("records"):
        at = pd.Timestamp(order["ordered_at"])
        own = sessions[sessions["customer_id"] == order["customer_id"]]
        touches = own[
            (own["at"].between(at - timedelta(days=30), at, inclusive="right")) | (own["order_id"] == order["order_id"])
        ]
        if (touches["channel"] != "direct").any():
            touches = touches[touches["channel"] != "direct"]
        channels = list(touches["channel"]) or ["unknown"]
        net = order["total_amount"] - order["refunded"]
        for place, channel in enumerate(channels):
            sums = expected.setdefault(channel, [0.0] * 4)
            sums[0] += net * (place == 0)
            sums[1] += net * (place == len(channels) - 1)
            sums[2] += net / len(channels)
            sums[3] += 1 / len(channels)
    got = {channel: [float(sum_) for sum_ in sums] for channel, *sums in (
        row.values() for row in asked(shop, "Which channels bring orders?"))}  # fmt: skip
    assert set(got) == set(expected) == {"direct", "email", "paid_search", "unknown"}
    for channel, sums in expected.items():
        assert got[channel] == pytest.approx(sums, abs=0.02)
    assert sum(sums[0] != sums[1] for sums in expected.values()) > 0, "some order has several touches"


def refunds_by_article(shop: Landed) -> None:
    expected: dict[str, list[Any]] = {sku: [0, 0, Decimal(0)] for sku in ARTICLES}
    for order in shop.orders[shop.orders["valid"]].to_dict("records"):
        items = order["items"]
        for item in items:
            expected[item["sku"]][0] += item["quantity"]
            expected[item["sku"]][1] += item["quantity"] * item["unit_price"]
        if not order["refunded"]:
            continue
        back = [item for item in items if item.get("returned_quantity")]
        if "sku" in order["refunds"][0]:
            expected[order["refunds"][0]["sku"]][2] += order["refunded"]
        elif back:
            expected[back[0]["sku"]][2] += order["refunded"]
        else:
            total = sum(item["quantity"] * item["unit_price"] for item in items)
            for item in items:
                part = Decimal(item["quantity"] * item["unit_price"]) / total
                expected[item["sku"]][2] += order["refunded"] * part
    got = {row["sku"]: row for row in asked(shop, "Which articles come back as refunds?")}
    assert set(got) == set(expected)
    for sku, (quantity, sold, refunded) in expected.items():
        assert (got[sku]["quantity"], got[sku]["sold_amount"]) == (quantity, sold)
        assert abs(got[sku]["refunded_amount"] - refunded) < Decimal("0.01")
        assert abs(got[sku]["refund_rate"] - refunded / sold) < Decimal("0.0001")
    total = sum(row["refunded_amount"] for row in got.values())
    assert total == int(shop.orders.loc[shop.orders["valid"], "refunded"].sum()) > 0


def open_hours(start: datetime, end: datetime) -> float:
    """Hours between two times, Monday to Friday from 9 to 17 UTC, counted day by day."""
    hours, day = 0.0, start.date()
    while day <= end.date():
        if day.weekday() < 5:
            opens = max(start, datetime.combine(day, time(9), UTC))
            closes = min(end, datetime.combine(day, time(17), UTC))
            hours += max((closes - opens).total_seconds(), 0) / 3600
        day += timedelta(days=1)
    return hours


def in_time(shop: Landed) -> None:
    end_of_today = datetime.combine(shop.today + timedelta(days=1), time(0), UTC)
    counted: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for ticket in shop.tickets.to_dict("records"):
        created = pd.Timestamp(ticket["created_at"]).to_pydatetime()
        outcome = {}
        for kind, column, limits in (("answered", "first_response_at", FIRST_RESPONSE),
                                     ("resolved", "resolved_at", RESOLUTION)):  # fmt: skip
            done = isinstance(ticket[column], str) or not pd.isna(ticket[column])
            until = pd.Timestamp(ticket[column]).to_pydatetime() if done else end_of_today
            within = round(open_hours(created, until), 4) <= limits[ticket["priority"]]
            outcome[kind] = within if done or not within else None
            outcome[f"{kind}_waits"] = not done
        counted.setdefault((ticket["channel"], ticket["priority"]), []).append(outcome)
    got = {(row["channel"], row["priority"]): row for row in asked(shop, "Do we answer in time?")}
    assert set(got) == set(counted)
    naive, right = [], []
    for key, outcomes in counted.items():
        assert got[key]["ticket_count"] == len(outcomes)
        for kind in ("answered", "resolved"):
            due = [one[kind] for one in outcomes if one[kind] is not None]
            assert got[key][f"{kind}_in_time_rate"] == rate(sum(due), len(due)), key
        missed = sum(one["answered"] is False and one["answered_waits"] for one in outcomes)
        assert got[key]["unanswered_count"] == missed
        naive += [one["answered"] for one in outcomes if not one["answered_waits"]]
        right += [one["answered"] for one in outcomes if one["answered"] is not None]
    assert np.mean(right) < np.mean(naive) - 0.1, "who was never answered must weigh"


def cadences(shop: Landed) -> pd.DataFrame:
    """Per customer: purchase days, recency, expected gap, and the net revenue of the last active year."""
    valid = shop.orders[shop.orders["valid"]]
    days = {customer: sorted(set(group)) for customer, group in valid.groupby("customer_id")["on"]}
    gaps = [(b - a).days for listed in days.values() for a, b in pairwise(listed)]
    found = []
    for customer, listed in days.items():
        last = listed[-1]
        own = valid[(valid["customer_id"] == customer) & (valid["on"] > last - timedelta(days=365))]
        expected = ((last - listed[0]).days + float(np.median(gaps))) / len(listed)
        recency = (shop.today - last).days
        found.append(
            {"customer": customer, "n": len(listed), "recency": recency, "late": recency > 2 * expected,
             "past": (own["total_amount"] - own["refunded"]).sum()}
        )  # fmt: skip
    table = pd.DataFrame(found)
    places = table["past"].rank(method="min", ascending=False)
    table["high"] = (places <= math.ceil(len(table) * 0.2)) & (table["n"] >= 2)
    return table


def win_back(shop: Landed) -> None:
    table = cadences(shop)
    leaving = table[table["high"] & table["late"] & (table["recency"] <= 365)]
    said = (
        shop.orders[shop.orders["contact_preferences"].notna()].sort_values("updated_at").groupby("customer_id").last()
    )
    expected = {}
    for row in leaving.itertuples():
        stated = said["contact_preferences"].get(row.customer, [{"allowed": False}, {"preferred": False}])
        written = shop.tickets[shop.tickets["customer_id"] == row.customer]["channel"].value_counts()
        by = "sms" if stated[1]["preferred"] else written.index[0] if len(written) else None
        expected[f"person{row.customer[1:]}@example.org"] = (
            stated[0]["allowed"], by, row.recency, Decimal(int(row.past)),
        )  # fmt: skip
    got = asked(shop, "Whom should we win back?", "pii_reader")
    assert {
        row["email"]: (row["may_be_emailed"], row["preferred_channel"], row["recency_days"], row["past_value_amount"])
        for row in got
    } == expected
    assert len(got) == len(expected) > 0
    assert {allowed for allowed, *_ in expected.values()} == {True, False}


def revenue_at_risk(shop: Landed) -> None:
    table = cadences(shop)
    expected = {
        (bool(high), bool(late)): (len(group), Decimal(int(group["past"].sum())))
        for (high, late), group in table.groupby(["high", "late"])
    }
    got = asked(shop, "How much revenue is at risk?")
    assert {row["churn_band"] for row in got} == {None}, "no model is fitted here"
    assert {
        (row["has_high_past_value"], row["is_late"]): (row["customer_count"], row["past_value_amount"]) for row in got
    } == expected
    assert len(expected) == 4


def funnel(shop: Landed) -> None:
    sessions = shop.sessions.assign(month=pd.to_datetime(shop.sessions["started_at"]).dt.strftime("%Y-%m-01"))
    expected = {}
    for month, group in sessions.groupby("month"):
        steps = [group]
        for has in (lambda s: s["product_views"] > 0, lambda s: s["add_to_carts"] > 0,
                    lambda s: s["checkouts_started"] > 0, lambda s: s["order_id"].notna()):  # fmt: skip
            steps.append(steps[-1][has(steps[-1])])
        expected[date.fromisoformat(str(month))] = tuple(len(step) for step in steps)
    got = {month: tuple(counts) for month, *counts in (row.values() for row in asked(shop, "Where do visits end?"))}
    assert got == expected
    assert sum(counts[-1] for counts in expected.values()) > 0


def satisfaction(shop: Landed) -> None:
    answers = shop.tickets[shop.tickets["satisfaction_score"].notna()].copy()
    answers["month"] = pd.to_datetime(answers["updated_at"]).dt.strftime("%Y-%m-01")
    answers["share"] = answers["satisfaction_score"] / answers["satisfaction_scale_max"]
    got = {str(row["month"]): row for row in asked(shop, "Are customers satisfied, and is it getting better?")}
    expected = dict(tuple(answers.groupby("month")))
    assert set(got) == set(expected)
    for month, group in expected.items():
        assert got[month]["answer_count"] == len(group)
        assert float(got[month]["average_satisfaction"]) == pytest.approx(group["share"].mean(), abs=1e-4)
        assert got[month]["satisfied_rate"] == rate(int((group["share"] >= 0.8).sum()), len(group))


def daily_tiers(shop: Landed) -> pd.DataFrame:
    """The tier of each customer (row) on each day (column), counted day by day; "" before the first valid order."""
    valid = shop.orders[shop.orders["valid"]]
    first = valid.groupby("customer_id")["on"].min()
    began = min(first)
    days = [began + timedelta(days=n) for n in range((shop.today - began).days + 1)]
    points = {customer: np.zeros(len(days)) for customer in first.index}
    for order in valid.to_dict("records"):
        placed = (order["on"] - began).days
        earned, lost, leaves = placed + 3, placed + 8, placed + 3 + 365
        points[order["customer_id"]][earned:leaves] += order["total_amount"]
        points[order["customer_id"]][lost:leaves] -= order["refunded"]
    names = np.array(["base", "silver", "gold", "platinum"], dtype=object)
    tiers = {}
    for customer, sums in points.items():
        tiers[customer] = names[np.searchsorted([250, 750, 2000], sums, side="right")]
        tiers[customer][: (first[customer] - began).days] = ""
    return pd.DataFrame.from_dict(tiers, orient="index", columns=days).astype(object)


def month_ends(shop: Landed, table: pd.DataFrame) -> list[date]:
    """The month ends before the first daily pass, which is today's, that the table has."""
    return [day for day in table.columns if (day + timedelta(days=1)).day == 1 and day < shop.today]


def tiers(shop: Landed) -> None:
    table = daily_tiers(shop)
    ends = month_ends(shop, table)
    expected: dict[tuple[Any, ...], int] = {}
    for _, row in table[ends].iterrows():
        for before, end in zip([None, *ends], ends, strict=False):
            was = (row[before] if before else None) or None
            if row[end] and row[end] != was:
                expected[end, was, row[end]] = expected.get((end, was, row[end]), 0) + 1
    got = asked(shop, "Who moves between tiers?")
    assert {(row["month_end_on"], row["previous_tier"], row["tier"]): row["customer_count"] for row in got} == expected
    assert all(row["is_reconstructed"] for row in got if row["month_end_on"] < shop.today)
    assert len({(was, now) for _, was, now in expected}) > 3


def falls(shop: Landed) -> None:
    table = daily_tiers(shop)
    order = ["base", "silver", "gold", "platinum"]
    ends = month_ends(shop, table)
    expected = []
    for _, row in table.iterrows():
        for before, end in pairwise(ends):
            was, now = row[before], row[end]
            if was and order.index(now) < order.index(was):
                day = max(d for d in table.columns if d <= end and row[d] == now and row[d - timedelta(days=1)] != now)
                expected.append((was, day, now))
    got = asked(shop, "When did customers leave a higher tier?")
    found = [(row["left_tier"], row["left_on"], row["tier"]) for row in got]
    assert sorted(found) == sorted(expected)
    assert len(expected) > 0


def retention_by_tier(shop: Landed) -> None:
    table = daily_tiers(shop)
    valid = shop.orders[shop.orders["valid"]]
    bought = {customer: sorted(group) for customer, group in valid.groupby("customer_id")["on"]}
    outcomes: dict[str, list[bool]] = {}
    for customer, row in table.iterrows():
        for end in month_ends(shop, table):
            if row[end] and end <= shop.today - timedelta(days=90):
                again = any(end < day <= end + timedelta(days=90) for day in bought[customer])
                outcomes.setdefault(row[end], []).append(again)
    got = {row["tier"]: row for row in asked(shop, "Do customers of a higher tier stay?")}
    assert {tier: (row["customer_month_count"], row["ordered_again_count"]) for tier, row in got.items()} == {
        tier: (len(found), sum(found)) for tier, found in outcomes.items()
    }
    assert all(row["retention_rate"] == rate(sum(outcomes[t]), len(outcomes[t])) for t, row in got.items())
    assert len(got) > 1


def fresh_and_complete(shop: Landed) -> None:
    got = {row["table_name"]: row for row in asked(shop, "How fresh and how complete is it?")}
    assert got["marts.fct_orders"]["row_count"] == len(shop.orders)
    assert got["marts.fct_order_items"]["row_count"] == len(shop.lines)
    assert got["marts.fct_sessions"]["row_count"] == len(shop.sessions)
    assert got["marts.ticket_service_levels"]["row_count"] == len(shop.tickets)
    assert got["marts.customer_loyalty"]["as_of_on"] == shop.today
    assert not any(row["is_stale"] for row in got.values())
    wrong = got["marts.fct_orders"]
    assert (wrong["is_complete"], wrong["quarantined_row_count"]) == (False, 1)
    assert wrong["quarantined_order_amounts"] == {"USD": -5.5}
    assert got["marts.fct_sessions"]["is_complete"]


COUNTED: dict[str, Callable[[Landed], None]] = {
    "Do customers come back, by what they bought first?": come_back,
    "Which channel brings valuable customers?": lifetime_value,
    "Which channels bring orders?": attribution,
    "Which articles come back as refunds?": refunds_by_article,
    "Do we answer in time?": in_time,
    "Whom should we win back?": win_back,
    "How much revenue is at risk?": revenue_at_risk,
    "Where do visits end?": funnel,
    "Are customers satisfied, and is it getting better?": satisfaction,
    "Who moves between tiers?": tiers,
    "When did customers leave a higher tier?": falls,
    "Do customers of a higher tier stay?": retention_by_tier,
    "How fresh and how complete is it?": fresh_and_complete,
}


def test_every_question_of_the_page_is_counted() -> None:
    assert list(QUERIES) == list(COUNTED)
    assert all(len(query.strip().splitlines()) <= 16 for query in QUERIES.values()), "a question is a short query"


@pytest.mark.parametrize("question", COUNTED)
def test_a_question_is_answered_as_the_landed_files_say(shop: Landed, question: str) -> None:
    COUNTED[question](shop)


def test_the_figures_of_the_customers_agree_with_each_other(shop: Landed) -> None:
    results = runner.run_model_tests(shop.settings, "assert_figures_of_a_customer_agree", run_id=None)
    assert [result.status for result in results] == ["pass"]


# ---- metrics (docs/metrics.md) ---------------------------------------------------------------------------------------


def manifest() -> Any:
    """The parsed project, with its semantic models, metrics and exposures."""
    return runner._manifest(get_settings(), "")


def engine_of() -> Any:
    """MetricFlow over the project's semantic manifest; it writes SQL and runs none."""
    from dbt.contracts.graph.semantic_manifest import SemanticManifest
    from metricflow.engine.metricflow_engine import MetricFlowEngine
    from metricflow.protocols.sql_client import SqlEngine
    from metricflow.sql.render.postgres import PostgresSQLSqlPlanRenderer
    from metricflow_semantics.model.dbt_manifest_parser import parse_manifest_from_dbt_generated_manifest
    from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

    class Client:
        """What MetricFlow asks of a database before it writes SQL for it."""

        sql_engine_type = SqlEngine.POSTGRES
        sql_plan_renderer = PostgresSQLSqlPlanRenderer()

    written = SemanticManifest(manifest())._get_pydantic_semantic_manifest().json()
    lookup = SemanticManifestLookup(parse_manifest_from_dbt_generated_manifest(manifest_json_string=written))
    return MetricFlowEngine(semantic_manifest_lookup=lookup, sql_client=cast("Any", Client()))


@pytest.fixture(scope="module")
def ask(shop: Landed) -> Any:
    """The rows of metrics, by MetricFlow's SQL over what is published."""
    from metricflow.engine.metricflow_engine import MetricFlowQueryRequest

    engine = engine_of()

    def rows(*metrics: str, by: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        request = MetricFlowQueryRequest.create(metric_names=list(metrics), group_by_names=list(by))
        text = engine.explain(request).sql_statement.sql
        return rows_of(shop, re.sub(r'"\w+"\."candidate"\."(\w+)"', r"marts.\1", text))

    return rows


def same(one: Any, other: Any) -> bool:
    """Whether two figures are the same, as far as the coarser one is rounded."""
    if one is None or other is None:
        return one is other
    return abs(Decimal(str(one)) - Decimal(str(other))) <= Decimal("0.00006")


def in_the_report(shop: Landed, ask: Any) -> set[str]:
    """Compare with what the report says; returns the metrics that were compared."""
    with warehouse.connect("bi_reader", shop.settings) as connection:
        state = pictures.state_of_the_shop(connection)
        retained = pictures.cohort_retention(connection).sentence
    said = {
        "net_revenue": state["net_amount"],
        "orders": state["order_count"],
        "repeat_rate": state["repeat_share"],
        "valuable_customers_at_risk": state["valuable_at_risk_count"],
    }
    for metric, value in said.items():
        (row,) = ask(metric)
        assert same(row[metric], value), metric
        assert row[metric]
    (row,) = ask("retention_rate")
    assert retained.startswith(f"{100 * row['retention_rate']:.1f} %")
    return {*said, "retention_rate"}


def in_the_questions(shop: Landed, ask: Any) -> set[str]:
    """Compare with the rows of docs/questions.md; returns the metrics that were compared."""
    compared: set[str] = set()

    def agree(question: str, keys: dict[str, str], columns: dict[str, str]) -> None:
        rows = {tuple(plain(row[key]) for key in keys): row for row in asked(shop, question)}
        found = {
            tuple(plain(row[by]) for by in keys.values()): row
            for row in ask(*columns.values(), by=tuple(keys.values()))
        }
        assert set(rows) <= set(found)
        assert len(rows) > 1
        for group, row in rows.items():
            for column, metric in columns.items():
                assert same(row[column], found[group][metric]), (question, group, metric)
        compared.update(columns.values())

    agree(
        "Which channel brings valuable customers?",
        {"first_touch_channel": "customer__first_touch_channel"},
        {"lifetime_value_amount": "lifetime_value"},
    )
    agree("Which articles come back as refunds?", {"sku": "order_item__sku"}, {"refund_rate": "refund_rate"})
    agree(
        "Do we answer in time?",
        {"channel": "service_level__channel", "priority": "service_level__priority"},
        {"answered_in_time_rate": "answered_in_time_rate", "resolved_in_time_rate": "resolved_in_time_rate"},
    )
    agree(
        "Are customers satisfied, and is it getting better?",
        {"month": "metric_time__month"},
        {"average_satisfaction": "average_satisfaction", "satisfied_rate": "satisfied_rate"},
    )
    at_risk = asked(shop, "How much revenue is at risk?")
    for column, metric in (("past_value_amount", "past_value"), ("value_at_risk_amount", "value_at_risk")):
        (row,) = ask(metric)
        known = [one[column] for one in at_risk if one[column] is not None]
        assert same(row[metric], sum(known) if known else None), metric
        compared.add(metric)
    (row,) = ask("churn_probability")
    weights = [(one["average_churn_probability"], one["scored_count"]) for one in at_risk if one["scored_count"]]
    mean = sum(rate * count for rate, count in weights) / sum(count for _, count in weights) if weights else None
    assert same(row["churn_probability"], mean)
    (row,) = ask("refunds")
    (days,) = rows_of(shop, "select sum(net_amount) as net_amount from marts.fct_refunds")
    assert same(row["refunds"], days["net_amount"]), "refunds by day are the refunds"
    return compared | {"churn_probability", "refunds"}


def plain(value: Any) -> Any:
    """A month as a date, whatever the type of its column."""
    return value.date() if hasattr(value, "date") else value


def test_a_metric_is_the_same_number_everywhere(shop: Landed, ask: Any) -> None:
    compared = in_the_report(shop, ask) | in_the_questions(shop, ask)
    declared = {metric.name: metric for metric in manifest().metrics.values()}
    parts = {name for name, metric in declared.items() if metric.description.endswith("a part of a ratio.")}
    assert compared | parts == set(declared)
    assert len(compared) >= 15


def test_every_metric_has_a_label_and_a_description() -> None:
    for metric in manifest().metrics.values():
        assert metric.label and metric.description.endswith("."), metric.name  # noqa: PT018 - one line of both


def test_an_exposure_names_the_tables_that_its_reader_reads() -> None:
    models = {table.name for table in runner.model_tables(get_settings())}
    journals = {table.name for table in runner.journal_tables(get_settings())}
    exposures = {one.name: one for one in manifest().exposures.values()}
    assert set(exposures) == {"shop_report", "weekly_questions"}
    for exposure in exposures.values():
        place = PROJECT_ROOT / exposure.config.meta["read_by"]
        text = "\n".join(path.read_text() for path in ([place] if place.is_file() else sorted(place.glob("*.py"))))
        named = set(re.findall(r"marts(?:_pii)?\.(\w+)", text)) | set(
            re.findall(r'(?:_one|_listed)\(connection, "(\w+)"', text)
        )
        by_month = {
            "loyalty_tier_by_month": "loyalty_tier_history",
            "lifecycle_stage_by_month": "lifecycle_stage_history",
        }
        named = {by_month.get(name, name) for name in named} | set(re.findall(r"\w+_history\b", text)) & journals
        depends = {unique_id.split(".")[-1] for unique_id in exposure.depends_on.nodes}
        assert depends == named & (models | journals), exposure.name
        assert len(depends) > 5
