"""The CDNOW order log as an orders feed.

The log (Fader & Hardie: purchases of compact discs from January 1997 to June 1998, 23,570 customers) comes with the
package ``lifetimes``. Nothing is added to it: a line becomes one paid order. It has no order ids, so that the line's
number is one; its days have no time, so that noon in UTC stands for it, the same date in every zone from -11 to +11.
The number of discs goes along in the unknown field ``number_of_cds``: without a price per disc there are no items.
"""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from customer360.sample.columns import integers, money, numbered, times
from customer360.sample.manifest import SampleError, SampleFile, SampleManifest, claim_directory, write_manifest
from customer360.sample.truth import write_json
from customer360.sample.writing import FeedWriter

Extent = Literal["all", "sample"]
_FILES = {"all": "CDNOW_master.txt", "sample": "CDNOW_sample.txt"}


def convert_cdnow(out: Path, extent: Extent = "all") -> SampleManifest:
    """Write the log to ``out/history/orders`` as CSV, a file for each year, with manifest and totals.

    ``extent`` "sample" takes the 2,357 customers that the literature fits its models to. Raises SampleError where
    ``lifetimes`` is not installed or a line is not as expected.
    """
    source = _find(_FILES[extent])
    table, cents = _read(source)
    claim_directory(out)
    day = table.column("ordered_at").to_numpy().astype("datetime64[Y]")
    files = []
    for year in np.unique(day):
        path = out / "history" / "orders" / f"cdnow-{year}.csv"
        with FeedWriter(path, "csv") as writer:
            writer.write(table.filter(pa.array(day == year)))
        files.append(SampleFile("orders", str(path.relative_to(out)), 0, "loaded", writer.rows))
    totals = {
        "ids": {"orders": table.num_rows},
        "counts": {
            "orders_by_status": {"paid": table.num_rows},
            "customers": {
                "all": len(table.column("customer_id").unique()),
                "with_valid_order": len(table.filter(pa.array(cents > 0)).column("customer_id").unique()),
            },
            "orders": {"without_amount": int((cents == 0).sum())},
        },
        "money": {"USD": {"total_amount": str(Decimal(int(cents.sum())).scaleb(-2))}},
    }
    write_json(out / "truth" / "totals.json", totals)
    first, last = (table.column("ordered_at")[i].as_py() for i in _ends(table))
    manifest = SampleManifest(
        out=Path(out),
        source=f"lifetimes/{source.name}",
        seed=None,
        customers=totals["counts"]["customers"]["all"],
        start_at=first.replace(hour=0),
        end_at=last.replace(hour=0) + timedelta(days=1),
        fresh_from=last.replace(hour=0) + timedelta(days=1),
        has_faults=False,
        has_hard_identity=False,
        files=tuple(files),
        totals=totals,
    )
    write_manifest(manifest)
    return manifest


def _ends(table: pa.Table) -> tuple[int, int]:
    at = table.column("ordered_at").to_numpy()
    return int(at.argmin()), int(at.argmax())


def _find(name: str) -> Path:
    # The data are read without importing the package: its imports take seconds and are not needed.
    spec = importlib.util.find_spec("lifetimes")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        path = Path(place) / "datasets" / name
        if path.is_file():
            return path
    raise SampleError(
        "The CDNOW log is not here: it comes with the package lifetimes, which is not installed.",
        "make setup  (installs the development dependencies), or: uv pip install lifetimes",
    )


def _read(path: Path) -> tuple[pa.Table, np.ndarray]:
    """The log as an orders table, and the amounts in cents."""
    customers, seconds, discs, cents = [], [], [], []
    with path.open(encoding="ascii") as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.split()
            if not fields or fields[0] == "customer_id":
                continue
            try:
                # The sample's lines have the customer's number within the sample in second place.
                customer, day, count, amount = fields[0], *fields[-3:]
                at = datetime.strptime(day, "%Y%m%d").replace(hour=12, tzinfo=UTC)
                hundredths = Decimal(amount).scaleb(2)
                if hundredths != hundredths.to_integral_value() or hundredths < 0:
                    raise ValueError(amount)
                customers.append(customer)
                seconds.append(int(at.timestamp()))
                discs.append(int(count))
                cents.append(int(hundredths))
            except (ValueError, ArithmeticError) as error:
                raise SampleError(f"Line {number} of {path.name} is not an order: {line.strip()!r}") from error
    n = len(customers)
    when, amounts = np.array(seconds, dtype=np.int64), np.array(cents, dtype=np.int64)
    zero = np.zeros(n, dtype=np.int64)
    table = pa.table(
        {
            "order_id": numbered("", np.arange(1, n + 1)),
            "updated_at": times(when),
            "ordered_at": times(when),
            "status": pa.array(["paid"] * n),
            "currency": pa.array(["USD"] * n),
            "total_amount": money(amounts),
            "tax_amount": money(zero),
            "shipping_amount": money(zero),
            "customer_id": pa.array(customers),
            "number_of_cds": integers(np.array(discs, dtype=np.int64)),
        }
    )
    return table, amounts
