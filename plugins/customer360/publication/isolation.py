"""Isolation: when rows of the claimed batches stop a build, find them, quarantine them, and let all others through.

A build that fails *on data* (SQLSTATE classes 22 and 23, or a candidate gate that names rows) is tried again without
its new batches. If it fails even so, the code is to blame: nothing is touched and the first error stands. If it
holds, the batches come back in halves, the older half first, until what fails is one batch, and then one row. Where
several rows fail only together, the newest of them is the one that is found.

While the search runs, rows that are out of the build lie in ``quarantine.suspended``. A run that dies leaves them
there, and the next build puts them back before it claims anything.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from customer360 import warehouse
from customer360.contract.feeds import FEEDS
from customer360.contract.json_values import dumps, loads
from customer360.errors import Customer360Error
from customer360.front_door import ledger
from customer360.models.runner import ModelsFailedError
from customer360.progress import Progress
from customer360.settings import Settings
from customer360.warehouse import Connection, query
from customer360.warehouse.run_log import GateBlockedError, Run, told

RULE = "isolated"
"""The rule under which an isolated row lies in quarantine."""

_DATA_CLASSES = ("22", "23")  # data exceptions; violated constraints. Not 53 (disk), 55 (lock), 57 (cancel), 08 (away).
_FEWEST_BATCHES, _SHARE_OF_BATCHES = 3, 0.05
_FEWEST_ROWS, _SHARE_OF_ROWS = 20, 0.05
# A probe is a build of the dirty keys. With this many a single bad row among a million is found.
_MOST_PROBES_PER_BATCH = 60


@dataclass(frozen=True)
class Unit:
    """What is in the build or out of it: a whole batch, or one row of it."""

    feed: str
    batch_id: int
    row_number: int | None = None


@dataclass
class Isolated:
    """What an isolation took out of the build."""

    rows: dict[int, list[int]] = field(default_factory=dict)
    """Batch -> numbers of the rows that are in quarantine now."""
    held: list[int] = field(default_factory=list)
    """Batches that are held whole, because their bad rows could not be told apart."""
    probes: int = 0

    def __str__(self) -> str:
        count = sum(map(len, self.rows.values()))
        parts = [f"{count} {'row' if count == 1 else 'rows'} of {len(self.rows)} batches quarantined"] * bool(count)
        parts += [f"batches held: {', '.join(map(str, self.held))}"] * bool(self.held)
        return f"{'; '.join(parts)} ({self.probes} probes)"


class _TooMuchError(Exception):
    """More is to blame than isolation may take out by itself."""


def is_about_data(error: BaseException) -> bool:
    """Whether rows may be to blame for a failed build: never for disk, lock, time-out, connection or cancel."""
    if isinstance(error, ModelsFailedError):
        return error.sqlstate[:2] in _DATA_CLASSES
    if isinstance(error, GateBlockedError):
        return bool(error.batch_ids) or error.names_rows or _is_data_error_of_a_check(str(error))
    return isinstance(error, psycopg.Error) and (error.sqlstate or "")[:2] in _DATA_CLASSES


def _is_data_error_of_a_check(text: str) -> bool:
    names = re.findall(r"psycopg2\.errors\.(\w+)", text)
    found = [getattr(psycopg.errors, name, None) for name in names]
    return any(error is not None and (error.sqlstate or "")[:2] in _DATA_CLASSES for error in found)


def isolate(
    settings: Settings, run: Run, error: Exception, rehearse: Callable[[], None], progress: Progress
) -> Isolated:
    """Find what of the claimed batches makes ``rehearse`` fail, and take it out of the build on record.

    Args:
        rehearse: builds and judges what is in raw now, and publishes nothing.
        error: how the build failed; it is raised again where isolation does not apply.

    Returns:
        What is in quarantine or held now. Everything else of the claim is in raw, and its keys are dirty.
    """
    search = _Search(settings, run, error, rehearse, progress)
    try:
        return search.run()
    except _TooMuchError as too_much:
        _add_note(error, str(too_much))
        raise error from None
    finally:
        put_back(settings)


def put_back(settings: Settings) -> int:
    """Put rows that an isolation has suspended back into raw; returns how many. Safe to repeat."""
    with warehouse.connect("owner", settings, application_name="customer360 isolation") as connection:
        feeds = connection.execute("select distinct feed from quarantine.suspended").fetchall()
        return sum(_restore(connection, feed, "true", []) for (feed,) in feeds)


class _Search:
    def __init__(
        self, settings: Settings, run: Run, error: Exception, rehearse: Callable[[], None], progress: Progress
    ) -> None:
        self.settings, self.run_, self.error, self.progress = settings, run, error, progress
        self._rehearse = rehearse
        self.isolated = Isolated()

    def run(self) -> Isolated:
        """Search batches, then rows of the batches that are to blame."""
        self.progress.stage("isolate")
        claimed = [
            Unit(feed, batch_id)
            for feed, batch_id in self.run_.lock.execute(
                """
                select feed, batch_id from ops.batches
                where state = 'loaded' and claimed_at is not null and loaded_rows > 0 order by batch_id
                """
            ).fetchall()
        ]
        if not claimed:
            raise self.error
        self._suspend(claimed)
        if not self._holds():
            raise self.error  # it fails without the new batches too: the code is to blame, or what was published before
        limit = max(_FEWEST_BATCHES, math.ceil(_SHARE_OF_BATCHES * len(claimed)))
        for unit in self._culprits(self._suspects(claimed), limit):
            self._search_rows(unit)
        return self.isolated

    def _suspects(self, claimed: list[Unit]) -> list[Unit]:
        """The batches that the gate named, if everything holds with all the others; else all."""
        named = set(getattr(self.error, "batch_ids", ()))
        suspects = [unit for unit in claimed if unit.batch_id in named]
        others = [unit for unit in claimed if unit.batch_id not in named]
        if suspects and others:
            self._resume(others)
            if self._holds():
                return suspects
            self._suspend(others)
        return claimed

    def _culprits(self, units: Sequence[Unit], limit: int, most_probes: float = math.inf) -> list[Unit]:
        """Of suspended units those without which the rest holds; the rest is resumed."""
        culprits: list[Unit] = []
        parts = [list(units)]
        fails_together = len(parts[0]) > 1 and len(units) > 1
        probes = 0
        while parts:
            part = parts.pop()
            if not (fails_together and len(part) == len(units)):
                self._resume(part)
                probes += 1
                if probes > most_probes:
                    raise _TooMuchError("The rows to blame cannot be told apart.")
                if self._holds():
                    continue
                self._suspend(part)
            if len(part) == 1:
                culprits += part
                if len(culprits) > limit:
                    raise _TooMuchError(
                        f"More than {limit} of {len(units)} are to blame, which isolation does not take out by itself."
                    )
                continue
            middle = len(part) // 2
            parts += [part[middle:], part[:middle]]  # the older half comes back first
        return culprits

    def _search_rows(self, batch: Unit) -> None:
        with warehouse.connect("owner", self.settings) as connection:
            numbers = [
                number
                for (number,) in connection.execute(
                    "select row_number from quarantine.suspended where batch_id = %s order by 1", [batch.batch_id]
                ).fetchall()
            ]
        limit = max(_FEWEST_ROWS, math.ceil(_SHARE_OF_ROWS * len(numbers)))
        rows = [Unit(batch.feed, batch.batch_id, number) for number in numbers]
        try:
            culprits = self._culprits(rows, limit, _MOST_PROBES_PER_BATCH)
        except _TooMuchError:
            self._hold(batch)
            return
        self._quarantine(batch, [row.row_number for row in culprits if row.row_number is not None])

    def _holds(self) -> bool:
        self.isolated.probes += 1
        self.progress.note(f"probe {self.isolated.probes}")
        try:
            self._rehearse()
        except (ModelsFailedError, GateBlockedError, psycopg.Error) as error:
            if not is_about_data(error):
                raise
            return False
        return True

    # --- moving rows out of raw and back ---

    def _suspend(self, units: Sequence[Unit]) -> None:
        with warehouse.connect("owner", self.settings, application_name="customer360 isolation") as connection:
            for feed, condition, parameters in _conditions(units):
                connection.execute(
                    sql.SQL(
                        """
                        with gone as (delete from {raw} as r where {condition} returning r.*)
                        insert into quarantine.suspended (feed, batch_id, row_number, record)
                        select {feed}, batch_id, row_number, to_jsonb(gone) from gone
                        """
                    ).format(
                        raw=sql.Identifier("raw", feed), condition=sql.SQL(query(condition)), feed=sql.Literal(feed)
                    ),
                    parameters,
                )

    def _resume(self, units: Sequence[Unit]) -> None:
        with warehouse.connect("owner", self.settings, application_name="customer360 isolation") as connection:
            for feed, condition, parameters in _conditions(units):
                _restore(connection, feed, condition, parameters)

    # --- what stays out, on record ---

    def _quarantine(self, batch: Unit, numbers: list[int]) -> None:
        because = f"run {self.run_.run_id} failed because of it: {_message(self.error)}"
        reason = [{"rule": RULE, "field": "", "message": because}]
        with warehouse.connect("owner", self.settings, application_name="customer360 isolation") as connection:
            reading = warehouse.scalar(
                connection, "select coalesce(reading, '{}') from ops.batches where batch_id = %s", [batch.batch_id]
            )
            found = connection.execute(
                """
                delete from quarantine.suspended where batch_id = %s and row_number = any(%s)
                returning row_number, record::text
                """,
                [batch.batch_id, numbers],
            ).fetchall()
            with connection.cursor() as cursor:
                cursor.executemany(
                    """
                    insert into quarantine.rows (batch_id, feed, row_number, record, reasons)
                    values (%s, %s, %s, %s, %s)
                    on conflict (batch_id, row_number) do update
                    set record = excluded.record, reasons = excluded.reasons, state = 'open', closed_at = null,
                        closed_by = null, closed_because = null
                    """,
                    [
                        [batch.batch_id, batch.feed, number, _as_it_came(batch.feed, reading, record), Jsonb(reason)]
                        for number, record in found
                    ],
                )
            connection.execute(
                """
                update ops.batches set loaded_rows = loaded_rows - %(count)s,
                    quarantined_rows = quarantined_rows + %(count)s
                where batch_id = %(batch_id)s
                """,
                {"count": len(found), "batch_id": batch.batch_id},
            )
            ledger.record_action(connection, batch.batch_id, "isolate", len(found), "isolation", because)
        self.isolated.rows[batch.batch_id] = sorted(numbers)

    def _hold(self, batch: Unit) -> None:
        because = f"run {self.run_.run_id} failed because of its rows, which cannot be told apart: "
        with warehouse.connect("owner", self.settings, application_name="customer360 isolation") as connection:
            _restore(connection, batch.feed, "batch_id = %s", [batch.batch_id])
            count = warehouse.scalar(
                connection,
                """
                update ops.batches set state = 'held', claimed_at = null, claimed_by = null where batch_id = %s
                returning loaded_rows
                """,
                [batch.batch_id],
            )
            ledger.record_action(connection, batch.batch_id, "hold", count, "isolation", because + _message(self.error))
        self.isolated.held.append(batch.batch_id)


def _conditions(units: Sequence[Unit]) -> list[tuple[str, str, list[Any]]]:
    """Per feed: the rows of the units, as a condition with its parameters."""
    made: list[tuple[str, str, list[Any]]] = []
    for feed in sorted({unit.feed for unit in units}):
        batches = [unit.batch_id for unit in units if unit.feed == feed and unit.row_number is None]
        if batches:
            made.append((feed, "batch_id = any(%s)", [batches]))
        for batch_id in sorted({unit.batch_id for unit in units if unit.feed == feed and unit.row_number is not None}):
            numbers = [unit.row_number for unit in units if unit.batch_id == batch_id]
            made.append((feed, "batch_id = %s and row_number = any(%s)", [batch_id, numbers]))
    return made


def _restore(connection: Connection, feed: str, condition: str, parameters: list[Any]) -> int:
    columns = [
        name
        for (name,) in connection.execute(
            """
            select attname from pg_attribute
            where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = '' order by attnum
            """,
            [f"raw.{feed}"],
        ).fetchall()
    ]
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return connection.execute(
        sql.SQL(
            """
            with back as (
                delete from quarantine.suspended where feed = {feed} and {condition} returning record
            )
            insert into {raw} ({names})
            select {values} from back cross join lateral jsonb_populate_record(null::{raw}, back.record) as r
            """
        ).format(
            feed=sql.Literal(feed), condition=sql.SQL(query(condition)), raw=sql.Identifier("raw", feed), names=names,
            values=sql.SQL(", ").join(sql.Identifier("r", name) for name in columns),
        ),
        parameters,
    ).rowcount  # fmt: skip


def _as_it_came(feed: str, reading: dict[str, Any], record: str) -> str:
    """A row of raw in the form of its file, as the quarantine keeps rows."""
    row = loads(record)
    values = {name: row[name] for name in FEEDS[feed].by_name if row.get(name) is not None}
    values |= row.get("extra") or {}
    if reading.get("format") != "csv":
        return dumps(values).decode()
    line = io.StringIO(newline="")
    cells = [values.get(name, "") for name in reading["header"]]
    csv.writer(line, delimiter=reading["delimiter"], lineterminator="").writerow(
        [cell if isinstance(cell, str) else dumps(cell).decode() for cell in cells]
    )
    return line.getvalue()


def _message(error: BaseException) -> str:
    return told(error)[:500]


def _add_note(error: Exception, note: str) -> None:
    if isinstance(error, Customer360Error):
        error.args = (f"{error.args[0]} {note}", *error.args[1:])
