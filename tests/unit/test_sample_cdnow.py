"""The CDNOW log becomes an orders feed to the cent and to the customer."""

from __future__ import annotations

import importlib.util
import json
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from customer360.sample import SampleError, convert_cdnow, load_manifest
from tests.unit.sample_rules import broken_rules, read_rows

LOG = Path(importlib.util.find_spec("lifetimes").submodule_search_locations[0]) / "datasets" / "CDNOW_master.txt"  # type: ignore[union-attr,index]


def test_the_feed_adds_up_to_the_log_to_the_cent_and_to_the_customer(tmp_path: Path) -> None:
    lines = [line.split() for line in LOG.read_text().splitlines()[1:]]
    manifest = convert_cdnow(tmp_path / "cdnow")
    rows = [row for file in manifest.history("orders") for row in read_rows(manifest.path(file)) if row]
    assert len(rows) == len(lines) == 69_659 == sum(file.rows for file in manifest.files)
    by_line = {int(row["order_id"]): row for row in rows}
    for number, (customer, day, discs, amount) in enumerate(lines, start=1):
        row = by_line[number]
        assert (row["customer_id"], row["number_of_cds"]) == (customer, discs)
        assert row["ordered_at"].replace("-", "").startswith(day)
        assert Decimal(row["total_amount"]) == Decimal(amount)
    assert len({row["customer_id"] for row in rows}) == 23_570 == manifest.customers
    assert len({row["customer_id"] for row in rows if Decimal(row["total_amount"]) > 0}) == 23_502
    assert Decimal(manifest.totals["money"]["USD"]["total_amount"]) == sum(Decimal(line[3]) for line in lines)
    assert manifest.totals["counts"]["orders"]["without_amount"] == 80
    assert all(broken_rules("orders", row, manifest.end_at) == set() for row in rows[::50])
    assert load_manifest(manifest.out) == manifest
    assert json.loads((manifest.out / "truth" / "totals.json").read_text()) == manifest.totals


def test_the_sample_has_the_customers_that_the_literature_fits(tmp_path: Path) -> None:
    manifest = convert_cdnow(tmp_path / "cdnow", extent="sample")
    assert manifest.customers == 2_357
    assert manifest.totals["ids"]["orders"] == 6_919


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lifetimes", None)
    with pytest.raises(SampleError, match="lifetimes") as caught:
        convert_cdnow(tmp_path / "cdnow")
    assert "make setup" in caught.value.next_step
    assert not (tmp_path / "cdnow").exists()
