"""Takes landed support ticket files through the landing gate into raw.support_tickets.

**Runs on** a file that arrives in `landing/support_tickets` (an event within a second or so);
a run takes all that wait.
**Produces** `raw.support_tickets`, `quarantine.rows`, entries in `ops.batches`; wakes `build_customer_360`.
**Re-run** at any time, also twice at once: what is loaded is not loaded again.
**Broken?** `docs/runbooks/ingest_support_tickets.md`
"""

from datetime import timedelta

from airflow.sdk import dag, task

from customer360.airflow.assets import LANDED, RAW
from customer360.airflow.conventions import conventions


@dag(
    schedule=[LANDED["support_tickets"]],
    **conventions(__file__, __doc__, tags=["land", "gate", "load"], timeout=timedelta(minutes=30)),
)
def ingest_support_tickets():
    @task(outlets=[RAW["support_tickets"]])
    def load_support_tickets():
        from customer360.airflow.tasks import ingest_feed

        return ingest_feed("support_tickets")

    load_support_tickets()


ingest_support_tickets()
