"""Incidents open, escalate and close by state, and each change is told once to each channel."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from aiosmtpd.controller import Controller
from prometheus_client.parser import text_string_to_metric_families

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.front_door import landing, load
from customer360.oncall import alerts, freshness, incidents, monitor
from customer360.oncall.conditions import CONDITIONS, Finding, look
from customer360.oncall.metrics import serve
from customer360.oncall.monitor import look_once
from customer360.settings import Settings


def batch(settings: Settings, **columns: Any) -> int:
    """A ledger row as the front door would leave it; returns its id."""
    row = {"feed": "orders", "file_name": "a.jsonl", "content_hash": "x", "state": "landed"} | columns
    names = ", ".join(row)
    marks = ", ".join(f"%({name})s" for name in row)
    with warehouse.connect("loader", settings) as connection:
        return int(
            warehouse.scalar(connection, f"insert into ops.batches ({names}) values ({marks}) returning batch_id", row)
        )


def change(settings: Settings, statement: str) -> None:
    with warehouse.connect("owner", settings) as connection:
        connection.execute(warehouse.query(statement))


def open_kinds(settings: Settings) -> dict[str, str]:
    with warehouse.connect("oncall", settings) as connection:
        return {row["kind"]: row["severity"] for row in incidents.open_incidents(connection)}


class Inbox:
    """A webhook server that keeps what it is sent; ``answer`` is the status that it gives."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.requests: list[tuple[str, str, set[str]]] = []
        self.answer = 200
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                message = json.loads(body)
                inbox.requests.append((self.path, self.headers["Content-Type"], set(message)))
                if inbox.answer == 200:
                    inbox.texts.append(message["text"])
                self.send_response(inbox.answer)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def told(settings: Settings, inbox: Inbox) -> Settings:
    return settings.with_(alert_webhook_url=inbox.url, alert_group_seconds=0)


def test_a_quiet_warehouse_has_no_incident(settings: Settings) -> None:
    assert CONDITIONS
    assert look_once(settings).findings == []


def test_a_refused_batch_is_told_once_and_closes_when_a_good_file_of_its_name_comes(
    told: Settings, inbox: Inbox
) -> None:
    refused = batch(told, state="refused", error="the column total_amount is missing", landed_rows=7, refused_rows=7)
    for _ in range(3):
        look_once(told)
    assert open_kinds(told) == {"batch_refused": "warning"}
    assert len(inbox.texts) == 1
    assert "total_amount is missing" in inbox.texts[0]
    assert f"c360 why batch {refused}" in inbox.texts[0]
    assert "c360 runbook batch_refused" in inbox.texts[0]
    batch(told, state="published", content_hash="y")
    for _ in range(2):
        look_once(told)
    assert open_kinds(told) == {}
    assert len(inbox.texts) == 2
    assert "CLOSED" in inbox.texts[1]
    assert "Lasted:" in inbox.texts[1]


def test_a_cause_that_grows_worse_is_told_again_once(told: Settings, inbox: Inbox) -> None:
    failed = batch(told, state="failed", error="connection lost", attempts=1)
    look_once(told)
    change(told, f"update ops.batches set attempts = 3 where batch_id = {failed}")
    look_once(told)
    look_once(told)
    assert [text.split()[1:3] for text in inbox.texts] == [["WARNING", "opened:"], ["CRITICAL", "escalated:"]]


def test_a_storm_of_causes_is_one_alert(told: Settings, inbox: Inbox) -> None:
    for number in range(50):
        reason = f"the column {'abcdefghij'[number // 10]}{'abcdefghij'[number % 10]} is missing"
        batch(told, state="refused", error=reason, content_hash=str(number), file_name=f"{number}.csv")
    look_once(told)
    assert len(inbox.texts) == 1
    assert "and 49 more" in inbox.texts[0]


def test_ten_thousand_bad_rows_are_one_incident(told: Settings, inbox: Inbox) -> None:
    batch(told, state="loaded", landed_rows=10_000, quarantined_rows=10_000)
    look_once(told)
    change(told, "update ops.batches set landed_rows = 20000, quarantined_rows = 20000")
    look_once(told)
    assert open_kinds(told) == {"quarantine_above_threshold": "warning"}
    assert len(inbox.texts) == 1


def test_a_channel_that_is_away_is_tried_again_and_holds_up_nobody(told: Settings, inbox: Inbox) -> None:
    inbox.answer = 500
    batch(told, state="refused", error="empty")
    look = look_once(told)
    assert look.sent == {"stdout": 1}
    inbox.answer = 200
    look_once(told)
    assert inbox.texts == [], "the pause before the next try is not over"
    change(told, "update ops.alert_deliveries set next_try_at = now() where sent_at is null")
    look_once(told)
    look_once(told)
    assert len(inbox.texts) == 1


def test_a_redirect_is_no_delivery(told: Settings, inbox: Inbox) -> None:
    inbox.answer = 302
    batch(told, state="refused", error="empty")
    assert look_once(told).sent == {"stdout": 1}
    with warehouse.connect("oncall", told) as connection:
        kept = connection.execute("select channel, error from ops.alert_deliveries where sent_at is null").fetchall()
    assert kept == [("webhook", "HTTPStatusError")]


def test_a_webhook_keeps_its_query_gets_the_text_alone_and_stays_out_of_logs(
    told: Settings, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    signed = told.with_(alert_webhook_url=f"{inbox.url}?sig=a%2Fb&sp=%2Ftriggers")
    (channel,) = [channel for channel in alerts.channels(signed) if channel.name == "webhook"]
    channel.send("subject · ä", "one\n  two\n")
    assert inbox.texts == ["*subject · ä*\none\n  two\n"]
    assert inbox.requests == [("/hook?sig=a%2Fb&sp=%2Ftriggers", "application/json", {"text"})]
    assert "sig=" not in caplog.text


def test_what_is_not_critical_is_gathered_in_a_quiet_period(told: Settings, inbox: Inbox) -> None:
    quiet = told.with_(alert_group_seconds=3600)
    batch(quiet, state="refused", error="empty", content_hash="1", file_name="1.csv")
    look_once(quiet)
    batch(quiet, state="refused", error="empty", content_hash="2", file_name="2.csv")
    look_once(quiet)
    assert len(inbox.texts) == 1
    change(quiet, "insert into ops.runs (kind, trigger, state, error) values ('build', 'test', 'blocked', 'keys')")
    look_once(quiet)
    assert len(inbox.texts) == 2
    assert "keys" in inbox.texts[1]
    assert "2.csv" not in inbox.texts[0]


def test_mail_is_sent_through_a_mail_server(settings: Settings) -> None:
    received: list[str] = []

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            received.append(envelope.content.decode())
            return "250 OK"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(Handler(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        mailed = settings.with_(alert_smtp_url=f"smtp://127.0.0.1:{port}", alert_email_to="oncall@example.org")
        change(mailed, "insert into ops.runs (kind, trigger, state, error) values ('build', 'test', 'blocked', 'keys')")
        look_once(mailed)
        look_once(mailed)
    finally:
        controller.stop()
    assert len(received) == 1
    assert "CRITICAL opened" in received[0]


def test_an_incident_closed_by_hand_stays_closed_while_its_cause_lasts(settings: Settings) -> None:
    batch(settings, state="refused", error="empty")
    look_once(settings)
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        found = incidents.open_incidents(connection)
        with pytest.raises(Customer360Error, match="reason"):
            incidents.close(connection, found[0]["incident_id"], who="me", why=" ")
        incidents.close(connection, found[0]["incident_id"], who="me", why="a test file of the shop")
    look_once(settings)
    assert open_kinds(settings) == {}


def test_a_blind_look_is_an_incident_and_closes_nothing(settings: Settings) -> None:
    batch(settings, state="refused", error="empty")
    look_once(settings)
    change(settings, f"revoke select on ops.batches from {warehouse.role_name('oncall', settings)}")
    look_once(settings)
    kinds = open_kinds(settings)
    assert kinds["condition_blind"] == "warning"
    assert "batch_refused" in kinds


def test_a_late_feed_and_a_stale_mart_are_found_by_the_clock(settings: Settings) -> None:
    batch(settings, state="loaded")
    change(settings, "update ops.batches set landed_at = now() - interval '3 days', loaded_at = now() - interval '1 h'")
    look_once(settings)
    assert open_kinds(settings) == {"marts_stale": "critical", "feed_late": "critical"}
    with warehouse.connect("oncall", settings) as connection:
        budget = {(row["subject"], row["measure"]): row for row in freshness.error_budget(connection)}
    assert budget["orders", "landing"]["is_fresh"] is False
    assert budget["customer_360", "publication"]["budget_left"] < 0


def test_a_corrected_file_of_the_same_name_gets_a_number_and_closes_the_refusal(settings: Settings) -> None:
    batch(settings, state="refused", error="empty", file_name="monday.csv.gz")
    look_once(settings)
    batch(settings, state="published", content_hash="y", file_name="tuesday.csv.gz")
    look_once(settings)
    assert open_kinds(settings) == {"batch_refused": "warning"}
    batch(settings, state="published", content_hash="z", file_name="monday~2.csv.gz")
    look_once(settings)
    assert open_kinds(settings) == {}


def test_a_file_that_is_overwritten_after_it_was_read_is_an_incident(settings: Settings) -> None:
    landing.prepare(settings)
    path = Path(settings.landing_url) / "orders" / "a.jsonl"
    path.write_text("{}\n")
    load.ingest(settings)
    path.write_text('{"order_id": "1"}\n')
    load.ingest(settings)
    look_once(settings)
    assert open_kinds(settings)["name_conflict"] == "warning"
    change(settings, "update ops.batches set landed_at = now() - interval '2 h', state = 'refused', error = 'x'")
    look_once(settings)
    assert "name_conflict" not in open_kinds(settings)


def test_a_file_that_nobody_reads_is_found_by_its_age(settings: Settings) -> None:
    landing.prepare(settings)
    path = Path(settings.landing_url) / "orders" / "a.jsonl"
    path.write_text("{}\n")
    look_once(settings)
    assert open_kinds(settings) == {}
    os.utime(path, (1, 1))
    look_once(settings)
    assert open_kinds(settings) == {"files_waiting": "critical"}
    load.ingest(settings)
    look_once(settings)
    assert "files_waiting" not in open_kinds(settings)


def test_a_disk_that_runs_full_is_an_incident_before_it_is_full(settings: Settings) -> None:
    free = shutil.disk_usage(settings.home).free // 1_000_000
    look_once(settings.with_(disk_free_mb=2 * free))
    assert open_kinds(settings) == {"disk_nearly_full": "warning"}
    look_once(settings.with_(disk_free_mb=10 * free))
    assert open_kinds(settings) == {"disk_nearly_full": "critical"}
    look_once(settings.with_(disk_free_mb=1))
    assert open_kinds(settings) == {}


def test_a_run_that_was_killed_is_found_before_anybody_else_closes_it(settings: Settings) -> None:
    change(
        settings,
        "insert into ops.runs (kind, trigger, state, started_at) "
        "values ('build', 't', 'running', now() - interval '1 m')",
    )
    with warehouse.writer_lock(settings):
        look_once(settings)
        assert open_kinds(settings) == {}, "a run that holds the lock lives"
    look_once(settings)
    assert open_kinds(settings) == {"run_failed": "warning"}
    change(settings, "update ops.runs set state = 'failed', error = 'it died'")
    assert look_once(settings).changes == [], "the same cause, told by the next run, is no news"
    change(settings, "insert into ops.runs (kind, trigger, state) values ('rebuild', 't', 'succeeded')")
    look_once(settings)
    assert open_kinds(settings) == {}


def test_an_idle_run_does_not_pass_the_gate_that_stopped_the_one_before(settings: Settings) -> None:
    change(settings, "insert into ops.runs (kind, trigger, state, error) values ('build', 't', 'blocked', 'keys')")
    change(settings, "insert into ops.runs (kind, trigger, state) values ('build', 't', 'idle')")
    look_once(settings)
    assert open_kinds(settings) == {"gate_failed": "critical"}
    change(settings, "insert into ops.runs (kind, trigger, state) values ('build', 't', 'succeeded')")
    look_once(settings)
    assert open_kinds(settings) == {}


def test_a_mere_consequence_opens_no_incident_of_its_own(settings: Settings) -> None:
    cause = Finding("run_failed", "run_failed:build", "warning", "it failed", "c360 run")
    consequence = Finding("task_failed", "task_failed:b", "critical", "so did its task", "c360 run",
                          follows=("run_failed:build", "component_silent:"))  # fmt: skip
    silence = Finding("component_silent", "component_silent:scheduler", "critical", "silent", "c360 up")
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        for causes, expected in (
            ([cause], {"run_failed"}),
            ([silence], {"component_silent"}),
            ([], set()),  # what is over this very look may have taken its consequence with it
            ([], {"task_failed"}),
            ([cause], {"run_failed", "task_failed"}),
        ):
            incidents.synchronise(connection, [consequence, *causes])
            assert {row["kind"] for row in incidents.open_incidents(connection)} == expected


def test_objectives_can_be_set_and_a_wrong_one_is_told(settings: Settings) -> None:
    look_once(settings.with_(freshness_objectives="orders.landing=7"))
    with warehouse.connect("oncall", settings) as connection:
        minutes = warehouse.scalar(
            connection,
            "select objective_minutes from ops.freshness_objectives where subject = 'orders' and measure = 'landing'",
        )
    assert minutes == 7
    look_once(settings.with_(freshness_objectives="order.landing=7"))
    assert open_kinds(settings) == {"condition_blind": "warning"}


def test_a_warehouse_that_is_away_is_told_once_and_told_when_it_is_back(
    told: Settings, inbox: Inbox, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    absence = monitor._Absence(told)
    for _ in range(4):
        absence.goes_on("The embedded server does not run.")
    assert len(inbox.texts) == 1
    assert "warehouse_away.md" in inbox.texts[0]
    absence.is_over()
    absence.is_over()
    assert len(inbox.texts) == 2
    with warehouse.connect("oncall", told) as connection:
        kept = connection.execute("select kind, closed_at is not null, seen_count from ops.incidents").fetchall()
    assert kept == [("warehouse_away", True, 4)]


def test_a_batch_whose_rows_do_not_add_up_is_found(settings: Settings) -> None:
    batch(settings, state="published", landed_rows=10, loaded_rows=9)
    look_once(settings)
    assert open_kinds(settings)["ledger_unbalanced"] == "critical"


def test_the_counters_can_be_scraped(settings: Settings) -> None:
    batch(settings, state="published", landed_rows=10, loaded_rows=9, quarantined_rows=1)
    with serve(settings) as address, urlopen(address, timeout=10) as answer:  # noqa: S310
        text = answer.read().decode()
    families = list(text_string_to_metric_families(text))
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }
    assert samples["c360_rows_total", ("fate", "landed"), ("feed", "orders")] == 10
    assert samples["c360_batches_total", ("feed", "orders"), ("state", "published")] == 1
    assert samples["c360_warehouse_up",] == 1
    assert {family.name: family.type for family in families}["c360_rows"] == "counter"
    assert "# TYPE c360_rows_total counter" in text
    with pytest.raises(URLError):  # it ends with the block
        urlopen(address, timeout=10)  # noqa: S310


def test_a_scrape_is_answered_without_a_warehouse(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with serve(settings.with_(database="nowhere")) as address, urlopen(address, timeout=10) as answer:  # noqa: S310
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    assert lines == ["c360_warehouse_up 0.0"]
    assert "The counters for Prometheus could not be made" in caplog.text


def test_every_condition_has_its_registered_kind(settings: Settings) -> None:
    """A condition that yields another kind than its own would close what a blind look must keep open."""
    from customer360.oncall.conditions import View

    batch(settings, state="refused", error="e")
    batch(settings, state="failed", error="e", content_hash="2", file_name="b.csv", attempts=1)
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        found = look(View(connection, settings))
    assert {finding.kind for finding in found} == {"batch_refused", "batch_failed"}


def test_every_kind_of_incident_has_its_runbook() -> None:
    runbooks = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
    kinds = {*CONDITIONS, "condition_blind", "component_silent", "task_failed", "dag_broken", "warehouse_away"}
    missing = [kind for kind in sorted(kinds) if not (runbooks / f"{kind}.md").exists()]
    assert missing == []
    for kind in kinds:
        text = (runbooks / f"{kind}.md").read_text()
        for part in ("**Who feels it.**", "**How you can be fooled.**", "## Look", "## Fix", "## Prove"):
            assert part in text, (kind, part)


def test_eight_files_with_one_wrong_header_are_one_incident(told: Settings, inbox: Inbox) -> None:
    for number in range(8):
        batch(told, state="refused", file_name=f"export-{number}.csv", content_hash=f"h{number}",
              error=f"the column total_amount is missing in line {number}")  # fmt: skip
    look_once(told)
    with warehouse.connect("owner", told) as connection:
        (one,) = incidents.open_incidents(connection)
    assert one["summary"].startswith("8 batches (")
    batch(told, state="refused", file_name="other.csv", content_hash="o", error="the file is empty")
    look_once(told)
    with warehouse.connect("owner", told) as connection:
        assert len(incidents.open_incidents(connection)) == 2
    assert len(inbox.texts) == 2
