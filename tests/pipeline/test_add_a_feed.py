"""docs/add-a-feed.md is followed to the letter, on a copy of the product that has published a shop before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.pipeline.product_copy import ROOT, Copy, Page, copy_of_the_product
from tests.pipeline.shop import Record, at, order

pytestmark = pytest.mark.builds

PAGE = Page("add-a-feed.md")
ABOUT_A_DOZEN = 13


def returned(return_id: str, order_id: str, *, day: float = 5, **fields: Any) -> Record:
    """Goods of an order that came back."""
    return {"return_id": return_id, "updated_at": at(day), "returned_at": at(5), "order_id": order_id, **fields}


@pytest.fixture
def copy() -> Iterator[Copy]:
    with copy_of_the_product() as made:
        yield made


def test_a_feed_touches_about_a_dozen_files() -> None:
    touched = [line for block in PAGE.blocks("diff") for line in block.splitlines() if line.startswith("+++ ")]
    assert len(touched) == len(set(touched)) == ABOUT_A_DOZEN


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_fourth_feed_is_published_gated_documented_and_monitored(copy: Copy) -> None:
    copy.land("before.jsonl", order("o1", customer_id="c1"), order("o1", customer_id="c2", source="b"))
    copy.run("c360 land orders before.jsonl")
    copy.run("c360 run")
    copy.apply(PAGE)
    copy.land(
        "returns.jsonl",
        returned("r1", "o1", reason="size"),
        returned("r1", "o1", source="b"),
        returned("r2", "nowhere", email="ann@example.org"),
        returned("r3", "o1"),
        returned("r3", "o1", day=6, deleted=True),
    )
    for command in PAGE.blocks("sh")[-1].splitlines():
        copy.run(command)

    (wanted,) = PAGE.blocks("sql")
    url = copy.run("c360 url").strip()
    with psycopg.connect(url) as reader:
        assert sorted(reader.execute(wanted).fetchall(), key=str) == [
            ("r1", "size", "o1", True),
            ("r1", None, "o1", True),
            ("r2", None, None, None),
        ]
        facts = reader.execute("select return_key, customer_key is null from marts.fct_returns order by 1").fetchall()
        assert facts == [("b/r1", False), ("r1", False), ("r2", False)]
        described = "select obj_description('marts.fct_returns'::regclass)"
        assert reader.execute(described).fetchone() == (
            "One row per return, with the customer whose order it belongs to.",
        )
    for page in ("tables.md", "feeds.md"):
        assert "return_id" in (copy.folder / "docs" / page).read_text()
    assert copy.unit_tests("fct_returns") == 1

    # A correction moves its row alone, a bad row steps aside, and a feed that has fallen silent is an incident.
    copy.land(
        "more.jsonl",
        returned("r2", "o1", day=7, reason="wrong"),
        returned("r4", "o1", reason="mood"),
        returned("r5", "o1", returned_at=None),
    )
    copy.run("c360 land returns more.jsonl")
    copy.run("c360 run")
    with psycopg.connect(copy.run("c360 url").strip()) as reader:
        corrected = "select order_key, reason from marts.fct_returns where return_key = 'r2'"
        assert reader.execute(corrected).fetchall() == [("o1", "wrong")]
    listed = json.loads(copy.run("c360 quarantine list --json"))["groups"]
    assert [(group["feed"], group["field"]) for group in listed] == [("returns", "returned_at")]
    (unusable,) = json.loads(copy.run("c360 status --json || test $? = 1"))["unusable"]
    assert (unusable["feed"], unusable["field"], unusable["row_count"]) == ("returns", "reason", 1)
    with psycopg.connect(copy.run("c360 url --role owner").strip()) as owner:
        owner.execute("update ops.batches set landed_at = now() - interval '5 days' where feed = 'returns'")
    copy.run("c360 monitor --once || test $? = 1")
    with psycopg.connect(copy.run("c360 url --role owner").strip()) as owner:
        late = "select tables from ops.incidents where dedupe_key = 'feed_late:returns' and closed_at is null"
        assert owner.execute(late).fetchone() is not None


def test_the_page_is_linked_from_the_front_door() -> None:
    assert "docs/add-a-feed.md" in (ROOT / "README.md").read_text()
