"""How fast the vendors' exports become records.

``python -m bench.sources [RECORDS]``. A CSV source goes through the whole of the front door, beside the same orders in
the contract's own CSV: orders per second of both. A JSON source is converted alone (read, counted, accounted for,
written as Parquet), beside DuckDB's own read of the same file to Parquet, which guesses types and checks nothing.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from customer360 import warehouse
from customer360.front_door import landing, load, source_files
from customer360.settings import Settings
from customer360.sources import declaration
from customer360.sources.conversion import THREADS, convert
from customer360.warehouse import embedded_server

CSV_TARGET = 0.5
JSON_TARGET = 0.5
START = datetime(2026, 1, 1, tzinfo=UTC)
Row = dict[str, Any]


def main(records: int = 100_000) -> int:
    """Print the figures; the number of targets missed."""
    missed = 0
    with tempfile.TemporaryDirectory(prefix="c360-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        settings = Settings(home=home / "home", landing=str(home / "landing"))
        warehouse.set_up(settings)
        try:
            missed += _csv(settings, home, records)
            print(
                f"        source  records    MB  records/s   MB/s  DuckDB's own  of it (target {JSON_TARGET})  by CPU time"
            )
            for name, make in JSON.items():
                path = home / f"{name}.jsonl"
                with path.open("w") as stream:
                    for number in range(records):
                        stream.write(json.dumps(make(number)) + "\n")
                (seconds, cpu), (own, own_cpu) = _convert(settings, name, path), _own(path)
                size, ratio = path.stat().st_size / 1e6, own / seconds
                missed += ratio < JSON_TARGET
                print(
                    f"{name:>14} {records:8,} {size:5.0f} {records / seconds:10,.0f} {size / seconds:6.0f} "
                    f"{size / own:13.0f} {ratio:6.2f} {own_cpu / cpu:24.2f}", flush=True
                )  # fmt: skip
                path.unlink()
        finally:
            embedded_server.stop(settings, immediate=True)
    return missed


def _csv(settings: Settings, home: Path, orders: int) -> int:
    vendors, contracts, warm = home / "shopify.csv", home / "contract.csv", home / "warm.csv"
    lines = _shopify_csv(vendors, orders)
    _contract_csv(contracts, orders)
    _contract_csv(warm, 1000)
    landing.put(settings, "orders", warm)
    load.ingest(settings)
    seconds = {}
    for name, put in {
        "contract": lambda: landing.put(settings, "orders", contracts),
        "shopify_csv": lambda: landing.put_export(settings, "shopify_csv", vendors),
    }.items():
        put()
        started = time.perf_counter()
        (outcome,) = load.ingest(settings).batches
        seconds[name] = time.perf_counter() - started
        assert (outcome.state, outcome.rows) == ("loaded", orders), outcome
    ratio = seconds["contract"] / seconds["shopify_csv"]
    alone, _ = _convert(settings, "shopify_csv", vendors)
    print(f"{orders:,} orders in {lines:,} lines, {vendors.stat().st_size / 1e6:.0f} MB, {THREADS} threads for DuckDB")
    print(f"  the contract's CSV: {orders / seconds['contract']:,.0f} orders/s through the front door")
    print(
        f"  shopify_csv: {orders / seconds['shopify_csv']:,.0f} orders/s, {ratio:.2f} of it (target {CSV_TARGET}); "
        f"conversion alone {orders / alone:,.0f} orders/s",
        flush=True,
    )
    return int(ratio < CSV_TARGET)


def _convert(settings: Settings, name: str, path: Path) -> tuple[float, float]:
    """Seconds that a conversion takes, and seconds of CPU: on a busy machine the second is the steadier."""
    source = declaration.source_named(settings, name)
    started, cpu = time.perf_counter(), time.process_time()
    with path.open("rb") as stream, source_files.prepared(settings, path.name, stream, [source]) as (file, folder):
        convert(source, file, folder, namespace=name, exported_at=START + timedelta(days=90))
    return time.perf_counter() - started, time.process_time() - cpu


def _own(path: Path) -> tuple[float, float]:
    with duckdb.connect(config={"threads": str(THREADS)}) as connection:
        connection.execute("set enable_progress_bar = false")
        started, cpu = time.perf_counter(), time.process_time()
        connection.execute(f"copy (select * from read_json('{path}')) to '{path}.parquet'")
        return time.perf_counter() - started, time.process_time() - cpu


def _at(number: int, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    return (START + timedelta(seconds=number * 7)).strftime(form)


def _lines_of(number: int) -> Iterator[tuple[str, str, str]]:
    for place in range(1 + number % 3):
        yield f"sku-{(number + place) % 5000}", str(1 + place), f"{(number % 900) + 1}.{number % 90 + 10}"


def _shopify_csv(path: Path, orders: int) -> int:
    names = [
        "Name",
        "Email",
        "Financial Status",
        "Paid at",
        "Fulfillment Status",
        "Fulfilled at",
        "Currency",
        "Subtotal",
        "Shipping",
        "Taxes",
        "Total",
        "Discount Amount",
        "Created at",
        "Lineitem quantity",
        "Lineitem name",
        "Lineitem price",
        "Lineitem sku",
        "Billing Name",
        "Billing Street",
        "Billing City",
        "Billing Country",
        "Shipping Country",
        "Notes",
        "Cancelled at",
        "Payment Method",
        "Refunded Amount",
        "Vendor",
        "Id",
        "Source",
    ]
    count = 0
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        for number in range(orders):
            at = _at(number, "%Y-%m-%d %H:%M:%S +0000")
            head = [f"#{number}", f"buyer{number // 4}@shop.example", "paid", at, "fulfilled", at, "USD", "99.90",
                    "4.90", "15.00", "104.80", "0.00"]  # fmt: skip
            tail = ["A Buyer", "1 Main Street, left", "Ulm", "DE", "DE", "", "", "Shopify Payments", "0.00", "Acme",
                    str(5_430_000_000_000 + number), "web"]  # fmt: skip
            for place, (sku, quantity, price) in enumerate(_lines_of(number)):
                item = [at, quantity, f"Thing {sku}", price, sku]
                writer.writerow([*head, *item, *tail] if place == 0 else [*head[:2], *[""] * 10, *item, *[""] * 12])
                count += 1
    return count


def _contract_csv(path: Path, orders: int) -> None:
    names = ["order_id", "updated_at", "ordered_at", "status", "currency", "total_amount", "tax_amount", "shipping_amount", "email", "items", "sales_channel", "payment_method", "country"]  # fmt: skip
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        for number in range(orders):
            items = [{"sku": s, "quantity": q, "unit_price": p, "brand": "Acme"} for s, q, p in _lines_of(number)]
            writer.writerow([f"{orders}-{number}", _at(number), _at(number), "shipped", "USD", "104.80", "15.00", "4.90",
                             f"buyer{number // 4}@shop.example", json.dumps(items), "web", "card", "DE"])  # fmt: skip


# --- one record of each vendor, of the size that theirs have ----------------------------------------------------------


def _shopify(number: int) -> Row:
    money = {"shop_money": {"amount": "104.80", "currency_code": "USD"},
             "presentment_money": {"amount": "104.80", "currency_code": "USD"}}  # fmt: skip
    return {
        "id": number, "email": f"buyer{number // 4}@shop.example", "created_at": _at(number), "updated_at": _at(number),
        "financial_status": "paid", "fulfillment_status": "fulfilled", "currency": "USD", "total_price": "104.80",
        "current_total_price": "104.80", "total_tax": "15.00", "total_discounts": "0.00", "total_price_set": money,
        "total_shipping_price_set": money, "total_line_items_price_set": money, "subtotal_price_set": money,
        "customer": {"id": number // 4, "email": "x@shop.example", "tags": "", "default_address": {"city": "Ulm"}},
        "source_name": "web", "payment_gateway_names": ["shopify_payments"], "note_attributes": [], "test": False,
        "line_items": [{"id": place, "sku": sku, "name": f"Thing {sku}", "quantity": int(quantity), "price": price,
                        "price_set": money, "vendor": "Acme", "gift_card": False, "properties": [], "tax_lines": [],
                        "discount_allocations": []} for place, (sku, quantity, price) in enumerate(_lines_of(number))],
        "refunds": [{"id": number, "created_at": _at(number), "refund_line_items": [], "transactions": [
            {"kind": "refund", "status": "success", "amount": "5.00", "currency": "USD"}]}] if number % 20 == 0 else [],
        "billing_address": {"country_code": "DE", "city": "Ulm"}, "shipping_address": {"country_code": "DE"},
        "shipping_lines": [{"price": "4.90", "tax_lines": []}], "fulfillments": [], "client_details": {"browser_ip": "x"},
    }  # fmt: skip


def _woocommerce(number: int) -> Row:
    return {
        "id": number, "status": "completed", "currency": "USD", "date_created_gmt": _at(number, "%Y-%m-%dT%H:%M:%S"),
        "date_modified_gmt": _at(number, "%Y-%m-%dT%H:%M:%S"), "total": "104.80", "total_tax": "15.00",
        "discount_total": "0.00", "discount_tax": "0.00", "shipping_total": "4.90", "customer_id": number // 4,
        "created_via": "checkout", "billing": {"email": f"b{number // 4}@shop.example", "phone": "", "city": "Ulm",
                                               "country": "DE"},
        "shipping": {"country": "DE"}, "payment_method": "stripe", "meta_data": [{"id": 1, "key": "_x", "value": "y"}] * 5,
        "line_items": [{"id": place, "name": f"Thing {sku}", "sku": sku, "quantity": int(quantity), "subtotal": price,
                        "subtotal_tax": "1.00", "total": price, "total_tax": "1.00", "meta_data": []}
                       for place, (sku, quantity, price) in enumerate(_lines_of(number))],
        "refunds": [], "coupon_lines": [], "tax_lines": [], "fee_lines": [],
    }  # fmt: skip


def _zendesk(number: int) -> Row:
    return {
        "id": number, "created_at": _at(number), "updated_at": _at(number), "generated_timestamp": 1_770_000_000 + number,
        "status": "solved", "priority": "normal", "type": "question", "subject": "Where is it?", "requester_id": number // 2,
        "description": "I would like to know where my parcel is. " * 5, "via": {"channel": "email", "source": {}},
        "tags": ["delivery", "vip"], "custom_fields": [{"id": n, "value": None} for n in range(8)],
        "satisfaction_rating": {"score": "good"},
        "metric_set": {"replies": 2, "reopens": 0, "solved_at": _at(number), "reply_time_in_minutes": {"calendar": 5}},
    }  # fmt: skip


def _freshdesk(number: int) -> Row:
    return {
        "id": number, "created_at": _at(number), "updated_at": _at(number), "status": 4, "source": 1, "priority": 2,
        "type": "Question", "tags": [], "subject": "Where is it?", "requester_id": number // 2, "spam": False,
        "description_text": "I would like to know where my parcel is. " * 5,
        "requester": {"id": number // 2, "email": f"b{number // 2}@shop.example"},
        "stats": {"first_responded_at": _at(number + 60), "resolved_at": _at(number + 600)}, "custom_fields": {"cf_a": None},
    }  # fmt: skip


def _ga4(number: int) -> Row:
    params = {"page_location": {"string_value": "https://shop.example/a?x=1"}, "ga_session_id": {"int_value": str(number // 20)},
              "page_title": {"string_value": "A"}, "engagement_time_msec": {"int_value": "900"}}  # fmt: skip
    return {
        "event_date": "20260101", "event_timestamp": str(1_770_000_000_000_000 + number * 1_000_000),
        "event_name": ("page_view", "view_item", "scroll", "user_engagement")[number % 4],
        "event_params": [{"key": key, "value": value} for key, value in params.items()],
        "user_pseudo_id": f"{number // 100}.17", "device": {"category": "mobile", "operating_system": "iOS"},
        "geo": {"country": "Germany", "city": "Ulm"}, "platform": "WEB", "items": [],
        "traffic_source": {"name": "(direct)", "medium": "(none)", "source": "(direct)"},
    }  # fmt: skip


def _snowplow(number: int) -> Row:
    moment = _at(number, "%Y-%m-%d %H:%M:%S.000")
    return {
        "event_id": f"e-{number}", "event": "page_view", "event_name": "page_view", "platform": "web",
        "collector_tstamp": moment, "derived_tstamp": moment, "domain_userid": f"u-{number // 100}",
        "domain_sessionid": f"s-{number // 20}", "page_url": "https://shop.example/a?x=1", "page_referrer": None,
        "geo_country": "DE", "dvce_type": "Mobile", "useragent": "Mozilla/5.0 (iPhone; like everybody)", "br_lang": "de",
    }  # fmt: skip


def _segment(number: int) -> Row:
    return {
        "messageId": f"m-{number}", "type": "page", "anonymousId": f"u-{number // 100}", "timestamp": _at(number),
        "receivedAt": _at(number), "properties": {"url": "https://shop.example/a?x=1", "title": "A"},
        "context": {"page": {"url": "https://shop.example/a?x=1"}, "userAgent": "Mozilla/5.0 (iPhone; like everybody)",
                    "library": {"name": "analytics.js", "version": "5"}}, "integrations": {}, "channel": "client",
    }  # fmt: skip


JSON = {
    "shopify_rest": _shopify, "woocommerce": _woocommerce, "zendesk": _zendesk, "freshdesk": _freshdesk, "ga4": _ga4,
    "snowplow": _snowplow, "segment": _segment,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
