"""The OpenLineage events of a real Airflow say which table was made of what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from customer360.stack.lineage import events_file
from tests.e2e.conftest import Shop, until

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]


def sources(path: Path) -> dict[str, set[str]]:
    """For each dataset that a task wrote, what it read for it; names without the database."""
    found: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        event = json.loads(line)
        for output in event["outputs"] if event["eventType"] == "RUNNING" else []:
            name = output["name"].partition(".")[2]
            found.setdefault(name, set()).update(one["name"].removeprefix("customer360.") for one in event["inputs"])
    return found


def test_events_name_the_true_inputs_and_outputs_of_tables(shop: Shop) -> None:
    # A build tells what it read when its task ends, a moment after its publication; the feeds may take several builds.
    told = events_file(shop.settings)
    tables = {"marts.fct_orders", "marts.fct_sessions", "marts.fct_tickets", "marts.customer_360"}
    until(lambda: told.exists() and tables <= set(sources(told)), 120, "every build tells its lineage")
    read = sources(told)
    assert any("/landing/orders/" in name for name in read["raw.orders"])
    assert not any("/landing/web_sessions/" in name for name in read["raw.orders"])
    assert {"raw.web_sessions", "identity.session_customers"} <= read["marts.fct_sessions"]
    assert "raw.orders" not in read["marts.fct_sessions"]
    assert {"raw.orders", "state.exchange_rates"} <= read["marts.fct_orders"]
    assert {"raw.orders", "raw.web_sessions", "raw.support_tickets"} <= read["marts.customer_360"]
