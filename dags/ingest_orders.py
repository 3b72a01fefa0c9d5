"""Takes landed order files through the landing gate into raw.orders.

**Runs on** a file that arrives in `landing/orders` (an event within a second or so);
a run takes all that wait.
**Produces** `raw.orders`, `quarantine.rows`, entries in `ops.batches`; wakes `build_customer_360`.
**Re-run** at any time, also twice at once: what is loaded is not loaded again.
**Broken?** `docs/runbooks/ingest_orders.md`
"""

from datetime import timedelta

from airflow.sdk import dag, task

from customer360.airflow.assets import LANDED, RAW
from customer360.airflow.conventions import conventions


@dag(
    schedule=[LANDED["orders"]],
    **conventions(__file__, __doc__, tags=["land", "gate", "load"], timeout=timedelta(minutes=30)),
)
def ingest_orders():
    @task(outlets=[RAW["orders"]])
    def load_orders():
        from customer360.airflow.tasks import ingest_feed

        return ingest_feed("orders")

    load_orders()


ingest_orders()
