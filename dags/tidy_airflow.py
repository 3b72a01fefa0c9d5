"""Removes the records and task logs of Airflow's old runs, so that its database does not grow for ever.

**Runs on** the clock, every night at 03:20 UTC.
**Produces** nothing: runs older than C360_AIRFLOW_HISTORY_DAYS leave Airflow's database and the folder of task logs.
What happened to batches, runs and gates stays in `ops`.
**Re-run** at any time: what is gone is gone, and what a living run needs stays.
**Broken?** `docs/runbooks/tidy_airflow.md`
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag, task

from customer360.airflow.conventions import conventions


@dag(
    schedule=CronTriggerTimetable("20 3 * * *", timezone="UTC"),
    **conventions(__file__, __doc__, tags=["publish"], timeout=timedelta(hours=1)),
)
def tidy_airflow():
    @task
    def remove_old_runs():
        from customer360.airflow import tasks

        return tasks.tidy_airflow()

    remove_old_runs()


tidy_airflow()
