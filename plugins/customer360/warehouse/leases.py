"""Leases: who may write now, as a row of ``ops.leases`` that only the pipeline's own roles can change.

A lease has a holder, a heartbeat and a fencing token that grows with every holder. It is held by short statements
alone: it works through PgBouncer in transaction mode, needs no superuser, and a build of an hour holds back no vacuum.
A reader can look at it and nothing else (an advisory lock could be taken by any login).

A lease is free when it was released, when its holder's process no longer lives on this machine, or when its heartbeat
is older than its ``lease_seconds``. Who takes over a lease that was not released gets the next token and ends the old
holder's sessions; the publishing transaction checks its own token (:func:`hold_token`), so that a holder that wakes up
later changes nothing that is published (docs/decisions/0016).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil
import psycopg

from customer360.errors import Customer360Error, WarehouseUnavailableError
from customer360.settings import Settings
from customer360.warehouse import agreement, connections
from customer360.warehouse.connections import connect
from customer360.warehouse.server import Connection, Role, open_url, query

logger = logging.getLogger(__name__)

WRITER = "writer"
"""Build, daily pass, erasure, release and publication: one at a time (architecture, principle 8)."""
SNAPSHOTS = "snapshots"
"""One fit or evaluation at a time: they share the scratch schemas."""

# The roles that a holder works as, whose sessions end when its lease is taken over.
_WORKING_ROLES: tuple[Role, ...] = ("owner", "loader", "transformer", "publisher")
_BEATS_PER_LEASE = 6


class WriterBusyError(Customer360Error):
    """Another build, daily refresh, erasure or release holds the lease."""


class RunFencedError(Customer360Error):
    """This process lost the lease while it worked; another has taken over."""


@dataclass
class Lease:
    """A lease that is held: its fencing token, and a session of role owner for short statements."""

    name: str
    token: int
    connection: Connection
    thread: threading.Thread = field(default_factory=threading.current_thread)
    lost: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Nothing, if the lease is still ours.

        Raises:
            RunFencedError: another process has taken it over.
        """
        if self.lost.is_set() or not _is_held(self.connection, self.name, self.token):
            self.lost.set()
            raise _fenced(self.name)


@contextlib.contextmanager
def writer_lock(settings: Settings, *, wait_seconds: float = 600, who: str = "customer360") -> Iterator[Lease]:
    """Hold the one-writer lease (architecture, principle 8) for as long as the block runs.

    Raises:
        WriterBusyError: another writer did not finish in ``wait_seconds``; the message names it.
        RunFencedError: the lease was taken over while the block ran.
        ConfigurationError: this process has another time zone or currency than the warehouse.
    """
    with lease(settings, WRITER, who=who, wait_seconds=wait_seconds) as held:
        agreement.check(held.connection, settings)
        yield held


@contextlib.contextmanager
def lease(settings: Settings, name: str, *, who: str, wait_seconds: float) -> Iterator[Lease]:
    """Hold a lease while the block runs; a thread of this process renews it. Raises what :func:`writer_lock` does."""
    with connect("owner", settings, autocommit=True, application_name=f"customer360 lease: {who}"[:60]) as connection:
        connection.prepare_threshold = None  # a pooler in transaction mode gives each transaction another session
        token = _acquire(settings, connection, name, who, wait_seconds)
        held = Lease(name, token, connection)
        done = threading.Event()
        target = connections.url("owner", settings)
        seconds = settings.writer_lease_seconds / _BEATS_PER_LEASE
        beat = threading.Thread(target=_beat, args=(held, target, seconds, done), daemon=True, name=f"{name} lease")
        beat.start()
        try:
            with connections.tagged(_tag(name, token)):
                yield held
        except (KeyboardInterrupt, psycopg.OperationalError) as error:
            if held.lost.is_set() or not _is_held_by(target, name, token):
                raise _fenced(name) from error
            raise
        finally:
            done.set()
            _release(connection, target, name, token)
            beat.join(timeout=1)


def holder(connection: Connection, name: str = WRITER) -> str:
    """Who holds a lease now, as a person would name it; empty if it is free. Any role that reads ops may ask."""
    row = connection.execute(
        query(f"select holder, host, process from ops.leases where name = %s and not ({_IS_FREE})"), [name]
    ).fetchone()
    if row is None or is_gone(row[2]):
        return ""
    return f"{row[0]} (on {row[1]}, process {row[2].split(':')[1]})"


def end_holder(settings: Settings, name: str = WRITER) -> str:
    """Take a lease away from its holder and end its sessions; returns who that was, empty if it was free."""
    with _untagged("owner", settings) as connection:
        who = holder(connection, name)
        row = connection.execute("select token from ops.leases where name = %s", [name]).fetchone()
        if not who or row is None:
            return ""
        _end_sessions(settings, _tag(name, row[0]))  # first of all, as its publication may keep the row
        connection.execute(
            "update ops.leases set token = token + 1, released_at = clock_timestamp() where name = %s and token = %s",
            [name, row[0]],
        )
        _end_sessions(settings, _tag(name, row[0]))
    return who


def hold_token(connection: Connection, token: int, name: str = WRITER) -> bool:
    """Whether ``token`` is still the lease's; if so nobody can take the lease over before this transaction ends.

    The heartbeat goes on meanwhile: ``for key share`` conflicts with another token and not with another heartbeat.
    """
    row = connection.execute(
        "select from ops.leases where name = %s and token = %s and released_at is null for key share", [name, token]
    ).fetchone()
    return row is not None


# ---- taking and keeping ---------------------------------------------------------------------------------------------

_SAYS_AFTER_SECONDS = 2
_IS_FREE = "released_at is not null or heartbeat_at < clock_timestamp() - make_interval(secs => lease_seconds)"


def _acquire(settings: Settings, connection: Connection, name: str, who: str, wait_seconds: float) -> int:
    deadline = time.monotonic() + wait_seconds
    says_at = time.monotonic() + _SAYS_AFTER_SECONDS
    while (token := _try(settings, connection, name, who)) is None:
        if time.monotonic() > deadline:
            busy = holder(connection, name) or "Another process"
            raise WriterBusyError(
                f"{busy} has held the lease {name!r} for longer than {wait_seconds:.0f} s.",
                "Run `c360 status` to see it; this run's work stays pending and the next run does it.",
            )
        if time.monotonic() > says_at:
            says_at = float("inf")
            logger.warning("Waiting for %s to finish, for up to %.0f s.", holder(connection, name) or "another process",
                           wait_seconds)  # fmt: skip
        time.sleep(0.05)
    return token


def _try(settings: Settings, connection: Connection, name: str, who: str) -> int | None:
    """Take the lease if it is free: one statement, so that of two who try one wins. Returns the new token."""
    seen = connection.execute(
        query(f"select token, released_at is not null, {_IS_FREE}, process from ops.leases where name = %s"), [name]
    ).fetchone()
    if seen is None:
        raise WarehouseUnavailableError(f"The lease {name!r} is missing from ops.leases.", "Run `c360 set-up`.")
    before, is_released, is_free, process = seen
    is_dead = not is_free and is_gone(process)
    if not is_free and not is_dead:
        return None
    if not is_released:
        logger.warning("The lease %s was not released by its holder, which is taken to be dead.", name)
    try:
        with connection.transaction():
            connection.execute("set local lock_timeout = '2s'")
            row = connection.execute(
                query(f"""
                update ops.leases set token = token + 1, holder = %s, host = %s, process = %s, lease_seconds = %s,
                    acquired_at = clock_timestamp(), heartbeat_at = clock_timestamp(), released_at = null
                where name = %s and token = %s and (%s or {_IS_FREE}) returning token
                """),
                [who, socket.gethostname(), this_process(), settings.writer_lease_seconds, name, before, is_dead],
            ).fetchone()
    except psycopg.errors.LockNotAvailable:  # a publication of the old holder keeps the row
        _end_sessions(settings, _tag(name, before))
        return None
    if row is not None and not is_released:
        _end_sessions(settings, _tag(name, before))
    return int(row[0]) if row else None


def _beat(held: Lease, target: str, every_seconds: float, done: threading.Event) -> None:
    """Renew the lease until it is released or lost; a server that is away for a while is asked again and again."""
    connection: Connection | None = None
    while not done.wait(every_seconds):
        try:
            if connection is None:
                connection = open_url(target, autocommit=True, application_name="customer360 heartbeat")
                connection.prepare_threshold = None
            renewed = connection.execute(
                "update ops.leases set heartbeat_at = clock_timestamp() "
                "where name = %s and token = %s and released_at is null",
                [held.name, held.token],
            )
        except (psycopg.Error, WarehouseUnavailableError):
            if connection is not None:
                connection.close()
            connection = None
            continue
        if renewed.rowcount == 0 and not done.is_set():
            held.lost.set()
            logger.warning("The lease %s was taken over by another process; this one stops.", held.name)
            if held.thread is threading.main_thread() and held.thread.ident:
                # As Ctrl-C does: what it still works on (a dbt run, say) would be in the way of the new holder.
                signal.pthread_kill(held.thread.ident, signal.SIGINT)
            break
    if connection is not None:
        connection.close()


def _release(connection: Connection, target: str, name: str, token: int) -> None:
    """Free the lease; in another session if ours was cut. What nothing answers is free when its heartbeat is old."""
    statement = "update ops.leases set released_at = clock_timestamp() where name = %s and token = %s"
    try:
        connection.execute(statement, [name, token])
    except psycopg.Error:
        with (
            contextlib.suppress(psycopg.Error, WarehouseUnavailableError),
            open_url(target, autocommit=True, application_name="customer360 lease") as other,
        ):
            other.execute(statement, [name, token])


def _is_held(connection: Connection, name: str, token: int) -> bool:
    row = connection.execute(
        "select from ops.leases where name = %s and token = %s and released_at is null", [name, token]
    ).fetchone()
    return row is not None


def _is_held_by(target: str, name: str, token: int) -> bool:
    """The same, asked in a session of its own; true if nothing answers, for then nothing says that it was lost."""
    try:
        with open_url(target, autocommit=True, application_name="customer360 lease") as connection:
            return _is_held(connection, name, token)
    except (psycopg.Error, WarehouseUnavailableError):
        return True


def _tag(name: str, token: int) -> str:
    """What the application name of the holder's sessions ends with."""
    return f"[{name} {token}]"


def _end_sessions(settings: Settings, tag: str) -> None:
    """End what an old holder has left open. Each role ends its own sessions: no other right is needed for that."""
    for role in _WORKING_ROLES:
        with _untagged(role, settings) as connection:
            connection.execute(
                """
                select pg_terminate_backend(pid, 5000) from pg_stat_activity
                where usename = current_user and datname = current_database() and pid <> pg_backend_pid()
                    and right(application_name, length(%s)) = %s
                """,
                [tag, tag],
            )


def _untagged(role: Role, settings: Settings) -> Connection:
    return open_url(connections.url(role, settings), autocommit=True, application_name="customer360 lease")


def _fenced(name: str) -> RunFencedError:
    return RunFencedError(
        f"This process lost the lease {name!r} while it worked; it changed nothing that is published.",
        "Nothing to do: its work stays pending and the next run does it.",
    )


# ---- who lives on this machine --------------------------------------------------------------------------------------


@cache
def _machine() -> str:
    """This machine since it was started, and within it this container: what process ids are unique in."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def this_process() -> str:
    """machine:process id:start time, in seconds."""
    return f"{_machine()}:{os.getpid()}:{psutil.Process().create_time():.0f}"


def is_gone(process: str | None) -> bool:
    """Whether a process, as a lease names it, ran on this machine and has ended."""
    machine, _, rest = (process or "").partition(":")
    pid, _, started = rest.partition(":")
    if machine != _machine() or not pid.isdigit():
        return False
    try:
        found = psutil.Process(int(pid))
        return abs(found.create_time() - float(started)) > 2 or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, ValueError):
        return False
