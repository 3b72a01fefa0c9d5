"""Makes a backup of the warehouse and the landed files, encrypted, in the place that C360_BACKUP_URL names.

**Runs on** the clock, every hour; it is skipped while the last good backup is younger than C360_BACKUP_HOURS.
**Produces** a backup that `c360 restore` brings back, and a row of `ops.backups`; the oldest are removed.
**Re-run** at any time: it is skipped unless a backup is due. Builds wait while the database is dumped.
**Broken?** `docs/runbooks/back_up_warehouse.md`
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag, task

from customer360.airflow.conventions import conventions


@dag(
    schedule=CronTriggerTimetable("40 * * * *", timezone="UTC"),
    **conventions(__file__, __doc__, tags=["publish"], timeout=timedelta(hours=3)),
)
def back_up_warehouse():
    @task
    def back_up_database():
        from customer360.airflow import tasks

        return tasks.back_up()

    back_up_database()


back_up_warehouse()
