"""The rebuild in single models on a real Airflow: it ends, and a rebuild of what is right changes nothing."""

from __future__ import annotations

import pytest

from customer360 import wake, warehouse
from tests.e2e.conftest import Shop, until

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(1800)]


def last_publication(shop: Shop) -> tuple[str, dict[str, object]]:
    with warehouse.connect("oncall", shop.settings) as connection:
        row = connection.execute(
            "select kind, tables from ops.publications where kind <> 'daily' order by publication_id desc limit 1"
        ).fetchone()
    assert row
    return row[0], row[1]


def test_a_rebuild_model_by_model_changes_no_row_of_what_is_right(shop: Shop) -> None:
    until(lambda: not wake.is_daily_due(shop.settings), 300, "the day's tables are made")
    shop.pause("sweep_landing")
    try:
        run_id = shop.api.trigger("rebuild_customer_360")
        assert shop.api.wait_for_run("rebuild_customer_360", run_id, 1200) == "success"
    finally:
        shop.pause("sweep_landing", paused=False)
    tasks = shop.api.get(f"/dags/rebuild_customer_360/dagRuns/{run_id}/taskInstances", limit=100)["task_instances"]
    assert len(tasks) > 15, "one task per model"
    assert {task["state"] for task in tasks} == {"success"}
    kind, changes = last_publication(shop)
    assert kind == "rebuild"
    assert changes == {}, "built whole, the tables are what their increments gave"


def test_files_flow_again_after_a_rebuild(shop: Shop) -> None:
    shop.until_done([shop.land("orders")], 300)
