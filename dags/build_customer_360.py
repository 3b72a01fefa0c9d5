"""Builds what changed, checks it, and publishes it to marts.

**Runs on** any of the raw tables growing; a run takes every loaded batch of every feed.
**Produces** one publication: the touched rows of every live table in `marts`.
**Re-run** at any time, also twice at once: one writer at a time, and an idle run publishes nothing.
**Broken?** `docs/runbooks/build_customer_360.md`
"""

from datetime import timedelta

from airflow.sdk import AssetAlias, dag, task

from customer360.airflow.assets import MARTS, RAW
from customer360.airflow.conventions import conventions

DAILY_ALIAS = "daily_due_after_build"


@dag(
    schedule=(RAW["orders"] | RAW["web_sessions"] | RAW["support_tickets"]),
    **conventions(__file__, __doc__, tags=["build", "gate", "publish"], timeout=timedelta(hours=1)),
)
def build_customer_360():
    @task(outlets=[MARTS, AssetAlias(DAILY_ALIAS)])
    def build_marts():
        from customer360.airflow import tasks

        return tasks.build_marts(DAILY_ALIAS)

    build_marts()


build_customer_360()
