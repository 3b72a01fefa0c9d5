"""The house rules of DAGs (style page), over every DAG there is."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from tests.dags.conftest import DAG_FILES, ROOT

STAGES = {"land", "gate", "load", "build", "publish"}
QUESTIONS = ("**Runs on**", "**Produces**", "**Re-run**", "**Broken?**")
# What makes an import slow; a task's child process imports its DAG file anew each time.
HEAVY = ("pandas", "numpy", "dbt", "great_expectations", "pyarrow", "sklearn", "scipy", "psycopg", "sqlalchemy.orm")


def test_there_are_dags_and_each_file_imports(dagbag: Any) -> None:
    assert DAG_FILES
    assert dagbag.import_errors == {}
    assert len(dagbag.dags) == len(DAG_FILES)


def test_every_dag_has_the_name_of_its_file_and_of_its_runbook(dags: dict[str, Any]) -> None:
    for dag_id, dag in dags.items():
        assert dag.fileloc == str(ROOT / "dags" / f"{dag_id}.py")
        assert (ROOT / "docs" / "runbooks" / f"{dag_id}.md").is_file(), f"{dag_id} has no runbook"


def test_every_dag_id_is_a_verb_and_a_thing(dags: dict[str, Any]) -> None:
    verbs = {
        "ingest", "build", "refresh", "sweep", "rebuild", "release", "replay", "hold", "unhold", "tidy", "fit", "back",
        "erase",
    }  # fmt: skip
    for dag_id in dags:
        assert dag_id.split("_")[0] in verbs, dag_id
        assert "_" in dag_id, dag_id


def waits_for_a_person(task: Any) -> bool:
    """Whether a task is an approval: it waits as long as its answer may take, beside others."""
    return hasattr(task, "response_timeout")


def test_every_task_has_an_owner_and_retries_with_back_off_and_a_timeout(dags: dict[str, Any]) -> None:
    tasks = [task for dag in dags.values() for task in dag.tasks]
    assert len(tasks) >= len(dags)
    for task in tasks:
        assert task.owner not in {"", "airflow"}, task
        assert task.retries >= 1, task
        assert task.retry_exponential_backoff > 1, task
        assert timedelta(0) < task.retry_delay <= task.max_retry_delay, task
        assert task.response_timeout if waits_for_a_person(task) else task.execution_timeout, task


def test_every_run_is_bounded_and_every_task_runs_once_at_a_time(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert dag.dagrun_timeout, dag
        limits = [task.response_timeout if waits_for_a_person(task) else task.execution_timeout for task in dag.tasks]
        assert dag.dagrun_timeout > max(limits), dag
        assert all(task.max_active_tis_per_dag == 1 for task in dag.tasks if not waits_for_a_person(task)), dag
        assert dag.catchup is False, dag
        assert dag.is_paused_upon_creation is False, dag


def test_no_dag_that_is_woken_can_be_stuck_at_its_limit_of_runs(dags: dict[str, Any]) -> None:
    # Airflow 3.3.2 may create no run for 30 s after the last of max_active_runs has ended.
    woken = [
        dag for dag in dags.values() if dag.timetable.can_be_scheduled or hasattr(dag.timetable, "asset_condition")
    ]
    assert len(woken) > 5
    for dag in woken:
        assert dag.max_active_runs > 1 or not dag.timetable.can_be_scheduled, dag


def test_every_docstring_answers_the_four_questions_and_is_what_airflow_shows(dags: dict[str, Any]) -> None:
    for dag_id, dag in dags.items():
        doc = ast.get_docstring(ast.parse((ROOT / "dags" / f"{dag_id}.py").read_text())) or ""
        positions = [doc.find(question) for question in QUESTIONS]
        assert -1 not in positions, f"{dag_id} leaves open {QUESTIONS[positions.index(-1)]}"
        assert positions == sorted(positions), dag_id
        assert f"docs/runbooks/{dag_id}.md" in doc, dag_id
        assert doc.split("\n")[0] in dag.doc_md, dag_id
        assert f"(/customer360/runbooks/{dag_id})" in dag.doc_md, dag_id


def test_every_dag_is_tagged_with_its_stages(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert dag.tags, dag
        assert dag.tags <= STAGES, dag


def test_every_task_id_is_a_verb_and_a_noun(dags: dict[str, Any]) -> None:
    ours = [task for dag in dags.values() for task in dag.tasks if not task.task_id.count(".")]
    assert ours
    assert all("_" in task.task_id for task in ours)


def test_dag_files_import_nothing_heavy() -> None:
    light = [
        path for path in DAG_FILES if path.stem != "rebuild_customer_360"
    ]  # Cosmos itself imports Airflow's models
    assert light
    program = (
        "import sys, json, runpy, airflow.sdk\n"
        "before = set(sys.modules)\n"
        f"for path in {[str(path) for path in light]!r}: runpy.run_path(path)\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(json.loads(run.stdout.splitlines()[-1]))
    assert "customer360.airflow.assets" in loaded
    assert not loaded & set(HEAVY)


def test_dag_files_do_not_import_each_other() -> None:
    names = {path.stem for path in DAG_FILES}
    for path in DAG_FILES:
        imports = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        assert imports
        for node in imports:
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not {module.split(".")[0] for module in modules} & (names | {"dags"}), path


def test_nothing_that_airflow_puts_on_the_path_is_taken_for_a_dbt_plugin() -> None:
    # dbt imports every top-level module on sys.path whose name starts with dbt_, from within each parse.
    names = [path.name for folder in ("dags", "plugins") for path in (ROOT / folder).glob("*.py")]
    assert names
    assert not [name for name in names if name.startswith("dbt_")]


def test_airflow_loads_the_plugin_and_not_the_package() -> None:
    from airflow._shared.module_loading import find_path_from_directory

    found = list(find_path_from_directory(str(ROOT / "plugins"), ".airflowignore", "glob"))
    assert [path.rsplit("/", 1)[1] for path in found if path.endswith(".py")] == ["airflow_plugin.py"]


@pytest.mark.parametrize("feed", ["orders", "web_sessions", "support_tickets"])
def test_an_arriving_file_wakes_its_ingest_and_that_wakes_the_build(dags: dict[str, Any], feed: str) -> None:
    ingest = dags[f"ingest_{feed}"]
    watched = ingest.timetable.asset_condition.objects
    assert [asset.name for asset in watched] == [f"landing.{feed}"]
    assert watched[0].watchers[0].trigger.feed == feed
    loaded = [outlet.name for task in ingest.tasks for outlet in task.outlets]
    assert loaded == [f"raw.{feed}"]
    awaited = {asset.name for asset in dags["build_customer_360"].timetable.asset_condition.objects}
    assert f"raw.{feed}" in awaited


def test_one_new_raw_table_is_enough_to_build(dags: dict[str, Any]) -> None:
    assert type(dags["build_customer_360"].timetable.asset_condition).__name__ == "AssetAny"


def test_the_sweep_can_wake_every_dag_that_waits_for_something(dags: dict[str, Any]) -> None:
    from customer360.airflow import assets

    wakeable = {asset.name for asset in (*assets.LANDED.values(), *assets.RAW.values())}
    wakeable |= {assets.DAILY_DUE.name, assets.FIT_DUE.name}
    awaited = {
        asset.name
        for dag in dags.values()
        if (condition := getattr(dag.timetable, "asset_condition", None)) is not None
        for asset in condition.objects
    }
    assert awaited
    assert awaited <= wakeable
