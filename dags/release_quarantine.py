"""Lets quarantined rows into raw: as they are, on a person's word, or from a corrected file.

**Runs on** demand only; "Trigger" asks which rows, or which file in `<landing>/corrections`, and why.
**Produces** a `release-…` batch per feed in `raw`, and wakes the build.
**Re-run** at any time: a row leaves the quarantine once.
**Broken?** `docs/runbooks/release_quarantine.md`
"""

from datetime import timedelta

from airflow.sdk import AssetAlias, Param, dag, task

from customer360.airflow.conventions import because, conventions, optional, optional_feed

ALIAS = "released_rows"


@dag(
    schedule=None,
    params={
        "because": because(),
        "quarantine_ids": Param(
            None,
            type=["null", "array"],
            items={"type": "integer", "minimum": 1},
            title="Rows",
            description="Numbers as `c360 quarantine list` shows them. What is empty does not narrow the choice.",
        ),
        "corrected_file": optional(
            "string",
            "Corrected file",
            pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,119}[.](csv|jsonl)$",
            description="Its name in the folder `corrections` of the landing zone; it names its rows itself, so leave "
            "all but the reason empty. Once all its rows are released it is removed.",
        ),
        "batch_id": optional("integer", "Batch", minimum=1),
        "feed": optional_feed(),
        "rule": optional("string", "Rule", pattern="^[a-z_]{1,60}$"),
        "field": optional("string", "Field", pattern="^[a-z_.()\\[\\]]{1,80}$"),
    },
    **conventions(__file__, __doc__, tags=["gate", "load"], timeout=timedelta(minutes=30)),
)
def release_quarantine():
    @task(outlets=[AssetAlias(ALIAS)])
    def release_rows(params=None):
        from customer360.airflow import tasks

        return tasks.release_rows(ALIAS, params)

    release_rows()


release_quarantine()
