"""Lets a held batch back in.

**Runs on** demand only; "Trigger" asks which batch and why.
**Produces** the state `loaded` of the batch, and wakes the build, which takes its rows again.
**Re-run** at any time: a batch that is not held is left alone, and the task is skipped.
**Broken?** `docs/runbooks/unhold_batch.md`
"""

from datetime import timedelta

from airflow.sdk import AssetAlias, dag, task

from customer360.airflow.conventions import because, conventions, one_batch

ALIAS = "unheld_batch"


@dag(
    schedule=None,
    params={
        "batch_id": one_batch(),
        "because": because(),
    },
    **conventions(__file__, __doc__, tags=["gate", "build"], timeout=timedelta(minutes=30)),
)
def unhold_batch():
    @task(outlets=[AssetAlias(ALIAS)])
    def let_in_batch(params=None):
        from customer360.airflow import tasks

        return tasks.unhold_batch(ALIAS, params)

    let_in_batch()


unhold_batch()
