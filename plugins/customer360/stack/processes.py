"""The running stack: the embedded warehouse, the monitor and Airflow's four processes, started, found again, stopped.

Each process is the leader of a session of its own, recorded with its process id and its start time. What it forks
(the scheduler's workers, their tasks, the parsers) stays in that session, so that ``down`` and the next ``up`` find
and end what a crash has left behind, and never a stranger that was given the same process id since.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.models import model_graph
from customer360.receiver import marks
from customer360.settings import Settings
from customer360.stack import airflow_users
from customer360.stack.airflow_api import AirflowApi
from customer360.stack.airflow_environment import (
    ADMIN,
    address,
    airflow_home,
    airflow_secrets,
    dags_folder,
    environment,
    product_environment,
    write_private,
)
from customer360.warehouse import embedded_server

Progress = Callable[[str], None]

# In the order in which they start. The log servers of scheduler and triggerer would listen to the whole network.
COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
# Processes of the product that are no part of Airflow and run without it too: the monitor must see Airflow's silence,
# and a webhook must be taken whatever else is down.
MONITOR = "monitor"
RECEIVER = "receiver"
_OWN = {MONITOR: ("monitor",), RECEIVER: ("receive",)}
_HEALTH_NAMES = {"scheduler": "scheduler", "triggerer": "triggerer", "dag-processor": "dag_processor"}

_JOB_TYPES = {"scheduler": "SchedulerJob", "triggerer": "TriggererJob", "dag-processor": "DagProcessorJob"}

_READY_SECONDS = 180
_STOP_SECONDS = 12  # the scheduler lets running tasks end; what is cut short after that is done again by the next run
_RECEIVER_SECONDS = 60
_LOG_BYTES = 20_000_000


class StackError(Customer360Error):
    """A process of the stack does not start or has ended."""


@dataclass(frozen=True)
class Addresses:
    """Where a person finds the running stack."""

    warehouse_url: str
    data_docs: Path
    airflow: str | None = None
    airflow_user: str | None = None
    airflow_password: str | None = None
    data_docs_page: str | None = None
    webhooks: str | None = None


def up(settings: Settings, *, airflow: bool = True, progress: Progress | None = None) -> Addresses:
    """Start what does not run yet of the warehouse and of Airflow, and wait until it is ready. Safe to repeat.

    Raises:
        StackError: a process ended or was not ready in time; the message carries the end of its log.
        WarehouseUnavailableError: the warehouse does not start.
    """
    tell = progress or _silent
    with _exclusive(settings), ThreadPoolExecutor(1) as beside:
        # Airflow's DAG files read the graph of the models; dbt can write it while the warehouse starts.
        graph = beside.submit(model_graph.manifest, settings) if airflow else None
        tell("Warehouse: server, roles, schemas")
        warehouse.set_up(settings)
        if graph is not None:
            _start_airflow(settings, tell, graph)
        _start_own(settings, MONITOR, tell)
        if settings.receive:  # last: one that lacks its secrets keeps nothing else from running
            _start_receiver(settings, tell)
        else:
            _stop_own(settings, RECEIVER, tell)
        return addresses(settings)


def down(settings: Settings, *, progress: Progress | None = None) -> list[str]:
    """Stop all of it, the processes that a crash has orphaned included; returns the names of what was stopped."""
    tell = progress or _silent
    with _exclusive(settings):
        # The monitor goes first: what is stopped on purpose must alarm nobody.
        stopped = stop_monitor(settings, tell)
        stopped += _stop_own(settings, RECEIVER, tell) + _stop_airflow(settings, tell)
        # `c360 demo --cdnow` makes an installation of its own below this one.
        for home in (settings.home / "cdnow", settings.home):
            own = settings.with_(home=home)
            if settings.is_embedded and embedded_server.data_directory(own).exists():
                tell("PostgreSQL")
                if embedded_server.stop(own):
                    stopped.append("postgres" if home == settings.home else "postgres of cdnow")
        return stopped


def addresses(settings: Settings) -> Addresses:
    """The addresses and credentials as they are now; Airflow's are None when its API server does not run."""
    docs = settings.home / "data_docs" / "index.html"
    url = warehouse.reader_url("bi_reader", settings)
    webhooks = f"{marks.address(settings)}/hooks/" if _leader(settings, RECEIVER) is not None else None
    if "api-server" not in running(settings):
        return Addresses(url, docs, webhooks=webhooks)
    airflow = airflow_address(settings)
    password = airflow_secrets(settings).admin_password
    return Addresses(url, docs, airflow, ADMIN, password, f"{airflow}/customer360/data-docs/", webhooks)


def airflow_address(settings: Settings) -> str:
    """The URL of Airflow's API server and user interface."""
    return address(settings, _state(settings).get("port") or settings.airflow_port)


def api(settings: Settings) -> AirflowApi:
    """A client of the running Airflow.

    Raises:
        StackError: it does not run.
    """
    if "api-server" not in running(settings):
        raise StackError("Airflow does not run.", "Run `c360 up`.")
    return AirflowApi(airflow_address(settings), airflow_secrets(settings).admin_password)


def running(settings: Settings) -> dict[str, int]:
    """The process id of each Airflow component that lives."""
    return {name: pid for name in COMPONENTS if (pid := _leader(settings, name)) is not None}


def monitor_pid(settings: Settings) -> int | None:
    """The process id of the monitor, if it lives."""
    return _leader(settings, MONITOR)


def is_receiver_meant_to_run(settings: Settings) -> bool:
    """Whether the receiver was started and not stopped since, or is a container of this installation."""
    return settings.receive and (bool(settings.airflow_url) or _record_path(settings, RECEIVER).exists())


def is_meant_to_run(settings: Settings) -> bool:
    """Whether Airflow was started and not stopped since: its silence is then a fault and not a choice."""
    return bool(settings.airflow_url) or any(_record_path(settings, name).exists() for name in COMPONENTS)


def log_path(settings: Settings, component: str) -> Path:
    """The log of one component."""
    return settings.logs / f"{component}.log"


# ---- one process at a time (containers, a person's own airflow command) ----------------------------------------


def set_up(settings: Settings, *, adopt: bool = False, progress: Progress | None = None) -> dict[str, str]:
    """Prepare warehouse, secrets and Airflow's database without starting Airflow; returns its environment."""
    warehouse.set_up(settings, adopt=adopt)
    model_graph.manifest(settings)
    return _prepare_airflow(settings, settings.airflow_port or _state(settings).get("port") or 0, progress or _silent)


def run_airflow(settings: Settings, arguments: list[str]) -> NoReturn:
    """Become ``airflow ARGUMENTS`` in this installation's environment; returns only by ending the process."""
    command = COMPONENTS.get(arguments[0], tuple(arguments)) if len(arguments) == 1 else tuple(arguments)
    settings.home.mkdir(parents=True, exist_ok=True)
    os.execve(  # noqa: S606  # nosec B606
        sys.executable, [sys.executable, "-m", "airflow", *command], airflow_variables(settings)
    )


def airflow_variables(settings: Settings) -> dict[str, str]:
    """The environment of an ``airflow`` command of this installation."""
    port = settings.airflow_port or _state(settings).get("port") or 0
    database_url = warehouse.url("owner", settings, database=warehouse.airflow_database_name(settings))
    return environment(settings, database_url, port)


def silent_seconds(settings: Settings, component: str) -> float | None:
    """How long ago a component last showed that it lives: 0 for an API server that answers, None for never."""
    if component == "api-server":
        client = AirflowApi(airflow_address(settings), "")
        return 0.0 if client.health() else None
    with warehouse.connect(
        "owner", settings, autocommit=True, database=warehouse.airflow_database_name(settings)
    ) as connection:
        found = warehouse.scalar(
            connection,
            "select extract(epoch from now() - max(latest_heartbeat)) from job "
            "where job_type = %s and state = 'running'",
            [_JOB_TYPES[component]],
        )
    return None if found is None else float(found)


def seconds_since_start(settings: Settings, component: str) -> float:
    """How long ago this stack started a component; infinite where it was not this stack (containers)."""
    record = _record(settings, component)
    return time.time() - record.started if record else float("inf")


# ---- starting -------------------------------------------------------------------------------------------------


def _start_airflow(settings: Settings, tell: Progress, graph: Future[Path]) -> None:
    port = _choose_port(settings, tell)
    variables = _prepare_airflow(settings, port, tell)
    graph.result()
    fingerprint = _fingerprint(variables)
    if running(settings) and _state(settings).get("fingerprint") != fingerprint:
        tell("The settings have changed: Airflow restarts")
        _stop_airflow(settings, tell)
    _remember(settings, port=port, fingerprint=fingerprint)
    started_at: dict[str, float] = {}
    for name in COMPONENTS:
        if name not in running(settings):
            _start_component(settings, name, variables, started_at, tell)
    _wait_until_ready(settings, variables, started_at, tell)


def _start_component(
    settings: Settings, name: str, variables: dict[str, str], started_at: dict[str, float], tell: Progress
) -> None:
    _end_session(settings, name)  # workers that outlived a killed scheduler
    tell(f"Airflow: {name}")
    started_at[name] = time.time()
    _start(settings, name, variables)


def _start_own(settings: Settings, name: str, tell: Progress) -> bool:
    """Start the monitor or the receiver unless it runs with these settings; returns whether it was started."""
    variables = product_environment(settings)
    fingerprint = _fingerprint(variables)
    if _leader(settings, name) is not None:
        if _state(settings).get(f"{name}_fingerprint") == fingerprint:
            return False
        _stop_own(settings, name, tell)
    _end_session(settings, name)
    tell(name.capitalize())
    _start(settings, name, variables)
    _remember(settings, **{f"{name}_fingerprint": fingerprint})
    return True


def _start_receiver(settings: Settings, tell: Progress) -> None:
    """Start the receiver and wait until it listens.

    Raises:
        StackError: it ended, most likely because no hook has a secret; the end of its log says so.
    """
    if not _start_own(settings, RECEIVER, tell):
        return
    started = _record(settings, RECEIVER)
    deadline = time.monotonic() + _RECEIVER_SECONDS
    while _leader(settings, RECEIVER) is not None and time.monotonic() < deadline:
        silent = marks.silent_seconds(settings)
        if silent is not None and started is not None and time.time() - silent >= started.started:
            return
        time.sleep(0.05)
    _stop_own(settings, RECEIVER, tell)
    log = log_path(settings, RECEIVER)
    raise StackError(
        f"The receiver of webhooks does not start. Its log ends with:\n{_tail(log)}",
        "Mend that, or set C360_RECEIVE=no, and run `c360 up` again.",
    )


def _prepare_airflow(settings: Settings, port: int, tell: Progress) -> dict[str, str]:
    """Airflow's database, tables, secrets and login file; returns the environment of its processes."""
    database_url = warehouse.create_airflow_database(settings)
    variables = environment(settings, database_url, port)
    airflow_users.prepare(settings)
    _migrate_airflow(settings, variables, tell)
    return variables


def _choose_port(settings: Settings, tell: Progress) -> int:
    """The port used before if it is ours or free; else a free one, for which every process must start anew."""
    known = settings.airflow_port or _state(settings).get("port")
    if settings.airflow_port and settings.airflow_port != _state(settings).get("port") and running(settings):
        _stop_airflow(settings, tell)
    if known and ("api-server" in running(settings) or _port_is_free(known)):
        return int(known)
    if settings.airflow_port:
        raise StackError(
            f"Port {settings.airflow_port} of 127.0.0.1 is taken by another program.",
            "Set C360_AIRFLOW_PORT to another port, or unset it for any that is free.",
        )
    if running(settings):
        _stop_airflow(settings, tell)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _fingerprint(variables: dict[str, str]) -> str:
    """Changes when a setting that the processes were started with changes."""
    relevant = {name: value for name, value in variables.items() if name.startswith(("C360_", "AIRFLOW"))}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def _migrate_airflow(settings: Settings, variables: dict[str, str], tell: Progress) -> None:
    """Create or upgrade Airflow's tables; skipped when this version of Airflow did so in this database before."""
    from importlib.metadata import version

    wanted = version("apache-airflow-core")
    with warehouse.connect(
        "owner", settings, autocommit=True, database=warehouse.airflow_database_name(settings)
    ) as connection:
        has_tables = warehouse.scalar(connection, "select to_regclass('public.alembic_version') is not null")
    if has_tables and _state(settings).get("migrated") == wanted:
        return
    tell("Airflow: metadata tables")
    log = log_path(settings, "airflow-migrate")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        result = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=settings.home,
            check=False,
        )  # fmt: skip
    if result.returncode != 0:
        raise StackError(
            f"Airflow's tables could not be created. The log ends with:\n{_tail(log)}", f"Read {log}, then `c360 up`."
        )
    _remember(settings, migrated=wanted)


def _start(settings: Settings, name: str, variables: dict[str, str]) -> None:
    log = log_path(settings, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        process = subprocess.Popen(
            _command(name),
            env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=settings.home,
            start_new_session=True, umask=0o077,
        )  # fmt: skip
    record = {"pid": process.pid, "started": psutil.Process(process.pid).create_time()}
    write_private(_record_path(settings, name), json.dumps(record))


def _command(name: str) -> list[str]:
    """What a process of the stack runs."""
    if name in _OWN:
        return [sys.executable, "-c", "from customer360.cli.app import main; main()", *_OWN[name]]
    return [sys.executable, "-m", "airflow", *COMPONENTS[name]]


def _wait_until_ready(
    settings: Settings, variables: dict[str, str], started_at: dict[str, float], tell: Progress
) -> None:
    """Wait until every process lives and reports a heartbeat of its own (not its predecessor's), and DAGs are known.

    One that lived at first and ends meanwhile was dying of what this `up` is to mend, such as a warehouse that was
    away: it is started again, once.
    """
    tell("Airflow: waiting until it is ready")
    wanted = len(list(dags_folder(settings).glob("*.py")))
    deadline = time.monotonic() + _READY_SECONDS
    client = AirflowApi(airflow_address(settings), airflow_secrets(settings).admin_password)
    missing = ""
    try:
        while time.monotonic() < deadline:
            for name in COMPONENTS:
                if _leader(settings, name) is None and name not in started_at:
                    _start_component(settings, name, variables, started_at, tell)
                elif _leader(settings, name) is None:
                    raise StackError(
                        f"Airflow's {name} has ended. Its log ends with:\n{_tail(log_path(settings, name))}",
                        f"Read {log_path(settings, name)}, then run `c360 up`.",
                    )
            missing = _not_ready(client.health(), started_at)
            if not missing:
                known = client.get("/dags", limit=100)["total_entries"]
                if known >= wanted:
                    return
                missing = f"{wanted - known} of {wanted} DAGs"
            time.sleep(0.25)
    finally:
        client.close()
    raise StackError(
        f"Airflow was not ready after {_READY_SECONDS} s; missing: {missing}.",
        f"Read the logs in {settings.logs}, then run `c360 up` again.",
    )


def _not_ready(health: dict[str, Any], started_at: dict[str, float]) -> str:
    """Which part of Airflow does not answer yet; empty when all do."""
    from datetime import datetime

    if not health:
        return "api-server"
    for component, key in _HEALTH_NAMES.items():
        part = health.get(key) or {}
        heartbeat = part.get(f"latest_{key}_heartbeat")
        if part.get("status") != "healthy" or not heartbeat:
            return component
        if datetime.fromisoformat(heartbeat).timestamp() < started_at.get(component, 0):
            return component
    return ""


# ---- stopping -------------------------------------------------------------------------------------------------


def stop_monitor(settings: Settings, tell: Progress | None = None) -> list[str]:
    """Stop the monitor alone; returns its name if it lived."""
    return _stop_own(settings, MONITOR, tell or _silent)


def _stop_own(settings: Settings, name: str, tell: Progress) -> list[str]:
    """Stop the monitor or the receiver; returns its name if it lived."""
    alive = _leader(settings, name) is not None
    if alive:
        tell(name.capitalize())
        _signal(settings, name, signal.SIGTERM)
        _wait_for_end(settings, name, seconds=_STOP_SECONDS if name == RECEIVER else 5)
    _end_session(settings, name)
    _record_path(settings, name).unlink(missing_ok=True)
    return [name] if alive else []


def _stop_airflow(settings: Settings, tell: Progress) -> list[str]:
    """Stop every component with what it forked. The API server goes last: ending tasks report to it."""
    alive = running(settings)
    first = [name for name in alive if name != "api-server"]
    for name in first:
        _signal(settings, name, signal.SIGTERM)
    for name in first:
        tell(f"Airflow: {name}")
        _wait_for_end(settings, name)
    for name in COMPONENTS:
        if name != "api-server":
            _end_session(settings, name)
    if "api-server" in alive:
        tell("Airflow: api-server")
        _signal(settings, "api-server", signal.SIGTERM)
        _wait_for_end(settings, "api-server", seconds=5)
    _end_session(settings, "api-server")
    for name in COMPONENTS:
        _record_path(settings, name).unlink(missing_ok=True)
    return list(alive)


def _signal(settings: Settings, name: str, number: signal.Signals) -> None:
    pid = _leader(settings, name)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_for_end(settings: Settings, name: str, seconds: float = _STOP_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while _leader(settings, name) is not None and time.monotonic() < deadline:
        time.sleep(0.05)


def _end_session(settings: Settings, name: str) -> None:
    """Kill whatever still lives in a component's session, until nothing does."""
    record = _record(settings, name)
    if record is None:
        return
    deadline = time.monotonic() + 10
    while members := _session(record):
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise StackError(f"Processes {members} of Airflow's {name} do not end.", "Stop them by hand: kill -9.")
        time.sleep(0.05)


# ---- process records ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Record:
    pid: int
    started: float


def _record_path(settings: Settings, name: str) -> Path:
    return airflow_home(settings) / "processes" / f"{name}.json"


def _record(settings: Settings, name: str) -> _Record | None:
    try:
        stored = json.loads(_record_path(settings, name).read_text())
        return _Record(int(stored["pid"]), float(stored["started"]))
    except (OSError, ValueError, KeyError):
        return None


def _leader(settings: Settings, name: str) -> int | None:
    """The component's process id, if it is the process that we started and it lives."""
    record = _record(settings, name)
    return record.pid if record and _is_same(record) else None


def _is_same(record: _Record) -> bool:
    try:
        process = psutil.Process(record.pid)
        return abs(process.create_time() - record.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _session(record: _Record) -> list[int]:
    """The living processes of the session that the recorded process led.

    A process id is not given away while a session carries it. So if another process has it now, our session is gone.
    """
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(record.pid)
        if abs(process.create_time() - record.started) >= 1:
            return []
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == record.pid and process.create_time() >= record.started - 1:
                if process.status() == psutil.STATUS_ZOMBIE:
                    _reap(process.pid)
                    continue
                members.append(process.pid)
    return members


def _reap(pid: int) -> None:
    """Collect a child of this very process that has ended (when one process calls up and down)."""
    with contextlib.suppress(ChildProcessError, OSError):
        os.waitpid(pid, os.WNOHANG)


# ---- what is remembered ---------------------------------------------------------------------------------------


def _state(settings: Settings) -> dict[str, Any]:
    path = airflow_home(settings) / "stack.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _remember(settings: Settings, **changes: Any) -> None:
    write_private(airflow_home(settings) / "stack.json", json.dumps(_state(settings) | changes, indent=1))


@contextlib.contextmanager
def _exclusive(settings: Settings) -> Iterator[None]:
    """One ``up`` or ``down`` at a time per home."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "stack.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _silent(_: str) -> None:
    """Nobody watches."""


def _tail(log: Path, lines: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"
