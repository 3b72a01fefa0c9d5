"""Webhooks through the whole pipeline: a receiver of its own process, killed at random, and the ledger."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from customer360 import warehouse
from customer360.front_door import load
from customer360.oncall.conditions import CONDITIONS, View
from customer360.oncall.metrics import SpoolCounters
from customer360.oncall.status import status
from customer360.receiver import hooks, landing_files, marks, spool
from customer360.receiver.deliveries import events_of
from customer360.run import run_everything
from customer360.settings import Settings
from customer360.stack import processes
from customer360.stack.airflow_environment import product_environment
from tests.pipeline.front_door import assert_balanced, order, raw_rows
from tests.unit.test_source_shopify_rest import order as shopify_order
from tests.unit.test_source_woocommerce import order as woocommerce_order
from tests.unit.test_source_zendesk import ticket

TOKEN = "drill-drill-drill"


@pytest.fixture
def shop(settings: Settings, tmp_path: Path) -> Settings:
    """A warehouse with a hook for orders, and a spool of this test alone."""
    made = settings.with_(receive_folder=str(tmp_path / "receive"), receive_file_seconds=0.1, receive_file_events=500)
    folder = hooks.secrets_folder(made)
    folder.mkdir(parents=True)
    (folder / "orders").write_text(TOKEN)
    return made


class Receiving:
    """A receiver as `c360 up` starts it, in a process that can be killed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        marks.remove(self._settings)
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from customer360.cli.app import main; main()", "receive"],
            env=product_environment(self._settings), stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, "the receiver has ended"
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{marks.address(self._settings)}/health").status_code == 200
        except (httpx.HTTPError, httpx.UnsupportedProtocol):
            return False

    def end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)
        if self._process is not None:
            self._process.wait(60)


@pytest.fixture
def receiving(shop: Settings) -> Iterator[Receiving]:
    made = Receiving(shop)
    yield made
    made.end(signal.SIGKILL)


async def send_all(settings: Settings, numbers: range, senders: int) -> None:
    """Send orders as a vendor does: again, with the same delivery id, until each is acknowledged."""
    left = list(reversed(numbers))

    async def send() -> None:
        async with httpx.AsyncClient(timeout=5) as client:
            while left:
                number = left.pop()
                headers = {"authorization": f"Bearer {TOKEN}", "idempotency-key": f"d{number}"}
                while True:
                    try:
                        url = f"{marks.address(settings)}/hooks/orders"
                        answer = await client.post(url, json=order(number), headers=headers)
                    except (httpx.HTTPError, httpx.UnsupportedProtocol):
                        await asyncio.sleep(0.05)
                        continue
                    if answer.status_code == 200:
                        break
                    assert answer.status_code in {429, 503}, answer.text
                    await asyncio.sleep(0.05)

    await asyncio.gather(*(send() for _ in range(senders)))


def send_while_it_is_killed(settings: Settings, receiving: Receiving, count: int, *, kills: int) -> None:
    """Every event is acknowledged; meanwhile the receiver is killed so often, and the loader takes what lands."""
    dice, done = random.Random(count), threading.Event()

    def kill() -> None:
        for _ in range(kills):
            time.sleep(dice.uniform(0.05, 0.8))
            receiving.end(signal.SIGKILL)
            receiving.start()

    def ingest() -> None:
        while not done.is_set():
            load.ingest(settings)
            time.sleep(0.2)

    receiving.start()
    threads = [threading.Thread(target=kill), threading.Thread(target=ingest)]
    for thread in threads:
        thread.start()
    try:
        asyncio.run(send_all(settings, range(count), 20))
        threads[0].join()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    receiving.end(signal.SIGTERM)


def assert_each_landed_once(settings: Settings, count: int) -> None:
    (state,) = spool.states(settings)
    assert (state.waiting_events, state.unexplained_events) == (0, 0)
    assert state.received_events - state.duplicate_events == count
    load.ingest(settings)
    found = [row[0] for row in raw_rows(settings, "orders", "order_id")]
    assert len(found) == count
    assert set(found) == {f"o{number}" for number in range(count)}
    with warehouse.connect("oncall", settings) as connection:
        batches = connection.execute("select state, sum(landed_rows) from ops.batches group by state").fetchall()
    assert batches == [("loaded", count)]
    assert_balanced(settings)


def test_a_receiver_that_is_killed_loses_no_event_that_it_acknowledged(shop: Settings, receiving: Receiving) -> None:
    send_while_it_is_killed(shop, receiving, 400, kills=1)
    assert_each_landed_once(shop, 400)
    assert marks.silent_seconds(shop) is None  # it was stopped on purpose
    assert os.stat(spool.path(shop)).st_mode & 0o077 == 0


@pytest.mark.slow
def test_ten_thousand_events_with_kills_at_random_are_each_published_once(shop: Settings, receiving: Receiving) -> None:
    send_while_it_is_killed(shop, receiving, 10_000, kills=15)
    assert_each_landed_once(shop, 10_000)
    with spool.opened(shop) as own:  # what waits in the spool is a run's to take
        own.add([spool.Event("orders", msgspec.json.encode(order(number))) for number in range(10_000, 10_003)])
    run_everything(shop, trigger="test")
    with warehouse.connect("bi_reader", shop) as connection:
        counts = connection.execute("select count(*), count(distinct order_id) from marts.fct_orders").fetchone()
    assert counts == (10_003, 10_003)


@pytest.mark.slow
def test_the_stack_starts_finds_and_stops_the_receiver(tmp_path: Path) -> None:
    stack = Settings(home=tmp_path / "home", receive=True)
    try:
        with pytest.raises(processes.StackError, match="No hook has a secret"):
            processes.up(stack, airflow=False)
        assert processes.monitor_pid(stack) is not None  # nothing else is kept from running
        folder = hooks.secrets_folder(stack)
        folder.mkdir(parents=True)
        (folder / "orders").write_text(TOKEN)
        address = processes.up(stack, airflow=False).webhooks
        assert address is not None
        sent = httpx.post(f"{address}orders", json=order(1), headers={"authorization": f"Bearer {TOKEN}"})
        assert sent.json() == {"accepted": 1, "duplicates": 0}
        assert processes.up(stack, airflow=False).webhooks == address  # what runs stays
        assert processes.is_receiver_meant_to_run(stack)
        marks.remove(stack)
        assert processes.up(stack.with_(receive=False), airflow=False).webhooks is None
        assert processes.up(stack, airflow=False).webhooks == address  # the port stays
    finally:
        stopped = processes.down(stack)
    assert stopped == ["monitor", "receiver", "postgres"]
    assert spool.states(stack)[0].landed_events == 1


def found(settings: Settings, kind: str) -> list[Any]:
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        return list(CONDITIONS[kind](View(connection, settings)))


def test_the_next_file_lands_when_the_last_one_was_loaded(shop: Settings) -> None:
    patient = shop.with_(receive_file_seconds=0.0)
    with spool.opened(patient) as own:
        schedule = landing_files.Schedule(patient, own, landing_files.at_once(own))
        waited = []
        for number in range(3):
            own.add([spool.Event("orders", b'{"order_id": "x%d"}' % number)])
            schedule.land_what_is_due()
            waited.append(own.states()[0].waiting_events)
        assert waited == [0, 1, 2]  # the first file is in the landing zone, and nobody has taken it
        load.ingest(patient)
        schedule.land_what_is_due()
        assert own.states()[0].waiting_events == 0
        assert own.states()[0].files == 2
        schedule.close()


def test_what_each_vendor_sends_is_loaded_by_its_source(shop: Settings) -> None:
    detail = ticket(id="35", status="OPEN", priority="LOW") | {"requester_id": "401"}
    sent = {
        "orders": [order(1)],
        "shopify_rest@second": [shopify_order()],
        "woocommerce": [woocommerce_order()],
        "zendesk": [{"type": "zen:event-type:ticket.created", "detail": detail}],
        "segment": [
            {
                "messageId": "m1", "type": "page", "timestamp": "2026-05-01T10:00:00Z", "anonymousId": "u-9",
                "context": {"page": {"url": "https://shop.example/tea"}},
            }
        ],
    }  # fmt: skip
    for name in sent:
        (hooks.secrets_folder(shop) / name).write_text(TOKEN)
    ready = hooks.find(shop).ready
    with spool.opened(shop) as own:
        for name, bodies in sent.items():
            own.add(events_of(ready[name], {}, msgspec.json.encode(bodies)))
    assert {one.hook for one in landing_files.land_waiting(shop)} == set(sent)
    loaded = load.ingest(shop).batches
    assert [(batch.state, batch.rows, batch.quarantined) for batch in loaded] == [("loaded", 1, 0)] * len(sent)
    assert_balanced(shop)
    assert raw_rows(shop, "support_tickets", "ticket_id, status, source") == [("35", "open", "zendesk")]
    assert ("second",) in raw_rows(shop, "orders", "source")
    assert landing_files.land_waiting(shop) == []


def test_on_call_sees_a_silent_receiver_and_what_its_spool_holds(
    shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from customer360.oncall.receiver_conditions import silent_receiver

    assert [found(shop, kind) for kind in CONDITIONS if kind.startswith("webhooks_")] == [[], [], []]
    assert list(SpoolCounters(shop).collect()) == []
    with spool.opened(shop) as own:
        own.add([spool.Event("orders", b"{}"), spool.Event("orders", b"{}")])
        own.note_refusals({("orders", 401): 2, (spool.UNKNOWN, 404): 500})
        assert [found(shop, kind) for kind in CONDITIONS if kind.startswith("webhooks_")] == [[], [], []]
        own.note_refusals({("orders", 401): 1})
        own._db.execute("update event set received_at = received_at - 3600 where event_id = 1")
        own._db.execute("delete from event where event_id = 2")
    (waiting,) = found(shop, "webhooks_waiting")
    assert (waiting.severity, waiting.command) == ("critical", "c360 receive land")
    assert "have waited up to 60 minutes" in waiting.summary
    (refused,) = found(shop, "webhooks_refused")
    assert refused.summary.startswith("No request of orders gets through: refused 3 with 401")
    (lost,) = found(shop, "webhooks_unbalanced")
    assert lost.summary == "1 events of orders are not accounted for"
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in SpoolCounters(shop).collect()
        for sample in family.samples
    }
    assert samples["c360_webhook_events_total", "orders", "received"] == 2
    assert samples["c360_webhook_waiting_events", "orders"] == 1
    assert samples["c360_webhook_refused_requests", "orders", "401"] == 3
    (hook,) = status(shop).webhooks
    assert (hook["hook"], hook["unexplained_events"]) == ("orders", 1)
    # Without C360_RECEIVE nobody expects it; in containers it is expected, and has never been heard.
    assert silent_receiver(shop) == []
    container = shop.with_(receive=True, airflow_url="http://api-server:8080")
    (silent,) = silent_receiver(container)
    assert silent.key == f"component_silent:{processes.RECEIVER}"
    marks.beat(container)
    assert silent_receiver(container) == []
