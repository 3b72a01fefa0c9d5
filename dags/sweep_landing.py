"""Finds what no event announced, every minute, and wakes the DAG that it waits for.

**Runs on** the clock, every minute; by hand for a look at once.
**Produces** events only: for files that the ledger does not know, for loaded batches that nobody builds,
for today's daily tables.
**Re-run** at any time: it reads, and an event too many costs one idle run.
**Broken?** `docs/runbooks/sweep_landing.md`
"""

from datetime import timedelta

from airflow.sdk import AssetAlias, CronTriggerTimetable, dag, task

from customer360.airflow.conventions import conventions

ALIAS = "found_by_sweep"


@dag(
    schedule=CronTriggerTimetable("* * * * *", timezone="UTC"),
    **conventions(__file__, __doc__, tags=["land", "load", "build"], timeout=timedelta(minutes=5)),
)
def sweep_landing():
    @task(outlets=[AssetAlias(ALIAS)])
    def wake_what_waits():
        from customer360.airflow.tasks import sweep

        return sweep(ALIAS)

    wake_what_waits()


sweep_landing()
