"""The build: what was loaded is published, once, whatever happens on the way."""

from __future__ import annotations

from customer360.build import build
from customer360.settings import Settings
from tests.pipeline.shop import load, load_all, order, rows, session, ticket


def test_loaded_batches_are_published_and_then_nothing_is_due(settings: Settings) -> None:
    load_all(settings, [order("o1", customer_id="c1"), session("s1", customer_id="c1"), ticket("t1", customer_id="c1")])
    summary = build(settings, "test")
    assert (summary.state, summary.batch_count) == ("succeeded", 3)
    assert rows(settings, "select order_count, session_count, ticket_count from marts.customer_360") == [(1, 1, 1)]
    assert rows(settings, "select distinct state, publication_id from ops.batches") == [
        ("published", summary.publication_id)
    ]
    assert build(settings, "test").state == "idle"
