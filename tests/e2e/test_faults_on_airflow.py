"""Faults of Airflow itself (24-27 of the fault matrix), and random ones while files keep arriving.

After the faults comes peace: then at most two ordinary runs reach what a full build reaches, the ledger balances, no
reader has ever seen anything but one whole version, and every incident was announced once and is closed.
``C360_FAULT_SEED=7 make test-slow`` plays a failing seed again.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from customer360 import wake, warehouse
from customer360.publication.verify import verify
from customer360.run import run_everything
from customer360.settings import Settings
from customer360.stack import processes
from customer360.stack.airflow_environment import dags_folder, product_environment
from customer360.warehouse import embedded_server
from tests.e2e.conftest import Shop, until

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1800)]

FEEDS = ("orders", "web_sessions", "support_tickets")


# ---- what is seen from outside ----------------------------------------------------------------------------------


def incidents(shop: Shop, kind: str, *, since: int = 0) -> list[tuple[int, str, bool]]:
    """Number, summary and whether it is closed, of the incidents of a kind."""
    with warehouse.connect("oncall", shop.settings, autocommit=True) as connection:
        return connection.execute(
            "select incident_id, summary, closed_at is not null from ops.incidents "
            "where kind = %s and incident_id > %s order by 1",
            [kind, since],
        ).fetchall()


def last_incident(shop: Shop) -> int:
    with warehouse.connect("oncall", shop.settings, autocommit=True) as connection:
        return int(warehouse.scalar(connection, "select coalesce(max(incident_id), 0) from ops.incidents"))


def announced(shop: Shop, since: int) -> dict[int, list[str]]:
    """What was announced of each incident that was opened after ``since``."""
    with warehouse.connect("oncall", shop.settings, autocommit=True) as connection:
        rows = connection.execute(
            "select incident_id, array_agg(event order by alert_id) from ops.alerts where incident_id > %s group by 1",
            [since],
        ).fetchall()
    return dict(rows)


def assert_each_was_announced_once(shop: Shop, since: int) -> int:
    told = announced(shop, since)
    for events in told.values():
        assert events.count("opened") == 1, told
        assert events.count("closed") <= 1, told
        assert events.count("escalated") <= 1, told
    return sum(map(len, told.values()))


class Reader:
    """Somebody who looks at marts every 20 ms; in a transaction one version is seen, and its tables agree."""

    SUMS = """
        select (select max(publication_id) from ops.publications where kind <> 'as_of'),
            (select coalesce(sum(gross_amount), 0) from marts.fct_orders),
            (select coalesce(sum(gross_amount), 0) from marts.fct_daily_revenue),
            (select coalesce(sum(gross_amount), 0) from marts.fct_orders where customer_key is not null),
            (select coalesce(sum(gross_amount), 0) from marts.customer_360)
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.looks, self.torn = 0, []  # type: ignore[var-annotated]
        self._thread.start()

    def _watch(self) -> None:
        connection: Any = None
        while not self._stop.is_set():
            try:
                if connection is None or connection.closed:
                    connection = psycopg.connect(warehouse.url("bi_reader", self._settings), connect_timeout=5)
                with connection.transaction():
                    first = connection.execute(self.SUMS).fetchone()
                    second = connection.execute(self.SUMS).fetchone()
                if first != second or first[1] != first[2] or first[3] != first[4]:
                    self.torn.append((first, second))
                self.looks += 1
            except (psycopg.OperationalError, psycopg.errors.AdminShutdown):
                connection = None  # the server is away: the fault itself, and no torn version
            except psycopg.Error as error:
                self.torn.append(repr(error))  # a missing table is what a reader must never see
            except Exception:
                connection = None
            self._stop.wait(0.02)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)


@pytest.fixture
def reader(shop: Shop) -> Iterator[Reader]:
    made = Reader(shop.settings)
    yield made
    made.stop()


def finish(shop: Shop) -> int:
    """Peace: everything runs again, and at most two ordinary runs do what is left. Returns how many it took."""
    processes.up(shop.settings)
    for number in (1, 2):
        summary = run_everything(shop.settings, trigger=f"peace {number}")
        if summary.is_complete and all(run.state in {"succeeded", "idle"} for run in summary.runs):
            with warehouse.connect("oncall", shop.settings, autocommit=True) as connection:
                left = connection.execute("select state from ops.batches where state in ('landed', 'loaded', 'failed')")
                if not left.fetchall():
                    return number
    raise AssertionError("two ordinary runs did not do what was left")


def assert_nothing_is_lost(settings: Settings, *, full: bool) -> None:
    report = verify(settings, full=full)
    assert [check for check in report.checks if not check.holds] == []


# ---- 24 to 27 ---------------------------------------------------------------------------------------------------


def task_processes(shop: Shop) -> list[psutil.Process]:
    """The processes in which tasks run: the scheduler's workers' children."""
    leader = processes.running(shop.settings).get("scheduler")
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if leader and os.getsid(process.pid) == leader:
                name = " ".join(process.cmdline())
                if name.startswith("airflow worker -- ") and "LocalExecutor" not in name:
                    found.append(process)
    return found


@pytest.mark.slow
def test_a_task_killed_with_no_retry_left_is_one_alert(shop: Shop, reader: Reader) -> None:
    before = last_incident(shop)
    until(lambda: not wake.is_daily_due(shop.settings), 240, "the day's tables are made")
    shop.pause("sweep_landing")
    until(lambda: not [run for run in shop.runs() if run[1] in {"running", "queued"}], 120, "nothing else is at work")
    try:
        run_id = shop.api.trigger("refresh_daily")
        deadline = time.monotonic() + 400

        def state() -> str:
            return str(shop.api.get(f"/dags/refresh_daily/dagRuns/{run_id}")["state"])

        while state() not in {"failed", "success"} and time.monotonic() < deadline:
            for process in task_processes(shop):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.05)  # the killer's rhythm
        assert state() == "failed", "no try survives"
        until(
            lambda: incidents(shop, "task_failed", since=before) or incidents(shop, "run_failed", since=before),
            240,
            "the monitor finds by state what no callback tells",
        )
    finally:
        shop.pause("sweep_landing", paused=False)
    run_id = shop.api.trigger("refresh_daily")
    assert shop.api.wait_for_run("refresh_daily", run_id, 240) == "success"
    until(
        lambda: not still_open(shop, before),
        150,
        lambda: f"it closes when the task is done: {still_open(shop, before)}",
    )
    told = [one for kind in ("task_failed", "run_failed") for one in incidents(shop, kind, since=before)]
    assert len(told) == 1, told
    assert announced(shop, before)[told[0][0]] == ["opened", "closed"]
    assert reader.torn == []


@pytest.mark.slow
def test_the_alert_for_an_api_server_that_is_away_names_it_and_nothing_is_lost(shop: Shop, reader: Reader) -> None:
    before = last_incident(shop)
    os.killpg(processes.running(shop.settings)["api-server"], signal.SIGKILL)
    names = [shop.land(feed) for feed in FEEDS]
    until(lambda: incidents(shop, "component_silent", since=before), 60, "the monitor misses it")
    time.sleep(30)  # the absence itself: the fault of the matrix is ten minutes, a busy box cannot wait so long
    processes.up(shop.settings)
    shop.until_done(names, 240)
    until(lambda: incidents(shop, "component_silent", since=before)[-1][2], 60, "it closes")
    told = incidents(shop, "component_silent", since=before)
    assert [summary for _, summary, _ in told] == ["Airflow's api-server does not answer"]
    assert announced(shop, before)[told[0][0]] == ["opened", "closed"]
    assert_nothing_is_lost(shop.settings, full=False)
    assert reader.torn == []


@pytest.mark.slow
def test_a_dag_that_no_longer_imports_is_told_and_closes_when_it_does(shop: Shop) -> None:
    before = last_incident(shop)
    broken = dags_folder(shop.settings) / "broken_by_a_drill.py"
    assert broken.parent != Path(processes.__file__).parents[2] / "dags", "this test writes into a copy"
    broken.write_text("from airflow.sdk import dag, there_is_no_such_thing\n")
    try:
        until(lambda: incidents(shop, "dag_broken", since=before), 150, "the monitor reads what does not import")
        assert "broken_by_a_drill" in incidents(shop, "dag_broken", since=before)[0][1]
    finally:
        broken.unlink()
    until(lambda: incidents(shop, "dag_broken", since=before)[0][2], 240, "it closes when the file is gone")
    assert announced(shop, before)[incidents(shop, "dag_broken", since=before)[0][0]] == ["opened", "closed"]


@pytest.mark.slow
@pytest.mark.parametrize("component", ["triggerer", "dag-processor"])
def test_a_dead_component_is_told_and_files_are_found_all_the_same(shop: Shop, component: str) -> None:
    before = last_incident(shop)
    os.killpg(processes.running(shop.settings)[component], signal.SIGKILL)
    names = [shop.land("orders")]
    until(lambda: incidents(shop, "component_silent", since=before), 180, "the monitor misses its heartbeat")
    shop.until_done(names, 180)
    processes.up(shop.settings)
    until(lambda: all(closed for *_, closed in incidents(shop, "component_silent", since=before)), 90, "it closes")
    told = incidents(shop, "component_silent", since=before)
    assert [summary.split(" has not")[0] for _, summary, _ in told] == [f"Airflow's {component}"]


# ---- whatever the dice say --------------------------------------------------------------------------------------


def _kill(component: str) -> Callable[[Shop, random.Random], None]:
    def strike(shop: Shop, dice: random.Random) -> None:
        pid = processes.running(shop.settings).get(component)
        if pid:
            os.kill(pid, signal.SIGKILL)
            until(lambda: component not in processes.running(shop.settings), 10, "it dies")
        processes.up(shop.settings)

    return strike


def _kill_a_task(shop: Shop, dice: random.Random) -> None:
    deadline = time.monotonic() + 20
    while not (running := task_processes(shop)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in running[:1]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _cut_a_connection(shop: Shop, dice: random.Random) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with warehouse.admin(shop.settings) as connection:
            cut = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s "
                "and usename in ('loader', 'transformer', 'publisher') limit 1",
                [shop.settings.database],
            ).fetchone()
        if cut:
            return
        time.sleep(0.02)


def _power_cut(shop: Shop, dice: random.Random) -> None:
    embedded_server.kill(shop.settings)
    until(lambda: not embedded_server.is_running(shop.settings), 20, "the server dies")
    warehouse.admin(shop.settings).close()  # whoever comes first starts it again


def _a_second_run(shop: Shop, dice: random.Random) -> None:
    point = dice.choice(["load.copied", "build.claimed", "build.modelled", "publish.writing", "publish.written", ""])
    command = [sys.executable, "-c", "from customer360.cli.app import main; main()", "run"]
    environment = product_environment(shop.settings) | ({"C360_KILL_AT": point} if point else {})
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    subprocess.run(command, env=environment, check=False, timeout=300, **quiet)  # type: ignore[call-overload]


FAULTS: dict[str, Callable[[Shop, random.Random], None]] = {
    "task killed": _kill_a_task,
    "connection cut": _cut_a_connection,
    "second run, killed": _a_second_run,
    "power cut": _power_cut,
    "triggerer killed": _kill("triggerer"),
    "scheduler killed": _kill("scheduler"),
    "dag-processor killed": _kill("dag-processor"),
    "api-server killed": _kill("api-server"),
}


def suffer(
    shop: Shop, reader: Reader, seed: int, faults: list[str], capsys: pytest.CaptureFixture[str], *, full: bool
) -> None:
    """Land files all the while, inject the faults one after the other, then make peace and count."""
    dice = random.Random(seed)
    before = last_incident(shop)
    started = time.time()
    stop, names = threading.Event(), []  # type: ignore[var-annotated]

    def producer() -> None:
        mine = random.Random(seed + 1)
        while not stop.is_set():
            with contextlib.suppress(IndexError):  # the sample has no more files of that feed
                names.append(shop.land(mine.choice(FEEDS)))
            stop.wait(mine.uniform(1, 5))

    thread = threading.Thread(target=producer, daemon=True)
    thread.start()
    try:
        for fault in faults:
            FAULTS[fault](shop, dice)
            time.sleep(dice.uniform(0.5, 3))  # the faults' rhythm
    finally:
        stop.set()
        thread.join()
    runs = finish(shop)
    until(lambda: shop.is_done(names), 60, f"every file has an end; {shop.states(names)}")
    assert_nothing_is_lost(shop.settings, full=full)
    until(lambda: not still_open(shop, before), 240, "every incident closes by itself")
    alerts = assert_each_was_announced_once(shop, before)
    reader.stop()
    assert reader.torn == []
    assert reader.looks > 50
    with warehouse.connect("oncall", shop.settings, autocommit=True) as connection:
        landed, longest = connection.execute(
            """
            select coalesce(sum(landed_rows), 0),
                coalesce(max(extract(epoch from published_at - landed_at)), 0)::float
            from ops.batches where landed_at > to_timestamp(%s)
            """,
            [started],
        ).fetchone() or (0, 0.0)
    with capsys.disabled():
        print(  # noqa: T201 - the figures of the README
            f"\nseed {seed}: {len(faults)} faults, {len(names)} files, {landed:,} rows landed, 0 lost, "
            f"{alerts} alerts, {reader.looks:,} looks of the reader, "
            f"longest wait for publication {longest:.0f} s, {runs} runs to peace"
        )


def still_open(shop: Shop, since: int) -> list[str]:
    with warehouse.connect("oncall", shop.settings, autocommit=True) as connection:
        rows = connection.execute(
            "select summary from ops.incidents where incident_id > %s and closed_at is null", [since]
        ).fetchall()
    return [row[0] for row in rows]


def test_a_few_random_faults_lose_nothing(shop: Shop, reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("C360_FAULT_SEED", "1"))
    suffer(shop, reader, seed, ["connection cut", "task killed", "second run, killed"], capsys, full=False)


@pytest.mark.slow
@pytest.mark.parametrize("round_number", range(2))
def test_many_random_faults_lose_nothing(
    shop: Shop, reader: Reader, round_number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("C360_FAULT_SEED", str(100 + round_number)))
    dice = random.Random(seed)
    suffer(
        shop,
        reader,
        seed,
        dice.sample(sorted(FAULTS), len(FAULTS)) + dice.choices(sorted(FAULTS), k=4),
        capsys,
        full=True,
    )
