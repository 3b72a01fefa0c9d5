"""Takes a loaded batch out of everything that is built, so that everybody else's data flows again.

**Runs on** demand only; "Trigger" asks which batch and why.
**Produces** the state `held` of the batch, and wakes the build, which makes its customers anew without it.
**Re-run** at any time: a batch that is held already is left alone, and the task is skipped.
**Broken?** `docs/runbooks/hold_batch.md`
"""

from datetime import timedelta

from airflow.sdk import AssetAlias, dag, task

from customer360.airflow.conventions import because, conventions, one_batch

ALIAS = "held_batch"


@dag(
    schedule=None,
    params={
        "batch_id": one_batch(),
        "because": because(),
    },
    **conventions(__file__, __doc__, tags=["gate", "build"], timeout=timedelta(minutes=30)),
)
def hold_batch():
    @task(outlets=[AssetAlias(ALIAS)])
    def take_out_batch(params=None):
        from customer360.airflow import tasks

        return tasks.hold_batch(ALIAS, params)

    take_out_batch()


hold_batch()
