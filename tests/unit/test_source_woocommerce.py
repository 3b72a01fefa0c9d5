"""WooCommerce's REST API v3: orders, and refunds as resources of their own.

Fields: developer.woocommerce.com/docs/apis/rest-api/v3 (Orders, Order refunds) and the wiki page of
woocommerce/woocommerce, "Order and Order Line Item Data". Facts relied on: ``_gmt`` times have no offset; the guest's
customer_id is 0; an order lists its refunds without a day and with a negative total; a refund's line has a negative
quantity and names the order's line in ``_refunded_item_id``; a line's price may have six decimals.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from customer360.contract.feeds import ORDERS
from tests.unit.source_trials import Outcome, jsonl, known, run


def order(**changes: Any) -> dict[str, Any]:
    return {
        "id": 727, "parent_id": 0, "number": "727", "created_via": "checkout", "status": "processing",
        "currency": "USD", "date_created": "2026-03-22T16:28:02", "date_created_gmt": "2026-03-22T19:28:02",
        "date_modified": "2026-03-22T16:30:00", "date_modified_gmt": "2026-03-22T19:30:00",
        "discount_total": "5.00", "discount_tax": "0.50", "shipping_total": "10.00", "shipping_tax": "0.00",
        "cart_tax": "3.50", "total": "48.50", "total_tax": "3.50", "prices_include_tax": False, "customer_id": 26,
        "billing": {"email": "john.doe@buyer.example", "phone": "(555) 555-5555", "country": "US", "state": "CA"},
        "shipping": {"country": "US", "state": "CA"}, "payment_method": "bacs",
        "coupon_lines": [{"id": 1, "code": "spring", "discount": "5.00"}],
        "line_items": [{"id": 315, "name": "Woo Single", "product_id": 93, "quantity": 3, "sku": "WOO", "price": 13.333333,
                        "subtotal": "40.00", "subtotal_tax": "4.00", "total": "35.00", "total_tax": "3.50",
                        "meta_data": []}],
        "refunds": [], "meta_data": [], "fee_lines": [], "tax_lines": [], "shipping_lines": [],
    } | changes  # fmt: skip


def refund(number: int = 726, amount: str = "10.00", quantity: int = -1, item: str = "315") -> dict[str, Any]:
    return {
        "id": number, "parent_id": 727, "date_created": "2026-04-01T09:00:00", "date_created_gmt": "2026-04-01T12:00:00",
        "amount": amount, "reason": "broken", "refunded_by": 1, "refunded_payment": True, "meta_data": [],
        "line_items": [{"id": 314, "quantity": quantity, "sku": "WOO", "total": f"-{amount}",
                        "meta_data": [{"id": 1, "key": "_refunded_item_id", "value": item}]}],
    }  # fmt: skip


def tried(*records: dict[str, Any]) -> Outcome:
    done = run("woocommerce", "orders.jsonl", jsonl(*records))
    assert done.conversion.unknown_columns == []
    return done


LISTED = [{"id": 726, "reason": "broken", "total": "-10.00"}]


def test_an_order_is_mapped_whole() -> None:
    done = tried(order())
    assert (done.reasons, done.conversion.defaults) == ({}, {})
    (item,) = done.only.pop("items")
    assert known(done.only) == {
        "order_id": "727", "updated_at": "2026-03-22T19:30:00Z", "ordered_at": "2026-03-22T19:28:02Z",
        "status": "paid", "currency": "USD", "total_amount": "48.50", "discount_amount": "5.5000",
        "shipping_amount": "10.00", "tax_amount": "3.50", "customer_id": "26", "email": "john.doe@buyer.example",
        "phone": "(555) 555-5555", "sales_channel": "web", "payment_method": "bacs", "coupon_code": "spring",
        "country": "US", "region": "CA",
    }  # fmt: skip
    assert item == {"sku": "WOO", "quantity": "3", "unit_price": "14.6667", "discount_amount": "5.5000",
                    "returned_quantity": "0.0000"}  # fmt: skip


def test_a_refund_beside_its_order_is_dated_by_its_own_time() -> None:
    done = tried(refund(), order(refunds=LISTED))
    assert (done.conversion.records, done.conversion.continuations) == (1, 1)
    assert done.only["refunds"] == [
        {"refund_id": "726", "refunded_at": "2026-04-01T12:00:00Z", "amount": "10.0000", "reason": "broken"}
    ]
    assert done.only["items"][0]["returned_quantity"] == "1.0000"
    assert (done.reasons, done.conversion.defaults) == ({}, {})


def test_a_page_may_hold_orders_and_refunds() -> None:
    page = json.dumps({"orders": [order(refunds=LISTED)], "refunds": [refund()]}).encode()
    assert run("woocommerce", "page.json", page).only == tried(refund(), order(refunds=LISTED)).only


def test_a_refund_without_its_resource_is_dated_by_the_orders_last_change_and_counted() -> None:
    done = tried(order(refunds=LISTED))
    assert done.only["refunds"][0] | {"reason": ""} == {
        "refund_id": "726", "refunded_at": "2026-03-22T19:30:00Z", "amount": "10.0000", "reason": "",
    }  # fmt: skip
    assert done.conversion.defaults == {"refunded_at: the order's last change": 1}
    assert done.only["items"][0]["returned_quantity"] is None  # what came back is not known


def test_a_refund_without_its_order_is_set_aside() -> None:
    assert tried(order(), refund(999)).asides == {"a refund whose order is not in this file": 1}


@pytest.mark.parametrize(
    ("status", "mapped"),
    [("pending", "placed"), ("on-hold", "placed"), ("processing", "paid"), ("completed", "shipped"),
     ("cancelled", "cancelled"), ("failed", "cancelled"), ("refunded", "returned")],
)  # fmt: skip
def test_a_status_is_mapped(status: str, mapped: str) -> None:
    assert tried(order(status=status)).only["status"] == mapped


def test_a_status_that_a_plug_in_adds_goes_to_quarantine_as_it_is() -> None:
    done = tried(order(status="shipping"), order(id=2))
    assert list(done.reasons) == [1]
    assert done.records[1]["status"] == "shipping"


def test_drafts_the_trash_and_orders_of_nobody_are_set_aside() -> None:
    nobody = order(id=4, customer_id=0, billing={"email": "", "phone": ""}, created_via="pos-rest-api")
    done = tried(order(), order(id=2, status="checkout-draft"), order(id=3, status="trash"), nobody)
    asides = done.asides
    assert asides.pop("a draft of the checkout, never placed") == 1
    assert asides.pop("no customer is known (no account, no e-mail, no phone)") == 1
    if "deleted" in ORDERS.by_name:
        assert (asides, done.records[3]["deleted"]) == ({}, True)
    else:
        assert asides == {"an order in the trash": 1}


def test_a_guest_has_no_account() -> None:
    assert "customer_id" not in tried(order(customer_id=0)).only


@pytest.mark.parametrize(("value", "is_said"), [("1", True), ("0", False), ("archived", False)])
def test_a_ticked_box_at_the_checkout_is_a_statement_and_an_empty_one_is_none(value: str, is_said: bool) -> None:
    done = tried(order(meta_data=[{"id": 9, "key": "mailchimp_woocommerce_is_subscribed", "value": value}]))
    said = [{"channel": "email", "allowed": True, "stated_at": "2026-03-22T19:28:02Z"}]
    assert done.only.get("contact_preferences") == (said if is_said else None)
