"""What the tasks of the DAGs call: the plain functions of this package, with Airflow's words for their outcome.

Done is success. Nothing to do is skipped, so that no event wakes the next DAG for nothing. What cannot heal (a
refused model, a gate that says no) fails at once; what may heal (a lost connection, a full disk, a busy writer) is
left to Airflow's retries. A failed task's log ends with three lines: what, why, next.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import psycopg
from airflow.sdk import Asset, AssetAlias, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from customer360 import warehouse
from customer360.airflow.assets import DAILY_DUE, FIT_DUE, LANDED, RAW
from customer360.errors import Customer360Error, WarehouseUnavailableError
from customer360.progress import Logged
from customer360.settings import get_settings
from customer360.stack import lineage
from customer360.warehouse.side_products import aside

_log = logging.getLogger(__name__)

# Said by PostgreSQL through dbt, which hands on only the text.
_PASSING_TROUBLE = (
    "deadlock detected",
    "could not serialize",
    "server closed the connection",
    "terminating connection",
    "connection to server",
    "connection refused",
    "connection already closed",
    "no space left on device",
    "could not extend file",
    "lock timeout",
    "the database system is",
    "too many clients",
)


# Batches that were loaded while a build ran are built by the same task: the way by an event and another DAG run takes
# two seconds and more. Their events come all the same; the run that they wake finds nothing to do.
_GOES_ON_SECONDS = 60


class BatchesFailedError(Customer360Error):
    """Some batches of a feed could not be loaded, though others were."""


def ingest_feed(feed: str) -> str:
    """Gate and load every file of a feed that waits in the landing zone."""
    from customer360 import wake
    from customer360.front_door import load

    with told_plainly(), Logged() as progress:
        settings = get_settings()
        summary = load.ingest(settings, feed, progress)
        _log.info("%s", summary)
        lineage.of_load(settings, summary)
        for batch in summary.refused:
            _log.warning("Batch %s (%s) is refused: %s", batch.batch_id, batch.file_name, batch.error)
        if summary.failed:
            first = summary.failed[0]
            raise BatchesFailedError(
                f"{len(summary.failed)} batches of {feed} could not be loaded; {first.file_name}: {first.error}",
                f"Nothing of them is in raw, and the next run tries again; `c360 why {first.batch_id}` tells more.",
            )
        if not wake.has_unbuilt(settings, feed):
            raise AirflowSkipException(f"No loaded batch of {feed} waits to be built: {summary}")
        return str(summary)


def build_marts(alias: str) -> str:
    """Build and publish every loaded batch, and those that are loaded meanwhile.

    Through ``alias`` it says whether today's daily tables or a first fit are still to be made.
    """
    from customer360 import wake
    from customer360.churn import first_fit
    from customer360.publication import build

    with told_plainly(), Logged() as progress:
        settings = get_settings()
        began = time.monotonic()
        while True:
            summary = build.build(settings, run_name(), progress)
            _log.info("%s", summary)
            lineage.of_run(settings, summary)
            if time.monotonic() - began > _GOES_ON_SECONDS or not wake.has_unbuilt(settings):
                break
        # The first fit wakes the daily pass itself.
        due = [DAILY_DUE] if wake.is_daily_due(settings) and not first_fit.is_awaited(settings) else []
        due += [FIT_DUE] if first_fit.is_due(settings) else []
        _emit(alias, due)
        return str(summary)


def build_daily(as_of_on: str | None) -> str:
    """Make the daily tables of today, or of a past day in that day's own schema."""
    from datetime import date

    from customer360 import wake
    from customer360.publication import daily

    with told_plainly(), Logged() as progress:
        settings = get_settings()
        day = date.fromisoformat(as_of_on) if as_of_on else None
        if _is_woken_by_event() and not wake.is_daily_due(settings):
            raise AirflowSkipException("Today's daily tables were made since this run was woken.")
        summary = daily.refresh_daily(settings, as_of_on=day, trigger=run_name(), progress=progress)
        _log.info("%s", summary)
        lineage.of_run(settings, summary)
        return str(summary)


def reconstruct_history() -> str:
    """Work out the past before the first daily pass, if that is missing or older than a backfill."""
    from customer360.publication import reconstruction

    with told_plainly(), Logged() as progress:
        settings = get_settings()
        if not reconstruction.is_due(settings):
            raise AirflowSkipException("The past before the first daily pass stands, or C360_HISTORY_MONTHS is 0.")
        with aside(settings, "history") as attempt:
            reconstruction.reconstruct(settings, progress=progress)
        return str(attempt) if attempt.failure else "The past before the first daily pass is worked out."


def back_up() -> str:
    """Make a backup, if the schedule wants one."""
    from customer360.backup import take

    with told_plainly(), Logged() as progress:
        settings = get_settings()
        if not take.is_due(settings):
            raise AirflowSkipException("No backup is due: C360_BACKUP_URL, C360_BACKUP_HOURS and ops.backups say when.")
        made = take.take(settings, trigger=run_name(), progress=progress)
        _log.info("%s", made)
        return str(made)


def tidy_airflow() -> str:
    """Remove old records and logs of Airflow itself."""
    from customer360.stack import tidying

    with told_plainly():
        tidied = tidying.tidy_airflow(get_settings())
        if tidied.before is None:
            raise AirflowSkipException(f"Removed {tidied}.")
        _log.info("Removed: %s", tidied)
        return str(tidied)


def sweep(alias: str) -> str:
    """Wake, through ``alias``, each DAG for which something waits that no event has announced; renew Data Docs."""
    from customer360 import wake
    from customer360.gates.data_docs import build_data_docs

    with told_plainly():
        waiting = wake.what_waits(get_settings())
        _log.info("Waiting: %s", waiting)
        assets = [LANDED[feed] for feed in waiting.files_of] + [RAW[feed] for feed in waiting.batches_of]
        if waiting.is_daily_due:
            assets.append(DAILY_DUE)
        if waiting.is_fit_due:
            assets.append(FIT_DUE)
        _emit(alias, assets)
        with aside(get_settings(), "data_docs"):  # here, once a minute, and not between a landing and its publication
            build_data_docs(get_settings())
        return str(waiting)


def release_rows(alias: str, params: dict[str, Any]) -> str:
    """Let quarantined rows in, as they are or from a corrected file; through ``alias`` wake the build.

    A corrected file lies in the landing zone's folder ``corrections`` and is removed once all its rows have left.
    """
    from customer360.front_door import landing, quarantine

    chosen = quarantine.Selection(
        ids=tuple(params["quarantine_ids"] or ()),
        batch_id=params["batch_id"],
        feed=params["feed"],
        rule=params["rule"],
        field=params["field"],
    )
    name = params["corrected_file"]
    with told_plainly(), contextlib.ExitStack() as stack:
        settings = get_settings()
        outcome = quarantine.release(
            settings,
            who=_who(),
            why=params["because"],
            corrected=stack.enter_context(landing.correction(settings, name)) if name else None,
            selection=None if name and chosen.is_everything else chosen,
        )
        if name and not outcome.still_bad:
            landing.remove_correction(settings, name)
        _log.info("%s", outcome)
        for quarantine_id, reasons in outcome.still_bad.items():
            _log.warning("Row %s stays: %s", quarantine_id, "; ".join(reason.message for reason in reasons))
        if not outcome.released:
            raise AirflowSkipException(str(outcome))
        _emit(alias, list(RAW.values()))
        return str(outcome)


def replay_batches(alias: str, params: dict[str, Any]) -> str:
    """Process batches again from their files; through ``alias`` wake the build."""
    from datetime import datetime

    from customer360.front_door import replay

    with told_plainly():
        summary = replay.replay(
            get_settings(),
            who=_who(),
            why=params["because"],
            batch_id=params["batch_id"],
            feed=params["feed"],
            since=datetime.fromisoformat(params["since"]) if params["since"] else None,
            state=params["state"],
        )
        _log.info("%s", summary)
        for batch_id, reason in summary.impossible.items():
            _log.warning("Batch %s cannot be processed again: %s", batch_id, reason)
        if not summary.batches:
            raise AirflowSkipException(str(summary))
        _emit(alias, [RAW[feed] for feed in sorted({batch.feed for batch in summary.batches})])
        return str(summary)


def hold_batch(alias: str, params: dict[str, Any]) -> str:
    """Take a batch out of staging; through ``alias`` wake the build."""
    from customer360.front_door import replay

    return _switch_batch(alias, params, replay.hold, "held")


def unhold_batch(alias: str, params: dict[str, Any]) -> str:
    """Let a held batch back into staging; through ``alias`` wake the build."""
    from customer360.front_door import replay

    return _switch_batch(alias, params, replay.unhold, "let go")


def _switch_batch(alias: str, params: dict[str, Any], switch: Callable[..., bool], done: str) -> str:
    from customer360.front_door import ledger

    batch_id = params["batch_id"]
    with told_plainly():
        settings = get_settings()
        if not switch(settings, batch_id, who=_who(), why=params["because"]):
            raise AirflowSkipException(f"Batch {batch_id} was {done} already.")
        with warehouse.connect("oncall", settings, autocommit=True) as connection:
            batch = ledger.batch(connection, batch_id)
        assert batch is not None  # noqa: S101 - it was switched a moment ago
        _emit(alias, [RAW[batch.feed]])
        told = f"Batch {batch_id} ({batch.feed}/{batch.file_name}) is {done}; the build follows."
        _log.info("%s", told)
        return told


def plan_erasure(params: dict[str, Any]) -> str:
    """What the erasure that a request asks for would remove, in words without the person, for who approves it."""
    from customer360.erasure import requests

    with told_plainly():
        try:
            certificate = requests.plan(get_settings(), params["request_id"])
        except requests.RequestError as error:
            raise AirflowSkipException(str(error)) from None
    lines = [f"- {place}: {count:,}" for place, count in certificate.removed.items()]
    return "\n".join(["It would remove:", "", *lines] if lines else ["Nothing of the person is here now."])


def erase_person(params: dict[str, Any]) -> str:
    """Erase the person of a request that was approved."""
    from customer360.erasure import requests

    answer: Any = get_current_context()["ti"].xcom_pull(task_ids="approve_erasure") or {}
    approved_by = (answer.get("responded_by_user") or {}).get("name") or "somebody through Airflow"
    with told_plainly(), Logged() as progress:
        certificate = requests.fulfil(
            get_settings(),
            params["request_id"],
            who=f"{_who()}, approved by {approved_by}",
            why=params["because"],
            progress=progress,
        )
    return f"Erasure {certificate.erasure_id} is finished: {certificate.count:,} rows, entries and files."


def _who() -> str:
    """The person who started this run by hand."""
    run: Any = get_current_context()["dag_run"]
    return getattr(run, "triggering_user_name", None) or "somebody through Airflow"


def _emit(alias: str, assets: list[Asset]) -> None:
    outlet = get_current_context()["outlet_events"][AssetAlias(alias)]
    for asset in assets:
        outlet.add(asset)


def run_name() -> str:
    """Which run of which DAG this is, for ops.runs."""
    run: Any = get_current_context()["dag_run"]
    return f"{run.dag_id} {run.run_id}"


def _is_woken_by_event() -> bool:
    run: Any = get_current_context()["dag_run"]
    return run.run_type == "asset_triggered"


@contextlib.contextmanager
def told_plainly() -> Iterator[None]:
    """Log a failure as what, why and next, and let Airflow retry only what may heal."""
    try:
        yield
    except Customer360Error as error:
        task = get_current_context()["task_instance"]
        _log.error("What: %s.%s failed", task.dag_id, task.task_id)
        _log.error("Why:  %s", error)
        _log.error("Next: %s", error.next_step or f"c360 why; docs/runbooks/{task.dag_id}.md")
        if may_heal(error):
            raise
        raise AirflowFailException(str(error)) from error


def may_heal(error: BaseException) -> bool:
    """Whether the same step may succeed when it is simply tried again a little later."""
    from customer360.publication.publish import PublicationWaitsError
    from customer360.warehouse.run_log import GateBlockedError, RunFencedError

    passing = (
        BatchesFailedError,
        WarehouseUnavailableError,
        warehouse.WriterBusyError,
        PublicationWaitsError,
        RunFencedError,
    )
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, GateBlockedError):
            return False
        if isinstance(seen, (*passing, psycopg.OperationalError, OSError)):
            return True
        text = str(seen).lower()
        if any(trouble in text for trouble in _PASSING_TROUBLE):
            return True
        seen = seen.__cause__
    return False


def fit_model(as_of_on: str | None, horizon_days: int | None) -> str:
    """Fit, judge, promote or keep; the daily pass that this wakes publishes the version and scores with it."""
    from customer360.churn import first_fit, fitting

    with told_plainly(), Logged() as progress:
        run: Any = get_current_context()["dag_run"]
        if _is_woken_by_event() and not first_fit.is_due(get_settings()):
            raise AirflowSkipException("The churn model was fitted since this run was woken.")
        summary = fitting.fit(
            get_settings(),
            f"{run.dag_id} {run.run_id}",
            as_of_on=date.fromisoformat(as_of_on) if as_of_on else None,
            horizon_days=horizon_days,
            progress=progress,
        )
        _log.info("%s", summary)
        if summary.picture:
            _log.info("Picture: /customer360/churn/%s in Airflow, or %s", summary.model_version, summary.picture)
        return str(summary)
