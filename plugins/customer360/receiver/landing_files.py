"""Waiting events become landed files: one when the last one was taken, at most one in so many seconds, or a full one.

Between two files events gather in the spool, so that a burst or a busy warehouse makes larger files and not more of
them.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import psycopg

from customer360 import kill_points, warehouse
from customer360.contract.feeds import FEEDS
from customer360.errors import Customer360Error
from customer360.front_door import landing
from customer360.receiver import spool
from customer360.receiver.spool import Segment, Spool, Waiting
from customer360.settings import Settings
from customer360.warehouse import Connection, embedded_server

FILE_BYTES = 64 << 20
"""A file is cut before it grows larger."""
PATIENCE_SECONDS = 60
"""After so long the next file lands though the last one was not taken: somebody who runs `c360 run` now and then shall
find what came."""
_RETRY_SECONDS = 5

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
Writer = Callable[[Callable[[Spool], _T]], _T]
"""Runs a function that writes to the spool: at once, or in turn with the events that arrive."""


@dataclass(frozen=True)
class Landed:
    """A file that a hook's events became."""

    hook: str
    events: int
    location: str


def land_waiting(settings: Settings) -> list[Landed]:
    """Land everything that waits in the spool, now; nothing where there is no spool.

    Raises:
        Customer360Error: a file could not be landed. Its events stay in the spool.
    """
    if not spool.exists(settings):
        return []
    with spool.opened(settings) as own:
        return land_all(settings, own, at_once(own))


def at_once(own: Spool) -> Writer:
    """Writes to a spool that no other thread of this process writes to."""
    return lambda write: write(own)


def land_all(settings: Settings, read: Spool, write: Writer) -> list[Landed]:
    """Land what waits now, hook by hook; the first failure is raised after the other hooks had their turn."""
    done: list[Landed] = []
    failure: Customer360Error | None = None
    for one in read.waiting():
        left = one.events  # what arrives meanwhile is for the next time
        while left > 0:
            try:
                landed = land_one(settings, one.hook, read, write)
            except Customer360Error as error:
                failure = failure or error
                break
            if landed is None:
                break
            done.append(landed)
            left -= landed.events
    if failure is not None:
        raise failure
    return done


def land_one(settings: Settings, hook: str, read: Spool, write: Writer) -> Landed | None:
    """Land one file of a hook's events; None if nothing waits.

    Raises:
        Customer360Error: the file could not be landed; the reason stands in the spool too.
    """
    with _one_at_a_time(settings):
        segment = write(lambda own: own.cut(hook, most_events=settings.receive_file_events, most_bytes=FILE_BYTES))
        if segment is None:
            return None
        try:
            location = _put(settings, read, segment)
        except Customer360Error as error:
            said = str(error)
            with contextlib.suppress(spool.SpoolError):
                write(lambda own: own.note_landing_error(hook, said))
            raise
        kill_points.reach("receive.landed")
        write(lambda own: own.note_landed(segment, location))
    return Landed(hook, segment.event_count, location)


@contextlib.contextmanager
def _one_at_a_time(settings: Settings) -> Iterator[None]:
    """The receiver and a `c360 run` beside it take turns."""
    path = spool.folder(settings) / "landing.lock"
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _put(settings: Settings, read: Spool, segment: Segment) -> str:
    """Put a segment's file into the landing zone; the same segment gives the same name and content every time."""
    if read.has_landed(segment):  # between the cut and the lock it was another's turn
        return segment.location
    work = spool.folder(settings) / "landing"
    work.mkdir(parents=True, exist_ok=True)
    file = work / f"webhook-{read.spool_id}-{segment.segment_id:09d}.jsonl"
    try:
        count = 0
        with file.open("wb") as target:
            for body in read.bodies(segment):
                target.write(body + b"\n")
                count += 1
        if count != segment.event_count:
            raise spool.SpoolError(
                f"Segment {segment.segment_id} of {segment.hook} has {count:,} of its {segment.event_count:,} events.",
                "Somebody has changed the spool by hand: docs/runbooks/webhooks_unbalanced.md.",
            )
        if segment.hook in FEEDS:
            return landing.put(settings, segment.hook, file).location
        name, _, namespace = segment.hook.partition("@")
        cut_at = datetime.fromtimestamp(segment.cut_at, UTC)
        return landing.put_export(settings, name, file, namespace=namespace, exported_at=cut_at).location
    except OSError as error:
        raise spool.SpoolError(
            f"The events of {segment.hook} could not be written to a file: {error.strerror or error}.",
            "Free some space on the disk of C360_RECEIVE_FOLDER; they stay in the spool until then.",
        ) from error
    finally:
        file.unlink(missing_ok=True)


class Schedule:
    """Decides when a hook's next file is due, and lands it."""

    def __init__(self, settings: Settings, read: Spool, write: Writer) -> None:
        self._settings = settings
        self._read = read
        self._write = write
        self._ledger = _Ledger(settings)
        self._not_before: dict[str, float] = {}

    def close(self) -> None:
        """Let go of the warehouse."""
        self._ledger.close()

    def land_what_is_due(self) -> bool:
        """Land a file of each hook for which one is due; returns whether anything waits still.

        Raises:
            SpoolError: the spool cannot be read.
        """
        waiting = self._read.waiting()
        for one in waiting:
            if time.time() >= self._not_before.get(one.hook, 0.0) and self._is_due(one):
                try:
                    land_one(self._settings, one.hook, self._read, self._write)
                except Customer360Error as error:
                    _log.warning("The events of %s wait: %s", one.hook, error)
                    self._not_before[one.hook] = time.time() + _RETRY_SECONDS
        return bool(waiting)

    def _is_due(self, one: Waiting) -> bool:
        if one.events >= self._settings.receive_file_events or one.bytes >= FILE_BYTES:
            return True
        now = time.time()
        if one.last_landed_at is not None and now - one.last_landed_at < self._settings.receive_file_seconds:
            return False
        return (
            not one.last_location or now - one.oldest_at > PATIENCE_SECONDS or self._ledger.has_taken(one.last_location)
        )


class _Ledger:
    """Asks the warehouse whether a file was loaded. While it is away nothing was."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Connection | None = None
        self._not_before = 0.0
        self._taken = ""

    def has_taken(self, location: str) -> bool:
        if location == self._taken:
            return True
        if time.time() < self._not_before:
            return False
        try:
            if self._connection is None:
                if self._settings.is_embedded and not embedded_server.is_running(self._settings):
                    raise Customer360Error("the warehouse does not run")  # and is not the receiver's to start
                self._connection = warehouse.connect(
                    "oncall", self._settings, autocommit=True, application_name="customer360 receiver"
                )
            taken = self._connection.execute(
                "select exists (select from ops.landing_seen join ops.batches using (batch_id) "
                "where path = %s and state <> 'landed')",
                [location],
            ).fetchone()
        except (Customer360Error, psycopg.Error):
            self.close()
            self._not_before = time.time() + _RETRY_SECONDS
            return False
        if taken is not None and taken[0]:
            self._taken = location
            return True
        return False

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
        self._connection = None
