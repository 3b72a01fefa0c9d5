"""The monitor: a small process of its own that looks, writes incidents, tells people, and serves its counters.

It depends on the warehouse alone: not on Airflow, and not on the task that failed. Without a warehouse it says so
on every channel and tries again; it never starts the embedded server itself, for a monitor that heals what it
should report hides it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

from customer360 import warehouse
from customer360.errors import ConfigurationError, Customer360Error, WarehouseUnavailableError
from customer360.front_door import ledger
from customer360.oncall import alerts, freshness, incidents
from customer360.oncall.airflow_conditions import look_or_say_why
from customer360.oncall.conditions import Finding, View, blind, look
from customer360.oncall.receiver_conditions import silent_receiver
from customer360.settings import Settings
from customer360.stack import lineage
from customer360.warehouse import embedded_server, logins
from customer360.warehouse.side_products import aside

_log = logging.getLogger(__name__)

# A server that recovers from a crash, or that somebody restarts, is away for one look and not for two.
_LOOKS_BEFORE_AWAY = 2


@dataclass(frozen=True)
class Look:
    """What one look found and told."""

    findings: list[Finding]
    changes: list[incidents.Change]
    sent: dict[str, int] = field(default_factory=dict)


def look_once(settings: Settings) -> Look:
    """Look at everything once, bring ops.incidents up to date, measure freshness, and send what is due.

    Raises:
        WarehouseUnavailableError: there is nothing to look at.
    """
    findings = _configure(settings)
    with warehouse.connect("oncall", settings, autocommit=True, application_name="customer360 monitor") as reader:
        findings += look(View(reader, settings))
    findings += look_or_say_why(settings) + silent_receiver(settings)
    with warehouse.connect("owner", settings, autocommit=True, application_name="customer360 monitor") as connection:
        changes = incidents.synchronise(connection, findings)
        ledger.note_raw_counts(connection)
        freshness.measure(connection, settings)
        sent: dict[str, int] = {}
        with aside(settings, "alerts"):
            sent = alerts.deliver(connection, settings)
        if ended := logins.end_what_is_too_long(connection, settings):
            _log.warning("%d sessions of readers ran or idled for too long and were ended", ended)
    return Look(findings, changes, sent)


def _configure(settings: Settings) -> list[Finding]:
    if not settings.freshness_objectives:
        return []
    try:
        with warehouse.connect("owner", settings, application_name="customer360 monitor") as connection:
            freshness.configure(connection, settings)
    except ConfigurationError as error:
        return [blind("freshness", error, "c360 monitor --once")]
    return []


def watch(settings: Settings, stop: threading.Event | None = None) -> None:
    """Look every ``monitor_seconds`` until ``stop`` is set or the installation's folder is gone, and serve counters."""
    stop = stop or threading.Event()
    absence = _Absence(settings)
    with contextlib.ExitStack() as served:
        is_served = False
        while not stop.is_set() and settings.home.exists():
            is_served = is_served or _serve_counters(settings, served)
            try:
                if settings.is_embedded and not embedded_server.is_running(settings):
                    raise WarehouseUnavailableError("The embedded server does not run.", "Run `c360 up --no-airflow`.")
                look_once(settings)
                absence.is_over()
                lineage.rotate(settings)
            except Customer360Error as error:
                absence.goes_on(str(error))
            except Exception:
                _log.exception("This look failed; the next one is in %s s", settings.monitor_seconds)
            stop.wait(settings.monitor_seconds)


def _serve_counters(settings: Settings, until: contextlib.ExitStack) -> bool:
    """Serve the counters until the stack is closed. Where the port is taken, the next look tries again."""
    from customer360.oncall.metrics import serve

    with aside(settings, "metrics") as attempt:
        _log.info("Counters at %s", until.enter_context(serve(settings)))
    return not attempt.failure


class _Absence:
    """The warehouse is away, and with it the memory of what was told: this process remembers it until it is back."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._looks = 0
        self._since = datetime.now(UTC)

    def goes_on(self, why: str) -> None:
        """Another look found no warehouse; the second in a row tells everybody, once."""
        if self._looks == 0:
            self._since = datetime.now(UTC)
        self._looks += 1
        if self._looks == _LOOKS_BEFORE_AWAY:
            self._tell(
                "CRITICAL opened: the warehouse does not answer",
                f"{why}\nFeels it: everybody\nDo: c360 up --no-airflow\ndocs/runbooks/warehouse_away.md",
            )

    def is_over(self) -> None:
        """The warehouse answers: say how long it was away, and enter that among the incidents."""
        if self._looks >= _LOOKS_BEFORE_AWAY:
            with warehouse.connect("owner", self._settings) as connection:
                connection.execute(
                    """
                    insert into ops.incidents (kind, dedupe_key, severity, summary, tables, runbook, command,
                                               first_seen_at, closed_at, closed_by, seen_count)
                    values ('warehouse_away', 'warehouse_away', 'critical', 'The warehouse did not answer', '{*}',
                            'runbooks/warehouse_away.md', 'c360 up --no-airflow', %s, now(),
                            'the state is good again', %s)
                    """,
                    [self._since, self._looks],
                )
            minutes, seconds = divmod(int((datetime.now(UTC) - self._since).total_seconds()), 60)
            self._tell("CRITICAL closed: the warehouse answers again", f"Lasted: {minutes} min {seconds} s")
        self._looks = 0

    def _tell(self, subject: str, text: str) -> None:
        for channel in alerts.channels(self._settings):
            try:
                channel.send(f"[customer360] {subject}", text)
            except Exception as error:
                _log.warning("The %s channel does not answer: %s", channel.name, type(error).__name__)
