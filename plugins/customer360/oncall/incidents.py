"""Incidents: one row per cause, opened and closed by state. Grain of ops.incidents: one episode of one cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from customer360.errors import Customer360Error
from customer360.oncall.conditions import Finding
from customer360.warehouse import Connection, query

Event = Literal["opened", "escalated", "closed"]
_RANK = {"info": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True)
class Change:
    """What a look did to an incident; each change is announced once."""

    incident_id: int
    event: Event


def synchronise(connection: Connection, findings: list[Finding]) -> list[Change]:
    """Make ops.incidents say what is true now: open what is new, refresh and escalate what goes on, close the rest.

    The announcements are written to ops.alerts in the same transaction, so that an incident is announced exactly
    once however often the monitor is killed. A kind whose condition is blind in this look closes nothing.
    """
    changes: list[Change] = []
    with connection.transaction():
        # Two monitors must not announce twice. This lock conflicts with itself and with no reader's.
        connection.execute("lock table ops.incidents in share row exclusive mode")
        opened = {row["dedupe_key"]: row for row in _open(connection)}
        muted = {row[0] for row in connection.execute("select dedupe_key from ops.incident_mutes").fetchall()}
        present = {finding.key for finding in findings}
        for finding in findings:
            known = opened.pop(finding.key, None)
            if known is None:
                if finding.key not in muted and not finding.is_explained_by(present | set(opened)):
                    changes.append(Change(_insert(connection, finding), "opened"))
                continue
            if _refresh(connection, known, finding):
                changes.append(Change(known["incident_id"], "escalated"))
        blind = {finding.key.split(":", 1)[1] for finding in findings if finding.kind == "condition_blind"}
        for gone in opened.values():
            if gone["kind"] not in blind:
                connection.execute(
                    "update ops.incidents set closed_at = now(), closed_by = 'the state is good again' "
                    "where incident_id = %s",
                    [gone["incident_id"]],
                )
                changes.append(Change(gone["incident_id"], "closed"))
        connection.execute(  # a mute lasts as long as its cause
            "delete from ops.incident_mutes where not dedupe_key = any(%s)", [list(present)]
        )
        for change in changes:
            connection.execute(
                "insert into ops.alerts (incident_id, event) values (%s, %s)", [change.incident_id, change.event]
            )
    return changes


def open_incidents(connection: Connection) -> list[dict[str, Any]]:
    """The open incidents, the gravest and oldest first."""
    return sorted(_open(connection), key=lambda row: (-_RANK[row["severity"]], row["first_seen_at"]))


def close(connection: Connection, incident_id: int, *, who: str, why: str) -> None:
    """Close an incident by hand: it stays closed for as long as its cause lasts.

    Raises:
        Customer360Error: there is no such open incident, or no reason was given.
    """
    if not why.strip():
        raise Customer360Error("An incident is closed with a reason.", 'Add --because "…".')
    with connection.transaction():
        row = connection.execute(
            "update ops.incidents set closed_at = now(), closed_by = %s, closed_because = %s "
            "where incident_id = %s and closed_at is null returning dedupe_key",
            [who, why, incident_id],
        ).fetchone()
        if row is None:
            raise Customer360Error(f"There is no open incident {incident_id}.", "Run `c360 status` to see them.")
        connection.execute(
            "insert into ops.incident_mutes (dedupe_key, muted_by, because) values (%s, %s, %s) on conflict do nothing",
            [row[0], who, why],
        )
        connection.execute("insert into ops.alerts (incident_id, event) values (%s, 'closed')", [incident_id])


def _open(connection: Connection) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select * from ops.incidents where closed_at is null").fetchall()


def _insert(connection: Connection, finding: Finding) -> int:
    row = connection.execute(
        """
        insert into ops.incidents (kind, dedupe_key, severity, summary, tables, evidence, runbook, command)
        values (%s, %s, %s, %s, %s, %s, %s, %s) returning incident_id
        """,
        [
            finding.kind,
            finding.key,
            finding.severity,
            finding.summary,
            list(finding.tables),
            Jsonb(finding.evidence),
            finding.runbook,
            finding.command,
        ],
    ).fetchone()
    if row is None:  # an insert with returning gives a row or raises
        raise AssertionError
    return int(row[0])


def _refresh(connection: Connection, known: dict[str, Any], finding: Finding) -> bool:
    """Bring an open incident up to date; returns whether it became graver."""
    graver = _RANK[finding.severity] > _RANK[known["severity"]]
    connection.execute(
        query(
            f"""
            update ops.incidents set last_seen_at = now(), seen_count = seen_count + 1, summary = %s, evidence = %s,
                command = %s {", severity = %s, escalated_at = now()" if graver else ""}
            where incident_id = %s
            """
        ),
        [
            finding.summary,
            Jsonb(finding.evidence),
            finding.command,
            *([finding.severity] if graver else []),
            known["incident_id"],
        ],
    )
    return graver
