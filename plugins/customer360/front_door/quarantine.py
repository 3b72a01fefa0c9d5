"""The quarantine as a workbench: look at the rows that stepped aside, correct them, let them in again, or give them up.

A row leaves once. Whatever leaves is recorded with who and why; what is let in again passes the gate again, and
enters raw in a batch ``release-…`` of its own that names the batch it came from.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from customer360 import warehouse
from customer360.contract.feeds import FEEDS, Feed, feed_named
from customer360.contract.json_values import dumps, loads
from customer360.contract.masking import masked, shown
from customer360.contract.records import RECORD, Chunk
from customer360.errors import Customer360Error
from customer360.front_door import formats, ledger, load, readers
from customer360.front_door.formats import UnreadableFileError
from customer360.front_door.rows_to_copy import csv_of
from customer360.gates import suites
from customer360.gates.suites import Judged, LandingGate, Reason
from customer360.kill_points import reach
from customer360.settings import Settings
from customer360.warehouse import Connection, dirty, query

WAIVABLE = frozenset({"plausible_time", "order_of_times", "duration"})
"""Rules that a person may set aside for a row with "accept as is": what they forbid is odd, but can be stored and
computed with. A value that cannot be read, or is missing, nobody can accept; nor amounts that a later gate refuses."""

ID_COLUMN, REASONS_COLUMN, RECORD_COLUMN = "quarantine_id", "reasons", "record_as_it_came"
_OWN_COLUMNS = frozenset({ID_COLUMN, REASONS_COLUMN, RECORD_COLUMN})


class QuarantineError(Customer360Error):
    """What was asked of the quarantine cannot be done."""


@dataclass(frozen=True)
class Selection:
    """Which open rows are meant. All that is given must hold; at least one thing must be given to change anything."""

    ids: tuple[int, ...] = ()
    batch_id: int | None = None
    feed: str | None = None
    rule: str | None = None
    field: str | None = None

    def __post_init__(self) -> None:
        """Raises UnknownFeedError where nothing could ever be meant."""
        if self.feed is not None:
            feed_named(self.feed)

    @property
    def is_everything(self) -> bool:
        """Whether nothing narrows it down."""
        return not (self.ids or self.batch_id or self.feed or self.rule or self.field)

    def where(self) -> tuple[str, list[Any]]:
        """The condition on ``quarantine.rows as q`` and its parameters."""
        conditions = ["q.state = 'open'"]
        parameters: list[Any] = []
        for column, value in (("q.batch_id", self.batch_id), ("q.feed", self.feed)):
            if value is not None:
                conditions.append(f"{column} = %s")
                parameters.append(value)
        if self.ids:
            conditions.append("q.quarantine_id = any(%s)")
            parameters.append(list(self.ids))
        sought = {key: value for key, value in (("rule", self.rule), ("field", self.field)) if value}
        if sought:
            conditions.append("q.reasons @> %s::jsonb")
            parameters.append(json.dumps([sought]))
        return " and ".join(conditions), parameters


@dataclass(frozen=True)
class Group:
    """Open rows of one batch that have one reason. A row with several reasons is in several groups."""

    feed: str
    batch_id: int
    file_name: str
    rule: str
    field: str
    row_count: int
    example: str
    since: datetime


@dataclass(frozen=True)
class Row:
    """One row that stepped aside."""

    quarantine_id: int
    batch_id: int
    feed: str
    row_number: int
    record: str
    reasons: tuple[Reason, ...]
    state: str
    quarantined_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    closed_because: str | None
    reading: dict[str, Any]


def groups(connection: Connection, selection: Selection | None = None) -> list[Group]:
    """The open rows by feed, batch and reason, the most frequent first."""
    where, parameters = (selection or Selection()).where()
    rows = connection.execute(
        query(f"""
        select q.feed, q.batch_id, b.file_name, r ->> 'rule', r ->> 'field', count(distinct q.quarantine_id),
            min(r ->> 'message'), min(q.quarantined_at)
        from quarantine.rows as q join ops.batches as b using (batch_id) cross join jsonb_array_elements(q.reasons) as r
        where {where} group by 1, 2, 3, 4, 5 order by 6 desc, 2, 5
        """),
        parameters,
    ).fetchall()
    return [Group(*row) for row in rows]


def commonest_reasons(connection: Connection, limit: int = 3) -> dict[str, tuple[int, list[str]]]:
    """Feed -> its open rows, and the fields and rules that most of them break, as words."""
    rows = connection.execute(
        """
        select q.feed, count(distinct q.quarantine_id), reason ->> 'field', reason ->> 'rule',
            (select count(*) from quarantine.rows as all_rows where all_rows.feed = q.feed and all_rows.state = 'open')
        from quarantine.rows as q cross join lateral jsonb_array_elements(q.reasons) as reason
        where q.state = 'open' group by q.feed, 3, 4 order by q.feed, 2 desc, 3, 4
        """
    ).fetchall()
    found: dict[str, tuple[int, list[str]]] = {}
    for feed, count, name, rule, total in rows:
        told = found.setdefault(feed, (total, []))[1]
        if len(told) < limit:
            told.append(f"{name} ({rule}) {count:,}")
    return found


def place_in_file(of: Row) -> str:
    """Where a person finds the record: the row of a spreadsheet for CSV, whose first row is the header."""
    return f"{of.row_number + 1:,}" if of.reading.get("format") == "csv" else f"{of.row_number:,}"


def shown_faults(of: Row) -> str:
    """The fields that the reasons name with their values; personal values are masked."""
    return ", ".join(f"{name}={text}" for name, text, is_wrong in shown_cells(of) if is_wrong)


def rows_of(connection: Connection, selection: Selection, *, lock: bool = False) -> list[Row]:
    """The open rows that are meant, in the order of their files."""
    where, parameters = selection.where()
    return _rows(connection, where, parameters, lock=lock)


def row(connection: Connection, quarantine_id: int) -> Row:
    """One row, whatever became of it.

    Raises:
        QuarantineError: there is none of that number.
    """
    found = _rows(connection, "q.quarantine_id = %s", [quarantine_id])
    if not found:
        raise QuarantineError(f"There is no quarantined row {quarantine_id}.", "Run `c360 quarantine list`.")
    return found[0]


def _rows(connection: Connection, where: str, parameters: Sequence[Any], *, lock: bool = False) -> list[Row]:
    found = connection.execute(
        query(f"""
        select q.quarantine_id, q.batch_id, q.feed, q.row_number, coalesce(q.record, ''), q.reasons, q.state,
            q.quarantined_at, q.closed_at, q.closed_by, q.closed_because, coalesce(b.reading, '{{}}')
        from quarantine.rows as q join ops.batches as b using (batch_id)
        where {where} order by q.batch_id, q.row_number {"for update of q" if lock else ""}
        """),
        parameters,
    ).fetchall()
    listed: list[list[Any]] = [[*one[:5], _reasons(one[5]), *one[6:]] for one in found]
    return [Row(*values) for values in listed]


def _reasons(stored: list[dict[str, str]]) -> tuple[Reason, ...]:
    return tuple(Reason(one["rule"], one["field"], one["message"]) for one in stored)


# --- show and export -------------------------------------------------------------------------------------------------


def cells(of: Row) -> dict[str, Any]:
    """The record's fields as they came: text of a CSV cell, value of a JSON object; {} if it cannot be taken apart."""
    if of.reading.get("format") == "csv":
        header = of.reading["header"]
        values = next(csv.reader(io.StringIO(of.record, newline=""), delimiter=of.reading["delimiter"]), [])
        return dict(zip(header, values, strict=True)) if len(values) == len(header) else {}
    try:
        value = loads(of.record)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def faulty_fields(of: Row) -> set[str]:
    """The fields that the reasons name."""
    return {name.partition("[")[0] for reason in of.reasons for name in reason.field.split(", ")}


def shown_cells(of: Row) -> list[tuple[str, str, bool]]:
    """Each field with its value as it may be shown, and whether a reason names it."""
    feed, faulty = FEEDS[of.feed], faulty_fields(of)
    told = []
    for name, value in cells(of).items():
        known = feed.by_name.get(name)
        if value is None or value == "":
            text = "—"
        elif known is None or known.is_personal:
            text = masked(value)
        elif known.kind == "array":
            text = f"{len(value)} elements" if isinstance(value, list) else f"{len(str(value))} characters"
        else:
            text = shown(value)
        told.append((name, text, name in faulty))
    present = {name for name, _, _ in told}
    told += [(name, "—", True) for name in feed.by_name if name in faulty and name not in present and told]
    return told


def reveal(connection: Connection, rows: Sequence[Row], *, who: str, why: str) -> None:
    """Put on record that somebody is given these rows as they came; role loader. The caller commits.

    Raises:
        QuarantineError: nobody says who, or why.
    """
    _insist(who, why)
    for batch_id, count in Counter(one.batch_id for one in rows).items():
        _journal(connection, batch_id, "reveal", count, who, why)


def clear_cells(of: Row) -> list[tuple[str, str, bool]]:
    """Each field with its value as it came, and whether a reason names it: for who has put on record why."""
    faulty = faulty_fields(of)
    return [(name, _cell(value), name in faulty) for name, value in cells(of).items()]


def export(connection: Connection, selection: Selection, target: Path, *, who: str, why: str) -> int:
    """Write open rows to a file in the feed's own form, to be corrected and released; returns how many.

    Role loader, since the rows are given out as they came; that goes on record, and the caller commits.

    CSV (safe to open in a spreadsheet: a cell that would be a formula gets an apostrophe before it, which a release
    takes away again) or JSON Lines, by the name of ``target``. The file holds personal data and is readable by its
    owner alone.

    Raises:
        QuarantineError: nothing is open, or rows of several feeds were chosen, or the name tells no format.
    """
    found = rows_of(connection, selection)
    feeds = {one.feed for one in found}
    if not found:
        raise QuarantineError("No open row is meant by that.", "Run `c360 quarantine list`.")
    if len(feeds) > 1:
        raise QuarantineError(f"Rows of several feeds are meant: {', '.join(sorted(feeds))}.", "Add --feed.")
    if target.suffix not in {".csv", ".jsonl"}:
        raise QuarantineError(f"{target.name} ends in neither .csv nor .jsonl.", "Choose another name.")
    reveal(connection, found, who=who, why=why)
    target.touch(mode=0o600)
    target.chmod(0o600)
    with target.open("w", newline="", encoding="utf-8") as stream:
        if target.suffix == ".csv":
            _export_csv(FEEDS[found[0].feed], found, stream)
        else:
            for one in found:
                own = {ID_COLUMN: one.quarantine_id, REASONS_COLUMN: _told(one)}
                arrays = {of.name for of in FEEDS[one.feed].fields if of.kind == "array"}
                whole = {
                    name: _array_of_cell(value) if name in arrays and isinstance(value, str) else value
                    for name, value in cells(one).items()
                }
                whole = whole | own if whole else {RECORD_COLUMN: one.record} | own
                stream.write(dumps(whole).decode() + "\n")
    return len(found)


def _told(of: Row) -> str:
    return "; ".join(reason.message for reason in of.reasons)


def _export_csv(feed: Feed, found: list[Row], stream: Any) -> None:
    taken = [cells(one) for one in found]
    unknown = sorted({name for one in taken for name in one} - feed.by_name.keys() - _OWN_COLUMNS)
    columns = [ID_COLUMN, REASONS_COLUMN, *feed.by_name, *unknown, RECORD_COLUMN]
    writer = csv.writer(stream)
    writer.writerow(columns)
    for one, values in zip(found, taken, strict=True):
        line = {ID_COLUMN: str(one.quarantine_id), REASONS_COLUMN: _told(one)}
        line |= {name: _cell(value) for name, value in values.items() if name not in _OWN_COLUMNS}
        if not values:
            line[RECORD_COLUMN] = one.record
        writer.writerow([neutral(line.get(name, "")) for name in columns])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, str) else dumps(value).decode()


def neutral(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula. :func:`meant` gives back what it was."""
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r", "'", "\n"} else cell


def meant(cell: str) -> str:
    """What a cell was before :func:`neutral`."""
    return cell[1:] if cell[:1] == "'" else cell


# --- release ---------------------------------------------------------------------------------------------------------


@dataclass
class ReleaseOutcome:
    """What a release did."""

    released: int = 0
    batch_ids: list[int] = field(default_factory=list)
    still_bad: dict[int, list[Reason]] = field(default_factory=dict)
    """Rows that stay in quarantine, with the reasons that the gate gave this time."""
    not_open: list[int] = field(default_factory=list)
    """Rows that had left before, or never were there."""

    def __str__(self) -> str:
        parts = [f"{self.released:,} rows released"]
        if self.still_bad:
            parts.append(f"{len(self.still_bad):,} stay: the gate refuses them still")
        if self.not_open:
            parts.append(f"{len(self.not_open):,} were not open any more")
        return "; ".join(parts)


def release(
    settings: Settings,
    *,
    who: str,
    why: str,
    corrected: Path | None = None,
    selection: Selection | None = None,
) -> ReleaseOutcome:
    """Let rows into raw: corrected ones from a file, or chosen ones as they are.

    Each passes the gate again, judged by the landing of the batch it came from. As they are, rows may break a rule of
    :data:`WAIVABLE`, on the word of ``who``. All or nothing of it happens, in one transaction, in turn with builds.

    Args:
        corrected: a file as :func:`export` makes it, corrected: each record names its row by ``quarantine_id``.
        selection: which open rows to accept as they are.

    Raises:
        QuarantineError: nothing is meant, no reason is given, or the file cannot be used.
    """
    _insist(who, why)
    if (corrected is None) == (selection is None):
        raise QuarantineError("Give either a corrected file or the rows to accept as they are.", "See --help.")
    if selection is not None and selection.is_everything:
        raise QuarantineError("That would mean every row there is.", "Name rows, a batch, a feed, a rule or a field.")
    outcome = ReleaseOutcome()
    with (
        warehouse.writer_lock(settings, who="release"),
        warehouse.connect("loader", settings, application_name="customer360 release") as connection,
    ):
        connection.execute("set local timezone = 'UTC'")
        if corrected is not None:
            _release_corrected(connection, corrected, who, why, outcome)
        elif selection is not None:
            _release_as_is(connection, selection, who, why, outcome)
        reach("release.finished")
        connection.commit()
    return outcome


def _insist(who: str, why: str) -> None:
    if not who.strip() or not why.strip():
        raise QuarantineError("Who decides this, and why, must be on record.", "Give --because (and --by).")


def _release_as_is(connection: Connection, selection: Selection, who: str, why: str, outcome: ReleaseOutcome) -> None:
    found = rows_of(connection, selection, lock=True)
    outcome.not_open = sorted(set(selection.ids) - {one.quarantine_id for one in found})
    by_batch: dict[int, list[Row]] = {}
    for one in found:
        by_batch.setdefault(one.batch_id, []).append(one)
    for batch_id, rows in by_batch.items():
        chunk = readers.read_again(FEEDS[rows[0].feed], rows[0].reading, [one.record for one in rows])
        _let_in(connection, batch_id, rows, chunk, WAIVABLE, who, why, outcome)


def _release_corrected(connection: Connection, corrected: Path, who: str, why: str, outcome: ReleaseOutcome) -> None:
    records = _corrected_records(corrected)
    found = {one.quarantine_id: one for one in rows_of(connection, Selection(ids=tuple(records)), lock=True)}
    outcome.not_open = sorted(set(records) - set(found))
    by_batch: dict[int, list[Row]] = {}
    for one in found.values():
        if not records[one.quarantine_id]:
            outcome.still_bad[one.quarantine_id] = [_NOT_FILLED_IN]
            continue
        by_batch.setdefault(one.batch_id, []).append(one)
    for batch_id, rows in by_batch.items():
        texts = [dumps(records[one.quarantine_id]).decode() for one in rows]
        chunk = readers.read_again(FEEDS[rows[0].feed], {"format": "jsonl"}, texts)
        _let_in(connection, batch_id, rows, chunk, frozenset(), who, why, outcome, is_corrected=True)


_NOT_FILLED_IN = Reason(
    "readable", RECORD, f"the record is as it came: write what {RECORD_COLUMN} says into the fields' own columns"
)


def _corrected_records(corrected: Path) -> dict[int, dict[str, Any]]:
    """Row -> its corrected record."""
    try:
        kind = formats.format_of(corrected.name)
    except UnreadableFileError as error:
        raise QuarantineError(f"{corrected.name}: {error}.", "Correct an exported .csv or .jsonl file.") from error
    records: dict[int, dict[str, Any]] = {}
    try:
        if kind == "csv":
            with corrected.open(newline="", encoding="utf-8-sig") as stream:
                listed: Iterable[dict[str, Any]] = [
                    {name: meant(value) if isinstance(value, str) else value for name, value in line.items() if name}
                    for line in csv.DictReader(stream)
                ]
        elif kind == "jsonl":
            with corrected.open(encoding="utf-8-sig") as stream:
                listed = [_object(line) for line in stream if line.strip()]
        else:
            raise QuarantineError("A corrected file is CSV or JSON Lines.", "Export it as one of them.")
    except (OSError, ValueError, csv.Error) as error:
        raise QuarantineError(f"{corrected.name} cannot be read: {error}.", "Correct it and try again.") from error
    for line in listed:
        try:
            quarantine_id = int(str(line[ID_COLUMN]))
        except (KeyError, TypeError, ValueError) as error:
            raise QuarantineError(
                f"A record of {corrected.name} does not name its row.",
                f"Keep the column {ID_COLUMN} that the export wrote.",
            ) from error
        if quarantine_id in records:
            raise QuarantineError(f"{corrected.name} names row {quarantine_id} twice.", "Keep one of them.")
        fields = {name: value for name, value in line.items() if name not in _OWN_COLUMNS and value not in (None, "")}
        if kind == "csv":
            fields = {name: _array_of_cell(value) for name, value in fields.items()}
        records[quarantine_id] = fields
    if not records:
        raise QuarantineError(f"{corrected.name} holds no records.", "Export the rows again.")
    return records


def _object(line: str) -> dict[str, Any]:
    value = loads(line)
    if not isinstance(value, dict):
        raise ValueError("a line is no JSON object")
    return value


def _array_of_cell(value: str) -> Any:
    """An array stands in its cell as JSON."""
    if value[:1] == "[":
        try:
            return loads(value)
        except ValueError:
            return value
    return value


def _let_in(
    connection: Connection,
    origin: int,
    rows: list[Row],
    chunk: Chunk,
    waived: frozenset[str],
    who: str,
    why: str,
    outcome: ReleaseOutcome,
    *,
    is_corrected: bool = False,
) -> None:
    """Judge the records of one batch again, load the good ones in a release batch, and close their rows."""
    batch = ledger.batch(connection, origin)
    assert batch is not None  # noqa: S101 - a quarantined row refers to its batch
    chunk.row_numbers = np.array([one.row_number for one in rows], np.int64)
    gate = LandingGate(chunk.feed, batch.landed_at)
    judged = gate.check(chunk, waived)
    chunk, reasons = judged.chunk, judged.reasons
    bad = {
        place: kept
        for place, found in reasons.items()
        if place in judged.aside and (kept := [reason for reason in found if reason.rule not in waived])
    }
    for place, found in bad.items():
        outcome.still_bad[rows[place].quarantine_id] = found
        if not is_corrected:  # a correction that did not help is not kept, and so neither is what the gate said of it
            connection.execute(
                "update quarantine.rows set reasons = %s::jsonb where quarantine_id = %s",
                [json.dumps([reason.as_json() for reason in found]), rows[place].quarantine_id],
            )
    good = [place for place in range(len(rows)) if place not in bad]
    if not good:
        return
    set_aside = Counter(reason.rule for place in good for reason in reasons.get(place, ()) if reason.rule in waived)
    warning = ", ".join(f"{rule} waived for {count:,} rows by {who}" for rule, count in sorted(set_aside.items()))
    batch_id = _release_batch(connection, batch, len(good), judged, warning)
    load.copy_csv(connection, f"raw.{chunk.feed.name}", chunk.feed.raw_columns, csv_of(chunk, batch_id, np.array(good)))
    reach("release.copied")
    _close(connection, [rows[place].quarantine_id for place in good], "released", who, why, batch_id)
    _move(connection, origin, "released_rows", len(good))
    _journal(connection, origin, "release", len(good), who, why)
    suites.record(connection, gate.results(), batch_id=batch_id)
    outcome.released += len(good)
    outcome.batch_ids.append(batch_id)


def _release_batch(connection: Connection, origin: ledger.Batch, count: int, judged: Judged, warning: str) -> int:
    row = connection.execute(
        """
        insert into ops.batches (feed, file_name, is_history, state, landed_rows, loaded_rows, released_from,
                                 unknown_fields, unusable_fields, warning, gated_at, loaded_at)
        select feed, format('release-%%s-%%s', batch_id,
                            1 + (select count(*) from ops.batches where released_from = o.batch_id)),
            is_history, 'loaded', %s, %s, batch_id, %s, %s, nullif(%s, ''), clock_timestamp(), clock_timestamp()
        from ops.batches as o where batch_id = %s returning batch_id
        """,
        [
            count,
            count,
            json.dumps(judged.chunk.unknown_fields),
            json.dumps(judged.unusable),
            warning,
            origin.batch_id,
        ],
    ).fetchone()
    assert row is not None  # noqa: S101 - the origin exists
    return int(row[0])


def reopen_lost(settings: Settings, connection: Connection, batch: ledger.Batch, *, who: str, why: str) -> int:
    """Open the released rows of a release batch again that raw no longer has; returns how many. Caller: the writer.

    A corrected record was in raw alone, so the row has to be corrected and released once more.
    """
    lost = f"""
        select quarantine_id, batch_id from quarantine.rows as q
        where q.release_batch_id = %s and q.state = 'released' and not exists (
            select from raw.{FEEDS[batch.feed].name} as r
            where r.batch_id = q.release_batch_id and r.row_number = q.row_number)
    """
    dirty.mark_staged(settings, FEEDS[batch.feed], batch.batch_id)
    with connection.transaction():
        rows = connection.execute(query(f"{lost} for update"), [batch.batch_id]).fetchall()
        if not rows:
            return 0
        ids = [row[0] for row in rows]
        connection.execute(
            """
            update quarantine.rows set state = 'open', closed_at = null, closed_by = null, closed_because = null,
                                       release_batch_id = null
            where quarantine_id = any(%s)
            """,
            [ids],
        )
        _move(connection, int(rows[0][1]), "released_rows", -len(ids))
        connection.execute(
            "update ops.batches set landed_rows = landed_rows - %s, loaded_rows = loaded_rows - %s where batch_id = %s",
            [len(ids), len(ids), batch.batch_id],
        )
        ledger.record_action(connection, batch.batch_id, "replay", len(ids), who, why)
    return len(ids)


def discard(settings: Settings, selection: Selection, *, who: str, why: str) -> int:
    """Give rows up for good; returns how many. They stay on record, with who and why.

    Raises:
        QuarantineError: nothing narrows the selection down, or no reason is given.
    """
    _insist(who, why)
    if selection.is_everything:
        raise QuarantineError("That would mean every row there is.", "Name rows, a batch, a feed, a rule or a field.")
    with warehouse.connect("loader", settings, application_name="customer360 discard") as connection:
        found = rows_of(connection, selection, lock=True)
        for batch_id, count in Counter(one.batch_id for one in found).items():
            ids = [one.quarantine_id for one in found if one.batch_id == batch_id]
            _close(connection, ids, "discarded", who, why, None)
            _move(connection, batch_id, "discarded_rows", count)
            _journal(connection, batch_id, "discard", count, who, why)
    return len(found)


def _close(
    connection: Connection, ids: list[int], state: str, who: str, why: str, release_batch_id: int | None
) -> None:
    cursor = connection.execute(
        """
        update quarantine.rows set state = %s, closed_at = now(), closed_by = %s, closed_because = %s,
                                   release_batch_id = %s
        where quarantine_id = any(%s) and state = 'open'
        """,
        [state, who, why, release_batch_id, ids],
    )
    if cursor.rowcount != len(ids):
        raise QuarantineError("Somebody else closed a row meanwhile; nothing was changed.", "Try again.")


def _move(connection: Connection, batch_id: int, column: str, count: int) -> None:
    connection.execute(
        query(
            f"update ops.batches set quarantined_rows = quarantined_rows - %s, {column} = {column} + %s "
            "where batch_id = %s"
        ),
        [count, count, batch_id],
    )


def _journal(connection: Connection, batch_id: int, action: str, count: int, who: str, why: str) -> None:
    connection.execute(
        "insert into ops.batch_actions (batch_id, action, row_count, acted_by, because) values (%s, %s, %s, %s, %s)",
        [batch_id, action, count, who, why],
    )
