"""What a person does through a form in Airflow: hold, let go, release; and what the forms refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AssetAlias
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, ParamValidationError
from airflow.sdk.execution_time.context import OutletEventAccessors, set_current_context

from customer360 import warehouse
from customer360.airflow import tasks
from customer360.front_door import landing, quarantine
from customer360.front_door.quarantine import Selection
from customer360.settings import Settings, get_settings
from tests.pipeline.front_door import assert_balanced, batches, ingest_one, jsonl, order, raw_rows

EMPTY = {"quarantine_ids": None, "batch_id": None, "feed": None, "rule": None, "field": None, "corrected_file": None}


@pytest.fixture
def task(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[OutletEventAccessors]:
    """A task that Dana has triggered; gives the events that it emits."""
    for name in ("home", "database", "landing"):
        monkeypatch.setenv(f"C360_{name.upper()}", str(getattr(settings, name)))
    get_settings.cache_clear()
    events = OutletEventAccessors()
    run = SimpleNamespace(triggering_user_name="Dana", dag_id="hold_batch", run_id="manual")
    context: Any = {"dag_run": run, "outlet_events": events, "task_instance": SimpleNamespace(dag_id="d", task_id="t")}
    with set_current_context(context):
        yield events
    get_settings.cache_clear()


def woken(events: OutletEventAccessors, alias: str) -> list[str]:
    return [event.dest_asset_key.name for event in events[AssetAlias(alias)].asset_alias_events]


def test_a_batch_is_held_and_let_go_and_the_build_is_woken(settings: Settings, task: OutletEventAccessors) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1)]))
    params = {"batch_id": 1, "because": "suspect"}
    assert "Batch 1 (orders/a.jsonl) is held" in tasks.hold_batch("held_batch", params)
    assert batches(settings)[0].state == "held"
    assert woken(task, "held_batch") == ["raw.orders"]
    with pytest.raises(AirflowSkipException, match="was held already"):
        tasks.hold_batch("held_batch", params)
    tasks.unhold_batch("unheld_batch", params)
    assert batches(settings)[0].state == "loaded"
    assert woken(task, "unheld_batch") == ["raw.orders"]
    with warehouse.connect("oncall", settings) as connection:
        told = connection.execute("select action, acted_by, because from ops.batch_actions order by 1").fetchall()
    assert told == [("hold", "Dana", "suspect"), ("unhold", "Dana", "suspect")]
    with pytest.raises(AirflowFailException, match="no batch 7"):
        tasks.hold_batch("held_batch", params | {"batch_id": 7})


def corrections(settings: Settings) -> Path:
    folder = Path(settings.landing_url) / landing.CORRECTIONS
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_corrected_file_is_released_and_removed_once_all_its_rows_are_in(
    settings: Settings, task: OutletEventAccessors
) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1, status="lost"), order(2, status="lost")]))
    path = corrections(settings) / "fixed.jsonl"
    with warehouse.connect("loader", settings) as connection:
        quarantine.export(connection, Selection(feed="orders"), path, who="Dana", why="to be corrected")
    lines = path.read_text()
    params = EMPTY | {"corrected_file": "fixed.jsonl", "because": "typo"}

    path.write_text(lines.replace("lost", "paid", 1))
    assert tasks.release_rows("released_rows", params).startswith("1 rows released; 1 stay")
    assert path.exists()
    path.write_text(lines.replace("lost", "paid"))
    tasks.release_rows("released_rows", params)
    assert not path.exists()
    assert sorted(raw_rows(settings, "orders", "order_id, status")) == [("o1", "paid"), ("o2", "paid")]
    assert "raw.orders" in woken(task, "released_rows")
    assert_balanced(settings)


@pytest.mark.usefixtures("task")
def test_a_corrected_file_that_is_elsewhere_a_link_or_gone_is_refused(settings: Settings, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text("{}")
    (corrections(settings) / "link.jsonl").symlink_to(secret)
    for name in ("link.jsonl", "gone.jsonl", "../../secret.jsonl", "a/b.jsonl", "line\nbreak.csv"):
        with pytest.raises(AirflowFailException, match=r"cannot be read|is refused"):
            tasks.release_rows("released_rows", EMPTY | {"corrected_file": name, "because": "typo"})
    (corrections(settings) / "fixed.jsonl").write_text("{}")
    both = EMPTY | {"corrected_file": "fixed.jsonl", "feed": "orders", "because": "both"}
    with pytest.raises(AirflowFailException, match="Give either"):
        tasks.release_rows("released_rows", both)
    assert secret.exists()


@pytest.mark.parametrize(
    ("dag_id", "good", "bad"),
    [
        ("hold_batch", {"batch_id": 3, "because": "suspect"},
         [{"batch_id": 0}, {"batch_id": "3; drop"}, {"batch_id": None}, {"because": "x"}, {"because": "y" * 501}]),
        ("unhold_batch", {"batch_id": 3, "because": "it was fine"}, [{"batch_id": -1}, {"because": ""}]),
        ("release_quarantine", {"because": "typo", "corrected_file": "fixed-2.csv"},
         [{"corrected_file": "../fixed.csv"}, {"corrected_file": "fixed.parquet"}, {"corrected_file": ".hidden.csv"},
          {"corrected_file": "a/b.csv"}, {"corrected_file": "{{ conn }}.csv"}, {"rule": "x; --"}]),
    ],
)  # fmt: skip
def test_a_form_takes_what_fits_and_nothing_else(dag_id: str, good: dict[str, Any], bad: list[dict[str, Any]]) -> None:
    """Fault 30."""
    from airflow.dag_processing.dagbag import DagBag

    root = Path(__file__).resolve().parents[2]
    params = DagBag(str(root / "dags" / f"{dag_id}.py")).dags[dag_id].params
    params.update(good)
    assert params.validate()["because"] == good["because"]
    for wrong in bad:
        tried = params.__class__({name: params.get_param(name) for name in params})
        with pytest.raises(ParamValidationError):
            _fill(tried, wrong)


def _fill(params: Any, values: dict[str, Any]) -> None:
    params.update(values)
    params.validate()
