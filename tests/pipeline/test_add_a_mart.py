"""docs/add-a-mart.md and docs/change-a-threshold.md are followed to the letter, on a copy of the product."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from tests.pipeline.product_copy import ROOT, Copy, Page, copy_of_the_product
from tests.pipeline.shop import Record, order

MART, THRESHOLD = Page("add-a-mart.md"), Page("change-a-threshold.md")
TEA = {"sku": "t", "category": "tea", "quantity": 1, "unit_price": "100.00"}


@pytest.fixture
def copy() -> Iterator[Copy]:
    with copy_of_the_product() as made:
        yield made


def bought(order_id: str, when: datetime, customer_id: str) -> Record:
    """An order of tea of that moment."""
    moment = when.isoformat()
    return order(order_id, customer_id=customer_id, items=[TEA]) | {"ordered_at": moment, "updated_at": moment}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_question_becomes_a_published_documented_table_and_a_threshold_holds_from_its_date(copy: Copy) -> None:
    recent = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=40)
    days = [recent, datetime(2026, 5, 13, 12, tzinfo=UTC), datetime(2025, 10, 25, 12, tzinfo=UTC)]
    copy.land("orders.jsonl", *(bought(f"o{n}", day, "c1") for n, day in enumerate(days)))
    copy.run("c360 land orders orders.jsonl --history")
    copy.run("c360 run")
    copy.apply(MART)
    for command in MART.blocks("sh")[-1].splitlines():
        copy.run(command)
    (wanted,) = MART.blocks("sql")
    with psycopg.connect(copy.run("c360 url").strip()) as reader:
        found = reader.execute(wanted).fetchall()
        described = reader.execute("select obj_description('marts.category_months'::regclass)").fetchone()
    assert ("tea", recent.date().replace(day=1), 1, Decimal(100)) in found
    assert described is not None
    assert "One row per category and month" in described[0]
    assert "category_months" in (copy.folder / "docs" / "tables.md").read_text()
    assert copy.unit_tests("category_months") == 1

    copy.apply(THRESHOLD)
    now, before = THRESHOLD.blocks("sh")
    asked_now, asked_before = THRESHOLD.blocks("sql")
    copy.run(now)
    with psycopg.connect(copy.run("c360 url").strip()) as reader:
        assert reader.execute(asked_now).fetchall() == [(False,)]
    copy.run(before)
    with psycopg.connect(copy.run("c360 url").strip()) as reader:
        assert reader.execute(asked_before).fetchall() == [(True,)]


@pytest.mark.parametrize("name", ["add-a-mart.md", "change-a-threshold.md"])
def test_the_page_is_linked_from_the_front_door(name: str) -> None:
    assert f"docs/{name}" in (ROOT / "README.md").read_text()
