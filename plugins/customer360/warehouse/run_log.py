"""One row of ops.runs, from the moment a writer starts until it ends, however it ends.

A run holds the one-writer lease (architecture, principle 8) and writes the lease's fencing token into its row. A row
that still says "running" while another run holds the lease belongs to a process that died: the next run closes it. A
run that lost its lease but lives on (it was paused, it was ended by hand) is fenced: it finds its row closed or its
token outdated and cannot publish.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

import psycopg

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.settings import Settings
from customer360.warehouse import Connection, Lease, agreement, query
from customer360.warehouse.leases import RunFencedError as RunFencedError

logger = logging.getLogger(__name__)

Kind = Literal["build", "daily", "rebuild", "as_of"]
Moment = Literal["claimed", "built", "checked", "published"]

DIED = "The process died before it could say why (killed, out of memory, or the machine went down)."


class GateBlockedError(Customer360Error):
    """A gate found the new version wrong; what was published before stays."""


@dataclass
class Run:
    """An open run: its id, and how to record what it reached. ``lock`` is a session for short statements."""

    run_id: int
    kind: Kind
    as_of_on: date | None
    lock: Connection
    lease: Lease
    state: str = "running"
    batch_count: int = 0
    dirty_count: int = 0
    reached: dict[str, float] = field(default_factory=dict)

    def mark(self, moment: Moment) -> None:
        """Record that the run reached ``moment`` now, unless that is on record already.

        Raises:
            RunFencedError: the row was closed by another run, or the lease was lost.
        """
        seconds = self._record(
            f"{moment}_at = coalesce({moment}_at, clock_timestamp())",
            [],
            f"extract(epoch from {moment}_at - started_at)",
        )
        self.reached[moment] = round(float(seconds), 3)

    def count(self, *, batches: int, dirty: int) -> None:
        """Record how many batches the run took and how many keys it does again."""
        self.batch_count, self.dirty_count = batches, dirty
        self._record("batch_count = %s, dirty_count = %s", [batches, dirty])

    def _record(self, assignment: str, values: list[object], returning: str = "0") -> Any:
        try:
            self.lease.check()
            row = self.lock.execute(
                query(
                    f"update ops.runs set {assignment} where run_id = %s and state = 'running' returning {returning}"
                ),
                [*values, self.run_id],
            ).fetchone()
        except psycopg.OperationalError as error:
            raise _fenced(self.run_id) from error
        if row is None:
            raise _fenced(self.run_id)
        return row[0]


def _fenced(run_id: int) -> RunFencedError:
    return RunFencedError(
        f"Run {run_id} lost the lease of the writer while it worked; it changed nothing that is published.",
        "Nothing to do: its work stays pending and the next run does it.",
    )


@contextlib.contextmanager
def recorded(
    settings: Settings,
    kind: Kind,
    trigger: str,
    *,
    as_of_on: date | None = None,
    wait_seconds: float = 600,
) -> Iterator[Run]:
    """Open a run under the writer lease and close it: succeeded, idle or blocked as the block says, or failed.

    An exception closes the run as failed (as blocked for :class:`GateBlockedError`), with its words and next step.

    Raises:
        warehouse.WriterBusyError: another writer did not finish in ``wait_seconds``; no run is opened.
    """
    with warehouse.writer_lock(settings, wait_seconds=wait_seconds, who=f"{kind} by {trigger}") as lease:
        lock = lease.connection
        agreement.adopt(lock, settings, only_missing=True)
        _close_dead_runs(lock)
        run_id = warehouse.scalar(
            lock,
            "insert into ops.runs (kind, trigger, as_of_on, lease_token) values (%s, %s, %s, %s) returning run_id",
            [kind, trigger, as_of_on, lease.token],
        )
        run = Run(run_id, kind, as_of_on, lock, lease)
        try:
            yield run
        except BaseException as error:
            run.state = "blocked" if isinstance(error, GateBlockedError) else "failed"
            with contextlib.suppress(psycopg.OperationalError):  # the next run closes what we cannot
                _close(run, told(error), getattr(error, "next_step", ""))
            raise
        run.state = "succeeded" if run.state == "running" else run.state
        _close(run)


def told(error: BaseException) -> str:
    """An error in words that may be stored: PostgreSQL's own messages can quote a row's values, so only its kind."""
    if isinstance(error, psycopg.Error):
        where = error.diag.constraint_name or error.diag.table_name or error.diag.column_name
        return f"PostgreSQL: {type(error).__name__}{f' on {where}' if where else ''} ({error.sqlstate or 'no answer'})"
    return str(error) if isinstance(error, Customer360Error) else type(error).__name__


def _close(run: Run, error: str | None = None, next_step: str = "") -> None:
    run.lock.execute(
        """
        update ops.runs set state = %s, finished_at = clock_timestamp(), error = %s, next_step = %s
        where run_id = %s and state = 'running'
        """,
        [run.state, error, next_step or None, run.run_id],
    )


def _close_dead_runs(lock: Connection) -> None:
    """Close the rows of runs whose process ended without a word. We hold their lease, so none of them lives."""
    dead = lock.execute(
        """
        update ops.runs set state = 'failed', finished_at = clock_timestamp(), error = %s,
            next_step = 'Nothing to do: what it left is pending, and the run after it (`c360 run`) does it.'
        where state = 'running' and kind in ('build', 'daily', 'rebuild', 'as_of') returning run_id
        """,
        [DIED],
    ).fetchall()
    for (run_id,) in dead:
        logger.warning("Run %s died without an end; its work is taken over.", run_id)
