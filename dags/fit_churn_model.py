"""Fits the churn model on snapshots of the past, tests it once, and promotes it unless a fallback is better.

**Runs on** Monday nights, on demand, and as soon as the history suffices for a first fit or for a longer horizon.
**Produces** one version with its evaluation; the daily pass that it wakes publishes it and scores with it.
**Re-run** at any time: each run is a version of its own, and only a better one serves.
**Broken?** `docs/runbooks/fit_churn_model.md`
"""

from datetime import timedelta

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, Param, dag, task

from customer360.airflow.assets import DAILY_DUE, FIT_DUE
from customer360.airflow.conventions import conventions
from customer360.settings import get_settings


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("30 1 * * 1", timezone=get_settings().business_timezone), assets=[FIT_DUE]
    ),
    params={
        "as_of_on": Param(
            None,
            type=["null", "string"],
            format="date",
            title="As of",
            description="Empty: the business date of today.",
        ),
        "horizon_days": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Horizon",
            description="Days without an order that count as churn, from now on. Empty: as it is.",
        ),
    },
    **conventions(__file__, __doc__, tags=["build"], timeout=timedelta(hours=2)),
)
def fit_churn_model():
    @task(outlets=[DAILY_DUE])
    def fit_model(params=None):
        from customer360.airflow import tasks

        return tasks.fit_model(params["as_of_on"], params["horizon_days"])

    fit_model()


fit_churn_model()
