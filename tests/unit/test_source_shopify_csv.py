"""Shopify's order export (CSV).

Columns: help.shopify.com, "Exporting orders"; spelt as the admin's files of 2025 and 2026 spell them ("Cancelled at",
"Lineitem sku"). Facts relied on: an order's further lines repeat its Name and leave the totals empty; times look like
``2026-05-01 10:00:00 +0200``; a refund is an amount without a day; tips are a line named Tip.
"""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.source_trials import SHOPIFY_HEADER, Outcome, known, run


def first(**changes: Any) -> dict[str, str]:
    """An order's first line; keywords name columns with _ for a space."""
    line = {
        "Name": "#1001", "Email": "ann@buyer.example", "Financial Status": "paid",
        "Paid at": "2026-05-01 10:00:05 +0200", "Fulfillment Status": "unfulfilled", "Currency": "EUR",
        "Subtotal": "20.00", "Shipping": "4.90", "Taxes": "3.98", "Total": "24.90", "Discount Amount": "0.00",
        "Created at": "2026-05-01 10:00:00 +0200", "Lineitem quantity": "1", "Lineitem name": "Mug",
        "Lineitem price": "20.00", "Lineitem sku": "MUG-1", "Payment Method": "Shopify Payments",
        "Refunded Amount": "0.00", "Vendor": "Acme", "Id": "5430000000001", "Source": "web", "Shipping Country": "DE",
    }  # fmt: skip
    return line | {key.replace("_", " "): value for key, value in changes.items()}


def further(**changes: Any) -> dict[str, str]:
    """A further line of the same order."""
    line = {"Name": "#1001", "Email": "ann@buyer.example", "Created at": "2026-05-01 10:00:00 +0200",
            "Lineitem quantity": "2", "Lineitem name": "Tea", "Lineitem price": "5.00", "Lineitem sku": "TEA"}  # fmt: skip
    return line | {key.replace("_", " "): value for key, value in changes.items()}


def file_of(
    *lines: dict[str, str], delimiter: str = ",", newline: str = "\n", header: list[str] = SHOPIFY_HEADER
) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, header, restval="", extrasaction="ignore", delimiter=delimiter, lineterminator=newline)
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue().encode()


def tried(*lines: dict[str, str]) -> Outcome:
    return run("shopify_csv", "orders_export_1.csv", file_of(*lines))


def test_an_order_of_several_lines_is_one_record_with_its_items_in_order() -> None:
    done = tried(first(), further(), further(Lineitem_name="Tip", Lineitem_sku="", Lineitem_price="2.00"))
    assert (done.conversion.input_records, done.conversion.records, done.conversion.continuations) == (3, 1, 2)
    assert done.reasons == {}
    assert known(done.only) | {"items": []} == {
        "order_id": "5430000000001", "updated_at": "2026-06-01T12:00:00.000000Z",
        "ordered_at": "2026-05-01T08:00:00.000000Z", "status": "paid", "currency": "EUR", "total_amount": "24.90",
        "discount_amount": "0.00", "shipping_amount": "4.90", "tax_amount": "3.98", "email": "ann@buyer.example",
        "items": [], "sales_channel": "web", "payment_method": "Shopify Payments", "country": "DE",
    }  # fmt: skip
    assert [(item["sku"], item["quantity"], item["unit_price"]) for item in done.only["items"]] == [
        ("MUG-1", "1", "20.00"),
        ("TEA", "2", "5.00"),
    ]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Financial_Status": "pending", "Paid_at": ""}, "placed"),
        ({"Financial_Status": "authorized"}, "placed"),
        ({"Financial_Status": "partially_paid"}, "paid"),
        ({"Financial_Status": "partially_refunded", "Refunded_Amount": "1.00"}, "paid"),
        ({"Financial_Status": "refunded", "Refunded_Amount": "24.90"}, "returned"),
        ({"Financial_Status": "voided"}, "cancelled"),
        ({"Cancelled_at": "2026-05-02 10:00:00 +0200"}, "cancelled"),
        ({"Fulfillment_Status": "fulfilled", "Fulfilled_at": "2026-05-02 10:00:00 +0200"}, "shipped"),
        ({"Fulfillment_Status": "partial"}, "paid"),
    ],
)
def test_a_status_is_mapped(changes: dict[str, str], status: str) -> None:
    assert tried(first(**changes)).only["status"] == status


def test_a_status_that_the_source_does_not_know_goes_to_quarantine_as_it_is() -> None:
    done = tried(first(Financial_Status="frozen"), first(Name="#1002", Id="5430000000002"))
    assert list(done.reasons) == [1]
    assert done.reasons[1][0].endswith("frozen")


def test_a_refund_without_a_day_is_dated_by_the_latest_time_that_the_order_states_and_counted() -> None:
    fulfilled = first(
        Financial_Status="partially_refunded",
        Refunded_Amount="5.50",
        Fulfillment_Status="fulfilled",
        Fulfilled_at="2026-05-03 09:30:00 +0200",
    )
    done = tried(fulfilled)
    assert done.only["refunds"] == [
        {"refund_id": "5430000000001-refunded", "refunded_at": "2026-05-03T07:30:00.000000Z", "amount": "5.50"}
    ]
    assert done.conversion.defaults == {"refunded_at: the latest time that the order states": 1}
    later = run("shopify_csv", "orders.csv", file_of(fulfilled), exported_at=datetime(2026, 9, 1, tzinfo=UTC))
    assert later.only["refunds"] == done.only["refunds"]  # the day of an export never moves a refund
    assert later.only["updated_at"] > done.only["updated_at"]  # and yet the newer export's amounts count


def test_test_orders_drafts_and_orders_of_nobody_are_set_aside_with_their_reason() -> None:
    done = tried(
        first(Payment_Method="(for testing) Bogus Gateway"),
        first(Name="#D12", Id="5430000000002"),
        first(Name="#1003", Id="5430000000003", Email="", Source="pos"),
        first(Name="#1004", Id="5430000000004", Email="", Billing_Phone="+49 170 1234567", Source="pos"),
        first(Name="#1005", Id="5.43E+12"),
        further(Name="#0999"),
    )
    assert done.asides == {
        "a test order": 1,
        "a draft order": 1,
        "no customer is known (no e-mail, no phone)": 1,
        "its Id was changed by a spreadsheet program": 1,
        "a further line of an order whose first line is missing": 1,
    }
    assert done.conversion.asides["a draft order"]["first"] == [2]
    assert (done.only["sales_channel"], done.only["phone"]) == ("store", "+49 170 1234567")


def test_amounts_and_ids_keep_every_digit() -> None:
    done = tried(first(Total="1234567890.1234", Id="12345678901234567890", Lineitem_quantity="3"))
    assert (done.only["total_amount"], done.only["order_id"]) == ("1234567890.1234", "12345678901234567890")


def test_orders_of_several_currencies_keep_each_its_own() -> None:
    done = tried(first(), first(Name="#1002", Id="2", Currency="JPY", Total="1200", Taxes="0", Shipping="0"))
    assert [record["currency"] for record in done.records.values()] == ["EUR", "JPY"]
    assert done.reasons == {}


def test_a_gift_card_is_an_item_of_its_own_category() -> None:
    assert tried(first(Lineitem_name="Gift card $50", Lineitem_sku="")).only["items"][0]["category"] == "gift card"


def test_an_order_without_an_id_column_is_known_by_its_name() -> None:
    header = [name for name in SHOPIFY_HEADER if name != "Id"]
    done = run("shopify_csv", "orders.csv", file_of(first(), header=header))
    assert done.only["order_id"] == "#1001"
    assert done.conversion.defaults == {"order_id: the Name, for want of an Id": 1}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_file_may_have_a_mark_other_delimiters_and_notes_over_several_lines(delimiter: str, newline: str) -> None:
    note = f'ring "twice"{newline}second; line, with\teverything'
    content = file_of(first(Notes=note), further(), delimiter=delimiter, newline=newline)
    plain = run("shopify_csv", "orders.csv", content)
    marked = run("shopify_csv", "orders.csv.gz", gzip.compress(b"\xef\xbb\xbf" + content))
    assert plain.records == marked.records
    assert (plain.conversion.records, plain.conversion.continuations) == (1, 1)


def test_two_orders_of_one_name_keep_their_own_lines() -> None:
    done = tried(first(), further(), first(Id="5430000000009", Lineitem_sku="CUP"))
    assert [[item["sku"] for item in record["items"]] for record in done.records.values()] == [
        ["MUG-1", "TEA"],
        ["CUP"],
    ]


@pytest.mark.parametrize(("box", "is_said"), [("yes", True), ("no", False), ("", False)])
def test_a_ticked_box_is_a_statement_and_an_empty_one_is_none(box: str, is_said: bool) -> None:
    done = tried(first(Accepts_Marketing=box))
    said = [{"channel": "email", "allowed": True, "stated_at": "2026-05-01T08:00:00.000000Z"}]
    assert done.only.get("contact_preferences") == (said if is_said else None)
