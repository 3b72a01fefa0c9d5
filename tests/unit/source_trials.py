"""Runs a source over bytes, as the front door does, and gives what would land."""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from customer360.front_door import source_files
from customer360.gates.suites import LandingGate
from customer360.settings import Settings
from customer360.sources import declaration
from customer360.sources.conversion import Conversion, convert

Row = dict[str, Any]
SHOPIFY_HEADER = [
    "Name",
    "Email",
    "Financial Status",
    "Paid at",
    "Fulfillment Status",
    "Fulfilled at",
    "Accepts Marketing",
    "Currency",
    "Subtotal",
    "Shipping",
    "Taxes",
    "Total",
    "Discount Code",
    "Discount Amount",
    "Shipping Method",
    "Created at",
    "Lineitem quantity",
    "Lineitem name",
    "Lineitem price",
    "Lineitem compare at price",
    "Lineitem sku",
    "Lineitem requires shipping",
    "Lineitem taxable",
    "Lineitem fulfillment status",
    "Billing Name",
    "Billing Country",
    "Billing Phone",
    "Shipping Country",
    "Shipping Province",
    "Notes",
    "Cancelled at",
    "Payment Method",
    "Refunded Amount",
    "Vendor",
    "Id",
    "Tags",
    "Source",
    "Lineitem discount",
    "Phone",
]
"""The columns of Shopify's order export (CSV), as the admin spells them."""
EXPORTED_AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


@dataclass
class Outcome:
    """What a source made of a file."""

    conversion: Conversion
    records: dict[int, Row]
    """Number in the file -> the record, without empty fields."""
    reasons: dict[int, list[str]]
    """Number in the file -> why the gate would quarantine it."""

    @property
    def only(self) -> Row:
        """The one record there is."""
        (record,) = self.records.values()
        return record

    @property
    def asides(self) -> dict[str, int]:
        """Reason -> records set aside for it."""
        return {reason: aside["count"] for reason, aside in self.conversion.asides.items()}


def run(
    source: str | declaration.Source,
    name: str,
    content: bytes,
    *,
    namespace: str = "",
    exported_at: datetime = EXPORTED_AT,
) -> Outcome:
    """Convert bytes by a source, as a file of that name."""
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home))
        if isinstance(source, str):
            source = declaration.source_named(settings, source)
        with source_files.prepared(settings, name, io.BytesIO(content), [source]) as (file, folder):
            done = convert(source, file, folder, namespace=namespace or source.namespace, exported_at=exported_at)
            rows = pq.read_table(done.output).to_pylist()
            gate = LandingGate(source.feed, datetime(2026, 6, 2, tzinfo=UTC))
            reasons: dict[int, list[str]] = {}
            with source_files.opened(source.feed, done) as converted:
                for chunk in converted.chunks:
                    for row, why in gate.check(chunk).reasons.items():
                        reasons[int(chunk.row_numbers[row])] = [reason.message for reason in why]
    filled = [{key: value for key, value in row.items() if value is not None} for row in rows]
    return Outcome(done, dict(zip(map(int, done.record_numbers), filled, strict=True)), reasons)


def known(record: Row) -> Row:
    """A record without the fields that contract 1.1 adds to every feed; tests of their own look at those."""
    return {key: value for key, value in record.items() if key not in {"source", "deleted", "contact_preferences"}}


def jsonl(*rows: Row) -> bytes:
    """JSON Lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
