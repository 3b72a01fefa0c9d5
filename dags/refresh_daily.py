"""Makes the tables that depend on today's date: recency, tiers, stages, churn, cohorts, alerts.

**Runs on** the first minutes of each business day, and when something is published that the day's pass does not follow
yet: the day's first customers, a rebuild (of all tables, perhaps in another currency), a churn model.
**Produces** one publication: all daily tables of `marts`, for one `as_of_on`. After the first one, and after a
backfill, the past before it too (`marts.loyalty_tier_by_month` and its like).
**Re-run** at any time: the same day gives the same rows. A past `as_of_on` goes to the schema `asof_YYYYMMDD`.
**Broken?** `docs/runbooks/refresh_daily.md`
"""

from datetime import timedelta

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, Param, dag, task

from customer360.airflow.assets import DAILY_DUE, MARTS
from customer360.airflow.conventions import conventions
from customer360.settings import get_settings


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("5 0 * * *", timezone=get_settings().business_timezone), assets=[DAILY_DUE]
    ),
    params={
        "as_of_on": Param(
            None,
            type=["null", "string"],
            format="date",
            title="As of",
            description="Empty: the business date of today.",
        )
    },
    **conventions(__file__, __doc__, tags=["build", "gate", "publish"], timeout=timedelta(hours=1)),
)
def refresh_daily():
    @task(outlets=[MARTS])
    def build_daily(params=None):
        from customer360.airflow import tasks

        return tasks.build_daily(params["as_of_on"])

    @task
    def reconstruct_history():
        from customer360.airflow import tasks

        return tasks.reconstruct_history()

    build_daily() >> reconstruct_history()


refresh_daily()
