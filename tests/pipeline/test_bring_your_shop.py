"""The promise of the sources: three exports as the vendors write them, three commands, and figures that are right."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from customer360 import warehouse
from customer360.settings import Settings
from tests.pipeline.front_door import assert_balanced
from tests.pipeline.vendor_exports import cents, ga4_events, jsonl, shop_orders, shopify_csv, zendesk_pages

pytestmark = pytest.mark.builds


def _count_orders(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the shop's figures must be, counted from the export's own lines without any of the product's code."""
    found: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(Decimal))
    for line in lines:
        if not line.get("Total") or "Bogus" in line["Payment Method"]:
            continue
        of, total = found[line["Email"]], cents(line["Total"])
        if line["Cancelled at"]:
            of["cancelled_order_count"] += 1
            of["cancelled_amount"] += total
            continue
        basis = total - cents(line["Taxes"]) - cents(line["Shipping"])
        refund = cents(line["Refunded Amount"])
        of["order_count"] += 1
        of["gross_amount"] += total
        of["tax_amount"] += cents(line["Taxes"])
        of["shipping_amount"] += cents(line["Shipping"])
        of["refunded_amount"] += refund
        of["net"] += basis - refund * basis / total
    tests = {line["Name"] for line in lines if "Bogus" in line.get("Payment Method", "")}
    gone = {line["Name"] for line in lines if line.get("Cancelled at")}
    for line in lines:
        if line["Name"] not in tests | gone and line["Lineitem name"] != "Tip":
            found[line["Email"]]["item_quantity"] += Decimal(line["Lineitem quantity"])
    return found


def test_three_exports_and_a_run_give_the_figures_that_an_independent_count_gives(
    settings: Settings, tmp_path: Path, terminal_of: Callable[..., Any]
) -> None:
    lines = shop_orders()
    counted = _count_orders(lines)
    buyers = sorted(counted)
    real = {line["Email"]: line for line in lines if line.get("Total") and "Bogus" not in line["Payment Method"]}
    order_of = {
        email: (line["Id"], datetime.strptime(line["Created at"], "%Y-%m-%d %H:%M:%S %z").astimezone(UTC))
        for email, line in real.items()
    }
    pages = zendesk_pages(buyers)
    events = ga4_events(order_of)
    (tmp_path / "orders_export_1.csv").write_bytes(shopify_csv(lines))
    (tmp_path / "tickets.json").write_text(json.dumps(pages, indent=2))
    (tmp_path / "events.jsonl").write_bytes(jsonl(events))

    typed = terminal_of(settings, columns=200)
    for name, *source in (
        ("orders_export_1.csv", "shopify_csv"),
        ("tickets.json", "zendesk"),
        ("events.jsonl", "ga4", "--namespace", "shopify"),  # its transaction ids are the shop's
    ):
        code, said, wrong = typed("land", "--source", *source, tmp_path / name)
        assert code == 0, said + wrong
    code, said, wrong = typed("run")
    assert code == 0, said + wrong
    assert_balanced(settings)

    for ticket in (ticket for page in pages for ticket in page["tickets"] if ticket["status"] != "deleted"):
        of = counted[buyers[ticket["requester_id"] - 400]]
        of["ticket_count"] += 1
        # A bad rating is a complaint, whatever the ticket is filed under (docs/loyalty.md).
        of["complaint_count"] += "complaint" in ticket["tags"] or ticket["satisfaction_rating"]["score"] == "bad"
        of["satisfaction_answer_count"] += ticket["satisfaction_rating"]["score"] in {"good", "bad"}
        metric = next(m for page in pages for m in page["metric_sets"] if m["ticket_id"] == ticket["id"])
        of["reply_count"] += metric["replies"]
    visitor_of = {event["user_pseudo_id"]: email
                  for email, (order_id, _) in order_of.items() for event in events
                  if event.get("ecommerce", {}).get("transaction_id") == order_id}  # fmt: skip
    sessions: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event["user_pseudo_id"]:
            email = visitor_of[event["user_pseudo_id"]]
            sessions[email].add(event["event_params"][0]["value"]["int_value"])
            counted[email]["page_view_count"] += event["event_name"] == "page_view"
            counted[email]["product_view_count"] += event["event_name"] == "view_item"
    for email, own in sessions.items():
        counted[email]["session_count"] = Decimal(len(own))

    names = sorted({name for of in counted.values() for name in of} - {"net"})
    with warehouse.connect("owner", settings) as connection:
        rows = connection.execute(
            warehouse.query(
                f"select e.identifier, c.net_amount, {', '.join(f'c.{name}' for name in names)} "
                "from marts.customer_360 as c inner join marts_pii.customer_contacts as e using (customer_key) "
                "where e.identifier_type = 'email'"
            )
        ).fetchall()
        count = warehouse.scalar(connection, "select count(*) from marts.customer_360")
    assert count == len(rows) == len(counted)
    for email, net, *figures in rows:
        expected = counted[email]
        assert abs(net - expected["net"]) < Decimal("0.01") * max(1, expected["order_count"]), email
        for name, figure in zip(names, figures, strict=True):
            assert figure == expected[name], (email, name, figure, expected[name])
