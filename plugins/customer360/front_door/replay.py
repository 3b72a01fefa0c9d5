"""What a person may do to a batch as a whole: hold it, let it go, process it again, and tidy its file away.

A hold takes a loaded batch out of staging, so that everybody else's data flows again; the keys of its rows become
dirty, and the next build makes their customers anew without it. A replay takes the batch's file through the gate
again and replaces what it brought in, in one transaction under the same number. Both queue with the builds, and both
can be repeated without effect.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from customer360 import warehouse
from customer360.contract.feeds import FEEDS, feed_named
from customer360.errors import Customer360Error
from customer360.front_door import landing, ledger, load, quarantine
from customer360.front_door.ledger import Batch
from customer360.settings import Settings
from customer360.warehouse import Connection, dirty

STATES = ("failed", "refused", "loaded", "published", "held")
"""States of batches that can be processed again."""


class BatchActionError(Customer360Error):
    """What was asked of a batch cannot be done."""


@dataclass
class ReplaySummary:
    """What a replay did."""

    batches: list[load.BatchOutcome] = field(default_factory=list)
    impossible: dict[int, str] = field(default_factory=dict)
    """Batches that cannot be processed again, with the reason."""

    def __str__(self) -> str:
        told = f"{len(self.batches)} batches processed again"
        return told + (f", {len(self.impossible)} cannot be" if self.impossible else "")


def hold(settings: Settings, batch_id: int, *, who: str, why: str) -> bool:
    """Take a loaded or published batch out of staging; returns False if it is held already.

    The next build does without its rows.

    Raises:
        BatchActionError: there is no such batch, or it was never loaded.
        WriterBusyError: a build does not end.
    """
    return _switch(settings, batch_id, "hold", ("loaded", "published"), "held", who, why)


def unhold(settings: Settings, batch_id: int, *, who: str, why: str) -> bool:
    """Let a held batch back in; returns False if it is not held. The next build takes its rows again.

    Raises:
        BatchActionError: there is no such batch, or it was never loaded.
        WriterBusyError: a build does not end.
    """
    return _switch(settings, batch_id, "unhold", ("held",), "loaded", who, why)


def _switch(
    settings: Settings, batch_id: int, action: str, allowed: tuple[str, ...], state: str, who: str, why: str
) -> bool:
    if not who.strip() or not why.strip():
        raise BatchActionError("Who decides this, and why, must be on record.", "Give --because (and --by).")
    with (
        warehouse.writer_lock(settings, who=f"{action} of batch {batch_id}"),
        warehouse.connect("loader", settings, application_name=f"customer360 {action}") as connection,
    ):
        batch = ledger.batch(connection, batch_id)
        if batch is None:
            raise BatchActionError(f"There is no batch {batch_id}.", "Run `c360 status` to see the batches.")
        reached = ("loaded", "published") if action == "unhold" else ("held",)
        if batch.state in reached:
            return False
        if batch.state not in allowed:
            raise BatchActionError(
                f"Batch {batch_id} is {batch.state}; only a loaded batch can be held.", f"Run `c360 why {batch_id}`."
            )
        if batch.retired_rows:
            raise BatchActionError(
                f"{batch.retired_rows:,} rows of batch {batch_id} have left raw and are frozen (c360 why {batch_id}): "
                "what they say can no longer be taken out.",
                "Land a newer version of the records that are wrong; it takes the frozen one's place.",
            )
        feed = FEEDS[batch.feed]
        if ledger.row_count_in_raw(connection, batch) < batch.loaded_rows:
            dirty.mark_staged(settings, feed, batch.batch_id)  # keys that raw has lost
        dirty.mark_batches(connection, feed, [batch.batch_id])
        connection.execute(
            "update ops.batches set state = %s, claimed_at = null, claimed_by = null where batch_id = %s",
            [state, batch_id],
        )
        ledger.record_action(connection, batch_id, action, batch.loaded_rows, who, why)
        connection.commit()
    return True


# --- replay ----------------------------------------------------------------------------------------------------------


def replay(
    settings: Settings,
    *,
    who: str,
    why: str,
    batch_id: int | None = None,
    feed: str | None = None,
    since: datetime | None = None,
    state: str | None = None,
) -> ReplaySummary:
    """Process batches again from their files. All conditions that are given must hold; one must be given.

    Failed and refused batches are tried as if they had just landed. Of loaded, held and published ones what they
    brought in is replaced; their rows that were released or discarded stay so. A held batch is let go by it.

    Raises:
        BatchActionError: nothing is meant, or no reason is given.
        UnknownFeedError: there is no such feed.
        WriterBusyError: a build does not end.
    """
    if not who.strip() or not why.strip():
        raise BatchActionError("Who decides this, and why, must be on record.", "Give --because (and --by).")
    if batch_id is None and feed is None and since is None and state is None:
        raise BatchActionError("That would mean every batch there is.", "Give --batch, --feed, --since or --state.")
    if feed is not None:
        feed_named(feed)
    if state is not None and state not in STATES:
        raise BatchActionError(f"There is no state {state!r} to replay.", f"Choose one of: {', '.join(STATES)}.")
    summary = ReplaySummary()
    with warehouse.connect("loader", settings, autocommit=True) as connection:
        rows = connection.execute(
            """
            select batch_id from ops.batches
            where (%(batch)s::bigint is null or batch_id = %(batch)s) and (%(feed)s::text is null or feed = %(feed)s)
              and (%(since)s::timestamptz is null or landed_at >= %(since)s)
              and (%(state)s::text is null or state = %(state)s)
              and (state <> 'duplicate' or batch_id = %(batch)s)
            order by batch_id
            """,
            {"batch": batch_id, "feed": feed, "since": since, "state": state},
        ).fetchall()
    if not rows and batch_id is not None:
        raise BatchActionError(f"There is no such batch {batch_id}.", "Run `c360 status` to see the batches.")
    for (one,) in rows:
        _replay_one(settings, one, who, why, summary)
    return summary


def bring_back(batch_id: int) -> str:
    """The command that brings the lost rows of a batch back, as advice names it."""
    return f"`c360 replay --batch {batch_id} --because 'rows of raw were lost'`"


def _replay_one(settings: Settings, batch_id: int, who: str, why: str, summary: ReplaySummary) -> None:
    with warehouse.writer_lock(settings, who=f"replay of batch {batch_id}"):
        with warehouse.connect("loader", settings, autocommit=True) as connection:
            batch = ledger.batch(connection, batch_id)
            if batch is None:
                return
            if batch.released_from is not None and not batch.retired_rows:
                count = quarantine.reopen_lost(settings, connection, batch, who=who, why=why)
                if count:
                    where = f"`c360 quarantine list --batch {batch.released_from}`"
                    told = f"{count:,} lost rows are open in the quarantine again, to be released again: {where}"
                    summary.batches.append(
                        load.BatchOutcome(batch_id, batch.feed, batch.file_name, "loaded", error=told)
                    )
                    return
            batch = _with_its_file(settings, connection, batch)
            reason = _why_not(settings, batch)
            if reason:
                summary.impossible[batch_id] = reason
                return
            if batch.state == "refused":
                # Counted as landed once more: the ledger's equation holds at 0 = 0 until the load has counted.
                connection.execute(
                    """
                    update ops.batches set state = 'failed', landed_rows = 0, refused_rows = 0
                    where batch_id = %s and state = 'refused'
                    """,
                    [batch_id],
                )
            ledger.record_action(connection, batch_id, "replay", batch.loaded_rows, who, why)
        outcome = load.load_batch(settings, batch, replay=batch.state in {"loaded", "held", "published"})
    if outcome is not None:
        summary.batches.append(outcome)


def _with_its_file(settings: Settings, connection: Connection, batch: Batch) -> Batch:
    """The batch with the place of its content: its own file, or a later copy of it that was landed and not loaded."""
    copies = connection.execute(
        "select location from ops.batches where duplicate_of = %s and state = 'duplicate' order by batch_id desc",
        [batch.batch_id],
    ).fetchall()
    for location in (batch.location, *(row[0] for row in copies)):
        if location is not None:
            with suppress(OSError):
                if landing.content_hash(settings, location)[0] == batch.content_hash:
                    return replace(batch, location=location)
    return batch


def _why_not(settings: Settings, batch: Batch) -> str:
    if batch.state == "duplicate":
        return f"it is a duplicate of batch {batch.duplicate_of}: replay that one"
    if batch.released_from is not None:
        return f"it holds released rows, and none of them is lost: replay batch {batch.released_from} for the others"
    if batch.erased_rows:
        return (
            "rows of it were erased at a person's request and must not come back: land a file without them, then "
            f"`c360 hold {batch.batch_id} --because 'landed again'`"
        )
    if batch.retired_rows:
        return "rows of it have left raw and are frozen: land a newer version of the records that are wrong"
    if batch.content_hash is None or batch.location is None:
        return f"its file was refused unread: {batch.error}"
    try:
        present, _ = landing.content_hash(settings, batch.location)
    except OSError:
        return (
            "its file is no longer in the landing zone: land the same file again with "
            f"`c360 land {batch.feed} FILE` and `c360 ingest`, then replay this batch"
        )
    if present != batch.content_hash:
        return (
            "its file has other content now than when it was read: land the file as it was with "
            f"`c360 land {batch.feed} FILE` and `c360 ingest`, then replay this batch"
        )
    return ""
