"""Raw retention: raw lets go of what is older than ``C360_RAW_RETENTION_DAYS``, and what marts say of it is kept.

What was known before the day on which history starts is frozen: raw loses every version of such a record, and schema
state keeps the record as staging has it, without the texts that identify a person (the key map has each of them once),
without subject, body and unknown fields. Staging reads the frozen records beside raw, so that no published row moves
and a full refresh loses none. docs/decisions/0009 says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from customer360 import warehouse
from customer360.contract.feeds import FEEDS, Feed
from customer360.front_door import landing, ledger
from customer360.front_door.late_records import history_starts_on
from customer360.identity.identifiers import STRONG_TYPES, Normaliser
from customer360.kill_points import reach
from customer360.settings import Settings
from customer360.warehouse import Connection, query, scalar


def _last_own_time(feed: Feed) -> str:
    """SQL over ``raw.<feed> as r``: the last time that a record of a backfill speaks of."""
    times = []
    for name in feed.own_times:
        array, is_element, element = name.partition("[].")
        times.append(
            f"(select max((element ->> '{element}')::timestamptz) from jsonb_array_elements(r.{array}) as element)"
            if is_element
            else f"r.{name}"
        )
    return f"greatest({', '.join(times)})"


@dataclass
class FreezeSummary:
    """What raw let go of."""

    history_starts_on: date | None = None
    """Null: nothing was ever frozen."""
    frozen: dict[str, int] = field(default_factory=dict)
    """Feed -> records frozen this time."""
    retired_rows: int = 0
    forgotten_rows: int = 0
    waiting: str = ""
    """Why nothing was done although raw is due, if so."""

    @property
    def count(self) -> int:
        """Records frozen this time, of all feeds."""
        return sum(self.frozen.values())

    def __str__(self) -> str:
        if self.waiting:
            return f"raw kept as it is: {self.waiting}"
        told = ", ".join(f"{count:,} {feed.replace('_', ' ')}" for feed, count in self.frozen.items() if count)
        return (
            f"{told or 'no record'} frozen, {self.retired_rows:,} rows removed from raw, "
            f"{self.forgotten_rows:,} closed rows of the quarantine emptied; history starts on {self.history_starts_on}"
        )


def freeze(settings: Settings, *, now: datetime, who: str, why: str, dry_run: bool = False) -> FreezeSummary | None:
    """Let go of raw rows older than ``C360_RAW_RETENTION_DAYS``; None if raw is kept for ever.

    A record is frozen when all that its versions say was known before the day (architecture, "Known time"), every
    batch that brought one is published, and no build has it to do. All of it happens in one transaction, in turn with
    builds; the next build stages the frozen records from what was kept, and no published row moves.

    Raises:
        warehouse.WriterBusyError: a build does not end.
    """
    from customer360.models.fingerprint import live_fingerprint

    if not settings.raw_retention_days:
        return None
    zone = ZoneInfo(settings.business_timezone)
    with (
        warehouse.writer_lock(settings, who="raw retention"),
        warehouse.connect("owner", settings, application_name="customer360 raw retention") as connection,
    ):
        due = now.astimezone(zone).date() - timedelta(days=settings.raw_retention_days)
        starts_on = max(filter(None, (due, history_starts_on(connection))))
        summary = FreezeSummary(starts_on)
        if scalar(connection, "select fingerprint from ops.live_build") != live_fingerprint(settings):
            summary.waiting = "a build of every table is due; `c360 run`, then this again"
            return summary
        before = datetime.combine(starts_on, time(), zone)
        freeze_id = _open(connection, starts_on, who, why)
        for feed in FEEDS.values():
            summary.frozen[feed.name] = _find(connection, feed, before, Normaliser.of(settings))
            _keep(connection, feed, freeze_id)
            summary.retired_rows += _let_go(connection, feed, who, why)
        reach("freeze.retired")
        summary.forgotten_rows = _forget_closed_rows(connection, before)
        if not summary.count and not summary.forgotten_rows:
            connection.rollback()
            summary.history_starts_on = history_starts_on(connection)
            return summary
        _close(connection, freeze_id, summary)
        reach("freeze.finished")
        if dry_run:
            connection.rollback()
        else:
            connection.commit()
            _vacuum(settings)
    return summary


_COUNTS = [f"{feed.scope}_count" for feed in FEEDS.values()]


def _open(connection: Connection, starts_on: date, who: str, why: str) -> int:
    freeze_id: int = scalar(
        connection,
        f"""
        insert into state.freezes (history_starts_on, {", ".join(_COUNTS)}, retired_rows, forgotten_rows, acted_by,
                                   because)
        values (%s, {", ".join("0" for _ in _COUNTS)}, 0, 0, %s, %s) returning freeze_id
        """,
        [starts_on, who, why],
    )
    return freeze_id


def _close(connection: Connection, freeze_id: int, summary: FreezeSummary) -> None:
    connection.execute(
        query(f"""
        update state.freezes set {", ".join(f"{count} = %s" for count in _COUNTS)}, retired_rows = %s,
                                 forgotten_rows = %s
        where freeze_id = %s
        """),
        [*(summary.frozen[feed] for feed in FEEDS), summary.retired_rows, summary.forgotten_rows, freeze_id],
    )


def _find(connection: Connection, feed: Feed, before: datetime, normaliser: Normaliser) -> int:
    """Put the record keys to be frozen into the temporary table ``ripe``; returns how many."""
    connection.execute("drop table if exists pg_temp.ripe")
    connection.execute(
        query(f"""
        create temp table ripe on commit drop as
        select r.{feed.key} as id from raw.{feed.name} as r join ops.batches as b using (batch_id)
        group by r.{feed.key}
        having bool_and(
            b.state = 'published' and r.{feed.known_from} < %(before)s
            and case when b.is_history then {_last_own_time(feed)} else b.loaded_at end < %(before)s)
        """),
        {"before": before},
    )
    connection.execute(
        "delete from pg_temp.ripe where id in (select key from ops.dirty where scope = %s)", [feed.scope]
    )
    connection.execute("create unique index on pg_temp.ripe (id)")
    connection.execute("analyze pg_temp.ripe")
    _leave_unstable_texts(connection, feed, normaliser)
    return int(scalar(connection, "select count(*) from pg_temp.ripe"))


def _leave_unstable_texts(connection: Connection, feed: Feed, normaliser: Normaliser) -> None:
    """Keep records whose identifiers' normal forms do not normalise to themselves: read back, they would be others."""
    for identifier_type in STRONG_TYPES:
        with connection.cursor(name="texts") as cursor:
            cursor.execute(
                query(f"""
                select distinct m.customer_key, m.identifier from pg_temp.ripe
                join identity.records as i on i.record_type = %s and i.record_id = ripe.id
                join state.customer_key_map as m on m.customer_key = i.{identifier_type}_key
                """),
                [feed.scope],
            )
            unstable: list[int] = []
            while rows := cursor.fetchmany(50_000):
                again = normaliser.normalise_all(identifier_type, (text for _, text in rows))
                unstable += [key for (key, text), other in zip(rows, again, strict=True) if other not in (text, None)]
        if unstable:
            connection.execute(
                query(f"""
                delete from pg_temp.ripe using identity.records as i
                where i.record_type = %s and i.record_id = ripe.id and i.{identifier_type}_key = any(%s)
                """),
                [feed.scope, unstable],
            )


def _keep(connection: Connection, feed: Feed, freeze_id: int) -> None:
    """Copy the records from staging to state, a later version in the place of an earlier frozen one."""
    columns = frozen_columns(connection, feed.name)
    sources = [
        str(freeze_id) if name == "freeze_id" else f"i.{name}" if name in _KEYS else f"s.{name}" for name in columns
    ]
    replaced = ", ".join(f"{name} = excluded.{name}" for name in columns if name != feed.key)
    connection.execute(
        query(f"""
        insert into {feed.frozen} ({", ".join(columns)})
        select {", ".join(sources)} from pg_temp.ripe
        join staging.{feed.staged} as s on s.{feed.key} = ripe.id
        {_IDENTITY_OF_AN_EVENT if feed.built_into else _IDENTITY_OF_A_RECORD.format(scope=feed.scope)}
        on conflict ({feed.key}) do update set {replaced}
        """)
    )
    missing = scalar(
        connection,
        f"select count(*) from pg_temp.ripe where not exists (select from {feed.frozen} where {feed.key} = ripe.id"
        f" and freeze_id = {freeze_id})",
    )
    assert not missing, f"{missing} {feed.scope} ids are in raw and not in staging"  # noqa: S101 - nothing may be lost


_IDENTITY_OF_A_RECORD = """
    left join identity.records as i on i.record_type = '{scope}' and i.record_id = ripe.id
    where i.record_id is not null or s.is_deleted
"""
# Identity knows the session that the event is part of. What the event itself does not show is not kept with it. A
# deleted event, and one of a session that is left out, keeps no identifier: it identifies nobody.
_IDENTITY_OF_AN_EVENT = """
    left join lateral (
        select case when s.customer_id is not null then known.customer_id_key end as customer_id_key,
            case when s.email is not null then known.email_key end as email_key
        from intermediate.int_sessions__built as built
        join identity.records as known on known.record_type = 'session' and known.record_id = built.session_key
        where built.stream_key = s.stream_key and s.occurred_at between built.started_at and built.ended_at
        order by built.session_key limit 1
    ) as i on true
"""

_KEYS = {f"{identifier_type}_key" for identifier_type in STRONG_TYPES}


def frozen_columns(connection: Connection, feed: str) -> list[str]:
    """The columns of a feed's frozen records, in their order."""
    rows = connection.execute(
        """
        select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped
        order by attnum
        """,
        [f"state.frozen_{feed}"],
    ).fetchall()
    return [row[0] for row in rows]


def _let_go(connection: Connection, feed: Feed, who: str, why: str) -> int:
    """Remove every version of the records from raw, and say so in the ledger; returns how many rows."""
    retired = connection.execute(
        query(f"""
        with gone as (
            -- A load beside this may have brought a version that nobody has staged: its batch is not published.
            delete from raw.{feed.name} as r using pg_temp.ripe, ops.batches as b
            where r.{feed.key} = ripe.id and b.batch_id = r.batch_id and b.state = 'published' returning r.batch_id
        ),
        counted as (select batch_id, count(*) as row_count from gone group by batch_id),
        told as (
            update ops.batches as b set retired_rows = retired_rows + c.row_count
            from counted as c where b.batch_id = c.batch_id
        )
        insert into ops.batch_actions (batch_id, action, row_count, acted_by, because)
        select batch_id, 'retire', row_count, %s, %s from counted returning row_count
        """),
        [who, why],
    ).fetchall()
    # Staging takes them from state now: without the texts that it holds still.
    connection.execute(
        "insert into ops.dirty (scope, key) select %s, id from pg_temp.ripe order by id on conflict do nothing",
        [feed.scope],
    )
    return sum(row[0] for row in retired)


def _forget_closed_rows(connection: Connection, before: datetime) -> int:
    """Quarantined rows that were decided before the day keep their reasons and who decided, and lose the record."""
    return connection.execute(
        """
        update quarantine.rows set record = null
        where state in ('released', 'discarded') and closed_at < %s and record is not null
        """,
        [before],
    ).rowcount


def _vacuum(settings: Settings) -> None:
    """What was removed goes from the pages too, now and not when the server finds the time."""
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        for feed in FEEDS.values():
            connection.execute(query(f"vacuum (analyze) raw.{feed.name}"))
        connection.execute("vacuum quarantine.rows")


# --- tidy ------------------------------------------------------------------------------------------------------------


@dataclass
class TidySummary:
    """What tidying removed."""

    files: list[str] = field(default_factory=list)
    bytes: int = 0
    gate_results: int = 0
    raw: FreezeSummary | None = None
    """What raw let go of; None where it is kept for ever."""

    def __str__(self) -> str:
        told = (
            f"{len(self.files)} landed files removed ({self.bytes / 1e6:,.1f} MB), "
            f"{self.gate_results:,} old results of gates forgotten"
        )
        return f"{told}; {self.raw}" if self.raw else told


def tidy(
    settings: Settings, *, now: datetime, dry_run: bool = False, who: str | None = None, why: str | None = None
) -> TidySummary:
    """Remove landed files that are older than ``C360_LANDED_FILE_DAYS`` and whose batch is published.

    A duplicate's file goes with its original's. What the gates found when all was well is forgotten after the same
    time. Raw, the quarantine and the ledger stay as they are, unless ``C360_RAW_RETENTION_DAYS`` is set: then raw
    lets go of what is older (:func:`freeze`), and files are not kept for longer than that.

    Raises:
        warehouse.WriterBusyError: a build does not end (only where raw is not kept for ever).
    """
    who = who or ledger.me()
    days = min(settings.landed_file_days, settings.raw_retention_days or settings.landed_file_days)
    before = now - timedelta(days=days)
    summary = TidySummary()
    with warehouse.connect("loader", settings, autocommit=True) as connection:
        rows = connection.execute(
            """
            select b.batch_id, b.location, coalesce(b.bytes, 0), b.feed
            from ops.batches as b left join ops.batches as o on o.batch_id = b.duplicate_of
            where b.location is not null and b.landed_at < %s
              and (b.state = 'published' or (b.state = 'duplicate' and o.state = 'published'))
              and not exists (select from ops.batch_actions as a where a.batch_id = b.batch_id and a.action = 'tidy')
            order by b.batch_id
            """,
            [before],
        ).fetchall()
        there = {file.location for file in landing.files(settings)}
        for batch_id, location, size, _ in rows:
            if location not in there or _is_named_by_newer(connection, batch_id, location):
                continue
            summary.files.append(location)
            summary.bytes += size
            if not dry_run:
                landing.remove(settings, location)
                ledger.record_action(connection, batch_id, "tidy", 0, who, why or f"older than {days} days")
        if not dry_run:
            summary.gate_results = connection.execute(
                "delete from ops.gate_results where outcome = 'passed' and checked_at < %s", [before]
            ).rowcount
    reason = why or f"older than C360_RAW_RETENTION_DAYS = {settings.raw_retention_days} days"
    summary.raw = freeze(settings, now=now, who=who, why=reason, dry_run=dry_run)
    return summary


def _is_named_by_newer(connection: Connection, batch_id: int, location: str) -> bool:
    """Whether the path holds the content of a later batch by now."""
    row = connection.execute(
        "select exists (select from ops.batches where location = %s and batch_id > %s)", [location, batch_id]
    ).fetchone()
    return bool(row and row[0])
