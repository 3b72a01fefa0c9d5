"""The ledger of batches (``ops.batches``): what landed, who is loading it, what became of each of its rows.

Every count here obeys one equation at every moment, per batch:
landed = loaded + quarantined + released + discarded + duplicate + erased + refused. Of the loaded rows raw has all but
those that it let go of (``retired_rows``, :mod:`customer360.publication.retention`).
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from customer360 import warehouse
from customer360.contract.feeds import FEEDS
from customer360.front_door import landing
from customer360.front_door.landing import LandedFile
from customer360.settings import Settings
from customer360.warehouse import Connection, query


@dataclass(frozen=True)
class Batch:
    """One row of the ledger."""

    batch_id: int
    feed: str
    file_name: str
    location: str | None
    content_hash: str | None
    is_history: bool
    state: str
    landed_rows: int
    loaded_rows: int
    quarantined_rows: int
    released_rows: int
    discarded_rows: int
    duplicate_rows: int
    erased_rows: int
    retired_rows: int
    refused_rows: int
    attempts: int
    error: str | None
    warning: str | None
    landed_at: datetime
    reading: dict[str, Any] | None
    released_from: int | None
    duplicate_of: int | None
    source: str | None
    """The folder of the source that converts its file (a source and ``@namespace``); None for the contract's own."""
    file_modified_at: datetime | None


_COLUMNS = ", ".join(field.name for field in fields(Batch))


@dataclass(frozen=True)
class Imbalance:
    """A batch whose rows are not all accounted for."""

    batch_id: int
    feed: str
    what: str
    expected: int
    found: int

    def __str__(self) -> str:
        return f"batch {self.batch_id} ({self.feed}): {self.what}: {self.expected:,} expected, {self.found:,} found"


class FencedError(Exception):
    """Another loader has taken the batch over; this one must not commit."""


def batch(connection: Connection, batch_id: int) -> Batch | None:
    """One batch, or None."""
    found = _batches(connection, "batch_id = %s", [batch_id])
    return found[0] if found else None


def _batches(connection: Connection, where: str, parameters: Sequence[Any]) -> list[Batch]:
    rows = connection.execute(
        query(f"select {_COLUMNS} from ops.batches where {where} order by batch_id"), parameters
    ).fetchall()
    return [Batch(*row) for row in rows]


def unfinished(connection: Connection, feed: str | None = None) -> list[Batch]:
    """Batches that a load has yet to bring in: landed and not finished, or failed for a passing reason."""
    return _batches(
        connection,
        "state in ('landed', 'failed') and released_from is null and (%s::text is null or feed = %s)",
        [feed, feed],
    )


def pending(connection: Connection, feed: str | None = None) -> list[Batch]:
    """Loaded batches that no build has claimed yet."""
    return _batches(
        connection, "state = 'loaded' and claimed_at is null and (%s::text is null or feed = %s)", [feed, feed]
    )


# --- arrival ---------------------------------------------------------------------------------------------------------


def unseen(connection: Connection, files: Iterable[LandedFile]) -> tuple[list[LandedFile], int]:
    """The files that are new or changed since they were last looked at, and how many are neither."""
    listed = list(files)
    seen = {
        (path, size, modified)
        for path, size, modified in connection.execute(
            "select path, bytes, modified_ns from ops.landing_seen where path = any(%s)",
            [[file.location for file in listed]],
        ).fetchall()
    }
    fresh = [file for file in listed if (file.location, file.bytes, file.modified_ns) not in seen]
    return fresh, len(listed) - len(fresh)


def register(connection: Connection, settings: Settings, file: LandedFile) -> Batch | None:
    """Enter a file into the ledger, as landed, refused or a duplicate; None if it says nothing new.

    A file that was listed and is gone is refused, so that the ledger says that it was there; if it comes back it is
    taken. Two processes may register the same file at once: the unique index of contents lets one of them win.
    """
    found, file = file, landing.without_personal_name(settings, file)
    if file.refused_because:
        content_hash, size = None, file.bytes
    else:
        try:
            content_hash, size = landing.content_hash(settings, file.location)
        except FileNotFoundError:
            gone = "it was removed or renamed before it was read: land it again, unless it is there under another name"
            return batch(connection, _insert(connection, file, None, "refused", error=gone))
        except OSError as error:
            return _refuse_unopened(connection, file, f"it cannot be opened: {error.strerror or error}")
        if size != file.bytes:
            return None  # still being written by a producer that does not rename; the next look takes it
    with connection.transaction():
        # One registers at a time, for a few milliseconds. The lock conflicts with itself and with no reader's.
        connection.execute("lock table ops.landing_seen in share row exclusive mode")
        before = connection.execute(
            """
            select b.batch_id, b.content_hash from ops.landing_seen as s left join ops.batches as b using (batch_id)
            where s.path = %s
            """,
            [file.location],
        ).fetchone()
        if before and before[0] is not None and before[1] == content_hash:
            _mark_seen(connection, file, before[0])
            return None
        if file.refused_because:
            batch_id = _insert(connection, file, None, "refused", error=file.refused_because)
        else:
            warning = (
                "" if file is found else "its name held an e-mail address, a phone or a card number, and was changed"
            )
            batch_id = _insert_landed(connection, file, content_hash, before[0] if before else None, warning)
        _mark_seen(connection, file, batch_id)
    return batch(connection, batch_id)


def _refuse_unopened(connection: Connection, file: LandedFile, reason: str) -> Batch | None:
    with connection.transaction():
        batch_id = _insert(connection, file, None, "refused", error=reason)
        _mark_seen(connection, file, batch_id)
    return batch(connection, batch_id)


def _insert_landed(
    connection: Connection, file: LandedFile, content_hash: str | None, replaced: int | None, warning: str
) -> int:
    if replaced is not None:
        warning = (
            f"it has the name of batch {replaced} and other content: a landed file must not change; "
            "both contents are kept"
        )
    for _ in range(5):
        row = connection.execute(
            """
            select batch_id, landed_rows from ops.batches
            where feed = %s and is_history = %s and content_hash = %s and coalesce(source, '') = coalesce(%s, '')
              and state not in ('duplicate', 'refused', 'failed') and released_from is null
            """,
            [file.feed, file.is_history, content_hash, file.source],
        ).fetchone()
        if row:
            return _insert(
                connection, file, content_hash, "duplicate", duplicate_of=row[0], rows=row[1], warning=warning
            )
        try:
            with connection.transaction():
                return _insert(connection, file, content_hash, "landed", warning=warning)
        except psycopg.errors.UniqueViolation:
            continue  # somebody registered the same content under another name a moment ago
    raise AssertionError("the same content is registered and vanishes again and again")


def _insert(
    connection: Connection,
    file: LandedFile,
    content_hash: str | None,
    state: str,
    *,
    error: str = "",
    duplicate_of: int | None = None,
    rows: int = 0,
    warning: str = "",
) -> int:
    row = connection.execute(
        """
        insert into ops.batches (feed, file_name, location, content_hash, bytes, is_history, state, error,
                                 duplicate_of, landed_rows, duplicate_rows, warning, file_modified_at, source)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning batch_id
        """,
        [
            file.feed,
            file.name,
            file.location,
            content_hash,
            file.bytes,
            file.is_history,
            state,
            error or None,
            duplicate_of,
            rows,
            rows,
            warning or None,
            file.modified_at,
            file.source,
        ],
    ).fetchone()
    assert row is not None  # noqa: S101 - insert … returning gives a row or raises
    return int(row[0])


def _mark_seen(connection: Connection, file: LandedFile, batch_id: int) -> None:
    connection.execute(
        """
        insert into ops.landing_seen (path, bytes, modified_ns, batch_id) values (%s, %s, %s, %s)
        on conflict (path) do update set bytes = excluded.bytes, modified_ns = excluded.modified_ns,
                                         batch_id = excluded.batch_id, seen_at = now()
        """,
        [file.location, file.bytes, file.modified_ns, batch_id],
    )


# --- loading ---------------------------------------------------------------------------------------------------------


NEW = ("landed", "failed")


def claim(
    connection: Connection, batch_id: int, *, lease_seconds: float, states: Sequence[str] = NEW, again: bool = False
) -> int | None:
    """Take a batch for loading; returns the fencing token, or None when somebody else is at it or has done it.

    The token is the number of the attempt, and the claim stands in the batch's row: a loader that was killed on this
    machine loses it at once, one that is silent for longer than the lease (paused, swapped out, elsewhere) then. What
    it has left open is ended, and its token is void. ``again``: the attempt before was this process's own.
    """
    row = connection.execute(
        "select loading_by, heartbeat_at from ops.batches where batch_id = %s", [batch_id]
    ).fetchone()
    before = row[0] if row else None
    is_dead = before is not None and (warehouse.is_gone(before) or (again and before == warehouse.this_process()))
    if before is not None:
        _end_loader(connection, batch_id, 0 if is_dead else lease_seconds)
    try:
        row = connection.execute(
            """
            update ops.batches
            set attempts = attempts + 1, state = case state when 'failed' then 'landed' else state end,
                error = null, heartbeat_at = clock_timestamp(), loading_by = %s
            where batch_id = %s and state = any(%s) and loading_by is not distinct from %s
                and (loading_by is null or %s or heartbeat_at < clock_timestamp() - make_interval(secs => %s))
            returning attempts
            """,
            [warehouse.this_process(), batch_id, list(states), before, is_dead, lease_seconds],
        ).fetchone()
    except psycopg.errors.UniqueViolation:
        # It failed once, and the same content was landed and taken in again under another name since.
        connection.rollback()
        connection.execute(
            """
            update ops.batches as b set state = 'duplicate', duplicate_of = o.batch_id, landed_rows = o.landed_rows,
                                        duplicate_rows = o.landed_rows, error = null
            from ops.batches as o
            where b.batch_id = %s and o.batch_id <> b.batch_id and o.feed = b.feed and o.is_history = b.is_history
              and coalesce(o.source, '') = coalesce(b.source, '')
              and o.content_hash = b.content_hash and o.state not in ('duplicate', 'refused', 'failed')
              and o.released_from is null
            """,
            [batch_id],
        )
        row = None
    connection.commit()
    return int(row[0]) if row else None


def let_go(connection: Connection, batch_id: int, token: int) -> None:
    """The attempt has ended, however it ended: the batch is free for the next. The caller commits."""
    connection.execute(
        "update ops.batches set loading_by = null where batch_id = %s and attempts = %s", [batch_id, token]
    )


def _end_loader(connection: Connection, batch_id: int, lease_seconds: float) -> None:
    """End the sessions of a loader that has not shown for ``lease_seconds`` that it lives."""
    connection.execute(
        """
        select pg_terminate_backend(pid, 5000) from pg_stat_activity, ops.batches
        where batch_id = %s and heartbeat_at < clock_timestamp() - make_interval(secs => %s)
            and usename = current_user and datname = current_database() and pid <> pg_backend_pid()
            and application_name ~ %s and backend_start < heartbeat_at
        """,
        [batch_id, lease_seconds, rf"^customer360 load {batch_id}( \[.*)?$"],
    )
    connection.commit()


def beat(connection: Connection, batch_id: int, token: int, *, states: Sequence[str] = NEW) -> None:
    """Say that the load goes on.

    Raises:
        FencedError: another loader has taken the batch over.
    """
    cursor = connection.execute(
        "update ops.batches set heartbeat_at = clock_timestamp() where batch_id = %s and attempts = %s "
        "and state = any(%s)",
        [batch_id, token, list(states)],
    )
    if cursor.rowcount != 1:
        raise FencedError(f"batch {batch_id} was taken over")


@dataclass
class Counts:
    """What became of the rows of a file."""

    landed: int = 0
    loaded: int = 0
    quarantined: int = 0
    duplicates: int = 0


def finish(
    connection: Connection,
    batch_id: int,
    token: int,
    counts: Counts,
    *,
    reading: dict[str, Any],
    unknown_fields: dict[str, int],
    unusable_fields: dict[str, dict[str, int]],
    gated_at: datetime | None,
    warning: str = "",
    states: Sequence[str] = NEW,
) -> None:
    """Enter what became of a batch's rows, in the transaction that brought them in. The caller commits.

    Raises:
        FencedError: another loader has taken the batch over; the caller rolls back.
    """
    cursor = connection.execute(
        """
        update ops.batches
        set state = 'loaded', landed_rows = %s, loaded_rows = %s, quarantined_rows = %s, duplicate_rows = %s,
            reading = %s, unknown_fields = %s, unusable_fields = %s, gated_at = %s, loaded_at = clock_timestamp(),
            error = null,
            warning = case when position(%s::text in coalesce(warning, '')) > 0 then warning
                           else concat_ws('; ', warning, %s::text) end,
            claimed_at = null, claimed_by = null, loading_by = null
        where batch_id = %s and attempts = %s and state = any(%s)
        """,
        [
            counts.landed,
            counts.loaded,
            counts.quarantined,
            counts.duplicates,
            Jsonb(reading),
            Jsonb(unknown_fields),
            Jsonb(unusable_fields),
            gated_at,
            warning,
            warning,
            batch_id,
            token,
            list(states),
        ],
    )
    if cursor.rowcount != 1:
        raise FencedError(f"batch {batch_id} was taken over")
    if unknown_fields and tuple(states) == NEW:  # a replay finds what was counted before
        connection.execute(
            """
            insert into ops.unknown_fields as u (feed, field, first_batch_id, row_count)
            select b.feed, f.key, b.batch_id, f.value::bigint
            from ops.batches as b cross join jsonb_each_text(b.unknown_fields) as f where b.batch_id = %s
            order by f.key
            on conflict (feed, field) do update set row_count = u.row_count + excluded.row_count
            """,
            [batch_id],
        )


def refuse(connection: Connection, batch_id: int, token: int, reason: str, rows: int) -> None:
    """The whole batch is refused; its file stays where it is. ``rows`` is how many were counted before."""
    connection.execute(
        """
        update ops.batches set state = 'refused', error = %s, landed_rows = %s, refused_rows = %s,
                               gated_at = clock_timestamp()
        where batch_id = %s and attempts = %s and state = 'landed'
        """,
        [reason, rows, rows, batch_id, token],
    )


def fail(connection: Connection, batch_id: int, token: int, reason: str) -> None:
    """The load broke for a reason that may pass; the next run tries again."""
    connection.execute(
        "update ops.batches set state = 'failed', error = %s where batch_id = %s and attempts = %s "
        "and state = 'landed'",
        [reason, batch_id, token],
    )


def mark_published(connection: Connection, batch_ids: Sequence[int], publication_id: int) -> None:
    """The batches are part of a publication. Called in its transaction."""
    connection.execute(
        """
        update ops.batches set state = 'published', published_at = coalesce(published_at, now()), publication_id = %s
        where batch_id = any(%s) and state = 'loaded'
        """,
        [publication_id, list(batch_ids)],
    )


# --- proof -----------------------------------------------------------------------------------------------------------

_ACCOUNTED = (
    "loaded_rows + quarantined_rows + released_rows + discarded_rows + duplicate_rows + erased_rows + refused_rows"
)


def check(connection: Connection, *, recount: bool = True) -> list[Imbalance]:
    """Recount the ledger. An empty list is the proof that no row is lost.

    Args:
        recount: also count the rows of raw and of the quarantine, and not the ledger's own figures alone.
    """
    found = [
        Imbalance(row[0], row[1], "rows of the file accounted for", row[2], row[3])
        for row in connection.execute(
            query(
                f"select batch_id, feed, landed_rows, {_ACCOUNTED} from ops.batches where landed_rows <> {_ACCOUNTED}"
            )
        ).fetchall()
    ]
    found += [
        Imbalance(row[0], row[1], "records that the source gave", row[2], row[3])
        for row in connection.execute(
            """
            select b.batch_id, b.feed, coalesce(c.record_rows, 0), b.landed_rows
            from ops.batches as b left join ops.conversions as c using (batch_id)
            where b.source is not null and b.state in ('loaded', 'held', 'published')
              and c.record_rows is distinct from b.landed_rows
            """
        ).fetchall()
    ]
    if recount:
        found += raw_imbalances(connection)
        found += _recount_quarantine(connection)
    return found


def raw_imbalances(connection: Connection, *, only_changed: bool = False) -> list[Imbalance]:
    """Batches of which raw has more or fewer rows than the ledger counts; a held batch may lack rows.

    Rows that a run has suspended while it searches for those that stop it count as being in raw.

    Args:
        only_changed: count only feeds that had rows removed or changed since they were last counted and found right
            (:func:`note_raw_counts`). In ordinary life that is none, and the answer costs one look at the statistics.
    """
    found: list[Imbalance] = []
    for feed in FEEDS:
        if not only_changed or _raw_stamp(connection, feed) != _noted_stamp(connection, feed):
            found += _recount_raw(connection, feed)
    return found


def note_raw_counts(connection: Connection) -> None:
    """Record the state of each raw table whose rows are found to be those of the ledger; role owner."""
    for feed in FEEDS:
        stamp = _raw_stamp(connection, feed)
        if stamp != _noted_stamp(connection, feed) and not _recount_raw(connection, feed):
            connection.execute(
                """
                insert into ops.raw_counts (feed, stamp) values (%s, %s)
                on conflict (feed) do update set stamp = excluded.stamp, counted_at = now()
                """,
                [feed, stamp],
            )


def missing_from_raw(connection: Connection, *, only_unpublished: bool = False) -> list[Imbalance]:
    """Loaded batches that lack rows in raw: what a build would publish too little of.

    Args:
        only_unpublished: look at the batches that are not published yet, each by its index.
    """
    if not only_unpublished:
        counted = {one.batch_id: one for one in raw_imbalances(connection) if one.found < one.expected}
        visible = connection.execute(
            "select batch_id from ops.batches where state in ('loaded', 'published') and batch_id = any(%s)",
            [list(counted)],
        ).fetchall()
        return [counted[batch_id] for (batch_id,) in sorted(visible)]
    found: list[Imbalance] = []
    for feed in FEEDS:
        rows = connection.execute(
            query(f"""
            select b.batch_id, b.loaded_rows - b.retired_rows, r.row_count from ops.batches as b
            cross join lateral (select count(*) as row_count from raw.{feed} where batch_id = b.batch_id) as r
            where b.feed = %s and b.state = 'loaded' and r.row_count < b.loaded_rows - b.retired_rows
            order by b.batch_id
            """),
            [feed],
        ).fetchall()
        found += [Imbalance(row[0], feed, "rows in raw", row[1], row[2]) for row in rows]
    return found


def row_count_in_raw(connection: Connection, batch: Batch) -> int:
    """How many rows of a batch raw has."""
    return int(
        warehouse.scalar(
            connection, f"select count(*) from raw.{FEEDS[batch.feed].name} where batch_id = %s", [batch.batch_id]
        )
    )


def _raw_stamp(connection: Connection, feed: str) -> str:
    return str(
        warehouse.scalar(
            connection,
            """
            select concat_ws(' ', pg_relation_filenode(relid), n_tup_del, n_tup_upd) from pg_stat_all_tables
            where schemaname = 'raw' and relname = %s
            """,
            [feed],
        )
    )


def _noted_stamp(connection: Connection, feed: str) -> str | None:
    row = connection.execute("select stamp from ops.raw_counts where feed = %s", [feed]).fetchone()
    return str(row[0]) if row else None


def _recount_raw(connection: Connection, feed: str) -> list[Imbalance]:
    rows = connection.execute(
        query(f"""
        with counted as (
            select batch_id, sum(row_count)::bigint as row_count from (
                select batch_id, count(*) as row_count from raw.{feed} group by batch_id
                union all
                select batch_id, count(*) from quarantine.suspended where feed = '{feed}' group by batch_id
            ) as places group by batch_id
        )
        select coalesce(b.batch_id, c.batch_id), coalesce(b.kept_rows, 0), coalesce(c.row_count, 0)
        from (select batch_id, loaded_rows - retired_rows as kept_rows, state from ops.batches where feed = %s) as b
        full join counted as c using (batch_id)
        where coalesce(b.kept_rows, 0) <> coalesce(c.row_count, 0)
            and not coalesce(b.state = 'held' and coalesce(c.row_count, 0) < b.kept_rows, false)
        """),
        [feed],
    ).fetchall()
    return [Imbalance(row[0], feed, "rows in raw", row[1], row[2]) for row in rows]


def _recount_quarantine(connection: Connection) -> list[Imbalance]:
    rows = connection.execute(
        """
        with counted as (
            select batch_id, feed,
                count(*) filter (where state = 'open') as open_count,
                count(*) filter (where state = 'released') as released_count,
                count(*) filter (where state = 'discarded') as discarded_count
            from quarantine.rows group by batch_id, feed)
        select b.batch_id, b.feed, what, expected, found
        from ops.batches as b left join counted as c using (batch_id)
        cross join lateral (values
            ('rows open in quarantine', b.quarantined_rows, coalesce(c.open_count, 0)),
            ('rows released', b.released_rows, coalesce(c.released_count, 0)),
            ('rows discarded', b.discarded_rows, coalesce(c.discarded_count, 0))) as t (what, expected, found)
        where expected <> found
        """
    ).fetchall()
    return [Imbalance(*row) for row in rows]


def me() -> str:
    """Who acts, for the journals: the person at the keyboard."""
    named = os.environ.get("C360_ACTOR") or os.environ.get("SUDO_USER") or os.environ.get("USER")
    if named:
        return named
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number without a name
        return f"uid {os.getuid()}"


def record_action(connection: Connection, batch_id: int, action: str, count: int, who: str, why: str) -> None:
    """Record in ops.batch_actions what a person did to a batch, to how many rows, and why."""
    connection.execute(
        "insert into ops.batch_actions (batch_id, action, row_count, acted_by, because) values (%s, %s, %s, %s, %s)",
        [batch_id, action, count, who, why],
    )
