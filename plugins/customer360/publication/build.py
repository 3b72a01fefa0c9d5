"""The build: everything that was loaded becomes one published version, or nothing does.

claim → staging → identity → models → candidate gate → publish → marts gate, under the one-writer lock. Each step
leaves what it did where the next run finds it: claimed batches and dirty keys stay until the publication clears them
in its own transaction, so that what a run that failed, was killed or was blocked had to do is done by the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from customer360 import warehouse
from customer360.contract.feeds import FEEDS
from customer360.errors import Customer360Error
from customer360.exchange import rates
from customer360.front_door import ledger, replay
from customer360.kill_points import reach
from customer360.models.fingerprint import live_fingerprint
from customer360.models.runner import ModelsFailedError
from customer360.progress import Progress, Silent
from customer360.publication import isolation, published_layout
from customer360.publication.publication_gates import check_candidate, check_marts, check_unchecked
from customer360.publication.publish import Change, Kind, Publication, PublishedTable, publish
from customer360.settings import Settings
from customer360.terminal import counted
from customer360.warehouse import Connection, dirty, scalar
from customer360.warehouse.run_log import GateBlockedError, Run, recorded

if TYPE_CHECKING:
    from customer360.models.runner import ModelResult


_TIMES_THE_PUBLISHED = 2
_FEW_ROWS = 20_000
"""Below, an increment takes seconds whatever there is."""


@dataclass
class RunSummary:
    """What a run did, for people and for --json. ``seconds``: from the run's start to the end of each stage."""

    run_id: int
    kind: str
    state: str
    as_of_on: date | None = None
    batch_count: int = 0
    dirty_count: int = 0
    publication_id: int | None = None
    tables: dict[str, Change] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, publication: Publication | None = None) -> RunSummary:
        """The summary of a run that ended well."""
        return cls(
            run.run_id,
            run.kind,
            "succeeded" if run.state == "running" else run.state,
            run.as_of_on,
            run.batch_count,
            run.dirty_count,
            publication.publication_id if publication else None,
            publication.tables if publication else {},
            dict(run.reached),
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"as_of_on": self.as_of_on.isoformat() if self.as_of_on else None}

    def __str__(self) -> str:
        if self.state == "idle":
            return f"run {self.run_id}: nothing to do"
        what = f"daily tables of {self.as_of_on}" if self.kind == "daily" else counted(self.batch_count, "batch")
        changes = ", ".join(f"{name} {change}" for name, change in sorted(self.tables.items())) or "no row differs"
        took = f" in {self.seconds['published']:.1f} s" if "published" in self.seconds else ""
        return f"run {self.run_id}: {what} published as publication {self.publication_id}{took}: {changes}"


@dataclass(frozen=True)
class Work:
    """What a run has to do: batches and keys that wait, whether every live table is built whole, what else is new."""

    batch_count: int
    dirty_count: int
    is_whole: bool
    has_new_rates: bool
    has_new_decisions: bool

    def __bool__(self) -> bool:
        return bool(
            self.batch_count or self.dirty_count or self.is_whole or self.has_new_rates or self.has_new_decisions
        )


def build(settings: Settings, trigger: str, progress: Progress | None = None, full_refresh: bool = False) -> RunSummary:
    """Claim every loaded batch, build what it touches, check it, publish it. Does nothing, quickly, if nothing is due.

    A first build, changed models and ``full_refresh`` build every live table whole.

    Raises:
        GateBlockedError: the candidate gate refused the result, and marts stay as they were; or the marts gate found
            what was just published wrong.
        transform.ModelsFailedError, publish.PublicationWaitsError: nothing was published; the work stays due.
        warehouse.WriterBusyError: another writer was at work for too long.
    """
    progress = progress or Silent()
    with recorded(settings, "rebuild" if full_refresh else "build", trigger) as run:
        progress.stage("claim")
        isolation.put_back(settings)
        fingerprint = live_fingerprint(settings)
        work = claim(settings, run, fingerprint, full_refresh=full_refresh)
        if not work:
            progress.note("nothing to do")
            if not check_unchecked(settings, run, progress):
                run.state = "idle"
            return RunSummary.of(run)
        run.mark("claimed")
        reach("build.claimed")
        progress.note(
            f"{counted(work.batch_count, 'batch')}, {counted(work.dirty_count, 'key')}" + ", all tables" * work.is_whole
        )
        try:
            publication = _build_and_publish(settings, run, work, fingerprint, progress)
        except (ModelsFailedError, GateBlockedError, psycopg.Error) as error:
            if not settings.isolate or not isolation.is_about_data(error):
                raise
            rehearse = partial(_rehearse, settings, run, work, fingerprint, not isinstance(error, Customer360Error))
            isolated = isolation.isolate(settings, run, error, rehearse, progress)
            progress.note(str(isolated))
            publication = _build_and_publish(settings, run, work, fingerprint, progress)
        return RunSummary.of(run, publication)


def _build_and_publish(settings: Settings, run: Run, work: Work, fingerprint: str, progress: Progress) -> Publication:
    tables = build_live(settings, run, work, progress)
    run.mark("built")
    return _publish_checked(settings, run, work, tables, fingerprint, progress)


def _rehearse(settings: Settings, run: Run, work: Work, fingerprint: str, publishes: bool) -> None:
    """Build and judge what is in raw now, and publish nothing. Raises what :func:`build` raises."""
    silent = Silent()
    kind: Kind = "rebuild" if work.is_whole else "live"
    tables = build_live(settings, run, work, silent)
    check_candidate(settings, run, tables, kind=kind, progress=silent)
    if publishes:
        publish(settings, tables, run_id=run.run_id, kind=kind, rates=rates.fingerprint(run.lock), rehearse=True)


def publish_whole(settings: Settings, run: Run, progress: Progress) -> RunSummary:
    """Check and publish live tables that were built whole, one by one, since a claim with ``full_refresh``.

    For the rebuild in single models (:mod:`customer360.airflow.rebuild`). Raises what :func:`build` raises.
    """
    count = scalar(run.lock, _CLAIMED)
    work = Work(count, 0, is_whole=True, has_new_rates=False, has_new_decisions=False)
    run.count(batches=count, dirty=0)
    run.mark("claimed")
    run.mark("built")
    publication = _publish_checked(
        settings, run, work, published_tables(settings), live_fingerprint(settings), progress
    )
    return RunSummary.of(run, publication)


def _publish_checked(
    settings: Settings, run: Run, work: Work, tables: list[PublishedTable], fingerprint: str, progress: Progress
) -> Publication:
    kind: Kind = "rebuild" if work.is_whole else "live"
    check_candidate(settings, run, tables, kind=kind, progress=progress)
    run.mark("checked")
    reach("build.checked")
    publication = publish(
        settings,
        tables,
        run_id=run.run_id,
        kind=kind,
        fingerprint=fingerprint if work.is_whole else None,
        rates=rates.fingerprint(run.lock),
        progress=progress,
    )
    run.mark("published")
    if not work.is_whole:
        dirty.vacuum(run.lock)
    check_marts(settings, run, publication, kind=kind, progress=progress)
    return publication


_CLAIMED = "select count(*) from ops.unpublished_batches where is_claimed"


def claim(settings: Settings, run: Run, fingerprint: str, *, full_refresh: bool = False) -> Work:
    """Take every loaded batch and mark its keys as dirty, in one transaction.

    When every table is built whole no key is marked: until that build is published, ``ops.live_build`` is empty, and
    so any later run builds everything whole too.
    """
    from customer360.identity.resolution import has_work

    with warehouse.connect("transformer", settings) as connection:
        built = connection.execute("select fingerprint, rates from ops.live_build").fetchone() or (None, None)
        is_whole = full_refresh or built[0] != fingerprint or _outweighs_the_published(connection)
        taken = connection.execute(
            """
            update ops.batches set claimed_at = clock_timestamp(), claimed_by = %s
            where state = 'loaded' and claimed_at is null returning batch_id, feed
            """,
            [run.run_id],
        ).fetchall()
        visible = scalar(connection, "select exists (select from ops.visible_batches)")
        is_whole = (is_whole or bool(published_layout.changed(connection))) and (visible or full_refresh)
        _insist_on_raw(run, is_whole=is_whole)
        if is_whole:
            connection.execute("delete from ops.live_build")
        else:
            for feed in FEEDS.values():
                batch_ids = [batch_id for batch_id, batch_feed in taken if batch_feed == feed.name]
                if batch_ids:
                    dirty.mark_batches(connection, feed, batch_ids)
        work = Work(
            batch_count=scalar(connection, _CLAIMED),
            dirty_count=scalar(connection, "select count(*) from ops.dirty"),
            is_whole=is_whole,
            has_new_rates=built[1] is not None and built[1] != rates.fingerprint(connection),
            has_new_decisions=has_work(connection, settings=settings),
        )
    run.count(batches=work.batch_count, dirty=work.dirty_count)
    return work


MISSING_FROM_RAW = "Raw lacks rows that the ledger says were loaded"


def _insist_on_raw(run: Run, *, is_whole: bool) -> None:
    """A build never publishes fewer records than were loaded: not when rows of raw were lost (decision 0029).

    A whole build reads every batch, any other what is not published yet.

    Raises:
        GateBlockedError: rows are missing. Nothing was claimed, and what is published stays.
    """
    missing = ledger.missing_from_raw(run.lock, only_unpublished=not is_whole)
    if not missing:
        return
    shown = "; ".join(map(str, missing[:3])) + (f"; and {len(missing) - 3} more batches" * (len(missing) > 3))
    raise GateBlockedError(
        f"{MISSING_FROM_RAW}, so nothing was built and what is published stays. {shown}.",
        f"{replay.bring_back(missing[0].batch_id)} brings them back, then `c360 run`.",
    )


def _outweighs_the_published(connection: Connection) -> bool:
    """Whether what arrived is so much more than what is published that building everything costs less.

    An increment costs more per record than a whole build (each record is a key to be looked up), a whole build costs
    what is there already too. From twice as much on, whole builds of any sequence of batches add up to at most 1.5
    times one build of them all: 1 + 1/3 + 1/9 + ….
    """
    arrived, published = connection.execute(
        """
        select coalesce(sum(loaded_rows) filter (where state = 'loaded'), 0),
            coalesce(sum(loaded_rows) filter (where state = 'published'), 0)
        from ops.batches
        """
    ).fetchone() or (0, 0)
    return bool(arrived > max(_FEW_ROWS, _TIMES_THE_PUBLISHED * published))


def build_live(settings: Settings, run: Run, work: Work, progress: Progress) -> list[PublishedTable]:
    """Bring staging, identity and the live candidate tables up to date; returns the tables that may be published."""
    if not work.dirty_count and not work.is_whole and not work.has_new_rates and not work.has_new_decisions:
        return []  # batches without a single valid row
    from customer360 import identity
    from customer360.models import runner

    def models(select: str) -> None:
        runner.run_models(
            settings,
            select,
            run_id=run.run_id,
            full_refresh=work.is_whole,
            variables={"as_of_on": settings.today().isoformat()},
            progress=stepping(progress),
        )

    dirty.analyze(run.lock)
    dirty.analyze_grown_feeds(run.lock)
    progress.stage("staging")
    models("tag:staging")
    reach("build.staged")
    progress.stage("identity")
    with warehouse.connect("transformer", settings, application_name="customer360 identity") as connection:
        delta = identity.resolve(connection, full=work.is_whole, settings=settings, run_id=run.run_id)
        if not work.is_whole:
            delta.mark_dirty(connection)
        rates.refresh(connection, settings, whole=work.is_whole, sources_changed=work.has_new_rates)
        if work.has_new_rates and not work.is_whole:
            _mark_new_rates(connection, settings)
    if delta.was_full:
        run.lock.execute("analyze state.customer_key_map, state.customer_key_crosswalk")
    reach("build.resolved")
    progress.note(f"{delta.customers} customers touched")
    dirty.analyze(run.lock)
    progress.stage("models")
    models("tag:live")
    reach("build.modelled")
    count = scalar(run.lock, "select count(*) from ops.dirty")
    run.count(batches=work.batch_count, dirty=count)
    progress.note("all of every table" if work.is_whole else f"{count} keys")
    dirty.analyze(run.lock)
    return published_tables(settings)


def published_tables(settings: Settings, *, schema_prefix: str = "") -> list[PublishedTable]:
    """The tables that BI reads, as the models declare them; with a prefix, as a copy has them."""
    from customer360.models import runner

    read = runner.tables_read(settings)
    return [
        PublishedTable(
            name=table.name,
            primary_key=table.primary_key,
            scope=table.scope,
            scope_key=table.scope_key,
            is_live="live" in table.tags,
            is_daily="daily" in table.tags,
            schema=table.publish_to,
            source_schema=table.schema,
            feeds=_feeds_of(read[f"{table.publish_to}.{table.name}"]),
        )
        for table in runner.model_tables(settings, schema_prefix=schema_prefix)
        if table.publish_to
    ]


def _feeds_of(read: frozenset[str]) -> tuple[str, ...]:
    """The feeds behind the sources that a table reads; what reads identity or journals alone is made from all."""
    return tuple(feed for feed in FEEDS if f"raw.{feed}" in read) or tuple(FEEDS)


def stepping(progress: Progress) -> Callable[[ModelResult], None]:
    """Tell ``progress`` of each finished model."""
    return lambda result: progress.step(result.model)


def _mark_new_rates(connection: Connection, settings: Settings) -> None:
    """Orders and tickets whose amounts were converted with another rate than the one that holds now, or with none."""
    parameters = {"reporting": settings.reporting_currency}
    dirty.mark(
        connection,
        "order",
        """
        select fact.order_key
        from candidate.fct_orders as fact
        left join state.exchange_rates as rate
            on rate.from_currency = fact.currency and rate.to_currency = %(reporting)s
            and rate.valid_on = fact.ordered_on
        where fact.currency <> %(reporting)s and fact.exchange_rate is distinct from rate.rate
        """,
        parameters,
    )
    dirty.mark(
        connection,
        "ticket",
        """
        select ticket_key from staging.stg_support_tickets
        where compensation_amount is not null and currency <> %(reporting)s
        """,
        parameters,
    )
