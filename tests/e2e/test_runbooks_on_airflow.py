"""The runbooks whose commands start, stop or ask Airflow: each is followed on a real stack that is in that situation.

Those that need no Airflow are followed by tests/pipeline/test_runbooks.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from customer360 import warehouse
from customer360.front_door import landing
from customer360.oncall import drills
from customer360.oncall.drills import Scene
from customer360.stack import processes
from customer360.stack.airflow_environment import product_environment
from tests.e2e.conftest import Shop, until
from tests.runbook_commands import RUNBOOKS, Command, commands, filled

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(1800)]

C360 = Path(sys.executable).parent / "c360"
WATCHING = ("ingest_orders", "ingest_web_sessions", "ingest_support_tickets", "build_customer_360", "sweep_landing")
ARRANGE: dict[str, Callable[[Shop, Scene], None]] = {}
MAY_FAIL = {
    ("*", "c360 monitor"): "ends with 1 while anything is open, of this stack's other tests too",
    ("fit_churn_model", "c360 churn"): "says why where the shop's history is too short",
}


def situation(*runbooks: str) -> Callable[[Callable[[Shop, Scene], None]], Callable[[Shop, Scene], None]]:
    """This function puts the stack into the situation of these runbooks."""

    def register(function: Callable[[Shop, Scene], None]) -> Callable[[Shop, Scene], None]:
        ARRANGE.update(dict.fromkeys(runbooks, function))
        return function

    return register


# ---- the situations ---------------------------------------------------------------------------------------------


def orders(count: int, **changed: Any) -> list[dict[str, Any]]:
    moment = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    return [
        {
            "order_id": f"rb-{uuid.uuid4().hex[:10]}", "updated_at": moment, "ordered_at": moment, "status": "paid",
            "currency": "USD", "total_amount": "20.00", "customer_id": f"rb-{number}",
        } | changed
        for number in range(count)
    ]  # fmt: skip


def records(feed: str) -> list[dict[str, Any]]:
    moment = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    own = uuid.uuid4().hex[:10]
    return {
        "orders": orders(3),
        "web_sessions": [
            {"session_id": own, "updated_at": moment, "anonymous_id": own, "started_at": moment, "ended_at": moment,
             "page_views": 1}
        ],
        "support_tickets": [
            {"ticket_id": own, "updated_at": moment, "created_at": moment, "status": "open", "channel": "email",
             "category": "delivery", "customer_id": own}
        ],
    }[feed]  # fmt: skip


def land(shop: Shop, scene: Scene, feed: str, rows: list[dict[str, Any]]) -> str:
    path = scene.folder / f"{uuid.uuid4().hex}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    name = landing.put(shop.settings, feed, path).name
    scene.values |= {"FEED": feed, "FILE": str(path), "landed": name}
    return name


def batch_of(shop: Shop, scene: Scene, *states: str) -> str:
    """Await that the landed file is a batch in one of these states; returns its number."""
    name = scene.values["landed"]
    until(lambda: shop.states([name]).get(name) in states, 240, f"{name} becomes {states}: {shop.states([name])}")
    with warehouse.connect("oncall", shop.settings) as connection:
        return str(
            warehouse.scalar(connection, "select batch_id from ops.batches where file_name = %s order by 1", [name])
        )


def _deaf(shop: Shop) -> None:
    """Nobody tells of files: the triggerer is dead, and the sweep stands still."""
    shop.pause("sweep_landing")
    with contextlib.suppress(KeyError, ProcessLookupError):
        os.killpg(processes.running(shop.settings)["triggerer"], signal.SIGKILL)
    until(lambda: "triggerer" not in processes.running(shop.settings), 20, "the triggerer dies")


def _file_nobody_tells_of(feed: str) -> Callable[[Shop, Scene], None]:
    def arrange(shop: Shop, scene: Scene) -> None:
        _deaf(shop)
        land(shop, scene, feed, records(feed))

    return arrange


for _feed in ("orders", "web_sessions", "support_tickets"):
    situation(f"ingest_{_feed}")(_file_nobody_tells_of(_feed))
situation("sweep_landing", "feed_late")(_file_nobody_tells_of("orders"))


@situation("files_waiting")
def _a_file_that_nobody_takes(shop: Shop, scene: Scene) -> None:
    shop.pause("sweep_landing")
    shop.pause("ingest_orders")
    land(shop, scene, "orders", orders(2))


@situation("marts_stale", "build_customer_360:3")
def _loaded_and_not_built(shop: Shop, scene: Scene) -> None:
    shop.pause("build_customer_360")
    land(shop, scene, "orders", orders(2))
    scene.values["BATCH"] = batch_of(shop, scene, "loaded")


@situation("build_customer_360:1", "refresh_daily:2", "hold_batch:2")
def _a_batch_that_the_gate_refuses(shop: Shop, scene: Scene) -> None:
    for dag in WATCHING:
        shop.pause(dag)
    until(lambda: not [run for run in shop.runs() if run[1] in {"running", "queued"}], 120, "all is quiet")
    drills.DRILLS["gate_failed"](scene)


@situation("refresh_daily:1")
def _no_pass_today(shop: Shop, scene: Scene) -> None:
    shop.pause("refresh_daily")
    with warehouse.connect("owner", shop.settings) as connection:
        connection.execute("update ops.publications set as_of_on = as_of_on - 1 where kind = 'daily'")


@situation("rebuild_customer_360:1")
def _a_rebuild_whose_model_fails(shop: Shop, scene: Scene) -> None:
    for dag in WATCHING:
        shop.pause(dag)

    def may_read(*, may: bool) -> None:
        with warehouse.connect("owner", shop.settings) as connection:
            change = "grant select on raw.support_tickets to" if may else "revoke select on raw.support_tickets from"
            connection.execute(warehouse.query(f"{change} {warehouse.role_name('transformer', shop.settings)}"))

    may_read(may=False)
    scene.by_hand = lambda: may_read(may=True)
    run_id = shop.api.trigger("rebuild_customer_360")
    assert shop.api.wait_for_run("rebuild_customer_360", run_id, 600) == "failed"
    scene.values["run"] = run_id


@situation("rebuild_customer_360:2")
def _anything(shop: Shop, scene: Scene) -> None:
    land(shop, scene, "orders", orders(1))


@situation("release_quarantine")
def _rows_aside(shop: Shop, scene: Scene) -> None:
    land(shop, scene, "orders", orders(3, total_amount="-1.00"))
    batch_of(shop, scene, "published")
    corrected = scene.folder / "corrected.csv"
    scene.values |= {"corrected.csv": str(corrected)}

    def correct() -> None:
        # Only this test's rows: other tests' rows stand in the same list.
        corrected.write_text(corrected.read_text().replace("-1.00", "1.00"))

    scene.by_hand = correct


@situation("replay_batches", "unhold_batch:1")
def _a_batch_to_be_taken_in_again(shop: Shop, scene: Scene) -> None:
    land(shop, scene, "orders", orders(2))
    scene.values["BATCH"] = batch_of(shop, scene, "published")


@situation("unhold_batch")
def _a_held_batch(shop: Shop, scene: Scene) -> None:
    _a_batch_to_be_taken_in_again(shop, scene)
    subprocess.run([C360, "hold", scene.values["BATCH"], "--because", "drill"], env=environment(scene), check=True)


@situation("batch_failed")
def _an_airflow_that_is_down(shop: Shop, scene: Scene) -> None:
    _file_nobody_tells_of("orders")(shop, scene)
    scene.values["BATCH"] = "1"


@situation("fit_churn_model")
def _a_fit_that_is_wanted(shop: Shop, scene: Scene) -> None:
    run_id = shop.api.trigger("fit_churn_model", {"horizon_days": 14})
    shop.api.wait_for_run("fit_churn_model", run_id, 300)


for _name in drills.STACK_DRILLS:
    situation(_name)(lambda shop, scene, name=_name: drills.STACK_DRILLS[name](scene))  # type: ignore[misc]


# ---- the test -----------------------------------------------------------------------------------------------------


def environment(scene: Scene) -> dict[str, str]:
    return product_environment(scene.settings) | scene.environment | {"COLUMNS": "200"}


def execute(command: Command, scene: Scene) -> None:
    text = filled(command.text, scene.values)
    if text.startswith("c360 "):
        text = f"{C360}{text.removeprefix('c360')}"
    ran = subprocess.run(
        ["bash", "-c", text], env=environment(scene), cwd=scene.folder, capture_output=True, text=True, check=False,
        timeout=900,
    )  # fmt: skip
    if ran.returncode == 0:
        return
    excused = any(runbook in (command.runbook, "*") and command.text.startswith(start) for runbook, start in MAY_FAIL)
    assert excused, f"{command.runbook}, {command.section} {command.number}: {text}\n{ran.stdout}\n{ran.stderr}"
    assert ran.returncode == 1, ran.stderr


def pages() -> list[tuple[str, int]]:
    """Each runbook that no test without Airflow follows whole, with each of its fixes."""
    found = []
    for path in sorted(RUNBOOKS.glob("*.md")):
        name = path.stem
        listed = commands(name)
        fixes = sorted({command.number for command in listed if command.section == "Fix"}) or [0]
        if name not in drills.DRILLS:
            found += [(name, number) for number in fixes]
        else:
            asking = {command.number for command in listed if command.needs_airflow}
            found += [(name, number) for number in fixes if number in asking or (0 in asking and number == fixes[0])]
    return found


def arrangement(runbook: str, number: int) -> Callable[[Shop, Scene], None] | None:
    return ARRANGE.get(f"{runbook}:{number}") or ARRANGE.get(runbook)


@pytest.fixture
def scene(shop: Shop, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(shop.settings, tmp_path)
    processes.up(shop.settings)
    yield made
    made.end()
    if made.by_hand:
        with contextlib.suppress(OSError):
            made.by_hand()
    processes.up(shop.settings)
    for dag in (*WATCHING, "refresh_daily"):
        shop.pause(dag, paused=False)


@pytest.mark.parametrize(("runbook", "number"), pages(), ids=lambda value: str(value))
def test_every_command_of_a_runbook_works_in_its_situation(shop: Shop, scene: Scene, runbook: str, number: int) -> None:
    arrange = arrangement(runbook, number)
    assert arrange, f"no situation is arranged for Fix {number} of {runbook}"
    arrange(shop, scene)
    page = commands(runbook)
    for command in page:
        if command.section == "Look":
            execute(command, scene)
    chosen = [command for command in page if command.section == "Fix" and command.number == number]
    for place, command in enumerate(chosen):
        if scene.by_hand and (place == 0) != (runbook == "release_quarantine"):
            scene.by_hand()
            scene.by_hand = None
        execute(command, scene)
    if "run" in scene.values:
        assert shop.api.wait_for_run(runbook, scene.values["run"], 900) == "success"
    for command in page:
        if command.section == "Prove":
            execute(command, scene)
    if "landed" in scene.values and (runbook, number) != ("unhold_batch", 1):  # its end is to be held
        for dag in WATCHING:
            shop.pause(dag, paused=False)
        shop.until_done([scene.values["landed"]], 240)


@pytest.mark.parametrize("name", drills.AIRFLOW_DRILLS)
def test_a_situation_of_airflow_is_found_and_is_over_when_its_runbook_was_followed(
    shop: Shop, tmp_path: Path, name: str
) -> None:
    scene = drills.begin(name, shop.settings, tmp_path)
    try:
        assert not drills.is_over(name, shop.settings)
        if scene.by_hand:
            scene.by_hand()
        for command in commands(name):
            if command.section == "Fix":
                execute(command, scene)
        until(lambda: drills.is_over(name, shop.settings), 300, "the incident closes")
    finally:
        scene.end()
        processes.up(shop.settings)
