"""Shopify's REST Admin API and webhooks: the Order resource.

Fields: shopify.dev/docs/api/admin-rest (Order, Refund, Transaction, Fulfillment; version 2025-10) and
singer-io/tap-shopify, ``tap_shopify/schemas/{orders,order_refunds,transactions}.json``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from customer360.contract.feeds import ORDERS
from tests.unit.source_trials import Outcome, jsonl, known, run


def money(amount: str, customers: str = "", currency: str = "EUR") -> dict[str, Any]:
    shop = {"amount": amount, "currency_code": "EUR"}
    return {"shop_money": shop, "presentment_money": {"amount": customers or amount, "currency_code": currency}}


def order(**changes: Any) -> dict[str, Any]:
    return {
        "id": 450789469, "name": "#1001", "email": "ann@buyer.example", "contact_email": "ann@buyer.example",
        "created_at": "2026-05-01T10:00:00+02:00", "processed_at": "2026-05-01T10:00:00+02:00",
        "updated_at": "2026-05-02T09:00:00+02:00", "cancelled_at": None, "test": False, "financial_status": "paid",
        "fulfillment_status": None, "currency": "EUR", "presentment_currency": "EUR", "taxes_included": False,
        "total_price": "119.00", "current_total_price": "119.00", "subtotal_price": "95.00", "total_tax": "19.00",
        "total_discounts": "5.00", "total_price_set": money("119.00"), "total_shipping_price_set": money("5.00"),
        "total_tip_received": "0.00", "source_name": "web", "payment_gateway_names": ["shopify_payments"],
        "discount_codes": [{"code": "MAY", "amount": "5.00", "type": "fixed_amount"}],
        "customer": {"id": 207119551, "email": "ann@buyer.example", "phone": None,
                     "email_marketing_consent": {"state": "subscribed", "opt_in_level": "single_opt_in",
                                                 "consent_updated_at": "2026-01-01T00:00:00Z"}},
        "shipping_address": {"country_code": "DE", "province_code": "BY", "phone": None},
        "shipping_lines": [{"price": "5.00", "tax_lines": []}],
        "line_items": [
            {"id": 1, "sku": "MUG", "name": "Mug", "vendor": "Acme", "quantity": 2, "price": "40.00",
             "gift_card": False, "discount_allocations": [{"amount": "5.00"}]},
            {"id": 2, "sku": None, "name": "Gift card", "quantity": 1, "price": "20.00", "gift_card": True,
             "discount_allocations": []},
        ],
        "refunds": [], "fulfillments": [],
    } | changes  # fmt: skip


def refund(number: int, amount: str, items: dict[int, int] | None = None, **changes: Any) -> dict[str, Any]:
    transaction = {"kind": "refund", "status": "success", "amount": amount, "currency": "EUR"} | changes
    return {
        "id": number, "created_at": "2026-05-05T12:00:00+02:00", "processed_at": "2026-05-05T12:00:00+02:00",
        "note": "too small",
        "refund_line_items": [{"line_item_id": item, "quantity": count, "restock_type": "return"}
                              for item, count in (items or {}).items()],
        "transactions": [transaction] if amount else [],
    }  # fmt: skip


def tried(*orders: dict[str, Any]) -> Outcome:
    done = run("shopify_rest", "orders.jsonl", jsonl(*orders))
    assert done.conversion.unknown_columns == []
    return done


def test_an_order_is_mapped_whole() -> None:
    done = tried(order())
    assert done.reasons == {}
    assert done.conversion.defaults == {}
    assert known(done.only) | {"items": []} == {
        "order_id": "450789469", "updated_at": "2026-05-02T09:00:00+02:00", "ordered_at": "2026-05-01T10:00:00+02:00",
        "status": "paid", "currency": "EUR", "total_amount": "119.0000", "discount_amount": "5.00",
        "shipping_amount": "5.0000", "tax_amount": "19.00", "customer_id": "207119551", "email": "ann@buyer.example",
        "items": [], "sales_channel": "web", "payment_method": "shopify_payments", "coupon_code": "MAY",
        "country": "DE", "region": "BY",
    }  # fmt: skip
    assert [
        (i["sku"], i["quantity"], i["unit_price"], i["discount_amount"], i["category"]) for i in done.only["items"]
    ] == [
        ("MUG", "2", "40.00", "5.0000", None),
        ("Gift card", "1", "20.00", "0.0000", "gift card"),
    ]


def test_what_a_customer_said_about_marketing_is_handed_on_once_the_contract_has_it() -> None:
    said = order()["customer"] | {"sms_marketing_consent": {"state": "unsubscribed", "consent_updated_at": None}}
    done = tried(
        order(customer=said), order(id=2, customer={"id": 1, "email_marketing_consent": {"state": "not_subscribed"}})
    )
    expected = [
        {"channel": "email", "allowed": True, "stated_at": "2026-01-01T00:00:00Z"},
        {"channel": "sms", "allowed": False, "stated_at": None},
    ]
    assert done.reasons == {}
    assert done.records[1].get("contact_preferences") == (expected if "contact_preferences" in ORDERS.by_name else None)
    assert "contact_preferences" not in done.records[2]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_page_of_the_api_an_array_and_a_webhooks_body_are_the_same(wrapped: bool) -> None:
    page = json.dumps({"orders": [order(), order(id=2)]} if wrapped else [order(), order(id=2)], indent=2).encode()
    assert run("shopify_rest", "page.json", page).records == tried(order(), order(id=2)).records
    assert run("shopify_rest", "hook.json", json.dumps(order(), indent=1).encode()).only == tried(order()).only


def test_a_partial_refund_counts_on_its_day_and_returns_its_items() -> None:
    done = tried(order(financial_status="partially_refunded", refunds=[refund(7, "35.00", {1: 1})]))
    assert done.only["status"] == "paid"
    assert done.only["refunds"] == [
        {"refund_id": "7", "refunded_at": "2026-05-05T12:00:00+02:00", "amount": "35.0000", "reason": "too small"}
    ]
    assert [item["returned_quantity"] for item in done.only["items"]] == ["1.0000", "0.0000"]
    assert done.reasons == {}


def test_a_refund_of_tax_alone_is_money_and_returns_nothing() -> None:
    done = tried(order(financial_status="partially_refunded", refunds=[refund(8, "19.00")]))
    assert done.only["refunds"][0]["amount"] == "19.0000"
    assert [item["returned_quantity"] for item in done.only["items"]] == ["0.0000", "0.0000"]


def test_goods_put_back_without_money_and_a_failed_transaction_are_no_refund() -> None:
    done = tried(order(refunds=[refund(9, "", {1: 2}), refund(10, "35.00", status="failure")]))
    assert "refunds" not in done.only
    assert done.only["items"][0]["returned_quantity"] == "2.0000"


def test_a_refund_in_the_customers_currency_is_brought_to_the_shops_at_the_orders_rate() -> None:
    done = tried(order(
        presentment_currency="USD", total_price_set=money("119.00", "130.90", "USD"), financial_status="refunded",
        refunds=[refund(11, "130.90", {1: 2, 2: 1}, currency="USD")],
    ))  # fmt: skip
    assert (done.only["currency"], done.only["total_amount"]) == ("EUR", "119.0000")
    assert done.only["refunds"][0]["amount"] == "119.0000"
    assert (done.only["status"], done.reasons) == ("returned", {})


def test_an_order_that_was_edited_was_charged_what_is_left_and_what_was_paid_back() -> None:
    added = tried(order(current_total_price="139.00"))
    assert added.only["total_amount"] == "139.0000"
    removed = tried(order(current_total_price="79.00"))
    assert removed.only["total_amount"] == "79.0000"
    refunded = tried(order(current_total_price="79.00", refunds=[refund(1, "40.00", {1: 1})]))
    assert refunded.only["total_amount"] == "119.0000"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"cancelled_at": "2026-05-02T00:00:00Z"}, "cancelled"),
        ({"financial_status": "voided"}, "cancelled"),
        ({"financial_status": "pending"}, "placed"),
        ({"financial_status": "authorized"}, "placed"),
        ({"financial_status": "refunded"}, "returned"),
        ({"fulfillment_status": "fulfilled"}, "shipped"),
        ({"fulfillment_status": "partial"}, "paid"),
        ({"fulfillment_status": "fulfilled", "fulfillments": [
            {"status": "success", "shipment_status": "delivered", "updated_at": "2026-05-04T08:00:00Z"}]}, "delivered"),
    ],
)  # fmt: skip
def test_a_status_is_mapped(changes: dict[str, Any], status: str) -> None:
    done = tried(order(**changes))
    assert done.only["status"] == status
    assert done.only.get("delivered_at") == ("2026-05-04T08:00:00Z" if status == "delivered" else None)


def test_test_orders_and_orders_of_nobody_are_set_aside() -> None:
    nobody = order(id=3, email="", contact_email=None, customer=None, source_name="pos", shipping_address=None)
    done = tried(order(id=1), order(id=2, test=True), nobody)
    asides = done.asides
    assert asides.pop("no customer is known (no account, no e-mail, no phone)") == 1
    if "deleted" in ORDERS.by_name:
        assert (asides, done.records[2]["deleted"]) == ({}, True)
    else:
        assert (asides, list(done.records)) == ({"a test order": 1}, [1])


@pytest.mark.parametrize(
    ("source", "channel"),
    [
        ("pos", "store"),
        ("iphone", "app"),
        ("shopify_draft_order", "phone"),
        ("580111", "web"),
        ("amazon", "marketplace"),
    ],
)
def test_where_an_order_came_from_is_its_channel(source: str, channel: str) -> None:
    assert tried(order(source_name=source)).only["sales_channel"] == channel


def test_tips_stay_in_the_total_and_are_no_item() -> None:
    tip = {"id": 3, "sku": None, "name": "Tip", "quantity": 1, "price": "4.00", "tip": {"payment_gateway": "x"}}
    done = tried(order(total_tip_received="4.00", total_price="123.00", current_total_price="123.00",
                       total_price_set=money("123.00"), line_items=[*order()["line_items"], tip]))  # fmt: skip
    assert done.only["total_amount"] == "123.0000"
    assert [item["sku"] for item in done.only["items"]] == ["MUG", "Gift card"]


def test_shipping_is_without_its_tax_where_prices_include_it() -> None:
    lines = [{"price": "5.95", "tax_lines": [{"price": "0.95", "rate": 0.19}]}]
    done = tried(order(taxes_included=True, total_shipping_price_set=money("5.95"), shipping_lines=lines))
    assert done.only["shipping_amount"] == "5.0000"


def test_a_draft_order_of_the_api_is_not_taken_for_an_order() -> None:
    from customer360.sources.input_files import SourceFileError

    draft = {"id": 1, "status": "open", "invoice_url": "https://x.example", "line_items": [], "total_price": "1.00"}
    with pytest.raises(SourceFileError, match="financial_status is missing"):
        tried(draft)
