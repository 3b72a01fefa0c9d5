"""What all DAGs have in common: who owns them, how they retry, where their runbook is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Param

from customer360.contract.feeds import FEEDS

OWNER = "data-platform"
# Not max_active_runs=1: at the limit Airflow 3.3.2 keeps a flag on the DAG that its dag processor and its scheduler
# both write. When they cross, no run is created for up to 30 s although none is active (measured: a landed batch
# waited 39 s). So runs may wait, and the limit is on the task; a waiting run takes all there is when its turn comes.
WAITING_RUNS = 16
RUNBOOK_PAGE = "/customer360/runbooks/{dag_id}"


def conventions(
    file: str, doc: str | None, *, tags: list[str], timeout: timedelta, runs: int = WAITING_RUNS
) -> dict[str, Any]:
    """The arguments of ``@dag`` that every DAG of this project passes.

    ``file`` is the DAG's ``__file__``, whose name is the DAG's id; ``doc`` its docstring, shown as its documentation;
    ``timeout`` bounds a task. A run is bounded by what its retries may take: a run that hangs for ever would keep
    the next ones from starting. A task runs once at a time, however many runs of its DAG wait for it.

    What may heal (a lost connection, a full disk, a busy writer) is tried again after 5, 10, 20 and 40 s; what
    cannot heal fails at once (:mod:`customer360.airflow.tasks`), and the sweep comes back to work that was left.
    """
    dag_id = Path(file).stem
    return {
        "dag_id": dag_id,
        "doc_md": f"{doc or ''}\n\n[Runbook]({RUNBOOK_PAGE.format(dag_id=dag_id)})",
        "tags": tags,
        "catchup": False,
        "max_active_runs": runs,
        "is_paused_upon_creation": False,
        "dagrun_timeout": 3 * timeout,
        "default_args": {
            "owner": OWNER,
            "retries": 4,
            "retry_delay": timedelta(seconds=5),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=2),
            "execution_timeout": timeout,
            "max_active_tis_per_dag": 1,
        },
    }


def optional(kind: str, title: str, **rules: Any) -> Param:
    """A parameter that may be left empty, and is checked by Airflow before the run starts if it is not."""
    return Param(None, type=["null", kind], title=title, **rules)


def because() -> Param:
    """The reason that a person gives for a run that changes what is built."""
    return Param(type="string", minLength=3, maxLength=500, title="Because", description="Goes on record.")


def one_batch() -> Param:
    """The batch that a run is about."""
    return Param(type="integer", minimum=1, title="Batch", description="Its number as `c360 status` shows it.")


def optional_feed() -> Param:
    """The feed that a run is narrowed to, or none."""
    return optional("string", "Feed", enum=[None, *FEEDS])
