"""Make again what failed beside the tables, as ``c360 side-products`` does."""

from __future__ import annotations

from collections.abc import Callable

from customer360 import warehouse
from customer360.oncall import alerts
from customer360.oncall.metrics import WarehouseCounters
from customer360.settings import Settings
from customer360.warehouse.side_products import Attempt, Product, aside, failing


def _alerts(settings: Settings) -> None:
    """To everybody but this terminal, where they would stand between the command's own lines."""
    elsewhere = [channel for channel in alerts.channels(settings) if channel.name != "stdout"]
    with warehouse.connect("owner", settings, autocommit=True, application_name="customer360 alerts") as connection:
        connection.execute("update ops.alert_deliveries set next_try_at = now() where sent_at is null")
        alerts.deliver(connection, settings, elsewhere)


def _data_docs(settings: Settings) -> None:
    from customer360.gates.data_docs import build_data_docs

    build_data_docs(settings)


def _report(settings: Settings) -> None:
    from customer360.report import write_report

    write_report(settings)


def _metrics(settings: Settings) -> None:
    WarehouseCounters(settings).read()


def _history(settings: Settings) -> None:
    from customer360.publication import reconstruction

    if reconstruction.is_due(settings):
        reconstruction.reconstruct(settings)


def _nothing(_: Settings) -> None:
    """Lineage is of the run that it was not told of, and a picture of its fit: the next one makes its own."""


_MAKERS: dict[Product, Callable[[Settings], None]] = {
    "alerts": _alerts,
    "data_docs": _data_docs,
    "report": _report,
    "metrics": _metrics,
    "lineage": _nothing,
    "churn_picture": _nothing,
    "history": _history,
}
_ALWAYS: tuple[Product, ...] = ("alerts", "data_docs")
"""What a pipeline always has, and costs nothing where it is up to date."""


def remake(settings: Settings) -> list[Attempt]:
    """Try again whatever failed, and bring Data Docs and alerts up to date; each attempt says how it ended.

    Raises:
        WarehouseUnavailableError: nothing is known of what failed.
    """
    attempts = []
    for product in dict.fromkeys((*failing(settings), *_ALWAYS)):
        with aside(settings, product) as attempt:
            _MAKERS[product](settings)
        if product == "alerts" and not attempt.failure and (count := alerts.undelivered(settings)):
            attempt = Attempt("alerts", f"{count} are not delivered")  # each channel has an incident of its own
        attempts.append(attempt)
    return attempts
