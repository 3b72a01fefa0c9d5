"""Conditions of Airflow itself, read from its database, so that they are found when its API server is away too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from psycopg.rows import dict_row

from customer360 import warehouse
from customer360.contract.feeds import FEEDS
from customer360.oncall.conditions import EVERY_TABLE, Finding, blind
from customer360.settings import Settings
from customer360.warehouse import query

# Airflow's processes write a heartbeat every 5 s; its own health check calls them dead after 30.
SILENT_SECONDS = 60
# From its start until its first heartbeat a process needs half a minute, on a busy machine more.
STARTING_SECONDS = 150
# A task that failed for good is often healed by the next run, which the sweep starts within a minute.
SETTLE_SECONDS = 90

# What a failed task of a DAG is a mere consequence of.
_CAUSES_OF: dict[str, tuple[str, ...]] = {
    "build_customer_360": ("run_failed:build", "gate_failed:build", "run_stuck:", "component_silent:"),
    "rebuild_customer_360": ("run_failed:build", "gate_failed:build", "run_stuck:", "component_silent:"),
    "refresh_daily": ("run_failed:daily", "gate_failed:daily", "run_stuck:", "component_silent:"),
    "fit_churn_model": ("run_failed:fit", "churn_model_kept", "component_silent:"),
    "sweep_landing": ("component_silent:",),
    **{f"ingest_{feed}": ("batch_failed:", "component_silent:") for feed in FEEDS},
}

_COMPONENTS = {"SchedulerJob": "scheduler", "TriggererJob": "triggerer", "DagProcessorJob": "dag-processor"}


def look_or_say_why(settings: Settings) -> list[Finding]:
    """What is wrong with Airflow, or that it cannot be looked at: its database may be away."""
    try:
        return look_at_airflow(settings)
    except Exception as error:  # whatever it is, a look that failed must not read as "all is well"
        return [blind("airflow", error, "c360 up")]


def look_at_airflow(settings: Settings) -> list[Finding]:
    """What is wrong with a stack that is meant to be up; nothing where Airflow was not started or was stopped."""
    from customer360.stack import processes

    if not processes.is_meant_to_run(settings):
        return []
    findings: list[Finding] = []
    with closing(warehouse.admin(settings, database=warehouse.airflow_database_name(settings))) as connection:
        connection.row_factory = dict_row  # type: ignore[assignment]

        def rows(statement: str) -> list[dict[str, Any]]:
            return connection.execute(query(statement)).fetchall()  # type: ignore[return-value]

        starting = {
            name for name in processes.COMPONENTS if processes.seconds_since_start(settings, name) < STARTING_SECONDS
        }
        findings.extend(found for found in _silent_components(rows) if found.evidence["component"] not in starting)
        findings.extend(_failed_tasks(rows))
        findings.extend(_import_errors(rows))
    if "api-server" not in starting and not _answers(settings):
        findings.append(_silent("api-server", None))
    return findings


def _answers(settings: Settings) -> bool:
    """Whether the API server answers; a busy one is asked three times, for up to 15 s."""
    from customer360.stack import processes

    return any(processes.silent_seconds(settings, "api-server") is not None for _ in range(3))


def _silent_components(rows: Any) -> Iterator[Finding]:
    beats = {
        row["job_type"]: row["seconds"]
        for row in rows(
            """
            select job_type, extract(epoch from now() - max(latest_heartbeat))::bigint as seconds
            from job group by job_type
            """
        )
    }
    for job_type, component in _COMPONENTS.items():
        seconds = beats.get(job_type)
        if seconds is None or seconds > SILENT_SECONDS:
            yield _silent(component, seconds)


def _silent(component: str, seconds: int | None) -> Finding:
    since = "does not answer" if seconds is None else f"has not shown a heartbeat for {seconds} s"
    return Finding(
        "component_silent",
        f"component_silent:{component}",
        "critical",
        f"Airflow's {component} {since}",
        "c360 up",
        EVERY_TABLE,
        {"component": component, "seconds": seconds},
    )


def _failed_tasks(rows: Any) -> Iterator[Finding]:
    """A task failed for good in the newest ended run of its DAG: a killed task is found like any other.

    What the run itself has told in ops.runs, the batches in the ledger, or a silent component explains, is one cause
    and opens one incident: theirs.
    """
    for row in rows(
        f"""
        with ended as (
            select dag_id, run_id, state, coalesce(end_date, updated_at) as ended_at from dag_run
            where state in ('success', 'failed')),
        newest as (select distinct on (dag_id) * from ended order by dag_id, ended_at desc),
        since as (
            select n.dag_id, min(e.ended_at) as failing_since
            from newest as n join ended as e using (dag_id)
            where e.state = 'failed' and e.ended_at > coalesce(
                (select max(g.ended_at) from ended as g where g.dag_id = n.dag_id and g.state = 'success'), '-infinity')
            group by n.dag_id)
        select n.dag_id, n.run_id, ti.task_id, ti.try_number
        from newest as n join since as s using (dag_id) join task_instance as ti using (dag_id, run_id)
        where n.state = 'failed' and ti.state = 'failed' and s.failing_since < now() - interval '{SETTLE_SECONDS} s'
        """
    ):
        yield Finding(
            "task_failed",
            f"task_failed:{row['dag_id']}.{row['task_id']}",
            "critical" if row["dag_id"] in {"build_customer_360", "refresh_daily"} else "warning",
            f"Task {row['dag_id']}.{row['task_id']} failed for good after {row['try_number']} tries",
            f"c360 airflow tasks clear --yes --only-failed {row['dag_id']}",
            EVERY_TABLE,
            {"dag_id": row["dag_id"], "run_id": row["run_id"], "task_id": row["task_id"]},
            follows=_CAUSES_OF.get(row["dag_id"], ()),
        )


def _import_errors(rows: Any) -> Iterator[Finding]:
    for row in rows("select filename, stacktrace from import_error"):
        last = (row["stacktrace"] or "").strip().splitlines()
        yield Finding(
            "dag_broken",
            f"dag_broken:{row['filename']}",
            "critical",
            f"DAG file {row['filename']} does not import: {last[-1][:300] if last else 'no message'}",
            "c360 airflow dags list-import-errors",
            EVERY_TABLE,
            {"file": row["filename"]},
        )
