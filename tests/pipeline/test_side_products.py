"""Each side product is broken in turn: the run ends well and says so, and an incident opens until it is mended."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors, set_current_context
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from customer360 import warehouse
from customer360.airflow import tasks
from customer360.churn import fitting
from customer360.gates import data_docs, suites
from customer360.oncall import alerts, incidents, monitor
from customer360.oncall.metrics import WarehouseCounters
from customer360.oncall.monitor import look_once
from customer360.settings import Settings, get_settings
from customer360.warehouse.side_products import aside, failing
from tests.pipeline.front_door import drop, ingest_one, jsonl, order

Terminal = Callable[..., Callable[..., tuple[int, str, str]]]


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    """An installation whose folder is this test's alone; the server is the session's."""
    home = tmp_path / "home"
    home.mkdir()
    for path in settings.home.iterdir():
        if path.name not in {"data_docs", "data_docs.lock", "report", "churn", "lineage"}:
            (home / path.name).symlink_to(path)
    return settings.with_(home=home)


def open_incidents(settings: Settings) -> dict[str, str]:
    look_once(settings)
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        found = incidents.open_incidents(connection)
    return {row["dedupe_key"]: row["summary"] for row in found if row["kind"] == "side_product_failed"}


@pytest.mark.slow
def test_data_docs_that_cannot_be_made_stop_no_run(own: Settings, terminal_of: Terminal) -> None:
    typed = terminal_of(own, 200)
    drop(own, "orders", "a.jsonl", jsonl([order(1)]))
    (own.home / "data_docs.lock").mkdir()
    code, output, _ = typed("run")
    assert code == 0
    assert "Data Docs could not be made: IsADirectoryError" in output
    assert "c360 side-products" in output
    with warehouse.connect("bi_reader", own) as connection:
        assert warehouse.scalar(connection, "select count(*) from marts.fct_orders") == 1
    code, output, _ = typed("run", "--json")
    assert (code, json.loads(output)["side_products_failed"]) == (
        0,
        {"data_docs": "IsADirectoryError: Is a directory"},
    )
    assert list(open_incidents(own)) == ["side_product_failed:data_docs"]
    code, output, _ = typed("side-products")
    assert code == 1
    (own.home / "data_docs.lock").rmdir()
    code, output, _ = typed("side-products")
    assert (code, "Data Docs: up to date." in output) == (0, True)
    assert open_incidents(own) == {}


def test_a_file_with_more_new_fields_than_rows_is_loaded_and_reported(own: Settings, terminal_of: Terminal) -> None:
    """Data Docs failed on it in this and every later run."""
    typed = terminal_of(own, 200)
    drop(own, "orders", "a.jsonl", jsonl([order(1) | {"note": "call first", "gift": True, "colour": "red"}]))
    for _ in range(2):
        assert typed("run")[0] == 0
        assert failing(own) == {}
    pages = "".join(path.read_text() for path in data_docs.site(own).parent.rglob("*.html"))
    assert "every field is known" in pages
    with warehouse.connect("oncall", own) as connection:
        found = connection.execute(
            "select checked_count, unexpected_count from ops.gate_results where expectation = 'expect_no_unknown_field'"
        ).fetchall()
    assert found == [(1, 1)]


@examples(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)), min_size=1, max_size=4))
def test_what_is_kept_never_counts_more_unexpected_than_checked(
    settings: Settings, counts: list[tuple[int | None, int | None]]
) -> None:
    results = [
        suites.ExpectationOutcome(
            "raw", "raw.orders", f"e{place}", None, "warning", "failed", checked, unexpected, None
        )
        for place, (checked, unexpected) in enumerate(counts)
    ]
    with warehouse.connect("loader", settings) as connection:
        suites.record(connection, results)
        rows = connection.execute("select checked_count, unexpected_count from ops.gate_results").fetchall()
    assert all(unexpected is None or checked is None or unexpected <= checked for checked, unexpected in rows)
    data_docs.build_data_docs(settings)


@pytest.fixture
def task(own: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[OutletEventAccessors]:
    for name in ("home", "database", "landing"):
        monkeypatch.setenv(f"C360_{name.upper()}", str(getattr(own, name)))
    get_settings.cache_clear()
    events = OutletEventAccessors()
    run = SimpleNamespace(triggering_user_name="Dana", dag_id="sweep_landing", run_id="manual", run_type="manual")
    context: Any = {"dag_run": run, "outlet_events": events, "task_instance": SimpleNamespace(dag_id="d", task_id="t")}
    with set_current_context(context):
        yield events
    get_settings.cache_clear()


def test_the_sweep_wakes_the_dags_when_data_docs_cannot_be_made(own: Settings, task: OutletEventAccessors) -> None:
    drop(own, "orders", "a.jsonl", jsonl([order(1)]))
    (own.home / "data_docs.lock").mkdir()
    tasks.sweep("swept")
    assert [event.dest_asset_key.name for event in task[AssetAlias("swept")].asset_alias_events] == ["landing.orders"]
    assert list(open_incidents(own)) == ["side_product_failed:data_docs"]


@pytest.mark.usefixtures("task")
def test_a_load_whose_lineage_cannot_be_sent_ends_well(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", '{"type": "no such transport"}')
    drop(own, "orders", "a.jsonl", jsonl([order(1)]))
    assert "1" in tasks.ingest_feed("orders")
    assert list(open_incidents(own)) == ["side_product_failed:lineage"]


def test_a_channel_that_never_answers_is_an_incident_that_another_channel_carries(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = settings.with_(alert_webhook_url="http://127.0.0.1:1/hook", alert_group_seconds=0)
    ingest_one(settings, "orders", "a.csv", b"order_id\n1\n")
    for _ in range(3):
        assert "batch_refused" in {finding.kind for finding in look_once(wrong).findings}
        with warehouse.connect("owner", settings) as connection:
            connection.execute("update ops.alert_deliveries set next_try_at = now() - interval '1 s'")
    assert list(open_incidents(wrong)) == ["side_product_failed:alerts.webhook"]
    told = capsys.readouterr().out
    assert "batch_refused" in told
    assert "cannot be delivered to the webhook channel" in told
    assert open_incidents(settings) == {}, "a channel that is no longer configured is nobody's trouble"


def test_a_scrape_whose_counters_cannot_be_read_is_an_incident(settings: Settings) -> None:
    with warehouse.connect("owner", settings) as connection:
        connection.execute("alter table ops.freshness rename to freshness_gone")
    counters = WarehouseCounters(settings)
    up = next(iter(counters.collect()))
    assert [sample.value for sample in up.samples] == [0]
    with warehouse.connect("owner", settings) as connection:
        connection.execute("alter table ops.freshness_gone rename to freshness")
    assert list(open_incidents(settings)) == ["side_product_failed:metrics"]
    list(counters.collect())
    assert open_incidents(settings) == {}


def test_a_port_that_is_taken_leaves_the_monitor_looking(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = settings.with_(metrics_port=other.getsockname()[1], monitor_seconds=1)
        stop = threading.Event()
        watching = threading.Thread(target=monitor.watch, args=(taken, stop))
        watching.start()
        try:
            for _ in range(120):
                if stop.wait(0.5) or failing(settings):
                    break
            assert failing(settings) == {"metrics": "OSError: Address already in use"}
            assert watching.is_alive()
        finally:
            stop.set()
            watching.join(60)


def test_a_fit_whose_picture_cannot_be_drawn_keeps_its_version(own: Settings) -> None:
    (own.home / "churn").write_text("in the way")
    assert fitting._picture(own, 1, {}) is None
    assert list(open_incidents(own)) == ["side_product_failed:churn_picture"]


def test_ctrl_c_is_no_failure_of_a_side_product(settings: Settings) -> None:
    with pytest.raises(KeyboardInterrupt), aside(settings, "report"):
        raise KeyboardInterrupt
    assert failing(settings) == {}


def test_undelivered_alerts_are_counted_for_configured_channels_only(settings: Settings) -> None:
    assert alerts.undelivered(settings) == 0
