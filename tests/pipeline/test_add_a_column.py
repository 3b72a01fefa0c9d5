"""docs/add-a-column.md is followed to the letter, on a copy of the product that has published a shop before."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from tests.pipeline.product_copy import Copy, Page, copy_of_the_product
from tests.pipeline.shop import order

pytestmark = pytest.mark.builds

PAGE = Page("add-a-column.md")


@pytest.fixture
def copy() -> Iterator[Copy]:
    with copy_of_the_product() as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_field_of_a_feed_becomes_a_published_documented_column(copy: Copy) -> None:
    copy.land("before.jsonl", order("o1", customer_id="c1", payment_method="card"))
    copy.run("c360 land orders before.jsonl")
    copy.run("c360 run")
    copy.apply(PAGE)
    copy.land("orders.jsonl", order("o2", customer_id="c1", delivery_method="locker"))
    for command in PAGE.blocks("sh")[0].splitlines():
        copy.run(command)

    (wanted,) = PAGE.blocks("sql")
    with psycopg.connect(copy.run("c360 url").strip()) as reader:
        assert reader.execute(wanted).fetchall() == [("o2", "locker")]
        assert reader.execute("select order_id, payment_method from marts.fct_orders order by 1").fetchall() == [
            ("o1", "card"),
            ("o2", None),
        ]
        described = "select col_description('marts.fct_orders'::regclass, attnum) from pg_attribute where attname = %s"
        comments = reader.execute(described, ["delivery_method"]).fetchall()
        assert any("home, pickup or locker" in (text or "") for (text,) in comments)
    for page in ("tables.md", "feeds.md"):
        assert "delivery_method" in (copy.folder / "docs" / page).read_text()
    assert copy.unit_tests("fct_orders") >= 3

    copy.land("wrong.jsonl", order("o3", customer_id="c1", delivery_method="drone"))
    copy.run("c360 land orders wrong.jsonl")
    copy.run("c360 run")
    # A value that cannot be used costs an optional field, and not its order.
    (unusable,) = json.loads(copy.run("c360 status --json || test $? = 1"))["unusable"]
    assert (unusable["field"], unusable["rule"], unusable["row_count"]) == ("delivery_method", "choice", 1)
