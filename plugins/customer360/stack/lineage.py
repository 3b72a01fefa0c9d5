"""Lineage: which table a task made of which tables and files, told to OpenLineage as the task ends.

What is told is what happened: the files that were loaded and the tables that a publication changed, each with the
tables that its models read. By default the events are appended to ``C360_HOME/lineage/events.jsonl``; another
transport is Airflow's own setting (``AIRFLOW__OPENLINEAGE__TRANSPORT``). A failure never fails a task: it is recorded
as one of a side product.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from customer360 import warehouse
from customer360.contract.feeds import FEEDS, RECORD_FEEDS
from customer360.settings import Settings
from customer360.warehouse.side_products import aside

if TYPE_CHECKING:
    from customer360.front_door.load import IngestSummary
    from customer360.publication.build import RunSummary

_EVENTS_BYTES = 50_000_000

# What the identity step reads and writes beside the models (docs: identity).
_IDENTITY_READS = (*(f"raw.{feed}" for feed in FEEDS), "state.customer_key_map")
_IDENTITY_WRITES = (
    "identity.customers",
    "identity.identifiers",
    *(f"identity.{feed.scope}_customers" for feed in RECORD_FEEDS.values()),
)


def events_file(settings: Settings) -> Path:
    """Where the events are by default: one JSON object a line."""
    return settings.home / "lineage" / "events.jsonl"


def of_load(settings: Settings, summary: IngestSummary) -> None:
    """Tell that files became rows of raw, and of the quarantine."""
    if not summary.loaded:
        return
    with aside(settings, "lineage"):
        for feed in sorted({batch.feed for batch in summary.loaded}):
            batches = [batch for batch in summary.loaded if batch.feed == feed]
            outputs = [f"raw.{feed}"] + ["quarantine.rows"] * any(batch.quarantined for batch in batches)
            files = [f"{settings.landing_url.rstrip('/')}/{feed}/{batch.file_name}" for batch in batches]
            _tell(settings, files, [], outputs)


def of_run(settings: Settings, summary: RunSummary) -> None:
    """Tell which tables a publication changed, one event for each, and what its models read."""
    from customer360.models import runner

    if not summary.tables:
        return
    with aside(settings, "lineage"):
        if summary.kind != "daily" and summary.batch_count:
            _tell(settings, [], list(_IDENTITY_READS), list(_IDENTITY_WRITES))
        read = runner.tables_read(settings)
        for name in sorted(summary.tables):
            _tell(settings, [], sorted(read.get(name, ())), [name])


def _tell(settings: Settings, files: list[str], inputs: list[str], outputs: list[str]) -> None:
    from airflow.providers.openlineage.api import emit_dataset_lineage
    from openlineage.client.event_v2 import Dataset

    parts = urlsplit(warehouse.url("oncall", settings))
    namespace = f"postgres://{parts.hostname}:{parts.port or 5432}"

    def table(name: str) -> Any:
        return Dataset(namespace=namespace, name=f"{parts.path.strip('/')}.{name}")

    emit_dataset_lineage(
        inputs=[*map(_file, files), *map(table, inputs)],
        outputs=[table(name) for name in outputs],
        raise_on_error=True,
    )


def _file(location: str) -> Any:
    from openlineage.client.event_v2 import Dataset

    scheme, separator, rest = location.partition("://")
    if not separator:
        return Dataset(namespace="file", name=location)
    bucket, _, key = rest.partition("/")
    return Dataset(namespace=f"{scheme}://{bucket}", name=key)


def rotate(settings: Settings) -> None:
    """Keep the default file small: one of up to 50 MB and the one before it."""
    path = events_file(settings)
    if path.exists() and path.stat().st_size > _EVENTS_BYTES:
        path.replace(path.with_suffix(".1.jsonl"))
