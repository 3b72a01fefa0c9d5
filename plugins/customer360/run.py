"""``c360 run``: everything that is pending, through every stage, in this process, without Airflow."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from customer360 import wake
from customer360.churn import first_fit
from customer360.errors import Customer360Error
from customer360.front_door.load import IngestSummary, ingest
from customer360.gates.data_docs import build_data_docs
from customer360.progress import Progress, Silent
from customer360.publication import reconstruction
from customer360.publication.build import RunSummary, build
from customer360.publication.daily import refresh_daily
from customer360.receiver import landing_files
from customer360.settings import Settings
from customer360.warehouse.side_products import Attempt, aside


@dataclass
class Summary:
    """What was loaded, and the runs that were made of it."""

    loaded: IngestSummary
    runs: list[RunSummary] = field(default_factory=list)
    side_products_failed: list[Attempt] = field(default_factory=list)
    """What could not be made beside the tables; it makes no run a failure."""

    @property
    def is_complete(self) -> bool:
        """Whether every file that waited was brought in."""
        return not self.loaded.failed and not self.loaded.refused

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "is_complete": self.is_complete,
            "batches": [asdict(batch) for batch in self.loaded.batches],
            "runs": [run.as_json() for run in self.runs],
            "side_products_failed": {one.product: one.failure for one in self.side_products_failed},
        }


def run_everything(
    settings: Settings,
    as_of: date | None = None,
    progress: Progress | None = None,
    *,
    full_refresh: bool = False,
    trigger: str = "c360 run",
) -> Summary:
    """Load what waits, build it, make the daily tables if the date is new, and with ``as_of`` that past day's too.

    What waits in the spool of webhooks lands first; a spool that cannot be read stops nothing else.

    Raises:
        Customer360Error: a stage did not succeed; what it had to do stays due.
    """
    progress = progress or Silent()
    try:
        landing_files.land_waiting(settings)
    except Customer360Error as error:
        progress.note(str(error))
    summary = Summary(ingest(settings, progress=progress))
    summary.runs.append(build(settings, trigger, progress, full_refresh=full_refresh))
    if first_fit.is_due(settings):
        _fit(settings, trigger, progress)
    if wake.is_daily_due(settings):
        summary.runs.append(refresh_daily(settings, trigger=trigger, progress=progress))
    if as_of is not None and as_of != settings.today():
        summary.runs.append(refresh_daily(settings, as_of, trigger=trigger, progress=progress))
    if reconstruction.is_due(settings):
        with aside(settings, "history") as attempt:
            reconstruction.reconstruct(settings, progress=progress)
        if attempt.failure:
            summary.side_products_failed.append(attempt)
    progress.stage("data docs")
    with aside(settings, "data_docs") as attempt:
        build_data_docs(settings)
    if attempt.failure:
        summary.side_products_failed.append(attempt)
    return summary


def _fit(settings: Settings, trigger: str, progress: Progress) -> None:
    """The first fit of the churn model. It never stops the data: a failed one is an incident of its own."""
    from customer360.churn import fitting

    progress.stage("churn model")
    try:
        progress.note(str(fitting.fit(settings, trigger, progress=progress)))
    except Customer360Error as error:
        progress.note(f"no churn model yet: {error}")
