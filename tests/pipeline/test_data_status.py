"""marts.data_status: how fresh and how complete each table is, with nothing of the product running."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from customer360 import warehouse
from customer360.contract.feeds import FEEDS
from customer360.front_door.load import ingest
from customer360.publication.build import build, published_tables
from customer360.publication.daily import refresh_daily
from customer360.settings import Settings
from tests.pipeline.front_door import drop, jsonl
from tests.pipeline.front_door import order as landed_order
from tests.pipeline.shop import load, load_all, order, rows, session

pytestmark = pytest.mark.builds


def status(settings: Settings, table: str) -> dict[str, Any]:
    """The row of a table as a reader sees it."""
    with warehouse.connect("bi_reader", settings) as connection:
        cursor = connection.execute("select * from marts.data_status where table_name = %s", [f"marts.{table}"])
        names = [column.name for column in cursor.description or ()]
        (row,) = cursor.fetchall()
        return dict(zip(names, row, strict=True))


def as_owner(settings: Settings, statement: str) -> None:
    with warehouse.connect("owner", settings) as connection:
        connection.execute(warehouse.query(statement))


def test_every_published_table_has_its_rows_counted_through_all_kinds_of_publication(shop: Settings) -> None:
    load_all(shop, [order("o9", customer_id="c9"), order("o4", customer_id="c1", version=9, total="1.00")])
    build(shop, "test")
    load_all(shop, [order("o9", customer_id="c9", version=3, deleted=True)])
    build(shop, "test")  # an order, its customer and their rows go
    refresh_daily(shop, trigger="test")
    counted = dict(rows(shop, "select table_name, row_count from marts.data_status"))
    names = {f"{table.schema}.{table.name}" for table in published_tables(shop)}
    assert names <= set(counted)
    for table, count in counted.items():
        assert rows(shop, f"select count(*) from {table}", "pii_reader") == [(count,)], table
    daily = status(shop, "customer_loyalty")
    assert (daily["is_daily"], daily["as_of_on"], daily["is_stale"]) == (True, shop.today(), False)
    assert status(shop, "fct_orders")["feeds"] == ["orders"]
    assert status(shop, "fct_orders")["as_of_on"] is None
    assert set(status(shop, "customer_360")["feeds"]) == set(FEEDS)


def test_what_waits_or_is_held_or_in_quarantine_is_said_with_its_money(shop: Settings) -> None:
    assert status(shop, "fct_orders")["is_complete"]
    load(shop, "orders", [order("w1", total="70.00"), order("w2", total="5.00", currency="EUR")])
    waiting = status(shop, "fct_orders")
    assert (waiting["is_complete"], waiting["waiting_row_count"]) == (False, 2)
    assert waiting["waiting_order_amounts"] == {"USD": 70, "EUR": 5}
    assert waiting["waiting_since"] is not None
    assert status(shop, "fct_sessions")["is_complete"], "another feed's table lacks nothing"
    assert status(shop, "customer_360")["waiting_row_count"] == 2

    as_owner(shop, "update ops.batches set state = 'held' where state = 'loaded'")
    held = status(shop, "fct_orders")
    assert (held["waiting_row_count"], held["held_row_count"], held["is_complete"]) == (0, 2, False)
    assert held["held_order_amounts"] == {"USD": 70, "EUR": 5}
    as_owner(shop, "update ops.batches set state = 'loaded' where state = 'held'")

    wrong = [landed_order(1, total_amount="-9.25"), landed_order(2, total_amount="nine"), landed_order(3)]
    drop(shop, "orders", "wrong.jsonl", jsonl(wrong))
    ingest(shop)
    build(shop, "test")
    aside = status(shop, "fct_orders")
    assert (aside["waiting_row_count"], aside["quarantined_row_count"], aside["is_complete"]) == (0, 2, False)
    assert aside["quarantined_order_amounts"] == {"USD": -9.25}
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(shop, "select count(*) from quarantine.rows")


def test_age_is_worked_out_when_it_is_read(shop: Settings) -> None:
    refresh_daily(shop, trigger="test")
    assert status(shop, "fct_orders")["stale_because"] == []
    # Nothing runs from here on but the reader. The feed stands still for two days; its objective is one.
    as_owner(shop, "update ops.batches set landed_at = landed_at - interval '2 days' where feed = 'orders'")
    late = status(shop, "fct_orders")
    assert late["is_stale"]
    (said,) = late["stale_because"]
    assert re.fullmatch(r"no file of orders has landed for (28|29)\d\d minutes; 1440 are allowed", said)
    assert not status(shop, "fct_sessions")["is_stale"]
    assert status(shop, "customer_360")["is_stale"], "it is made from orders too"

    load(shop, "web_sessions", [session("s9")])
    as_owner(shop, "update ops.batches set landed_at = now() - interval '20 minutes' where state = 'loaded'")
    (said,) = status(shop, "fct_sessions")["stale_because"]
    assert re.fullmatch(r"landed files have waited for 2\d minutes; 15 are allowed", said)

    as_owner(shop, "update ops.table_status set as_of_on = as_of_on - 3 where is_daily")
    (said,) = [why for why in status(shop, "customer_churn")["stale_because"] if "daily figures" in why]
    assert "1440 are allowed" in said


def test_the_gravest_open_incident_of_the_table_is_named(shop: Settings) -> None:
    as_owner(
        shop,
        """
        insert into ops.incidents (kind, dedupe_key, severity, summary, tables, runbook, command, closed_at) values
            ('feed_late', 'a', 'warning', 'Orders are late.', '{marts.fct_orders}', 'feed_late', 'c360 status', null),
            ('gate_failed', 'b', 'critical', 'The gate stops.', '{marts.fct_orders}', 'gate_failed', 'c360 run', null),
            ('gate_failed', 'c', 'critical', 'It was mended.', '{marts.fct_orders}', 'gate_failed', 'c360 run', now())
        """,
    )
    orders = status(shop, "fct_orders")
    assert len(orders["incident_ids"]) == 2
    assert (orders["incident_severity"], orders["incident_summary"]) == ("critical", "The gate stops.")
    sessions = status(shop, "fct_sessions")
    assert (sessions["incident_ids"], sessions["incident_severity"], sessions["incident_summary"]) == ([], None, None)
