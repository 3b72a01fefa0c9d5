"""Fit a version of the churn model from the warehouse, or judge one without keeping it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from customer360 import warehouse
from customer360.churn import protocol, versions
from customer360.churn.picture import draw
from customer360.churn.snapshots import WarehouseSource, scratch_schemas
from customer360.churn.statuses import FitStatus, PromotionDecision
from customer360.progress import Progress, Silent
from customer360.settings import Settings
from customer360.warehouse import scalar
from customer360.warehouse.run_log import told
from customer360.warehouse.side_products import aside


@dataclass(frozen=True)
class FitSummary:
    """What a fit came to."""

    run_id: int
    model_version: int
    as_of_on: date
    evaluation: dict[str, Any]
    picture: Path | None
    """None where it could not be drawn: the version is kept all the same."""

    @property
    def is_promoted(self) -> bool:
        """Whether the evaluation promoted this version."""
        return bool(self.evaluation["decision"] == PromotionDecision.PROMOTED.value)

    def __str__(self) -> str:
        primary = self.evaluation["primary"]
        if primary["auc"] is None:
            judged = primary["status"]
        else:
            judged = f"AUC {primary['auc']:.3f}, Brier {primary['brier']:.3f} on {primary['n']:,} customers"
        return f"churn model version {self.model_version}: {self.evaluation['decision']} ({judged})"


def fit(
    settings: Settings,
    trigger: str,
    *,
    as_of_on: date | None = None,
    horizon_days: int | None = None,
    test_at: date | None = None,
    progress: Progress | None = None,
) -> FitSummary:
    """Fit, calibrate, test, promote or keep; writes one version to schema state, published by the next daily pass.

    Args:
        as_of_on: the day that counts as today.
        horizon_days: another H from that day on; None keeps the one in force.
        test_at: the last snapshot; None for the latest possible.

    Raises:
        snapshots.NothingBuiltError, snapshots.SnapshotsBusyError, transform.ModelsFailedError: nothing was written.
    """
    today = as_of_on or settings.today()
    with _recorded(settings, trigger, today) as run_id:
        source = WarehouseSource(settings, today, run_id, progress)
        with warehouse.connect("transformer", settings) as connection:
            if horizon_days is not None:
                versions.set_horizon(connection, horizon_days, today)
            horizon = versions.horizon_in_force(connection, today)
        fitted, report = _fit_and_judge(settings, source, horizon, test_at, progress)
        with warehouse.connect("transformer", settings) as connection:
            version = versions.save(connection, fitted, as_of_on=today, run_id=run_id)
    report = {"model_version": version, "as_of_on": today.isoformat(), **report}
    return FitSummary(run_id, version, today, report, _picture(settings, version, report))


def evaluate(
    settings: Settings,
    *,
    as_of_on: date | None = None,
    horizon_days: int | None = None,
    test_at: date | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The report of a fit that is thrown away: nothing in the warehouse changes.

    One object per model under its name (primary, bgnbd, hiatus, frequency), each with auc, brier, ece, n, churn_rate
    and more; what cannot be told is None, and `status` says why.

    Raises:
        snapshots.NothingBuiltError, snapshots.SnapshotsBusyError, transform.ModelsFailedError
    """
    today = as_of_on or settings.today()
    with warehouse.connect("transformer", settings) as connection:
        horizon = horizon_days or versions.horizon_in_force(connection, today)
    source = WarehouseSource(settings, today, None, progress)
    _, report = _fit_and_judge(settings, source, horizon, test_at, progress)
    return {"as_of_on": today.isoformat(), **report}


def _picture(settings: Settings, version: int, report: dict[str, Any]) -> Path | None:
    """Draw the evaluation of a version beside the logs of the product."""
    path = settings.home / "churn" / f"version_{version}.svg"
    with aside(settings, "churn_picture") as attempt:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(draw(report))
    return None if attempt.failure else path


def _fit_and_judge(
    settings: Settings,
    source: WarehouseSource,
    horizon_days: int,
    test_at: date | None,
    progress: Progress | None,
) -> tuple[protocol.FittedVersion | versions.UnjudgedFit, dict[str, Any]]:
    # One thread: the fits are many and short, and beside a build on two processors threads that wait for each other
    # spin (a fit of 1,000 customers took 20.6 s of processor time with two threads, 2.5 s with one).
    with scratch_schemas(settings), threadpool_limits(limits=1):
        plan = protocol.plan_snapshots(source.first_ordered_on, source.last_complete_on, horizon_days, test_at)
        if plan is None:
            everybody = source.features(test_at or source.last_complete_on)
            orders = protocol.fit_order_models(everybody)
            unjudged = versions.UnjudgedFit(
                horizon_days,
                orders.bgnbd,
                orders.mbgnbd,
                protocol.fit_gammagamma(everybody),
                _what_is_missing(source, horizon_days),
            )
            return unjudged, _unjudged_report(unjudged, int(protocol.in_population(everybody).sum()))
        version = protocol.fit_version(source, plan, progress)
    (progress or Silent()).note(version.decision.value)
    return version, version.evaluation


def _what_is_missing(source: WarehouseSource, horizon_days: int) -> str:
    """Why nothing can be tested, and how much history would do."""
    first = source.first_ordered_on
    shortest = min(horizon_days, *protocol.SHORTER_HORIZONS_DAYS)
    needed = protocol.history_needed_days(shortest)
    if first is None:
        return f"Too little history: there is no order yet. A first test needs {needed} days of orders."
    known = max((source.last_complete_on - first).days, 0)
    missing = max(needed - known, 0)
    enough_on = source.as_of_on + timedelta(days=missing)
    return (
        f"Too little history: {known} days of orders are known, a first test (horizon of {shortest} days) needs"
        f" {needed}. It will be possible on {enough_on}, or as soon as {missing} days of older orders have landed with"
        " `c360 land orders FILE --history`."
    )


def _unjudged_report(fitted: versions.UnjudgedFit, population: int) -> dict[str, Any]:
    """The same shape as a report, with nothing known of accuracy."""
    unknown: dict[str, Any] = {
        "n": population,
        "churn_rate": None,
        "auc": None,
        "brier": None,
        "ece": None,
        "mean_predicted": None,
    }
    reason = FitStatus.TOO_LITTLE_HISTORY.value
    models: dict[str, Any] = {model: dict(unknown) for model in versions.MODELS}
    models["primary"] |= {"status": reason, "model": "bgnbd" if fitted.bgnbd.is_usable else "hiatus"}
    return {
        **models,
        "status": reason,
        "decision": PromotionDecision.NOT_FITTED.value,
        "bgnbd_status": fitted.bgnbd.status.value,
        "gammagamma_status": fitted.gammagamma.status.value,
        "horizon_days": fitted.requested_horizon_days,
        "requested_horizon_days": fitted.requested_horizon_days,
        "snapshots": [],
        "test_on": None,
        "ablation": [],
        "candidates": [],
        "test_days": {"days": []},
        "why": fitted.why,
    }


@contextlib.contextmanager
def _recorded(settings: Settings, trigger: str, as_of_on: date) -> Iterator[int]:
    """A row of ops.runs for the fit, closed however it ends. It takes no writer lock: builds go on meanwhile."""
    with warehouse.connect("transformer", settings, autocommit=True) as connection:
        run_id: int = scalar(
            connection,
            "insert into ops.runs (kind, trigger, as_of_on) values ('fit', %s, %s) returning run_id",
            [trigger, as_of_on],
        )
    state = "failed"
    reason: str | None = None
    next_step: str | None = None
    try:
        yield run_id
        state = "succeeded"
    except BaseException as error:
        reason, next_step = told(error), getattr(error, "next_step", None)
        raise
    finally:
        with warehouse.connect("transformer", settings, autocommit=True) as connection:
            connection.execute(
                "update ops.runs set state = %s, error = %s, next_step = %s, finished_at = clock_timestamp()"
                " where run_id = %s",
                [state, reason, next_step, run_id],
            )
