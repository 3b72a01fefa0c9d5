"""The daily pass: everything that depends on the date or on everybody else, for one date that all tables share.

It reads the live candidate tables, so that they must be published as they are: what a build left undone is done first,
and while the candidate gate blocks a build, yesterday's figures stay (docs/decisions/0002).
"""

from __future__ import annotations

from datetime import date

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.kill_points import reach
from customer360.progress import Progress, Silent
from customer360.publication import customer_history, loyalty_journals
from customer360.publication.build import RunSummary, build, published_tables, stepping
from customer360.publication.publication_gates import check_candidate, check_marts
from customer360.publication.publish import publish
from customer360.settings import Settings
from customer360.warehouse import scalar
from customer360.warehouse.run_log import Run, recorded

# What the daily pass publishes beside the models' tables.
JOURNALS = (*loyalty_journals.TABLES, customer_history.TABLE)


class DailyOrderError(Customer360Error):
    """The daily pass cannot be made now, or not for this date."""


def refresh_daily(
    settings: Settings, as_of_on: date | None = None, *, trigger: str = "c360", progress: Progress | None = None
) -> RunSummary:
    """Build, check and publish the daily tables of ``as_of_on`` (default: today's business date).

    A pass is a function of the records and the date: repeating it gives the same rows. A past date goes to a schema
    of its own and never to marts (:mod:`customer360.publication.copies`).

    Raises:
        DailyOrderError: the date is ahead, or a build is not finished.
        GateBlockedError, transform.ModelsFailedError, publish.PublicationWaitsError: nothing was published.
    """
    progress = progress or Silent()
    today = settings.today()
    day = as_of_on or today
    if day > today:
        raise DailyOrderError(f"{day} is ahead: today is {today} in {settings.business_timezone}.", "Name a past date.")
    if day < today:
        from customer360.publication.copies import build_as_of

        return build_as_of(settings, day, trigger=trigger, progress=progress)
    if _has_unpublished_work(settings):
        build(settings, trigger, progress)
    with recorded(settings, "daily", trigger, as_of_on=day) as run:
        if not scalar(run.lock, "select exists (select from ops.publications)"):
            run.state = "idle"  # an empty warehouse has no figures of the day; the first publication wakes the pass
            return RunSummary.of(run)
        if _has_unpublished_work(settings):
            raise DailyOrderError(
                "A build is not finished, and the daily tables are made from what it left.",
                "Run `c360 run`; it finishes the build and then makes the daily tables.",
            )
        return _refresh(settings, run, day, progress)


def _refresh(settings: Settings, run: Run, day: date, progress: Progress) -> RunSummary:
    from customer360.models import runner

    variables = {"as_of_on": day.isoformat()}
    run.mark("claimed")
    progress.stage("daily models")
    # Whole, and so without the dirty keys: customer_360 is live too.
    runner.run_models(
        settings, "tag:daily", run_id=run.run_id, full_refresh=True, variables=variables, progress=stepping(progress)
    )
    run.mark("built")
    reach("daily.built")
    tables = published_tables(settings)
    check_candidate(settings, run, tables, kind="daily", progress=progress)
    progress.stage("journals")
    progress.note(str(loyalty_journals.record(settings, day)))
    progress.note(str(customer_history.record(settings, day)))
    tables += JOURNALS
    run.mark("checked")
    publication = publish(settings, tables, run_id=run.run_id, kind="daily", as_of_on=day, progress=progress)
    loyalty_journals.create_balance_view(settings)
    run.mark("published")
    check_marts(settings, run, publication, kind="daily", progress=progress)
    return RunSummary.of(run, publication)


def _has_unpublished_work(settings: Settings) -> bool:
    """Whether candidate holds what is not published: dirty keys, or a whole build that was cut off."""
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        return bool(
            scalar(
                connection,
                """
                select exists (select from ops.dirty) or (
                    not exists (select from ops.live_build) and exists (select from ops.visible_batches))
                """,
            )
        )
