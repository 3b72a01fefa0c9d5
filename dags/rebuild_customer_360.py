"""Builds every live table anew, one task per model, for a person who wants to see and retry single models.

**Runs on** demand only: after a repair, or when a changed model fails and one wants to see which.
**Produces** one publication with the rows that differ, if any do; a rebuild of what is right changes nothing.
**Re-run** at any time, also a single model; other builds may come in between.
**Broken?** `docs/runbooks/rebuild_customer_360.md`
"""

from datetime import timedelta

from airflow.sdk import chain, dag, task

from customer360.airflow import rebuild
from customer360.airflow.assets import MARTS
from customer360.airflow.conventions import conventions


@dag(
    schedule=None,
    **conventions(__file__, __doc__, tags=["build", "gate", "publish"], timeout=timedelta(hours=1), runs=1),
)
def rebuild_customer_360():
    @task
    def claim_batches():
        return rebuild.begin_rebuild()

    @task
    def resolve_identity():
        return rebuild.resolve_identity()

    @task(outlets=[MARTS])
    def publish_marts():
        return rebuild.publish_rebuild()

    chain(
        claim_batches(),
        rebuild.model_group("staging", "tag:staging"),
        resolve_identity(),
        rebuild.model_group("models", "tag:live"),
        publish_marts(),
    )


rebuild_customer_360()
