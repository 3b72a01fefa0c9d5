"""The monitor: a small process of its own that looks, writes incidents, tells people, and serves its counters.

It depends on the warehouse alone: not on Airflow, and not on the task that failed. Without a warehouse it says so
on every channel that needs none and tries again.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.oncall import alerts, freshness, incidents
from customer360.oncall.airflow_conditions import look_at_airflow
from customer360.oncall.conditions import Finding, View, look
from customer360.settings import Settings

_log = logging.getLogger(__name__)


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
    with warehouse.connect("oncall", settings, autocommit=True, application_name="customer360 monitor") as reader:
        findings = look(View(reader, settings))
    try:
        findings += look_at_airflow(settings)
    except Exception as error:  # the database of Airflow may be away; what the warehouse shows is still told
        findings.append(
            Finding(
                "condition_blind",
                "condition_blind:airflow",
                "warning",
                f"The monitor cannot look at Airflow: {type(error).__name__}: {str(error).splitlines()[0][:200]}",
                "c360 up",
            )
        )
    with warehouse.connect("owner", settings, autocommit=True, application_name="customer360 monitor") as connection:
        changes = incidents.synchronise(connection, findings)
        freshness.measure(connection, settings)
        sent = alerts.deliver(connection, settings)
    return Look(findings, changes, sent)


def watch(settings: Settings, stop: threading.Event | None = None) -> None:
    """Look every ``monitor_seconds`` until ``stop`` is set, and serve the counters for Prometheus."""
    from customer360.oncall.metrics import serve

    stop = stop or threading.Event()
    was_away = False
    with serve(settings) as address:
        _log.info("Counters at %s", address)
        while not stop.is_set():
            try:
                look_once(settings)
                was_away = False
            except Customer360Error as error:
                if not was_away:
                    _tell_without_warehouse(settings, str(error))
                was_away = True
            except Exception:
                _log.exception("This look failed; the next one is in %s s", settings.monitor_seconds)
            stop.wait(settings.monitor_seconds)


def _tell_without_warehouse(settings: Settings, why: str) -> None:
    """The warehouse is away, and with it the memory of what was told: say so once per absence of this process."""
    for channel in alerts.channels(settings):
        try:
            channel.send(
                "[customer360] CRITICAL opened: the warehouse does not answer",
                f"{why}\nFeels it: everything\nDo: c360 up --no-airflow\ndocs/runbooks/warehouse_away.md",
            )
        except OSError as error:
            _log.warning("The %s channel does not answer: %s", channel.name, type(error).__name__)
