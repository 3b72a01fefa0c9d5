"""What the task of the DAG fit_churn_model calls."""

from __future__ import annotations

import logging
from datetime import date
from typing import Any

from airflow.sdk import get_current_context

from customer360.airflow_tasks import told_plainly
from customer360.churn import fitting
from customer360.progress import Logged
from customer360.settings import get_settings

_log = logging.getLogger(__name__)


def fit_model(as_of_on: str | None, horizon_days: int | None) -> str:
    """Fit, judge, promote or keep; the daily pass that this wakes publishes the version and scores with it."""
    with told_plainly(), Logged() as progress:
        run: Any = get_current_context()["dag_run"]
        summary = fitting.fit(
            get_settings(),
            f"{run.dag_id} {run.run_id}",
            as_of_on=date.fromisoformat(as_of_on) if as_of_on else None,
            horizon_days=horizon_days,
            progress=progress,
        )
        _log.info("%s", summary)
        _log.info("Picture: /customer360/churn/%s in Airflow, or %s", summary.model_version, summary.picture)
        return str(summary)
