"""The pipeline's counters for Prometheus, read from the ledger at each scrape. No label holds personal data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from customer360 import warehouse
from customer360.receiver import spool
from customer360.settings import Settings
from customer360.warehouse import query
from customer360.warehouse.side_products import aside

# name, type, help, labels, query that gives the labels and then the value
_METRICS: tuple[tuple[str, str, str, tuple[str, ...], str], ...] = (
    ("c360_batches_total", "counter", "Batches by feed and state.", ("feed", "state"),
     "select feed, state, count(*) from ops.batches group by 1, 2"),
    ("c360_rows_total", "counter", "Rows by feed and outcome.", ("feed", "fate"),
     """select feed, fate, sum(rows) from ops.batches, lateral (values ('landed', landed_rows), ('loaded', loaded_rows),
        ('quarantined', quarantined_rows), ('released', released_rows), ('discarded', discarded_rows),
        ('duplicate', duplicate_rows), ('erased', erased_rows), ('refused', refused_rows)) as v (fate, rows)
        group by 1, 2"""),
    ("c360_runs_total", "counter", "Runs by kind and how they ended.", ("kind", "state"),
     "select kind, state, count(*) from ops.runs group by 1, 2"),
    ("c360_publications_total", "counter", "Versions of marts published.", (),
     "select count(*) from ops.publications"),
    ("c360_seconds_since_publication", "gauge", "Age of the last publication.", (),
     "select extract(epoch from now() - max(published_at)) from ops.publications having count(*) > 0"),
    ("c360_seconds_since_backup", "gauge", "Age of the last good backup.", (),
     "select extract(epoch from now() - max(taken_at)) from ops.backups where state = 'succeeded' having count(*) > 0"),
    ("c360_backups_total", "counter", "Backups that were tried, by how they ended.", ("state",),
     "select state, count(*) from ops.backups group by 1"),
    ("c360_dirty_keys", "gauge", "Keys due for the next build, by scope.", ("scope",),
     "select scope, count(*) from ops.dirty group by 1"),
    ("c360_open_incidents", "gauge", "Open incidents by kind and severity.", ("kind", "severity"),
     "select kind, severity, count(*) from ops.incidents where closed_at is null group by 1, 2"),
    ("c360_freshness_minutes", "gauge", "Age of feeds and tables at the last check.", ("subject", "measure"),
     """select distinct on (subject, measure) subject, measure, age_minutes from ops.freshness
        order by subject, measure, looked_at desc"""),
    ("c360_expectations_total", "counter", "Expectations evaluated, by gate and outcome.", ("gate", "outcome"),
     "select gate, outcome, count(*) from ops.gate_results group by 1, 2"),
)  # fmt: skip


class WarehouseCounters(Collector):
    """Reads every counter at each scrape.

    While the warehouse does not answer there is only ``c360_warehouse_up``, which is 0.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> Iterator[Metric]:
        """The counters as they are now."""
        counters: list[Metric] = []
        with aside(self._settings, "metrics") as attempt:  # a scrape must get an answer whatever is broken
            counters = self.read()
        is_up = 0 if attempt.failure else 1
        yield GaugeMetricFamily("c360_warehouse_up", "Whether the warehouse answered this scrape.", value=is_up)
        yield from counters

    def read(self) -> list[Metric]:
        """The counters.

        Raises:
            psycopg.Error: one of them cannot be read.
        """
        counters: list[Metric] = []
        with warehouse.connect(
            "oncall", self._settings, autocommit=True, application_name="customer360 metrics"
        ) as connection:
            for name, kind, meaning, labels, statement in _METRICS:
                family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
                counter = family(name, meaning, labels=labels)
                for *values, number in connection.execute(query(statement)).fetchall():
                    counter.add_metric([str(value) for value in values], float(number))
                counters.append(counter)
        return counters


class SpoolCounters(Collector):
    """Reads the account of the spool of webhooks at each scrape; nothing where there is no spool."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> Iterator[Metric]:
        """The counters as they are now."""
        try:
            states = spool.states(self._settings)
        except spool.SpoolError:
            return  # the conditions of the spool are blind then, which is an incident
        if not states:
            return
        events = CounterMetricFamily(
            "c360_webhook_events_total", "Events of webhooks by hook and outcome.", labels=("hook", "fate")
        )
        waiting = GaugeMetricFamily("c360_webhook_waiting_events", "Events in the spool.", labels=("hook",))
        oldest = GaugeMetricFamily(
            "c360_webhook_waiting_seconds", "Age of the oldest event in the spool.", labels=("hook",)
        )
        refused = GaugeMetricFamily(
            "c360_webhook_refused_requests", "Requests refused in the last 24 hours.", labels=("hook", "status")
        )
        for state in states:
            events.add_metric([state.hook, "received"], state.received_events)
            events.add_metric([state.hook, "duplicate"], state.duplicate_events)
            events.add_metric([state.hook, "landed"], state.landed_events)
            waiting.add_metric([state.hook], state.waiting_events)
            oldest.add_metric([state.hook], state.oldest_waiting_seconds or 0)
            for status, requests in state.refused.items():
                refused.add_metric([state.hook, status], requests)
        yield from (events, waiting, oldest, refused)


def address_file(settings: Settings) -> Path:
    """The file that holds the address of the counters while they are served."""
    return settings.home / "metrics.url"


@contextlib.contextmanager
def serve(settings: Settings) -> Iterator[str]:
    """Serve ``/metrics`` while the block runs; yields the address, which ``C360_HOME/metrics.url`` holds meanwhile."""
    registry = CollectorRegistry()
    registry.register(WarehouseCounters(settings))
    registry.register(SpoolCounters(settings))
    server, thread = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    try:
        found = f"http://{settings.metrics_host}:{server.server_port}/metrics"
        address_file(settings).write_text(found)
        yield found
    finally:
        address_file(settings).unlink(missing_ok=True)
        server.shutdown()
        server.server_close()
        thread.join()
