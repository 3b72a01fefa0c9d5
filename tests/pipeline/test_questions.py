"""docs/questions.md: every query runs, and its rows are those of a count made from the landed files alone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from customer360 import warehouse
from customer360.front_door import landing
from customer360.front_door.load import ingest
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.settings import PROJECT_ROOT, Settings

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
    with warehouse.connect(role, shop.settings) as connection:
        cursor = connection.execute(warehouse.query(QUERIES[question]))
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
    got = asked(shop, "Whom should we win back?", "pii_reader")
    expected = {
        f"person{row.customer[1:]}@example.org": (row.recency, Decimal(int(row.past))) for row in leaving.itertuples()
    }
    assert {row["email"]: (row["recency_days"], row["past_value_amount"]) for row in got} == expected
    assert len(got) == len(expected) > 0


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


def tiers(shop: Landed) -> None:
    valid = shop.orders[shop.orders["valid"]].copy()
    delivered = pd.to_datetime(valid["delivered_at"]).dt.date
    refunds = valid["refunded"].where(valid["refunded"] > 0, 0)
    within = delivered > shop.today - timedelta(days=365)
    points = (valid["total_amount"] - refunds).where(within, 0).groupby(valid["customer_id"]).sum()
    expected = points.map(
        lambda sum_: next(tier for tier, least in (("platinum", 2000), ("gold", 750), ("silver", 250), ("base", -1e9))
                          if sum_ >= least)
    ).value_counts()  # fmt: skip
    got = asked(shop, "Who moves between tiers?")
    assert {row["previous_tier"] for row in got} == {None}, "the first pass knows no tier before"
    assert {row["tier"]: row["customer_count"] for row in got} == expected.to_dict()
    assert len(got) >= 2


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
    "Which articles come back as refunds?": refunds_by_article,
    "Do we answer in time?": in_time,
    "Whom should we win back?": win_back,
    "How much revenue is at risk?": revenue_at_risk,
    "Where do visits end?": funnel,
    "Are customers satisfied, and is it getting better?": satisfaction,
    "Who moves between tiers?": tiers,
    "How fresh and how complete is it?": fresh_and_complete,
}


def test_every_question_of_the_page_is_counted() -> None:
    assert list(QUERIES) == list(COUNTED)
    assert all(len(query.strip().splitlines()) <= 16 for query in QUERIES.values()), "a question is a short query"


@pytest.mark.parametrize("question", COUNTED)
def test_a_question_is_answered_as_the_landed_files_say(shop: Landed, question: str) -> None:
    COUNTED[question](shop)


def test_the_figures_of_the_customers_agree_with_each_other(shop: Landed) -> None:
    from customer360.models import runner

    results = runner.run_model_tests(shop.settings, "assert_figures_of_a_customer_agree", run_id=None)
    assert [result.status for result in results] == ["pass"]
