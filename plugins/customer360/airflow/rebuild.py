"""The rebuild in single models: a full refresh that a person can watch, and retry model by model.

A run of the DAG is many processes, and none of them may hold the writer lock while the others work. So each model is
built under the lock by its own task, and other builds may come in between. That is harmless: a model built whole
from consistent tables gives what its increments give (architecture, principle 2). When the rebuild starts it takes back
``ops.live_build``, so that any other build that comes in between builds everything whole and publishes it: then
there is nothing left to publish in the end.
"""

from __future__ import annotations

import contextlib
import logging
import os
from datetime import timedelta
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from customer360 import warehouse
from customer360.airflow.tasks import run_name, told_plainly
from customer360.models import model_graph
from customer360.models.fingerprint import PROJECT, contract_for_models, live_fingerprint, settings_for_models
from customer360.progress import Logged
from customer360.publication.build import build
from customer360.settings import get_settings

_log = logging.getLogger(__name__)
_held: list[contextlib.ExitStack] = []


def model_group(group_id: str, select: str) -> Any:
    """A task group with one task per model of a dbt selection, each building its model whole."""
    from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
    from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior

    settings = get_settings()
    return DbtTaskGroup(
        group_id=group_id,
        project_config=ProjectConfig(
            dbt_project_path=PROJECT,
            manifest_path=model_graph.manifest(settings),
            install_dbt_deps=False,
            dbt_vars=contract_for_models() | settings_for_models(settings),
        ),
        profile_config=ProfileConfig(
            profile_name="customer360", target_name="warehouse", profiles_yml_filepath=PROJECT / "profiles.yml"
        ),
        execution_config=ExecutionConfig(execution_mode=ExecutionMode.LOCAL, invocation_mode=InvocationMode.DBT_RUNNER),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            select=[select],
            # Rules of the data are the gates' business, those of the models the tests'.
            test_behavior=TestBehavior.NONE,
            emit_datasets=False,
        ),
        operator_args={
            "full_refresh": True,
            "install_deps": False,
            "pre_execute": hold_writer_lock,
            "post_execute": release_writer_lock,
            "execution_timeout": timedelta(minutes=30),
        },
    )


def hold_writer_lock(context: Any) -> None:
    """Before a model's task: queue with the other writers, and let dbt in as transformer."""
    from customer360.models import runner

    with told_plainly():
        settings = get_settings()
        lock = contextlib.ExitStack()
        lock.enter_context(warehouse.writer_lock(settings, who=f"rebuild of {context['task_instance'].task_id}"))
        _held.append(lock)
        os.environ.update(runner.dbt_environment(settings))


def release_writer_lock(context: Any, result: Any = None) -> None:
    """After a model's task. Of one that failed the process ends, which frees the lease too."""
    while _held:
        _held.pop().close()


def begin_rebuild() -> str:
    """Claim every loaded batch and say that all tables are to be built anew.

    Where nothing was ever built there is nothing to rebuild: that first build is made at once, and the rest skipped.
    """
    from customer360.publication.build import claim
    from customer360.warehouse.run_log import recorded

    with told_plainly(), Logged() as progress:
        settings = get_settings()
        with warehouse.connect("oncall", settings, autocommit=True) as connection:
            is_built = warehouse.scalar(connection, "select exists (select from ops.publications)")
        if not is_built:
            summary = build(settings, run_name(), progress)
            raise AirflowSkipException(f"Nothing was built before, so this was the first build. {summary}")
        with recorded(settings, "rebuild", f"{run_name()} begins") as run:
            work = claim(settings, run, live_fingerprint(settings), full_refresh=True)
            run.state = "idle"  # what it claimed is published by the run that ends the rebuild
        return f"{work.batch_count} batches claimed; every table is to be built"


def resolve_identity() -> str:
    """Resolve who is who from nothing, over what staging holds now; work out the exchange rates that it needs."""
    from customer360 import identity
    from customer360.exchange import rates

    with told_plainly():
        settings = get_settings()
        with (
            warehouse.writer_lock(settings, who="rebuild of identity"),
            warehouse.connect("transformer", settings, application_name="customer360 identity") as connection,
        ):
            delta = identity.resolve(connection, full=True, settings=settings)
            rates.refresh(connection, settings, whole=True, sources_changed=True)
            connection.commit()
        return f"{delta.customers} customers"


def publish_rebuild() -> str:
    """Check and publish what the tasks before have built; build what else has become due."""
    from customer360.publication import build as building
    from customer360.warehouse.run_log import recorded

    with told_plainly(), Logged() as progress:
        settings = get_settings()
        with recorded(settings, "rebuild", run_name()) as run:
            if not _is_only_ours(run.lock):
                run.state = "idle"
            else:
                return str(building.publish_whole(settings, run, progress))
        # Another build came in between: it has published everything, or has left work that needs a build of its own.
        return str(build(settings, run_name(), progress))


def _is_only_ours(lock: warehouse.Connection) -> bool:
    """Whether the tables hold what this rebuild claimed and nothing that another run has begun since.

    A build that failed in between may have staged batches whose identity was never resolved.
    """
    return bool(
        warehouse.scalar(
            lock,
            """
            with begun as (select max(run_id) as run_id from ops.runs where kind = 'rebuild' and trigger = %s)
            select not exists (select from ops.live_build) and not exists (
                select from ops.runs, begun
                where runs.run_id > begun.run_id and kind in ('build', 'rebuild') and state not in ('idle', 'running')
            )
            """,
            [f"{run_name()} begins"],
        )
    )
