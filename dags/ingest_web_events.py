"""Takes landed web event files through the landing gate into raw.web_events.

**Runs on** a file that arrives in `landing/web_events` (an event within a second or so);
a run takes all that wait.
**Produces** `raw.web_events`, `quarantine.rows`, entries in `ops.batches`; wakes `build_customer_360`.
**Re-run** at any time, also twice at once: what is loaded is not loaded again.
**Broken?** `docs/runbooks/ingest_web_events.md`
"""

from datetime import timedelta

from airflow.sdk import dag, task

from customer360.airflow.assets import LANDED, RAW
from customer360.airflow.conventions import conventions


@dag(
    schedule=[LANDED["web_events"]],
    **conventions(__file__, __doc__, tags=["land", "gate", "load"], timeout=timedelta(minutes=30)),
)
def ingest_web_events():
    @task(outlets=[RAW["web_events"]])
    def load_web_events():
        from customer360.airflow.tasks import ingest_feed

        return ingest_feed("web_events")

    load_web_events()


ingest_web_events()
