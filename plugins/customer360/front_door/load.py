"""The load: each landed batch through the landing gate into raw, in one transaction with its ledger entry.

A batch's rows and what the ledger says of them are committed together or not at all, so that a loader may die at any
point and the next one begins again. A reader's thread types and judges the next chunk while the present one is being
copied. Points where a drill may strike are named in :mod:`customer360.kill_points`.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa

from customer360 import warehouse
from customer360.contract.feeds import FEEDS, Feed, feed_named
from customer360.contract.records import Chunk
from customer360.errors import Customer360Error
from customer360.front_door import erased, landing, late_records, ledger, source_files
from customer360.front_door.formats import Source, UnreadableFileError
from customer360.front_door.ledger import Batch, Counts, FencedError
from customer360.front_door.readers import open_source
from customer360.front_door.rows_to_copy import Repeats, csv_of
from customer360.gates import suites
from customer360.gates.suites import Judged, LandingGate, Reason
from customer360.kill_points import reach
from customer360.progress import Progress, Silent
from customer360.settings import Settings
from customer360.sources.conversion import Conversion, ConversionError
from customer360.warehouse import Connection, dirty, query

logger = logging.getLogger(__name__)

_COPY_PIECE = 1 << 18  # bytes handed to libpq at a time: enough for its buffers, little enough to notice a cut


@dataclass(frozen=True)
class BatchOutcome:
    """What became of one batch."""

    batch_id: int
    feed: str
    file_name: str
    state: str
    rows: int = 0
    quarantined: int = 0
    duplicates: int = 0
    error: str = ""


@dataclass
class IngestSummary:
    """What one call of :func:`ingest` did."""

    batches: list[BatchOutcome] = field(default_factory=list)

    def of_state(self, state: str) -> list[BatchOutcome]:
        """The batches that ended in a state."""
        return [batch for batch in self.batches if batch.state == state]

    @property
    def loaded(self) -> list[BatchOutcome]:
        """Batches that are in raw now."""
        return self.of_state("loaded")

    @property
    def failed(self) -> list[BatchOutcome]:
        """Batches whose load broke; the next run tries them again."""
        return self.of_state("failed")

    @property
    def refused(self) -> list[BatchOutcome]:
        """Batches that were refused whole."""
        return self.of_state("refused")

    @property
    def row_count(self) -> int:
        """Rows loaded."""
        return sum(batch.rows for batch in self.loaded)

    @property
    def quarantined_count(self) -> int:
        """Rows that stepped aside."""
        return sum(batch.quarantined for batch in self.loaded)

    def __str__(self) -> str:
        if not self.batches:
            return "nothing new has landed"
        counts = [(state, len(self.of_state(state))) for state in ("loaded", "duplicate", "refused", "failed")]
        told = ", ".join(f"{count} {state}" for state, count in counts if count)
        return f"{told}; {self.row_count:,} rows loaded, {self.quarantined_count:,} in quarantine"


def ingest(settings: Settings, feed: str | None = None, progress: Progress | None = None) -> IngestSummary:
    """Bring in everything that waits in the landing zone, of one feed or of all.

    Files stay where they are. Safe to run twice at once: each batch is loaded by one of the two. A refused or failed
    batch does not stop the others.

    Raises:
        UnknownFeedError: there is no such feed.
        WarehouseUnavailableError: the warehouse went away and did not come back.
    """
    watcher = progress or Silent()
    if feed is not None:
        feed_named(feed)
    landing.prepare(settings)
    summary = IngestSummary()
    with warehouse.connect("loader", settings, autocommit=True, application_name="customer360 ledger") as control:
        fresh, _ = ledger.unseen(control, landing.files(settings, feed))
        watcher.stage("land", len(fresh))
        for file in fresh:
            batch = ledger.register(control, settings, file)
            watcher.step(file.name)
            if batch is not None and batch.state in {"refused", "duplicate"}:
                summary.batches.append(_outcome(batch))
            reach("land.registered")
        waiting = ledger.unfinished(control, feed)
    watcher.stage("load", len(waiting))
    for batch in waiting:
        outcome = load_batch(settings, batch, watcher)
        watcher.step(f"{batch.feed}/{batch.file_name}")
        if outcome is not None:
            summary.batches.append(outcome)
    if summary.batches:
        with warehouse.connect("loader", settings, autocommit=True) as control:
            erased.remove_files(settings, control)
    watcher.note(str(summary))
    return summary


def _outcome(batch: Batch) -> BatchOutcome:
    return BatchOutcome(
        batch.batch_id,
        batch.feed,
        batch.file_name,
        batch.state,
        batch.loaded_rows,
        batch.quarantined_rows,
        batch.duplicate_rows,
        batch.error or "",
    )


def load_batch(
    settings: Settings, batch: Batch, progress: Progress | None = None, *, replay: bool = False
) -> BatchOutcome | None:
    """Load one batch; None when another loader is at it or has done it.

    Args:
        replay: the batch was loaded before, and what it brought in is replaced. The caller holds the writer lock.

    Raises:
        WarehouseUnavailableError: the warehouse went away and did not come back.
    """
    for attempt in (1, 2):
        try:
            return _load_once(settings, batch, progress or Silent(), replay, again=attempt > 1)
        except psycopg.OperationalError as error:
            # The connection broke: cut by an operator, or the server went down. What the server has committed
            # counts, whether or not its answer arrived.
            logger.warning("Batch %s: the connection broke (%s)", batch.batch_id, _plain(error))
            after = _state_after_break(settings, batch.batch_id)
            if after is not None and after.state not in {"landed", "failed"} and not replay:
                return _outcome(after)
            if attempt == 2:
                return _failed(settings, batch, _plain(error))
    raise AssertionError("two attempts always end")


def _state_after_break(settings: Settings, batch_id: int) -> Batch | None:
    with warehouse.connect("loader", settings, autocommit=True) as connection:
        return ledger.batch(connection, batch_id)


def _failed(settings: Settings, batch: Batch, reason: str) -> BatchOutcome | None:
    with warehouse.connect("loader", settings, autocommit=True) as connection:
        present = ledger.batch(connection, batch.batch_id)
        if present is None or present.state not in {"landed", "failed"}:
            return None
        ledger.fail(connection, batch.batch_id, present.attempts, reason)
        ledger.let_go(connection, batch.batch_id, present.attempts)
        after = ledger.batch(connection, batch.batch_id)
    return _outcome(after) if after else None


def _load_once(settings: Settings, batch: Batch, progress: Progress, replay: bool, again: bool) -> BatchOutcome | None:
    with (
        warehouse.connect("loader", settings, application_name=f"customer360 load {batch.batch_id}") as connection,
        warehouse.connect("loader", settings, autocommit=True, application_name="customer360 ledger") as control,
    ):
        token = ledger.claim(
            connection,
            batch.batch_id,
            lease_seconds=settings.load_lease_seconds,
            states=_states(replay),
            again=again,
        )
        if token is None:
            return None
        reach("load.claimed")
        load = _Load(settings, batch, token, connection, control, progress, replay)
        broken = ""
        try:
            load.run()
        except FencedError:
            _undo(connection)
            return None
        except UnreadableFileError as error:
            connection.rollback()
            broken = str(error)
            ledger.refuse(control, batch.batch_id, token, broken, load.counts.landed)
        except psycopg.errors.DiskFull as error:
            broken = f"the warehouse's disk is full ({_plain(error)}); make room, then run `c360 run`"
        except psycopg.OperationalError:
            raise
        except FileNotFoundError:
            broken = "its file was taken away from the landing zone"
        except Exception as error:
            logger.exception("Batch %s could not be loaded", batch.batch_id)
            broken = f"{type(error).__name__}: {_plain(error)}"
        if broken:
            _undo(connection)
            ledger.fail(control, batch.batch_id, token, broken)
        ledger.let_go(control, batch.batch_id, token)
        after = ledger.batch(control, batch.batch_id)
    if replay and broken:  # what it brought in before is untouched, and so is its state
        return BatchOutcome(batch.batch_id, batch.feed, batch.file_name, "failed", error=broken)
    return _outcome(after) if after else None


def _undo(connection: Connection) -> None:
    with suppress(psycopg.Error):
        connection.rollback()


def _plain(error: BaseException) -> str:
    """An error in one line; PostgreSQL's DETAIL and CONTEXT may quote values and are left out."""
    if isinstance(error, psycopg.Error):
        return (error.diag.message_primary or str(error)).strip().split("\n", 1)[0]
    text = str(error).strip().split("\n", 1)[0]
    if isinstance(error, Customer360Error) and error.next_step:
        text = f"{text} {error.next_step}"
    return text[:600] if isinstance(error, OSError | Customer360Error) else "see the log"


@dataclass
class _Ready:
    """A chunk that has passed the gate, with its good rows as CSV."""

    judged: Judged
    suspects: np.ndarray
    good: pa.Buffer
    good_count: int


class _Load:
    """One attempt at one batch."""

    def __init__(
        self,
        settings: Settings,
        batch: Batch,
        token: int,
        connection: Connection,
        control: Connection,
        progress: Progress,
        replay: bool,
    ) -> None:
        self.settings, self.batch, self.token, self.is_replay = settings, batch, token, replay
        self.closed: dict[int, str] = {}
        self.seen_closed: set[int] = set()
        self.conversion: Conversion | None = None
        self.connection, self.control, self.progress = connection, control, progress
        self.feed: Feed = FEEDS[batch.feed]
        self.counts = Counts()
        self.unknown_fields: dict[str, int] = {}
        self.personal_rows = 0
        self.unusable_fields: dict[str, dict[str, int]] = {}
        self.examples: dict[str, str] = {}
        self.drift: dict[str, list[Any]] = {}

    def run(self) -> None:
        """Everything from the file to the commit."""
        with self._opened() as (source, size):
            gate = LandingGate(self.feed, self.batch.landed_at)
            self.connection.execute("set local timezone = 'UTC'")
            if self.is_replay or self.batch.loaded_rows or self.batch.quarantined_rows:
                self._take_back()
            repeats = Repeats(self.feed, size)
            ready = _ahead(self._gated(source.chunks, gate, repeats), beyond=size > _SMALL_FILE)
            with closing(ready):
                for chunk in ready:
                    self._copy(chunk)
                    ledger.beat(self.control, self.batch.batch_id, self.token, states=_states(self.is_replay))
                    self.progress.note(f"{self.batch.file_name}: {self.counts.landed:,} rows")
        self._settle_suspects()
        if len(self.seen_closed) != len(self.closed):
            lost = min(set(self.closed) - self.seen_closed)
            raise ConversionError(
                f"record {lost:,} left the quarantine, and by the source as it is now it is no record",
                "Let the source give that record again, or hold the batch.",
            )
        reach("load.copied")
        suites.record(self.connection, gate.results(), batch_id=self.batch.batch_id)
        self.personal_rows = gate.rows_breaking("personal_value")
        self._check_raw()
        if self.conversion:
            source_files.enter(self.connection, self.batch.batch_id, self.conversion)
        ledger.finish(
            self.connection,
            self.batch.batch_id,
            self.token,
            self.counts,
            reading=source.reading.as_json(),
            unknown_fields=self.unknown_fields,
            unusable_fields=self.unusable_fields,
            gated_at=self.gated_at,
            warning=self._warning(),
            states=_states(self.is_replay),
        )
        erased.strip_batch(self.connection, self.settings, self.feed, self.batch.batch_id)
        reach("load.finished")
        self.connection.commit()
        reach("load.committed")

    gated_at: datetime | None = None

    @contextmanager
    def _opened(self) -> Iterator[tuple[Source, int]]:
        """The batch's records, converted by its source if it is a vendor's export, and their size in bytes."""
        if self.batch.source is None:
            assert self.batch.location is not None  # noqa: S101 - only released batches have none
            with landing.open_file(self.settings, self.batch.location) as stream:
                size = stream.seek(0, 2)
                stream.seek(0)
                zone = (self.batch.reading or {}).get("timezone") or self.settings.parquet_timezone
                yield open_source(self.feed, self.batch.file_name, stream, parquet_timezone=zone), size
            return
        with (
            source_files.converted(self.settings, self.batch) as self.conversion,
            source_files.opened(self.feed, self.conversion) as source,
        ):
            yield source, self.conversion.output.stat().st_size

    def _take_back(self) -> None:
        """Remove what the batch brought in before; its keys are dirty, as some may not come back.

        A batch that waits has brought something only if somebody has set its state back by hand; any other is not
        looked for in raw, which would read what the index on batches has not summarised yet.
        Rows that left the quarantine have had their decision, which a replay does not reopen.
        """
        batch_id = self.batch.batch_id
        dirty.mark_batches(self.connection, self.feed, [batch_id])
        self.connection.execute(query(f"delete from raw.{self.feed.name} where batch_id = %s"), [batch_id])
        self.connection.execute("delete from quarantine.rows where batch_id = %s and state = 'open'", [batch_id])
        rows = self.connection.execute(
            "select row_number, state from quarantine.rows where batch_id = %s", [batch_id]
        ).fetchall()
        self.closed = dict(rows)

    def _gated(self, chunks: Iterator[Chunk], gate: LandingGate, repeats: Repeats) -> Generator[_Ready, None, None]:
        """Runs in the reader's thread for all but small files."""
        for chunk in chunks:
            closed = self._closed_rows(chunk)
            judged = gate.check(chunk)
            chunk, reasons = judged.chunk, judged.reasons
            good = np.arange(len(chunk))
            for row in closed:
                reasons.pop(row, None)
            if closed:
                good = np.setdiff1d(good, np.array(closed), assume_unique=True)
            if reasons:
                good = np.setdiff1d(good, np.fromiter(reasons, np.int64, len(reasons)), assume_unique=True)
            suspects = repeats.suspects(chunk, good) if len(good) else good
            if len(suspects):
                good = np.setdiff1d(good, suspects, assume_unique=True)
            whole = len(good) == len(chunk)
            rows = csv_of(chunk, self.batch.batch_id, None if whole else good)
            yield _Ready(judged, suspects, rows, len(good))

    def _closed_rows(self, chunk: Chunk) -> list[int]:
        """Rows of the chunk that were released or discarded before (on a replay only)."""
        if not self.closed:
            return []
        rows = np.flatnonzero(np.isin(chunk.row_numbers, list(self.closed))).tolist()
        self.seen_closed.update(int(chunk.row_numbers[row]) for row in rows)
        return rows

    def _copy(self, ready: _Ready) -> None:
        if self.gated_at is None:
            self.gated_at = datetime.now(UTC)
            reach("load.gated")
        chunk, reasons = ready.judged.chunk, ready.judged.reasons
        self.counts.landed += len(chunk)
        self.counts.loaded += ready.good_count
        self.counts.quarantined += len(reasons)
        for name, count in chunk.unknown_fields.items():
            self.unknown_fields[name] = self.unknown_fields.get(name, 0) + count
        for name, rules in ready.judged.unusable.items():
            counted = self.unusable_fields.setdefault(name, {})
            for rule, count in rules.items():
                counted[rule] = counted.get(rule, 0) + count
        self.examples = ready.judged.examples | self.examples
        if ready.good_count:
            copy_csv(self.connection, f"raw.{self.feed.name}", self.feed.raw_columns, ready.good)
        if len(ready.suspects):
            self._keep_suspects(chunk, ready.suspects)
        if reasons:
            set_aside(self.connection, self.batch.batch_id, chunk, reasons)
            self._note_drift(reasons)

    def _keep_suspects(self, chunk: Chunk, rows: np.ndarray) -> None:
        if not self._has_suspects:
            self._has_suspects = True
            self.connection.execute(
                query(f"create temp table suspects (like raw.{self.feed.name} including generated) on commit drop"),
            )
        copy_csv(self.connection, "pg_temp.suspects", self.feed.raw_columns, csv_of(chunk, self.batch.batch_id, rows))
        self._suspect_count += len(rows)

    _has_suspects = False
    _suspect_count = 0

    def _settle_suspects(self) -> None:
        """Load those rows that only looked like repetitions; count the others as duplicates."""
        if not self._has_suspects:
            return
        self.connection.execute("analyze pg_temp.suspects")
        content = [name for name in self.feed.raw_columns if name not in {"batch_id", "row_number"}]
        listed = ", ".join(content)
        same = " and ".join(f"r.{name} is not distinct from s.{name}" for name in content)
        cursor = self.connection.execute(
            query(f"""
            insert into raw.{self.feed.name} ({", ".join(self.feed.raw_columns)})
            select distinct on ({listed}) {", ".join(self.feed.raw_columns)} from pg_temp.suspects as s
            where not exists (select from raw.{self.feed.name} as r where r.batch_id = s.batch_id
                              and r.{self.feed.key} = s.{self.feed.key} and {same})
            order by {listed}, row_number
            """)
        )
        self.counts.loaded += cursor.rowcount
        self.counts.duplicates = self._suspect_count - cursor.rowcount

    def _note_drift(self, reasons: dict[int, list[Reason]]) -> None:
        """Count which fields came in another type, to say it once for the batch."""
        for row_reasons in reasons.values():
            for reason in row_reasons:
                if reason.rule == "readable":
                    tally = self.drift.setdefault(reason.field, [0, reason.message.split(":", 1)[0]])
                    tally[0] += 1

    def _warning(self) -> str:
        """What on-call should know of the batch as a whole, each thing once."""
        told = [
            f"{name}: {count:,} of {self.counts.landed:,} records do not fit ({example})"
            for name, (count, example) in sorted(self.drift.items())
            if count >= 0.1 * self.counts.landed  # fewer are bad rows, not a changed field
        ]
        for name, rules in sorted(self.unusable_fields.items()):
            count = sum(rules.values())
            if name in self.examples and count >= 0.1 * self.counts.landed:
                told.append(
                    f"{name}: {count:,} of {self.counts.landed:,} records are loaded without it "
                    f"({self.examples[name].split(':', 1)[0]})"
                )
        if self.personal_rows:
            told.append(
                f"{self.personal_rows:,} of {self.counts.landed:,} records have an e-mail address, a phone or a card "
                "number in a text that is published; it is masked there"
            )
        late, starts_on = late_records.late_count(self.connection, self.feed.name, self.batch.batch_id)
        if late:
            told.append(
                f"{late:,} records were frozen already (history starts on {starts_on}): of each the newest version "
                "counts, and it is frozen again in its time"
            )
        return "; ".join(told)

    def _check_raw(self) -> None:
        row = self.connection.execute(
            query(f"select count(*), coalesce(max(row_number), 0) from raw.{self.feed.name} where batch_id = %s"),
            [self.batch.batch_id],
        ).fetchone()
        assert row is not None  # noqa: S101 - an aggregate always gives a row
        frame = pd.DataFrame(
            {
                "raw_rows": [row[0]],
                "ledger_rows": [self.counts.loaded],
                "landed_rows": [self.counts.landed],
                "accounted_rows": [
                    self.counts.loaded + self.counts.quarantined + self.counts.duplicates + len(self.closed)
                ],
                "file_rows": [self.conversion.input_records if self.conversion else self.counts.landed],
                "last_row_number": [row[1]],
            }
        )
        outcome = suites.run_suite(
            "raw",
            raw_suite(self.feed.name),
            frame,
            settings=self.settings,
            batch_id=self.batch.batch_id,
            connection=self.connection,
        )
        if outcome.blocked:
            raise suites.GateCrashedError(str(outcome), "Nothing was loaded. Run `c360 run` to try again.")


def _states(replay: bool) -> tuple[str, ...]:
    """The states in which a batch may be taken for loading."""
    return ("loaded", "held", "published") if replay else ("landed", "failed")


@cache
def raw_suite(feed: str) -> Any:
    """The suite of a feed's raw gate, made once per process."""
    return import_module("expectations.raw").suite(feed)


def copy_csv(connection: Connection, table: str, columns: tuple[str, ...], rows: pa.Buffer) -> None:
    """Stream CSV into a table."""
    statement = query(f"copy {table} ({', '.join(columns)}) from stdin (format csv)")
    data = memoryview(rows)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for start in range(0, len(data), _COPY_PIECE):
            copy.write(data[start : start + _COPY_PIECE])
            if start <= len(data) // 2:
                reach("load.copying")


def set_aside(connection: Connection, batch_id: int, chunk: Chunk, reasons: dict[int, list[Reason]]) -> None:
    """Put rows into quarantine, as they came, with every reason."""
    with (
        connection.cursor() as cursor,
        cursor.copy("copy quarantine.rows (batch_id, feed, row_number, record, reasons) from stdin") as copy,
    ):
        for row in sorted(reasons):
            told = json.dumps([reason.as_json() for reason in reasons[row]], ensure_ascii=False)
            copy.write_row([batch_id, chunk.feed.name, int(chunk.row_numbers[row]), chunk.record(row), told])


# --- one chunk ahead -------------------------------------------------------------------------------------------------

_SMALL_FILE = 4 << 20  # bytes; a thread for less costs more than it saves
_END = object()


def _ahead(ready: Iterator[_Ready], *, beyond: bool) -> Generator[_Ready, None, None]:
    """Prepare the next chunk in a thread of its own while the caller is busy with the present one."""
    if not beyond:
        yield from ready
        return
    waiting: queue.Queue[Any] = queue.Queue(maxsize=1)
    stop = threading.Event()

    def offer(item: Any) -> bool:
        while not stop.is_set():
            with suppress(queue.Full):
                waiting.put(item, timeout=0.1)
                return True
        return False

    def prepare() -> None:
        try:
            for item in ready:
                if not offer(item):
                    return
            offer(_END)
        except BaseException as error:
            offer(error)

    thread = threading.Thread(target=prepare, name="customer360 reader", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
