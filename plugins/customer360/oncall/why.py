"""``c360 why``: the story of a batch, a run or a table, told in order; and before it, the first cause.

Everything is read from what the steps recorded (ops), so that the story is the same for whoever asks, whenever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.settings import Settings
from customer360.warehouse import Connection, query, scalar

Row = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """Something that happened, and whether it is what went wrong."""

    at: datetime | None
    what: str
    is_trouble: bool = False


@dataclass
class Story:
    """What happened to one thing. ``answer`` is its state and, if something went wrong, the first cause."""

    subject: str
    answer: str
    events: list[Event] = field(default_factory=list)
    next_step: str = ""

    def as_json(self) -> Row:
        """Plain values."""
        return {
            "subject": self.subject,
            "answer": self.answer,
            "next_step": self.next_step,
            "events": [
                {"at": one.at.isoformat() if one.at else None, "what": one.what, "is_trouble": one.is_trouble}
                for one in self.events
            ],
        }


_NEWEST = {"build": ("build", "rebuild"), "daily": ("daily",), "fit": ("fit",)}


def why(settings: Settings, subject: str) -> list[Story]:
    """The stories of ``subject``.

    That is ``batch 12``, ``run 7``, a bare number (a batch, a run, or both), a table's name, or ``build``, ``daily``,
    ``fit`` for the newest run of that kind that did something.

    Raises:
        Customer360Error: nothing has that number or name.
    """
    found = re.fullmatch(r"(?:(batch|run)\W*)?(\d+)", subject.strip().lower())
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        if subject in _NEWEST:
            newest = scalar(
                connection,
                "select max(run_id) from ops.runs where kind = any(%s) and state <> 'idle'",
                [list(_NEWEST[subject])],
            )
            stories = [_run(connection, newest)] if newest else []
        elif found:
            kind, number = found[1], int(found[2])
            stories = [_batch(connection, number)] if kind != "run" else []
            stories += [_run(connection, number)] if kind != "batch" else []
        else:
            stories = [_table(connection, subject.strip().lower())]
    told = [story for story in stories if story is not None]
    if not told:
        raise Customer360Error(
            f"There is no {subject!r} to tell of.",
            "Name a batch (`c360 why batch 12`), a run (`c360 why run 7`) or a published table "
            "(`c360 why customer_360`); `c360 status` lists the latest.",
        )
    return told


# --- a batch ---------------------------------------------------------------------------------------------------------


def _batch(connection: Connection, batch_id: int) -> Story | None:
    row = _one(connection, "select * from ops.batches where batch_id = %s", [batch_id])
    if row is None:
        return None
    events = [_landed(row)]
    events += _gates(connection, "batch_id", batch_id)
    if row["duplicate_of"] is not None and row["state"] == "duplicate":
        events.append(Event(row["landed_at"], f"it has the content of batch {row['duplicate_of']}: nothing was loaded"))
    if row["state"] in ("refused", "failed"):
        events.append(Event(row["gated_at"] or row["landed_at"], f"{row['state']}: {row['error']}", True))
    events += _converted(connection, batch_id)
    events += _quarantined(connection, batch_id)
    if row["loaded_at"]:
        told = f"{row['loaded_rows']:,} rows loaded"
        told += f", {row['duplicate_rows']:,} were there already in the file" if row["duplicate_rows"] else ""
        events.append(Event(row["loaded_at"], told))
    events += [
        Event(row["loaded_at"], f"{count:,} rows loaded without {name} ({rule}); raw keeps it in extra.unusable")
        for name, rules in sorted(row["unusable_fields"].items())
        for rule, count in sorted(rules.items())
    ]
    events += _actions(connection, batch_id)
    if row["claimed_at"]:
        events.append(Event(row["claimed_at"], f"taken by run {row['claimed_by']}"))
        events += _runs_since(connection, row["claimed_at"], row["published_at"])
    if row["published_at"] and row["publication_id"]:
        took = (row["published_at"] - row["landed_at"]).total_seconds()
        events.append(
            Event(
                row["published_at"], f"published in publication {row['publication_id']}, {took:.1f} s after it landed"
            )
        )
    events += _restated(connection, batch_id)
    events = _in_order(events)
    answer = {
        "published": f"published, in publication {row['publication_id']}" + _aside(row),
        "loaded": "loaded, and not published yet",
        "landed": "landed, and not loaded yet",
        "duplicate": f"a duplicate of batch {row['duplicate_of']}; nothing of it was loaded",
        "held": "held: no table has anything of it",
    }.get(row["state"], str(row["state"]))
    return _story(
        f"batch {batch_id} ({row['feed']}/{row['file_name']})",
        answer,
        events,
        _batch_step(row),
        is_good=row["state"] in ("published", "duplicate"),
    )


def _aside(row: Row) -> str:
    count = row["quarantined_rows"]
    return f"; {count:,} of its {row['landed_rows']:,} rows stand in quarantine" if count else ""


def _batch_step(row: Row) -> str:
    return {
        "refused": "Have the producer correct the file and land it again: `c360 land "
        + (f"--source {str(row['source']).partition('@')[0]}" if row["source"] else str(row["feed"]))
        + " FILE`.",
        "failed": f"`c360 replay --batch {row['batch_id']} --because 'the cause is gone'`; every run tries it again.",
        "held": f"`c360 unhold {row['batch_id']} --because 'it was not the cause'` takes it back in, then `c360 run`.",
        "landed": "`c360 run`",
        "loaded": "`c360 run`",
    }.get(row["state"], f"`c360 quarantine list --batch {row['batch_id']}`" if row["quarantined_rows"] else "")


def _landed(row: Row) -> Event:
    size = f"{row['bytes']:,} bytes" if row["bytes"] is not None else "of unknown size"
    how = " as history" if row["is_history"] else ""
    how += f", released from the quarantine of batch {row['released_from']}" if row["released_from"] else ""
    warning = f"; {row['warning']}" if row.get("warning") else ""
    if unknown := row.get("unknown_fields"):
        warning += "; unknown fields: " + ", ".join(
            f"{name} ({count:,} rows)" for name, count in sorted(unknown.items())
        )
    return Event(
        row["landed_at"], f"landed{how}: {row['landed_rows']:,} rows, {size}{warning}", bool(row.get("warning"))
    )


def _converted(connection: Connection, batch_id: int) -> list[Event]:
    """What its source made of a vendor's export."""
    row = _one(connection, "select * from ops.conversions where batch_id = %s", [batch_id])
    if row is None:
        return []
    said = (
        f"converted by {row['source']} version {row['source_version']}: {row['input_rows']:,} records, of which "
        f"{row['record_rows']:,} of the feed, {row['continuation_rows']:,} part of another, "
        f"{row['aside_rows']:,} set aside"
    )
    for reason, aside in row["asides"].items():
        said += f"; set aside, {reason}: {aside['count']:,} (first: {', '.join(map(str, aside['first'][:5]))})"
    for default, count in row["defaults"].items():
        said += f"; stated as documented, {default}: {count:,}"
    if row["unknown_columns"]:
        said += f"; columns that the source does not know: {', '.join(row['unknown_columns'])}"
    return [Event(row["converted_at"], said)]


def _gates(connection: Connection, column: str, number: int) -> list[Event]:
    rows = _all(
        connection,
        f"""
        select gate, suite, severity, outcome, coalesce(detail, expectation) as detail, checked_at from ops.gate_results
        where {column} = %s and outcome <> 'passed' order by checked_at, severity
        """,
        [number],
    )
    told = [
        Event(
            row["checked_at"],
            f"gate {row['gate']}, {row['suite']}: {row['outcome']} ({row['severity']}): {row['detail']}",
            row["severity"] == "critical" and row["gate"] != "landing",
        )
        for row in rows
    ]
    passed = _one(
        connection,
        f"""
        select count(*) as count, max(checked_at) as at, array_agg(distinct gate) as gates from ops.gate_results
        where {column} = %s and outcome = 'passed'
        """,
        [number],
    )
    if passed and passed["count"]:
        told.append(Event(passed["at"], f"{passed['count']} expectations held (gate {', '.join(passed['gates'])})"))
    return told


def _quarantined(connection: Connection, batch_id: int) -> list[Event]:
    rows = _all(
        connection,
        """
        select min(quarantined_at) as at, q.state, reason ->> 'message' as message, count(*) as count
        from quarantine.rows as q cross join lateral jsonb_array_elements(reasons) as reason
        where batch_id = %s group by q.state, message order by count(*) desc limit 5
        """,
        [batch_id],
    )
    return [
        Event(row["at"], f"{row['count']:,} rows in quarantine ({row['state']}): {row['message']}", True)
        for row in rows
    ]


def _actions(connection: Connection, batch_id: int) -> list[Event]:
    rows = _all(
        connection,
        "select action, row_count, acted_by, because, acted_at from ops.batch_actions where batch_id = %s",
        [batch_id],
    )
    return [
        Event(row["acted_at"], f"{row['action']} by {row['acted_by']} ({row['row_count']:,} rows): {row['because']}")
        for row in rows
    ]


def _runs_since(connection: Connection, since: datetime, until: datetime | None) -> list[Event]:
    """Runs that ended badly while the batch waited to be published."""
    rows = _all(
        connection,
        """
        select run_id, state, error, finished_at from ops.runs
        where state in ('failed', 'blocked') and kind in ('build', 'rebuild')
            and started_at >= %s - interval '1 minute' and (%s::timestamptz is null or started_at <= %s)
        order by run_id limit 10
        """,
        [since, until, until],
    )
    return [Event(row["finished_at"], f"run {row['run_id']} {row['state']}: {row['error']}", True) for row in rows]


def _restated(connection: Connection, batch_id: int) -> list[Event]:
    rows = _all(
        connection,
        """
        select min(restated_at) as at, figure, count(*) as count, sum(coalesce(new_amount, 0) - coalesce(old_amount, 0))
            as difference
        from ops.restatements where batch_id = %s group by figure order by figure
        """,
        [batch_id],
    )
    return [
        Event(row["at"], f"restated {row['figure']} of {row['count']:,} published orders by {row['difference']:+,.2f}")
        for row in rows
    ]


# --- a run -----------------------------------------------------------------------------------------------------------


def _run(connection: Connection, run_id: int) -> Story | None:
    row = _one(connection, "select * from ops.runs where run_id = %s", [run_id])
    if row is None:
        return None
    events = [Event(row["started_at"], f"{row['kind']} started by {row['trigger']}")]
    if row["claimed_at"]:
        events.append(
            Event(row["claimed_at"], f"{row['batch_count']} batches taken, {row['dirty_count']:,} keys to do again")
        )
    events += _models(connection, run_id)
    if row["built_at"]:
        events.append(Event(row["built_at"], "candidate tables built"))
    events += _gates(connection, "run_id", run_id)
    if row["publication_id"]:
        events.append(_published(connection, row["publication_id"]))
    if row["state"] in ("failed", "blocked"):
        events.append(Event(row["finished_at"], f"{row['state']}: {row['error']}", True))
    elif row["finished_at"]:
        seconds = (row["finished_at"] - row["started_at"]).total_seconds()
        events.append(Event(row["finished_at"], f"{row['state']} after {seconds:.1f} s"))
    answer = {
        "succeeded": "succeeded",
        "idle": "had nothing to do",
        "running": "is running, or died a moment ago",
    }.get(row["state"], str(row["state"]))
    return _story(
        f"run {run_id} ({row['kind']})",
        answer,
        _in_order(events),
        row["next_step"] or "",
        is_good=row["state"] == "succeeded",
    )


def _models(connection: Connection, run_id: int) -> list[Event]:
    rows = _all(
        connection,
        "select model, status, seconds, message, finished_at from ops.model_runs where run_id = %s",
        [run_id],
    )
    good = [row for row in rows if row["status"] == "success"]
    skipped = [row["model"] for row in rows if row["status"] == "skipped"]
    told = [
        Event(row["finished_at"], f"model {row['model']} failed after {row['seconds']:.1f} s: {row['message']}", True)
        for row in rows
        if row["status"] not in ("success", "skipped")
    ]
    if good:
        slowest = max(good, key=lambda row: row["seconds"])
        total = sum(row["seconds"] for row in good)
        told.append(
            Event(
                max(row["finished_at"] for row in good),
                f"{len(good)} models built, {total:.1f} s in all; the slowest {slowest['model']}, "
                f"{slowest['seconds']:.1f} s",
            )
        )
    if skipped:
        told.append(Event(rows[-1]["finished_at"], f"skipped, because they read a failed one: {', '.join(skipped)}"))
    return told


def _published(connection: Connection, publication_id: int) -> Event:
    row = _one(connection, "select * from ops.publications where publication_id = %s", [publication_id])
    assert row is not None  # noqa: S101 - ops.runs refers to it
    return Event(row["published_at"], f"publication {publication_id}: {_changes(row['tables'])}")


def _changes(tables: dict[str, dict[str, int]]) -> str:
    told = [f"{name} +{one['added']} ~{one['changed']} -{one['removed']}" for name, one in sorted(tables.items())]
    return ", ".join(told) or "no row differs"


# --- a table ---------------------------------------------------------------------------------------------------------


def _table(connection: Connection, name: str) -> Story | None:
    schema, _, table = name.rpartition(".")
    name = f"{schema or 'marts'}.{table}"
    if not re.fullmatch(r"\w+\.\w+", name) or not scalar(connection, "select to_regclass(%s) is not null", [name]):
        return None
    rows = _all(
        connection,
        """
        select publication_id, run_id, kind, published_at, tables -> %s as change from ops.publications
        where tables ? %s order by publication_id desc limit 5
        """,
        [name, name],
    )
    events = [
        Event(
            row["published_at"],
            f"publication {row['publication_id']} ({row['kind']}, run {row['run_id']}): "
            + _changes({name: row["change"]}),
        )
        for row in rows
    ]
    last = rows[0]["published_at"] if rows else None
    events += [
        Event(row["finished_at"], f"run {row['run_id']} ({row['kind']}) {row['state']}: {row['error']}", True)
        for row in _all(
            connection,
            """
            select run_id, kind, state, error, finished_at from ops.runs
            where state in ('failed', 'blocked') and kind <> 'as_of' and started_at > (
                select coalesce(max(started_at), '-infinity') from ops.runs where state = 'succeeded')
            order by run_id limit 5
            """,
        )
    ]
    waiting = _one(connection, "select count(*) as count, min(loaded_at) as at from ops.unpublished_batches")
    if waiting and waiting["count"]:
        events.append(Event(waiting["at"], f"{waiting['count']} loaded batches wait for a run"))
    answer = f"last changed {last:%Y-%m-%d %H:%M:%S} UTC" if last else "no publication has changed it"
    troubled = any(event.is_trouble for event in events)
    return _story(name, answer, _in_order(events), "`c360 run`" if troubled or (waiting and waiting["count"]) else "")


# --- the telling -----------------------------------------------------------------------------------------------------


def _story(subject: str, state: str, events: list[Event], next_step: str, *, is_good: bool = False) -> Story:
    """``is_good``: what went wrong on the way is over; it is told in its place, and not as a cause."""
    first = None if is_good else next((event for event in events if event.is_trouble), None)
    return Story(subject, state + (f". First cause: {first.what}" if first else ""), events, next_step)


def _in_order(events: list[Event]) -> list[Event]:
    """By time; what has none (it is still to come) last. Events of one moment stay as they were told."""
    return sorted(events, key=lambda event: (event.at is None, event.at.timestamp() if event.at else 0))


def _all(connection: Connection, statement: str, parameters: list[Any] | None = None) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query(statement), parameters).fetchall()


def _one(connection: Connection, statement: str, parameters: list[Any] | None = None) -> Row | None:
    rows = _all(connection, statement, parameters)
    return rows[0] if rows else None
