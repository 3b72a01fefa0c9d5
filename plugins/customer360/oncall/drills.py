"""Drills: a scratch installation is put into the situation that a runbook is for, so that people can practise.

Every scene breaks something for real: files land, processes are killed, grants are taken away. Where a scene needs
time to have passed, the clock of the ledger is set back, and nothing else. A drill is named after its runbook; it is
over when the incident of its kind is found no longer. Those of :data:`STACK_DRILLS` kill servers: they want a server,
and but for one an Airflow, of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.front_door import landing, ledger, load
from customer360.oncall import incidents
from customer360.oncall.monitor import look_once
from customer360.receiver import spool
from customer360.settings import Settings
from customer360.warehouse import embedded_server

Row = dict[str, Any]
_FILLER_BYTES = 1_000_000_000
_WAIT_SECONDS = 120
_NOTICED_SECONDS = 300


class DrillError(Customer360Error):
    """There is no such drill, or its situation did not come about."""


@dataclass
class Scene:
    """A situation: what the runbook's placeholders stand for in it, and what a person has to do by hand."""

    settings: Settings
    folder: Path
    values: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that the drill needs in every command."""
    by_hand: Callable[[], None] | None = None
    """What the runbook asks of a person and not of a command (a file that is put back, room that is made)."""
    told: str = ""
    processes: list[int] = field(default_factory=list)

    def end(self) -> None:
        """End what the scene has started."""
        for pid in self.processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


Set = Callable[[Scene], None]
DRILLS: dict[str, Set] = {}
"""Scenes for any installation with a published shop."""
STACK_DRILLS: dict[str, Set] = {}
"""Scenes that kill the servers of the installation."""
AIRFLOW_DRILLS = ("component_silent", "dag_broken", "task_failed")
"""Those among them for which Airflow must be up."""


def _drill(function: Set) -> Set:
    DRILLS[function.__name__] = function
    return function


def _stack_drill(function: Set) -> Set:
    STACK_DRILLS[function.__name__] = function
    return function


def begin(name: str, settings: Settings, folder: Path) -> Scene:
    """Put an installation with a published shop into the situation of runbook ``name``.

    What Airflow must notice first takes it a minute or two, of a stack that was just started up to four.

    Raises:
        DrillError: there is no such drill, or its incident did not open.
    """
    known = DRILLS | STACK_DRILLS
    if name not in known:
        raise DrillError(f"There is no drill {name!r}.", f"Choose one of: {', '.join(known)}.")
    scene = Scene(settings, folder)
    try:
        known[name](scene)
        deadline = time.monotonic() + (_NOTICED_SECONDS if name in AIRFLOW_DRILLS else 0)
        while is_over(name, scene.settings):
            if time.monotonic() > deadline:
                raise DrillError(f"The situation of {name} did not come about.", "It is the drill's fault: report it.")
            time.sleep(1)
        if (opened := _open(scene.settings, name)) is not None:
            scene.values["INCIDENT"] = str(opened["incident_id"])
    except BaseException:
        scene.end()
        raise
    return scene


def is_over(name: str, settings: Settings) -> bool:
    """Whether a look of the monitor finds the incident no longer."""
    if name == "warehouse_away":  # nobody can write down that there is nothing to write on
        return embedded_server.is_running(settings)
    look_once(settings)
    return _open(settings, name) is None


def _open(settings: Settings, kind: str) -> Row | None:
    if not embedded_server.is_running(settings) and settings.is_embedded:
        return None
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        return next((row for row in incidents.open_incidents(connection) if row["kind"] == kind), None)


# ---- the shop --------------------------------------------------------------------------------------------------


def stock(settings: Settings, folder: Path) -> None:
    """A small shop that is landed, built and published."""
    from customer360.run import run_everything

    _land(settings, folder, "first", list(_orders("shop", 60)))
    run_everything(settings, trigger="drill")


def _orders(name: str, count: int, **changed: Any) -> Iterator[Row]:
    at = datetime.now(UTC) - timedelta(days=2)
    for number in range(count):
        moment = (at + timedelta(minutes=number)).isoformat()
        yield {
            "order_id": f"{name}-{number}", "updated_at": moment, "ordered_at": moment, "status": "paid",
            "currency": "USD", "total_amount": "20.00", "customer_id": f"drill-{number % 20}",
        } | changed  # fmt: skip


def _file(folder: Path, name: str, rows: list[Row]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _land(settings: Settings, folder: Path, name: str, rows: list[Row], feed: str = "orders") -> Path:
    return Path(landing.put(settings, feed, _file(folder, name, rows)).location)


def _newest_batch(scene: Scene) -> str:
    with warehouse.connect("oncall", scene.settings, autocommit=True) as connection:
        return str(warehouse.scalar(connection, "select max(batch_id) from ops.batches"))


def _ingest(scene: Scene) -> None:
    load.ingest(scene.settings)
    scene.values |= {"BATCH": _newest_batch(scene), "FEED": "orders"}


def _run(scene: Scene) -> None:
    from customer360.run import run_everything

    with contextlib.suppress(Customer360Error):
        run_everything(scene.settings, trigger="drill")


def _change(scene: Scene, statement: str, role: warehouse.Role = "owner") -> None:
    with warehouse.connect(role, scene.settings) as connection:
        connection.execute(warehouse.query(statement))


def _command(scene: Scene, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    """A c360 command of this installation, as the leader of a session of its own."""
    from customer360.stack.airflow_environment import product_environment

    process = subprocess.Popen(
        [sys.executable, "-c", "from customer360.cli.app import main; main()", *words],
        env=product_environment(scene.settings) | environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    scene.processes.append(process.pid)
    return process


# ---- the scenes ------------------------------------------------------------------------------------------------


@_drill
def batch_refused(scene: Scene) -> None:
    """The producer's export lacks two columns."""
    rows = list(_orders("refused", 5))
    _land(scene.settings, scene.folder / "cut", "monday", [{"order_id": row["order_id"]} for row in rows])
    _ingest(scene)
    scene.values["FILE"] = str(_file(scene.folder, "monday", rows))
    scene.told = f"A corrected file is {scene.values['FILE']}."


@_drill
def batch_failed(scene: Scene) -> None:
    """Somebody takes a file away between its arrival and its load."""
    path = _land(scene.settings, scene.folder, "tuesday", list(_orders("failed", 5)))
    with warehouse.connect("loader", scene.settings, autocommit=True) as connection:
        for file in landing.files(scene.settings, "orders"):
            ledger.register(connection, scene.settings, file)
    kept = scene.folder / "tuesday.kept"
    path.rename(kept)
    _ingest(scene)

    def put_back() -> None:
        if kept.exists():
            kept.rename(path)

    scene.by_hand = put_back
    scene.told = f"The file is at {kept}; its place is {path}."


@_drill
def name_conflict(scene: Scene) -> None:
    """The producer writes other orders over a file that was read."""
    path = _land(scene.settings, scene.folder, "wednesday", list(_orders("conflict", 5)))
    _run(scene)
    path.write_text(_file(scene.folder, "other", list(_orders("conflict-b", 6))).read_text())
    _ingest(scene)


@_drill
def files_waiting(scene: Scene) -> None:
    """A file lies unread for an hour."""
    path = _land(scene.settings, scene.folder, "thursday", list(_orders("waiting", 5)))
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    scene.values["FEED"] = "orders"


@_drill
def disk_nearly_full(scene: Scene) -> None:
    """A gigabyte of somebody's files leaves less room than is wanted."""
    filler = scene.settings.home / "forgotten.log"
    free = os.statvfs(scene.settings.home).f_bavail * os.statvfs(scene.settings.home).f_frsize
    with filler.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, _FILLER_BYTES)
    wanted = (free - _FILLER_BYTES // 2) // 1_000_000
    scene.settings = scene.settings.with_(disk_free_mb=wanted)
    scene.environment["C360_DISK_FREE_MB"] = str(wanted)
    scene.by_hand = lambda: filler.unlink(missing_ok=True)
    scene.told = f"{filler} is nobody's."


@_drill
def gate_failed(scene: Scene) -> None:
    """Orders are refunded more than was charged, and isolation is switched off: the gate stops all feeds."""
    scene.settings = scene.settings.with_(isolate=False)
    scene.environment["C360_ISOLATE"] = "false"
    _refund_more_than_was_charged(scene)


@_drill
def rows_isolated(scene: Scene) -> None:
    """Orders are refunded more than was charged: the run quarantines them and publishes the rest."""
    _refund_more_than_was_charged(scene)
    corrected = scene.folder / "fixed.csv"
    scene.values["fixed.csv"] = str(corrected)

    def correct() -> None:
        if corrected.exists():
            corrected.write_text(re.sub(r"\b900(\.0+)?\b", "9.00", corrected.read_text()))

    scene.by_hand = correct


def _refund_more_than_was_charged(scene: Scene) -> None:
    """Somebody has let them past the landing gate."""
    refund = {"refund_id": "r", "refunded_at": datetime.now(UTC).isoformat(), "amount": "9.00"}
    _land(scene.settings, scene.folder, "friday", list(_orders("gate", 5, refunds=[refund])))
    _ingest(scene)
    _change(scene, "update raw.orders set refunds = replace(refunds::text, '9.00', '900.00')::jsonb "
                   f"where batch_id = {scene.values['BATCH']}")  # fmt: skip
    _run(scene)


@_drill
def run_failed(scene: Scene) -> None:
    """kill -9 in the middle of a build."""
    _land(scene.settings, scene.folder, "saturday", list(_orders("killed", 5)))
    _command(scene, "run", C360_KILL_AT="build.resolved").wait(_WAIT_SECONDS)
    _change(scene, "update ops.runs set started_at = started_at - interval '1 minute' where state = 'running'")
    scene.values |= {"BATCH": _newest_batch(scene), "FEED": "orders"}


@_drill
def run_stuck(scene: Scene) -> None:
    """A build stands still and keeps the writer lock."""
    _land(scene.settings, scene.folder, "sunday", list(_orders("stuck", 5)))
    mark = scene.folder / "paused"
    process = _command(scene, "run", C360_PAUSE_AT="build.claimed", C360_PAUSE_FILE=str(mark))
    deadline = time.monotonic() + _WAIT_SECONDS
    while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    _change(scene, "update ops.runs set started_at = started_at - interval '2 hours' where state = 'running'")


@_drill
def quarantine_above_threshold(scene: Scene) -> None:
    """An export in which every total is negative."""
    _land(scene.settings, scene.folder, "export", list(_orders("bad", 40, total_amount="-1.00")))
    _ingest(scene)
    corrected = scene.folder / "fixed.csv"
    scene.values["fixed.csv"] = str(corrected)

    def correct() -> None:
        if corrected.exists():
            corrected.write_text(corrected.read_text().replace("-1.00", "1.00"))

    scene.by_hand = correct


@_drill
def feed_late(scene: Scene) -> None:
    """The producer has been silent for three days."""
    _change(scene, "update ops.batches set landed_at = now() - interval '3 days' where feed = 'orders'")
    scene.values["FEED"] = "orders"

    def deliver() -> None:
        _land(scene.settings, scene.folder, "late", list(_orders("late", 5)))

    scene.by_hand = deliver


@_drill
def marts_stale(scene: Scene) -> None:
    """A batch was loaded an hour ago and nobody builds."""
    _land(scene.settings, scene.folder, "stale", list(_orders("stale", 5)))
    _ingest(scene)
    _change(scene, "update ops.batches set loaded_at = now() - interval '1 hour' where state = 'loaded'")


@_drill
def currency_without_rate(scene: Scene) -> None:
    """Orders in a currency that the European Central Bank quotes no rate of."""
    _land(scene.settings, scene.folder, "abroad", list(_orders("abroad", 5, currency="AED")))
    _run(scene)
    scene.values |= {"BATCH": _newest_batch(scene), "FEED": "orders"}


@_drill
def id_conflict(scene: Scene) -> None:
    """Another shop's orders have the numbers of this one's."""
    orders = list(_orders("numbered", 3, email="ann@shop-a.example"))
    _land(scene.settings, scene.folder, "ours", orders)
    _run(scene)
    later = datetime.now(UTC) - timedelta(hours=1)
    theirs = {"ordered_at": later.isoformat(), "updated_at": later.isoformat(), "email": "bob@shop-b.example"}
    _land(scene.settings, scene.folder, "theirs", [order | {"customer_id": None} | theirs for order in orders])
    _run(scene)
    scene.values |= {"BATCH": _newest_batch(scene), "FEED": "orders"}


@_drill
def sessions_counted_twice(scene: Scene) -> None:
    """The tracker's events arrive, and somebody lands the sessions of the same tracker too."""
    moment = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    visit = {"anonymous_id": "drill-device", "source": "drill"}
    _land(
        scene.settings,
        scene.folder,
        "events",
        [visit | {"event_id": f"drill-{n}", "occurred_at": moment, "name": "page_view"} for n in range(3)],
        "web_events",
    )
    _run(scene)
    _land(
        scene.settings,
        scene.folder,
        "sessions",
        [
            visit
            | {
                "session_id": "drill-1",
                "updated_at": moment,
                "started_at": moment,
                "ended_at": moment,
                "page_views": 3,
            }
        ],
        "web_sessions",
    )
    _run(scene)
    scene.values |= {"BATCH": _newest_batch(scene), "FEED": "web_sessions"}


@_drill
def ledger_unbalanced(scene: Scene) -> None:
    """Somebody changes a count in the ledger."""
    _land(scene.settings, scene.folder, "counted", list(_orders("counted", 5)))
    _run(scene)
    scene.values |= {"BATCH": _newest_batch(scene), "FEED": "orders"}
    _change(scene, f"update ops.batches set loaded_rows = loaded_rows - 1 where batch_id = {scene.values['BATCH']}")


@_drill
def side_product_failed(scene: Scene) -> None:
    """A folder lies where Data Docs are locked, and a run goes on without them."""
    in_the_way = scene.settings.home / "data_docs.lock"
    in_the_way.unlink(missing_ok=True)
    in_the_way.mkdir()
    _land(scene.settings, scene.folder, "noted", list(_orders("noted", 5)))
    _run(scene)
    scene.by_hand = lambda: in_the_way.rmdir() if in_the_way.is_dir() else None
    scene.told = f"{in_the_way} is nobody's."


@_drill
def raw_differs(scene: Scene) -> None:
    """Somebody deletes rows of raw."""
    _land(scene.settings, scene.folder, "deleted", list(_orders("deleted", 5)))
    _run(scene)
    scene.values |= {"BATCH": _newest_batch(scene), "FEED": "orders"}
    _change(scene, f"delete from raw.orders where batch_id = {scene.values['BATCH']} and row_number > 1")


@_drill
def marts_changed(scene: Scene) -> None:
    """Somebody drops a column of a published table."""
    _land(scene.settings, scene.folder, "dropped", list(_orders("dropped", 5)))
    _run(scene)
    scene.values |= {"BATCH": _newest_batch(scene), "FEED": "orders"}
    _change(scene, "alter table marts.fct_orders drop column net_amount", "publisher")


@_drill
def rights_missing(scene: Scene) -> None:
    """Somebody takes the rights on a raw table away, and the next file cannot be loaded."""
    _change(scene, f"revoke all on raw.orders from {warehouse.role_name('loader', scene.settings)}")
    _land(scene.settings, scene.folder, "refused", list(_orders("refused", 5)))
    _run(scene)


@_drill
def backup_old(scene: Scene) -> None:
    """Nobody has made a backup for two days: the task that does it was paused."""
    from customer360.backup import sealing, take

    key = scene.folder / "backup-key" / "backup.key"
    sealing.new_key(key)
    wanted = {"backup_url": str(scene.folder / "backups"), "backup_key_file": str(key)}
    scene.settings = scene.settings.with_(**wanted)
    scene.environment |= {f"C360_{name.upper()}": value for name, value in wanted.items()}
    take.take(scene.settings, trigger="drill")
    _change(
        scene,
        "update ops.backups set taken_at = taken_at - interval '2 days'; "
        "update ops.publications set published_at = published_at - interval '3 days'",
    )
    scene.told = "Set " + " ".join(f"{name}={value}" for name, value in scene.environment.items())


@_drill
def source_broken(scene: Scene) -> None:
    """A vendor's export was dropped into a folder that no source has."""
    export = {
        "id": 1, "created_at": datetime.now(UTC).isoformat(), "updated_at": datetime.now(UTC).isoformat(),
        "financial_status": "paid", "line_items": [], "total_price": "20.00", "currency": "USD",
        "email": "drill@shop-a.example",
    }  # fmt: skip
    file = _file(scene.folder, "export", [export])
    astray = Path(scene.settings.landing_url) / landing.SOURCES / "shopify_api" / file.name
    astray.parent.mkdir(parents=True)
    file.rename(astray)

    def take_out() -> None:
        if astray.exists():
            astray.rename(file)

    scene.by_hand = take_out
    scene.values |= {"SOURCE": "shopify_rest", "FILE": str(file)}
    scene.told = f"The export is {astray}; it is one of shopify_rest."


def _receive(scene: Scene, count: int) -> spool.Spool:
    """Events were acknowledged by a receiver with a spool of its own; the hook is set up as it should be."""
    folder = scene.folder / "receive"
    (folder / "hooks").mkdir(parents=True, exist_ok=True)
    (folder / "hooks" / "orders").write_text("drill-drill-drill\n")
    scene.settings = scene.settings.with_(receive_folder=str(folder))
    scene.environment["C360_RECEIVE_FOLDER"] = str(folder)
    scene.values["HOOK"] = "orders"
    opened = spool.Spool(spool.path(scene.settings))
    opened.add([spool.Event("orders", json.dumps(order).encode()) for order in _orders("hook", count)])
    return opened


def _change_spool(scene: Scene, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(spool.path(scene.settings))) as connection, connection:
        connection.execute(statement)


@_drill
def webhooks_waiting(scene: Scene) -> None:
    """Events lie in the spool for an hour, and no receiver lands them."""
    _receive(scene, 5).close()
    _change_spool(scene, "update event set received_at = received_at - 3600")


@_drill
def webhooks_refused(scene: Scene) -> None:
    """The secret was changed at the sender and not here: its requests are refused."""
    opened = _receive(scene, 1)
    opened.note_refusals({("orders", 401): 12})
    opened.close()

    def send_again() -> None:
        with spool.opened(scene.settings) as mended:
            mended.add([spool.Event("orders", json.dumps(order).encode()) for order in _orders("again", 1)])

    scene.by_hand = send_again


@_drill
def webhooks_unbalanced(scene: Scene) -> None:
    """Somebody deletes events from the spool."""
    _receive(scene, 5).close()
    _change_spool(scene, "delete from event where event_id > 3")


@_drill
def erasure_unfinished(scene: Scene) -> None:
    """kill -9 in the middle of an erasure."""
    _land(scene.settings, scene.folder, "thursday", list(_orders("erased", 3, customer_id="drill-erased")))
    _run(scene)
    words = ("erase", "--customer-id", "drill-erased", "--yes", "--because", "drill")
    _command(scene, *words, C360_KILL_AT="erase.stripped").wait(_WAIT_SECONDS)
    _change(scene, "update state.erasures set began_at = began_at - interval '1 hour' where state <> 'finished'")


@_drill
def condition_blind(scene: Scene) -> None:
    """Somebody takes a grant away."""
    _change(scene, f"revoke select on ops.batches from {warehouse.role_name('oncall', scene.settings)}")


@_drill
def churn_model_kept(scene: Scene) -> None:
    """The orders of the last two months are missing when the churn model is fitted."""
    from customer360.churn import fitting
    from customer360.publication.daily import refresh_daily
    from customer360.run import run_everything
    from customer360.sample import generate

    shop = generate(
        400, 400, None, 5, scene.folder / "shop",
        fresh_batches=1, fresh_days=1, history_files=1, history_versions="latest", formats=("jsonl",),
    )  # fmt: skip
    missing = scene.folder / "missing.jsonl"
    cut = (datetime.now(UTC) - timedelta(days=60)).isoformat()
    for file in shop.history():
        path = shop.path(file)
        if file.feed == "orders":
            lines = path.read_text().splitlines(keepends=True)
            path = scene.folder / "early.jsonl"
            path.write_text("".join(line for line in lines if json.loads(line)["ordered_at"] < cut))
            missing.write_text("".join(line for line in lines if json.loads(line)["ordered_at"] >= cut))
        landing.put(scene.settings, file.feed, path, history=True)
    run_everything(scene.settings, trigger="drill")
    fitting.fit(scene.settings, "drill")
    refresh_daily(scene.settings, trigger="drill")
    scene.by_hand = lambda: None if not missing.exists() else _bring(scene, missing)
    scene.told = f"The missing orders are in {missing}: c360 land orders {missing} --history"


def _bring(scene: Scene, path: Path) -> None:
    landing.put(scene.settings, "orders", path, history=True)


# ---- with servers of their own ---------------------------------------------------------------------------------


@_stack_drill
def warehouse_away(scene: Scene) -> None:
    """A power cut: PostgreSQL is gone, all of it at once."""
    embedded_server.kill(scene.settings)
    deadline = time.monotonic() + _WAIT_SECONDS
    while embedded_server.is_running(scene.settings) and time.monotonic() < deadline:
        time.sleep(0.05)


@_stack_drill
def component_silent(scene: Scene) -> None:
    """kill -9 of the process that reads the DAG files."""
    from customer360.stack import processes

    os.killpg(processes.running(scene.settings)["dag-processor"], signal.SIGKILL)


@_stack_drill
def dag_broken(scene: Scene) -> None:
    """Somebody saves a DAG file that imports what is not there."""
    from customer360.stack.airflow_environment import dags_folder

    broken = dags_folder(scene.settings) / "newest_idea.py"
    broken.write_text("from airflow.sdk import dag, there_is_no_such_thing\n")
    scene.by_hand = lambda: broken.unlink(missing_ok=True)
    scene.told = f"Somebody was at work in {broken.parent}."


@_stack_drill
def task_failed(scene: Scene) -> None:
    """A release is asked for, and the corrected file is not where it was said to be."""
    from customer360.front_door import quarantine
    from customer360.stack import processes

    path = _file(scene.folder, f"asked-{time.time_ns()}", list(_orders("asked", 1, total_amount="-1.00")))
    landing.put(scene.settings, "orders", path)
    _ingest(scene)
    corrected = Path(scene.settings.landing_url) / landing.CORRECTIONS / "asked.jsonl"
    corrected.parent.mkdir(exist_ok=True)
    kept = scene.folder / "asked-corrected.jsonl"
    with warehouse.connect("loader", scene.settings) as connection:
        chosen = quarantine.Selection(batch_id=int(scene.values["BATCH"]))
        quarantine.export(connection, chosen, kept, who="drill", why="a corrected file to release")
    kept.write_text(kept.read_text().replace("-1.00", "1.00"))
    conf = {"corrected_file": corrected.name, "because": "corrected by the producer"}
    processes.api(scene.settings).trigger("release_quarantine", conf)
    scene.by_hand = lambda: None if not kept.exists() else _put(kept, corrected)
    scene.values["DAG"] = "release_quarantine"
    scene.told = f"The corrected file is {kept}; its place is {corrected}."


def _put(source: Path, target: Path) -> None:
    source.rename(target)
