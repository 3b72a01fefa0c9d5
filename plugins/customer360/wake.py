"""What waits for a step without anybody having been told: the questions that the sweep asks every minute.

An event may be lost, and a run may be killed. What then still waits stands in the landing zone and in the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass

from customer360 import warehouse
from customer360.churn import first_fit
from customer360.contract.feeds import FEEDS
from customer360.front_door import landing, ledger
from customer360.settings import Settings
from customer360.warehouse.run_log import DIED

# A batch that was loaded this recently has its event on the way.
_ANNOUNCED_SECONDS = 15
# After a failed build the sweep waits 1, 2, 4, … minutes before it wakes the next, and never longer than this.
_LONGEST_PAUSE_MINUTES = 30


@dataclass(frozen=True)
class Waiting:
    """Feeds with files that the ledger does not know, feeds with loaded batches to build, and the daily pass."""

    files_of: tuple[str, ...]
    batches_of: tuple[str, ...]
    is_daily_due: bool
    is_fit_due: bool = False

    def __str__(self) -> str:
        parts = [f"files of {feed}" for feed in self.files_of]
        parts += [f"loaded batches of {feed}" for feed in self.batches_of]
        if self.is_daily_due:
            parts.append("today's daily tables")
        if self.is_fit_due:
            parts.append("the churn model's first fit")
        return ", ".join(parts) or "nothing"


def what_waits(settings: Settings) -> Waiting:
    """Look at the landing zone and the ledger. Reads only."""
    return Waiting(
        files_of=tuple(feed for feed in FEEDS if waiting_files(settings, feed)),
        batches_of=_unbuilt_feeds(settings),
        is_daily_due=is_daily_due(settings) and not first_fit.is_awaited(settings),
        is_fit_due=first_fit.is_due(settings),
    )


def waiting_files(settings: Settings, feed: str) -> list[landing.LandedFile]:
    """Files that the ledger has not dealt with: never seen, changed since, or left behind by a load that broke."""
    with warehouse.connect("loader", settings, autocommit=True) as connection:
        fresh, _ = ledger.unseen(connection, landing.files(settings, feed))
        unfinished = ledger.unfinished(connection, feed)
    locations = {batch.location for batch in unfinished}
    known = {file.location for file in fresh}
    return fresh + [file for file in landing.files(settings, feed) if file.location in locations - known]


def has_unbuilt(settings: Settings, feed: str | None = None) -> bool:
    """Whether a batch (of the feed, or of any) is loaded and no build has taken it yet."""
    with warehouse.connect("loader", settings, autocommit=True) as connection:
        return bool(
            warehouse.scalar(
                connection,
                "select exists (select from ops.unpublished_batches where not is_claimed and (feed = %s) is not false)",
                [feed],
            )
        )


def _unbuilt_feeds(settings: Settings) -> tuple[str, ...]:
    """Feeds whose loaded batches nobody builds: overlooked ones at once, those of a failed build after its pause."""
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        if warehouse.holder(connection):
            return ()  # a build is at work; the next sweep sees what it has left
        rows = connection.execute(
            """
            with ended as (
                select state, coalesce(finished_at, started_at) as ended_at,
                    row_number() over (order by run_id desc) as age
                from ops.runs where kind in ('build', 'rebuild') and state <> 'idle'
            ),
            failures as (
                select count(*) as count, max(ended_at) as last_at from ended
                where age < coalesce((select min(age) from ended where state = 'succeeded'), 1000000)
            ),
            pause as (
                select count = 0 or last_at < now() - least(power(2, least(count, 10) - 1), %s) * interval '1 minute'
                    as is_over
                from failures
            )
            select distinct feed from ops.unpublished_batches, pause
            where (not is_claimed and loaded_at < now() - %s * interval '1 second') or (is_claimed and is_over)
            union
            select 'orders' from pause where is_over and exists (select from ops.dirty)
            union
            -- Nobody writes now: a run that published and still "runs" died before it could judge that.
            select 'orders' from (
                select * from ops.runs where kind in ('build', 'rebuild') order by run_id desc limit 1) as newest
            where published_at is not null and (state = 'running' or (state = 'failed' and error = %s))
            """,
            [_LONGEST_PAUSE_MINUTES, _ANNOUNCED_SECONDS, DIED],
        ).fetchall()
    return tuple(sorted(row[0] for row in rows))


def is_daily_due(settings: Settings) -> bool:
    """Whether something is published and today's daily pass is still to be made, or is older than what it must follow.

    That is a churn model's fit, and a rebuild: it may be in another currency, in another time zone, or by other models.
    A pass over an empty warehouse does not count: the first customers of an installation get their daily figures on
    the day they arrive.
    """
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        return bool(
            warehouse.scalar(
                connection,
                """
                select exists (select from ops.publications where kind <> 'daily') and not exists (
                    select from ops.publications where kind = 'daily' and as_of_on >= %s
                        and published_at > (select min(published_at) from ops.publications where kind <> 'daily')
                        and published_at > coalesce(
                            (select max(finished_at) from ops.runs where kind = 'fit' and state = 'succeeded'),
                            '-infinity')
                        and published_at > coalesce(
                            (select max(published_at) from ops.publications where kind = 'rebuild'), '-infinity')
                )
                """,
                [settings.today()],
            )
        )
