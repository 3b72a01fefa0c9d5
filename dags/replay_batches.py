"""Takes batches through the landing gate again from their files, and replaces what they brought in.

**Runs on** demand only; "Trigger" asks which batches and why.
**Produces** the rows of those batches in `raw` and the quarantine, anew, under the same numbers; wakes the build.
**Re-run** at any time: the same file gives the same rows.
**Broken?** `docs/runbooks/replay_batches.md`
"""

from datetime import timedelta

from airflow.sdk import AssetAlias, dag, task

from customer360.airflow.conventions import because, conventions, optional, optional_feed

ALIAS = "replayed_batches"


@dag(
    schedule=None,
    params={
        "because": because(),
        "batch_id": optional("integer", "Batch", minimum=1),
        "feed": optional_feed(),
        "since": optional("string", "Landed since", format="date-time"),
        "state": optional("string", "State", enum=[None, "failed", "refused", "loaded", "published", "held"]),
    },
    **conventions(__file__, __doc__, tags=["gate", "load"], timeout=timedelta(hours=2)),
)
def replay_batches():
    @task(outlets=[AssetAlias(ALIAS)])
    def load_again(params=None):
        from customer360.airflow import tasks

        return tasks.replay_batches(ALIAS, params)

    load_again()


replay_batches()
