"""Erases the person of a request, once somebody has approved what would go.

**Runs on** demand only; "Trigger" asks for the number of a request (`c360 erase requests`) and why.
**Produces** a certificate in `state.erasures`; published tables without the person, with the same totals.
**Re-run** at any time: what was cut off is finished, and a request that is closed is left alone.
**Broken?** `docs/runbooks/erase_person.md`
"""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag, task

from customer360.airflow.conventions import because, conventions


@dag(
    schedule=None,
    params={
        "request_id": Param(
            type="integer", minimum=1, title="Request", description="Its number as `c360 erase requests` shows it."
        ),
        "because": because(),
    },
    **conventions(__file__, __doc__, tags=["land", "load", "build", "publish"], timeout=timedelta(days=1)),
)
def erase_person():
    @task
    def plan_erasure(params=None):
        from customer360.airflow import tasks

        return tasks.plan_erasure(params)

    approve = ApprovalOperator(
        task_id="approve_erasure",
        subject="Erase the person of request {{ params.request_id }}?",
        body="{{ ti.xcom_pull(task_ids='plan_erasure') }}",
        response_timeout=timedelta(days=2),
        max_active_tis_per_dag=None,  # a request that waits for its answer holds up no other
    )

    @task
    def remove_person(params=None):
        from customer360.airflow import tasks

        return tasks.erase_person(params)

    plan_erasure() >> approve >> remove_person()


erase_person()
