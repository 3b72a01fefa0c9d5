"""The spool: events that were acknowledged and have not landed yet, in one SQLite file.

An event is acknowledged after the transaction that holds it is on disk (write-ahead log, ``synchronous=full``). From
then on it is in one of two places: in the table ``event``, or in a landed file. A **segment** is a cut of a hook's
waiting events, made before its file is written: the file's name is the segment's number and its content the segment's
events, so that a landing which was cut off is repeated as the same file, and the ledger knows it.

Per hook, at every moment: received = duplicates + landed + waiting (+ what a person has written off as lost).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from customer360 import kill_points
from customer360.errors import Customer360Error
from customer360.settings import Settings

_BUSY_SECONDS = 30
_SEGMENT_DAYS = 90
"""For so long the spool remembers which file a segment became."""
_PRUNED_AT_ONCE = 5_000
_HOUR = 3_600
UNKNOWN = "(unknown)"
"""What requests for a hook that does not exist are counted under: their path may hold anything."""

_TABLES = """
create table if not exists spool (
    spool_id text not null
);
create table if not exists hook (
    hook text primary key,
    received_events integer not null default 0,
    duplicate_events integer not null default 0,
    landed_events integer not null default 0,
    waiting_events integer not null default 0,
    waiting_bytes integer not null default 0,
    lost_events integer not null default 0,
    last_received_at real,
    landing_error text not null default ''
) without rowid;
create table if not exists event (
    event_id integer primary key autoincrement,
    hook text not null,
    received_at real not null,
    body blob not null
);
create index if not exists event_of_hook on event (hook, event_id);
create table if not exists delivery (
    key blob primary key,
    received_at real not null
) without rowid;
create index if not exists delivery_received_at on delivery (received_at);
create table if not exists segment (
    segment_id integer primary key autoincrement,
    hook text not null,
    first_id integer not null,
    last_id integer not null,
    event_count integer not null,
    cut_at real not null,
    landed_at real,
    location text not null default ''
);
create index if not exists segment_of_hook on segment (hook, segment_id);
create table if not exists write_off (
    hook text not null,
    events integer not null,
    because text not null,
    written_off_at real not null
);
create table if not exists refusal (
    hook text not null,
    status integer not null,
    hour integer not null,
    requests integer not null,
    last_at real not null,
    primary key (hook, status, hour)
) without rowid;
"""


class SpoolError(Customer360Error):
    """The spool cannot be read or written; what was not acknowledged must be sent again."""


@dataclass(frozen=True)
class Event:
    """One record as it came, on one line."""

    hook: str
    body: bytes
    key: bytes | None = None
    """What its delivery is known by if it comes again; None: it cannot be known."""


@dataclass(frozen=True)
class Segment:
    """Events of one hook that make one file."""

    segment_id: int
    hook: str
    first_id: int
    last_id: int
    event_count: int
    cut_at: float
    landed_at: float | None
    location: str


@dataclass(frozen=True)
class Waiting:
    """What a hook has that is not landed, by the counters alone: cheap enough to ask five times a second."""

    hook: str
    events: int
    bytes: int
    oldest_at: float
    last_landed_at: float | None
    last_location: str


@dataclass(frozen=True)
class HookState:
    """The account of one hook."""

    hook: str
    received_events: int
    """Events that were answered with 2xx."""
    duplicate_events: int
    """Those among them whose delivery had come before."""
    landed_events: int
    lost_events: int
    """Events that a person has written off; 0 unless somebody has changed the spool by hand."""
    waiting_events: int
    """Events in the spool, counted now."""
    unexplained_events: int
    """received - duplicates - landed - lost - waiting: anything but 0 is a fault."""
    waiting_bytes: int
    oldest_waiting_seconds: float | None
    last_received_at: float | None
    last_landed_at: float | None
    files: int
    """Files that it landed in the last 90 days."""
    landing_error: str
    """Why its last file could not be landed; empty if it could."""
    refused: dict[str, int] = field(default_factory=dict)
    """Requests of the last 24 hours that were refused, by HTTP status."""
    refused_since_received: dict[str, int] = field(default_factory=dict)
    """Those of the hours that ended with a refusal after the last event was taken: the sender does not get through."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def folder(settings: Settings) -> Path:
    """Where the receiver keeps its spool, its secrets and its marks."""
    return Path(settings.receive_folder) if settings.receive_folder else settings.home / "receive"


def path(settings: Settings) -> Path:
    """The file of the spool."""
    return folder(settings) / "spool.sqlite"


def exists(settings: Settings) -> bool:
    """Whether this installation has ever received an event or started the receiver."""
    return path(settings).exists()


class Spool:
    """One connection to the spool. A connection may be handed from thread to thread, never used by two at once."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _spoken("opened"):
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # it holds personal data
            self._db = sqlite3.connect(file, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)
            for pragma in ("journal_mode = wal", "synchronous = full", "fullfsync = on", "secure_delete = on"):
                self._db.execute(f"pragma {pragma}")
            self._db.executescript(_TABLES)
            self._db.execute(
                "insert into spool (spool_id) select ? where not exists (select 1 from spool)", [secrets.token_hex(4)]
            )
            self.spool_id: str = self._db.execute("select spool_id from spool").fetchone()[0]

    def close(self) -> None:
        """Close the connection; what it did not commit is gone."""
        self._db.close()

    # ---- receiving -------------------------------------------------------------------------------------------------

    def write(self, events: Sequence[Event]) -> list[bool]:
        """Write events into an open transaction; returns for each whether it is new. Nothing is durable yet.

        Raises:
            SpoolError: they could not be written; nothing of them is kept.
        """
        now = time.time()
        with _spoken("written"), self._rolled_back_on_error():
            self._db.execute("begin immediate")
            is_new = [event.key is None or self._is_first(event.key, now) for event in events]
            fresh = [event for event, new in zip(events, is_new, strict=True) if new]
            self._db.executemany(
                "insert into event (hook, received_at, body) values (?, ?, ?)",
                [(event.hook, now, event.body) for event in fresh],
            )
            totals: dict[str, list[int]] = {}
            for event, new in zip(events, is_new, strict=True):
                total = totals.setdefault(event.hook, [0, 0, 0, 0])
                total[0] += 1
                total[1] += not new
                total[2] += new
                total[3] += len(event.body) if new else 0
            self._db.executemany(
                """
                insert into hook (hook, received_events, duplicate_events, waiting_events, waiting_bytes,
                                  last_received_at)
                values (?, ?, ?, ?, ?, ?)
                on conflict (hook) do update set received_events = received_events + excluded.received_events,
                    duplicate_events = duplicate_events + excluded.duplicate_events,
                    waiting_events = waiting_events + excluded.waiting_events,
                    waiting_bytes = waiting_bytes + excluded.waiting_bytes,
                    last_received_at = excluded.last_received_at
                """,
                [(hook, *total, now) for hook, total in totals.items()],
            )
        kill_points.reach("receive.written")
        return is_new

    def _is_first(self, key: bytes, now: float) -> bool:
        return bool(self._db.execute("insert or ignore into delivery values (?, ?)", [key, now]).rowcount)

    def commit(self) -> None:
        """Make what was written durable: it is on disk when this returns.

        Raises:
            SpoolError: it is not, and nothing of it is kept.
        """
        with _spoken("written"), self._rolled_back_on_error():
            self._db.execute("commit")
        kill_points.reach("receive.committed")

    def add(self, events: Sequence[Event]) -> list[bool]:
        """Write events and make them durable; returns for each whether it is new."""
        is_new = self.write(events)
        self.commit()
        return is_new

    def note_refusals(self, refusals: dict[tuple[str, int], int]) -> None:
        """Count refused requests, by hook and HTTP status."""
        now = time.time()
        hour = int(now) // _HOUR
        with self._transaction():
            self._db.executemany(
                "insert or ignore into hook (hook) values (?)", [(hook,) for hook, _ in refusals if hook != UNKNOWN]
            )
            self._db.executemany(
                "insert into refusal values (?, ?, ?, ?, ?) on conflict (hook, status, hour) "
                "do update set requests = requests + excluded.requests, last_at = excluded.last_at",
                [(hook, status, hour, requests, now) for (hook, status), requests in refusals.items()],
            )
            self._db.execute("delete from refusal where hour < ?", [hour - 24 * 30])

    def forget_deliveries(self, hours: int) -> int:
        """Forget some of the deliveries that are older than ``hours``, and old segments; returns how many it forgot."""
        with self._transaction():
            forgotten = self._db.execute(
                "delete from delivery where key in (select key from delivery where received_at < ? limit ?)",
                [time.time() - hours * _HOUR, _PRUNED_AT_ONCE],
            ).rowcount
            self._db.execute(
                "delete from segment where landed_at < ? "
                "and segment_id in (select segment_id from segment order by segment_id limit ?)",
                [time.time() - _SEGMENT_DAYS * 24 * _HOUR, _PRUNED_AT_ONCE],
            )
        return forgotten

    # ---- landing ---------------------------------------------------------------------------------------------------

    def waiting(self) -> list[Waiting]:
        """The hooks that have events in the spool."""
        with _spoken("read"):
            rows = self._db.execute(
                """
                select h.hook, h.waiting_events, h.waiting_bytes,
                    (select e.received_at from event as e where e.hook = h.hook order by e.event_id limit 1),
                    s.landed_at, coalesce(s.location, '')
                from hook as h left join segment as s on s.segment_id = (
                    select max(l.segment_id) from segment as l where l.hook = h.hook and l.landed_at is not null)
                where h.waiting_events > 0
                """
            ).fetchall()
        return [Waiting(*row) for row in rows if row[3] is not None]

    def cut(self, hook: str, *, most_events: int, most_bytes: int) -> Segment | None:
        """The segment of a hook that lands next: one that was cut before and has not landed, else a new one.

        None if nothing waits. A segment never changes once it is cut.
        """
        with self._transaction():
            open_one = self._segment("hook = ? and landed_at is null order by segment_id limit 1", [hook])
            if open_one is not None:
                return open_one
            size = count = first = last = 0
            for event_id, length in self._db.execute(
                "select event_id, length(body) from event where hook = ? order by event_id limit ?", [hook, most_events]
            ):
                if count and size + length > most_bytes:
                    break
                first, last, size, count = first or event_id, event_id, size + length, count + 1
            if not count:
                return None
            number = self._db.execute(
                "insert into segment (hook, first_id, last_id, event_count, cut_at) values (?, ?, ?, ?, ?)",
                [hook, first, last, count, time.time()],
            ).lastrowid
        kill_points.reach("receive.cut")
        return self._segment("segment_id = ?", [number])

    def _segment(self, where: str, parameters: list[Any]) -> Segment | None:
        row = self._db.execute(
            "select segment_id, hook, first_id, last_id, event_count, cut_at, landed_at, location from segment "
            f"where {where}",
            parameters,
        ).fetchone()
        return Segment(*row) if row else None

    def bodies(self, segment: Segment) -> Iterator[bytes]:
        """The events of a segment in the order of their arrival, of one moment's state of the spool."""
        with _spoken("read"):
            for (body,) in self._db.execute(
                "select body from event where hook = ? and event_id between ? and ? order by event_id",
                [segment.hook, segment.first_id, segment.last_id],
            ):
                yield body

    def has_landed(self, segment: Segment) -> bool:
        """Whether a segment's file is noted as landed."""
        with _spoken("read"):
            found = self._segment("segment_id = ?", [segment.segment_id])
        return found is None or found.landed_at is not None

    def note_landed(self, segment: Segment, location: str) -> None:
        """Enter that the file of a segment has landed, and let go of its events. Repeated, it does nothing."""
        with self._transaction():
            noted = self._db.execute(
                "update segment set landed_at = ?, location = ? where segment_id = ? and landed_at is null",
                [time.time(), location, segment.segment_id],
            ).rowcount
            if not noted:
                return
            within = [segment.hook, segment.first_id, segment.last_id]
            size = self._db.execute(
                "select coalesce(sum(length(body)), 0) from event where hook = ? and event_id between ? and ?", within
            ).fetchone()[0]
            self._db.execute("delete from event where hook = ? and event_id between ? and ?", within)
            self._db.execute(
                "update hook set landed_events = landed_events + ?, waiting_events = waiting_events - ?, "
                "waiting_bytes = waiting_bytes - ?, landing_error = '' where hook = ?",
                [segment.event_count, segment.event_count, size, segment.hook],
            )

    def note_landing_error(self, hook: str, error: str) -> None:
        """Enter why a hook's file cannot be landed; the next one that lands removes it."""
        with self._transaction():
            self._db.execute("update hook set landing_error = ? where hook = ?", [error[:500], hook])

    # ---- the account -----------------------------------------------------------------------------------------------

    def states(self) -> list[HookState]:
        """The account of every hook, with the waiting events counted one by one."""
        with _spoken("read"):
            rows = self._db.execute(
                """
                select h.hook, h.received_events, h.duplicate_events, h.landed_events, h.lost_events,
                    (select count(*) from event as e where e.hook = h.hook) as waiting,
                    h.waiting_bytes,
                    (select ? - e.received_at from event as e where e.hook = h.hook
                     order by e.event_id limit 1) as oldest_seconds,
                    h.last_received_at,
                    (select max(s.landed_at) from segment as s where s.hook = h.hook),
                    (select count(s.landed_at) from segment as s where s.hook = h.hook),
                    h.landing_error
                from hook as h order by h.hook
                """,
                [time.time()],
            ).fetchall()
            refused, unheard = self._refused(), self._refused(since_received=True)
        found: list[HookState] = []
        for hook, received, duplicates, landed, lost, waiting, *others in rows:
            counts = [received, duplicates, landed, lost, waiting, received - duplicates - landed - lost - waiting]
            found.append(HookState(*[hook, *counts, *others, refused.get(hook, {}), unheard.get(hook, {})]))
        return found

    def _refused(self, *, since_received: bool = False) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for hook, status, requests in self._db.execute(
            """
            select r.hook, r.status, sum(r.requests) from refusal as r left join hook as h on h.hook = r.hook
            where r.hour > ? and (not ? or r.last_at > coalesce(h.last_received_at, 0))
            group by r.hook, r.status
            """,
            [int(time.time()) // _HOUR - 24, since_received],
        ):
            found.setdefault(hook, {})[str(status)] = requests
        return found

    def refused(self) -> dict[str, dict[str, int]]:
        """Requests of the last 24 hours that were refused, by hook and HTTP status."""
        with _spoken("read"):
            return self._refused()

    def write_off(self, hook: str, because: str) -> int:
        """Enter a hook's unexplained events as lost, with the reason; returns how many they were.

        Every delivery is forgotten, so that what is sent again lands again: what had landed counts once all the same.
        """
        with self._transaction():
            row = self._db.execute(
                """
                select received_events - duplicate_events - landed_events - lost_events,
                    (select count(*) from event as e where e.hook = h.hook),
                    (select coalesce(sum(length(e.body)), 0) from event as e where e.hook = h.hook)
                from hook as h where h.hook = ?
                """,
                [hook],
            ).fetchone()
            if row is None:
                raise SpoolError(f"The spool knows no hook {hook!r}.", "`c360 receive status` lists them.")
            expected, waiting, size = row
            self._db.execute(
                "update hook set lost_events = lost_events + ?, waiting_events = ?, waiting_bytes = ? where hook = ?",
                [expected - waiting, waiting, size, hook],
            )
            self._db.execute(
                """
                update segment set event_count = (
                    select count(*) from event as e
                    where e.hook = segment.hook and e.event_id between segment.first_id and segment.last_id)
                where hook = ? and landed_at is null
                """,
                [hook],
            )
            self._db.execute("delete from segment where hook = ? and landed_at is null and event_count = 0", [hook])
            if expected != waiting:
                self._db.execute(
                    "insert into write_off values (?, ?, ?, ?)", [hook, expected - waiting, because, time.time()]
                )
                self._db.execute("delete from delivery")
        return int(expected - waiting)

    # ---- transactions ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with _spoken("written"), self._rolled_back_on_error():
            self._db.execute("begin immediate")
            yield
            self._db.execute("commit")

    @contextlib.contextmanager
    def _rolled_back_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("rollback")
            raise


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Spool]:
    """The spool of this installation, for as long as the block runs. It is created if there is none."""
    spool = Spool(path(settings))
    try:
        yield spool
    finally:
        spool.close()


def states(settings: Settings) -> list[HookState]:
    """The account of every hook; nothing where there is no spool."""
    if not exists(settings):
        return []
    with opened(settings) as spool:
        return spool.states()


@contextlib.contextmanager
def _spoken(what: str) -> Iterator[None]:
    """An error of SQLite or of the file system, in words that hold no values."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpoolError(
            f"The spool of the webhooks cannot be {what}: {said}.",
            "Look at the disk of its folder (C360_RECEIVE_FOLDER); nothing that was acknowledged is lost.",
        ) from error


def total_waiting_bytes(waiting: Iterable[Waiting]) -> int:
    """How much of the spool is in use."""
    return sum(one.bytes for one in waiting)
