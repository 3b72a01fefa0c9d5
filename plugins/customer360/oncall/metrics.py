"""The pipeline's counters for Prometheus, read from the ledger at each scrape. No label holds personal data."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from customer360 import warehouse
from customer360.settings import Settings
from customer360.warehouse import query

# name, type, help, labels, query that gives the labels and then the value
_METRICS: tuple[tuple[str, str, str, tuple[str, ...], str], ...] = (
    ("c360_batches_total", "counter", "Batches by feed and state.", ("feed", "state"),
     "select feed, state, count(*) from ops.batches group by 1, 2"),
    ("c360_rows_total", "counter", "Rows by feed and what became of them.", ("feed", "fate"),
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
    ("c360_dirty_keys", "gauge", "Keys that wait for the next build, by scope.", ("scope",),
     "select scope, count(*) from ops.dirty group by 1"),
    ("c360_open_incidents", "gauge", "Open incidents by kind and severity.", ("kind", "severity"),
     "select kind, severity, count(*) from ops.incidents where closed_at is null group by 1, 2"),
    ("c360_freshness_minutes", "gauge", "Age of feeds and tables at the last look.", ("subject", "measure"),
     """select distinct on (subject, measure) subject, measure, age_minutes from ops.freshness
        order by subject, measure, looked_at desc"""),
    ("c360_expectations_total", "counter", "Expectations evaluated, by gate and outcome.", ("gate", "outcome"),
     "select gate, outcome, count(*) from ops.gate_results group by 1, 2"),
)  # fmt: skip


def exposition(settings: Settings) -> str:
    """All counters in Prometheus' text format."""
    lines: list[str] = []
    with warehouse.connect("oncall", settings, autocommit=True, application_name="customer360 metrics") as connection:
        for name, kind, meaning, labels, statement in _METRICS:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            for row in connection.execute(query(statement)).fetchall():
                pairs = ",".join(f'{label}="{value}"' for label, value in zip(labels, row, strict=False))
                lines.append(f"{name}{{{pairs}}} {float(row[-1])}" if pairs else f"{name} {float(row[-1])}")
    return "\n".join(lines) + "\n"


def address_file(settings: Settings) -> Path:
    """The file that tells where the counters are, while they are served."""
    return settings.home / "metrics.url"


@contextlib.contextmanager
def serve(settings: Settings) -> Iterator[str]:
    """Serve ``/metrics`` while the block runs; yields the address, which ``C360_HOME/metrics.url`` holds meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                body, status = exposition(settings).encode(), 200
            except Exception as error:  # a scrape must get an answer whatever is broken
                body, status = f"# {type(error).__name__}\n".encode(), 503
            if self.path != "/metrics":
                body, status = b"/metrics\n", 404
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Scrapes are not news."""

    server = ThreadingHTTPServer((settings.metrics_host, settings.metrics_port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        found = f"http://{settings.metrics_host}:{server.server_port}/metrics"
        address_file(settings).write_text(found)
        yield found
    finally:
        address_file(settings).unlink(missing_ok=True)
        server.shutdown()
        server.server_close()
