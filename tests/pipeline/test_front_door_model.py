"""Random histories at the front door end in the state that a simple model of the contract predicts."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from customer360 import warehouse
from customer360.front_door import ledger, load, quarantine, replay
from customer360.front_door.quarantine import Selection
from customer360.gates import suites
from customer360.settings import Settings
from tests.pipeline.front_door import Record, assert_balanced, batches, drop, jsonl, order
from tests.pipeline.test_front_door_faults import in_process

WHO: dict[str, Any] = {"who": "Dana", "why": "model"}
KILL_POINTS = ("land.registered", "load.claimed", "load.gated", "load.copied", "load.finished", "load.committed")

good_orders = st.builds(
    lambda number, total: order(number, total_amount=str(total)), st.integers(1, 6), st.integers(1, 3)
)
bad_orders = st.builds(lambda number: order(number, status="lost", total_amount="12.5"), st.integers(1, 6))
files = st.lists(st.one_of(good_orders, good_orders, bad_orders), min_size=1, max_size=5)


class FrontDoor(RuleBasedStateMachine):
    """The contract in a few lines: contents count once, identical rows of a file count once, bad rows wait."""

    template: Settings

    def __init__(self) -> None:
        super().__init__()
        self.name = f"m_{uuid.uuid4().hex[:12]}"
        with warehouse.admin(self.template, database="postgres") as connection:
            connection.execute(
                warehouse.query(f"create database {self.name} template c360_template strategy file_copy")
            )
        self.folder = tempfile.TemporaryDirectory(prefix="c360-model-")
        self.settings = self.template.with_(database=self.name, landing=self.folder.name)
        self.waiting: list[list[Record]] = []
        self.contents: set[str] = set()
        self.raw: Counter[tuple[str, str]] = Counter()
        self.open: list[Record] = []
        self.held: set[int] = set()
        self.landed = 0

    @initialize()
    def begin(self) -> None:
        self.landed = 0

    @rule(rows=files, is_history=st.booleans())
    def land(self, rows: list[Record], is_history: bool) -> None:
        """A file arrives; sometimes with the content of an earlier one."""
        self.landed += 1
        folder = "history/" if is_history else ""
        drop(self.settings, "orders", f"{folder}{self.landed}.jsonl", jsonl(rows))
        content = folder + json.dumps(rows)
        if content not in self.contents:
            self.contents.add(content)
            self.waiting.append(rows)

    @rule(rows=files)
    def land_twice(self, rows: list[Record]) -> None:
        """The same file under two names."""
        self.land(rows, False)
        self.land(rows, False)

    @rule()
    def run(self) -> None:
        """An ordinary run brings everything in."""
        summary = load.ingest(self.settings)
        assert not summary.failed
        self._all_is_in()

    @precondition(lambda self: self.waiting)
    @rule(point=st.sampled_from(KILL_POINTS))
    def run_and_be_killed(self, point: str) -> None:
        """A run dies, and the next one does the work."""
        process = in_process(lambda: load.ingest(self.settings), C360_KILL_AT=point)
        process.join(60)
        assert process.exitcode in {0, -signal.SIGKILL}
        assert_balanced(self.settings)
        self.run()

    def _all_is_in(self) -> None:
        for rows in self.waiting:
            seen: set[str] = set()
            for row in rows:
                if row["status"] == "lost":
                    self.open.append(row)
                elif (text := json.dumps(row)) not in seen:
                    seen.add(text)
                    self.raw[row["order_id"], row["total_amount"]] += 1
        self.waiting = []

    @precondition(lambda self: self.open)
    @rule(take=st.integers(1, 3))
    def correct_and_release(self, take: int) -> None:
        """Somebody corrects some rows, and releases them twice."""
        path = Path(self.folder.name) / "fix.jsonl"
        with warehouse.connect("loader", self.settings) as connection:
            quarantine.export(connection, Selection(), path, who="Dana", why="to be corrected")
        lines = path.read_text().replace("lost", "paid").splitlines()[:take]
        path.write_text("\n".join(lines))
        outcome = quarantine.release(self.settings, corrected=path, **WHO)
        assert outcome.released == len(lines)
        assert quarantine.release(self.settings, corrected=path, **WHO).released == 0
        path.unlink()
        for line in lines:
            record = json.loads(line)
            self.raw[record["order_id"], record["total_amount"]] += 1
            self.open.remove(next(row for row in self.open if row["order_id"] == record["order_id"]))

    @precondition(lambda self: self.open)
    @rule()
    def discard_one(self) -> None:
        """Somebody gives a row up."""
        with warehouse.connect("loader", self.settings) as connection:
            first = quarantine.rows_of(connection, Selection())[0]
        assert quarantine.discard(self.settings, Selection(ids=(first.quarantine_id,)), **WHO) == 1
        number = json.loads(first.record)["order_id"]
        self.open.remove(next(row for row in self.open if row["order_id"] == number))

    @rule(choice=st.integers(0, 10))
    def replay_one(self, choice: int) -> None:
        """Somebody has a batch processed again: nothing changes."""
        loaded = [one for one in batches(self.settings) if one.state in {"loaded", "held"} and not one.released_from]
        if loaded:
            one = loaded[choice % len(loaded)]
            assert not replay.replay(self.settings, batch_id=one.batch_id, **WHO).impossible
            self.held.discard(one.batch_id)

    @rule(choice=st.integers(0, 10))
    def hold_or_let_go(self, choice: int) -> None:
        """Somebody holds a batch, or lets it go: raw keeps its rows either way."""
        known = [one for one in batches(self.settings) if one.state in {"loaded", "held"}]
        if known:
            one = known[choice % len(known)]
            if one.state == "held":
                assert replay.unhold(self.settings, one.batch_id, **WHO)
            else:
                assert replay.hold(self.settings, one.batch_id, **WHO)

    @invariant()
    def the_warehouse_is_what_the_model_says(self) -> None:
        """At every moment the ledger balances, raw has as many of each row as the contract allows, and the open rows
        are those that nobody has decided on."""
        with warehouse.connect("owner", self.settings) as connection:  # one for all: half of a step is connecting
            assert ledger.check(connection) == []
            raw = connection.execute("select order_id, trim_scale(total_amount)::text from raw.orders").fetchall()
            found = quarantine.rows_of(connection, Selection())
        assert Counter(raw) == self.raw
        assert Counter(json.loads(one.record)["order_id"] for one in found) == Counter(
            row["order_id"] for row in self.open
        )

    def teardown(self) -> None:
        self.folder.cleanup()
        with warehouse.admin(self.template, database="postgres") as connection:
            connection.execute(warehouse.query(f"drop database if exists {self.name} with (force)"))


def _run(embedded: Settings, examples: int, steps: int) -> None:
    suites.landing_suite("orders")
    load.raw_suite("orders")
    machine = type("FrontDoorHere", (FrontDoor,), {"template": embedded})
    run_state_machine_as_test(
        machine,
        settings=hypothesis_settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=os.environ.get("CI") is not None,
        ),
    )


def test_random_histories_end_as_the_model_says(embedded: Settings) -> None:
    _run(embedded, examples=6, steps=8)


@pytest.mark.slow
def test_long_random_histories_end_as_the_model_says(embedded: Settings) -> None:
    _run(embedded, examples=40, steps=25)
