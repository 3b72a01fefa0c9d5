"""Alerts: what ops.incidents says, delivered once per channel, retried with back-off, never in the pipeline's way.

Every change of an incident is a row of ops.alerts, written with the incident. A delivery takes all rows that are due
for a channel as one message, so that a storm is one alert; a channel that does not answer is tried again with
growing pauses, without holding up the other channels. Why no notification library sends them:
docs/decisions/0025-alerts-are-sent-by-httpx-and-smtplib.md.
"""

from __future__ import annotations

import logging
import smtplib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from psycopg.rows import dict_row

from customer360 import warehouse
from customer360.settings import Settings
from customer360.warehouse import Connection

_RANK = {"info": 0, "warning": 1, "critical": 2}
_TIMEOUT_SECONDS = 10
_LONGEST_PAUSE_SECONDS = 900

# It logs every address at INFO, and a webhook's address is its password.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Channel:
    """Where alerts go: its name, the least severity that it wants, and how a text is sent (raises when it is not)."""

    name: str
    least: str
    send: Callable[[str, str], None]


def channels(settings: Settings) -> list[Channel]:
    """The configured channels; stdout always."""
    found = [Channel("stdout", "info", _print)]
    if settings.alert_webhook_url:
        found.append(Channel("webhook", settings.alert_webhook_severity, _webhook(settings.alert_webhook_url)))
    if settings.alert_smtp_url and settings.alert_email_to:
        send = _email(settings.alert_smtp_url, settings.alert_email_from, settings.alert_email_to)
        found.append(Channel("email", settings.alert_email_severity, send))
    return found


def deliver(connection: Connection, settings: Settings, to: Sequence[Channel] | None = None) -> dict[str, int]:
    """Send what is due to every channel, or those of ``to``; returns the number of messages sent per channel.

    Never raises for a channel that is away.

    An alert is marked as sent in the transaction that holds its lock, so two monitors do not send it twice.
    """
    sent: dict[str, int] = {}
    for channel in channels(settings) if to is None else to:
        with connection.transaction():
            due = _due(connection, channel, settings.alert_group_seconds)
            wanted = [row for row in due if _RANK[row["severity"]] >= _RANK[channel.least]]
            if wanted:
                subject, text = message(wanted)
                try:
                    channel.send(subject, text)
                except Exception as error:  # an address that is none is no reason to keep silent elsewhere
                    _postpone(connection, channel, due, error)
                    continue
                sent[channel.name] = sent.get(channel.name, 0) + 1
            _mark(connection, channel, due)
    return sent


def undelivered(settings: Settings) -> int:
    """How many alerts a configured channel has not taken although it was tried."""
    names = [channel.name for channel in channels(settings)]
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        return int(
            warehouse.scalar(
                connection,
                "select count(*) from ops.alert_deliveries where sent_at is null and channel = any(%s)",
                [names],
            )
        )


def message(rows: list[dict[str, Any]]) -> tuple[str, str]:
    """Subject and text of one alert over one or more changes: what, who feels it, numbers, command, runbook."""
    first = max(rows, key=lambda row: _RANK[row["severity"]])
    subject = f"[customer360] {first['severity'].upper()} {first['event']}: {first['summary'][:120]}"
    if len(rows) > 1:
        subject += f" (and {len(rows) - 1} more)"
    return subject, "\n\n".join(_paragraph(row) for row in rows)


def _paragraph(row: dict[str, Any]) -> str:
    lines = [f"{row['event'].upper()} · {row['severity']} · {row['summary']}"]
    if row["event"] == "closed":
        minutes, seconds = divmod(int((row["closed_at"] - row["first_seen_at"]).total_seconds()), 60)
        lines.append(f"Lasted: {minutes} min {seconds} s; {row['closed_by']}")
    else:
        lines.append(f"Feels it: {', '.join(row['tables']) or 'no table'}")
        lines.append(f"Do: {row['command']}")
    lines.append(f"Incident {row['incident_id']} · c360 runbook {row['kind']}")
    return "\n".join(lines)


def _due(connection: Connection, channel: Channel, group_seconds: int) -> list[dict[str, Any]]:
    """The rows not yet sent on this channel.

    Nothing is due while the quiet period after the last message lasts, unless something critical waits.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            """
            select a.alert_id, a.event, i.* from ops.alerts as a join ops.incidents as i using (incident_id)
            where not exists (select 1 from ops.alert_deliveries as d
                              where d.alert_id = a.alert_id and d.channel = %(channel)s
                              and (d.sent_at is not null or d.next_try_at > now()))
            order by a.alert_id for update of a skip locked
            """,
            {"channel": channel.name},
        ).fetchall()
        quiet = cursor.execute(
            "select max(sent_at) > now() - make_interval(secs => %(seconds)s) as quiet from ops.alert_deliveries "
            "where channel = %(channel)s",
            {"seconds": group_seconds, "channel": channel.name},
        ).fetchone()
    in_quiet_period = bool(quiet and quiet["quiet"])
    if in_quiet_period and not any(row["severity"] == "critical" for row in rows):
        return []
    return rows


def _mark(connection: Connection, channel: Channel, rows: list[dict[str, Any]]) -> None:
    connection.cursor().executemany(
        """
        insert into ops.alert_deliveries (alert_id, channel, sent_at, attempts) values (%s, %s, now(), 1)
        on conflict (alert_id, channel) do update set sent_at = now(), attempts = alert_deliveries.attempts + 1
        """,
        [(row["alert_id"], channel.name) for row in rows],
    )


def _postpone(connection: Connection, channel: Channel, rows: list[dict[str, Any]], error: Exception) -> None:
    connection.cursor().executemany(
        """
        insert into ops.alert_deliveries (alert_id, channel, attempts, next_try_at, error)
        values (%s, %s, 1, now() + interval '5 seconds', %s)
        on conflict (alert_id, channel) do update set attempts = alert_deliveries.attempts + 1, error = excluded.error,
            next_try_at = now() + make_interval(secs => least(5 * 2 ^ alert_deliveries.attempts, %s))
        """,
        [(row["alert_id"], channel.name, type(error).__name__, _LONGEST_PAUSE_SECONDS) for row in rows],
    )


def _print(subject: str, text: str) -> None:
    sys.stdout.write(f"{subject}\n{text}\n\n")
    sys.stdout.flush()


def _webhook(target: str) -> Callable[[str, str], None]:
    """A Slack-compatible webhook: a JSON object with the field ``text``."""

    def send(subject: str, text: str) -> None:
        # A redirect is a failure: it leads to a login page, or drops the message on its way.
        answer = httpx.post(target, json={"text": f"*{subject}*\n{text}"}, timeout=_TIMEOUT_SECONDS)
        if not answer.is_success:
            raise httpx.HTTPStatusError(f"HTTP {answer.status_code}", request=answer.request, response=answer)

    return send


def _email(smtp_url: str, sender: str, receivers: str) -> Callable[[str, str], None]:
    """An SMTP server given as smtp://user:password@host:port, or smtps:// for TLS from the first byte."""

    def send(subject: str, text: str) -> None:
        parts = urlsplit(smtp_url)
        mail = EmailMessage()
        mail["Subject"], mail["From"], mail["To"] = subject.replace("\n", " "), sender, receivers
        mail.set_content(text)
        connect = smtplib.SMTP_SSL if parts.scheme == "smtps" else smtplib.SMTP
        with connect(parts.hostname or "", parts.port or 0, timeout=_TIMEOUT_SECONDS) as server:
            if parts.scheme == "smtp" and server.has_extn("starttls"):
                server.starttls()
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(mail)

    return send
