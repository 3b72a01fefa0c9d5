"""Each command of docker-compose.yml, run natively as its container would run it, against a server of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from customer360 import warehouse
from customer360.settings import Settings
from customer360.warehouse import embedded_server

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).parent / "c360"
SECONDS = 150

pytestmark = pytest.mark.airflow


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return {name: service for name, service in found.items() if name != "postgres"}


@pytest.fixture
def variables() -> Iterator[dict[str, str]]:
    """The containers' environment, with a free port and a PostgreSQL that stands for the service postgres."""
    with tempfile.TemporaryDirectory(prefix="c360-containers-") as folder:
        database = Settings(home=Path(folder) / "postgres")
        endpoint = embedded_server.ensure_running(database)
        with warehouse.admin(database, database="postgres") as connection:
            connection.execute("create database customer360")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("C360_", "AIRFLOW"))}
        try:
            yield inherited | {
                "C360_HOME": str(Path(folder) / "home"),
                "C360_WAREHOUSE_URL": endpoint.url("customer360"),
                "C360_AIRFLOW_HOST": "127.0.0.1",
                "C360_AIRFLOW_PORT": str(port),
                "C360_AIRFLOW_URL": f"http://127.0.0.1:{port}",
            }
        finally:
            embedded_server.stop(database, immediate=True)


def test_every_service_runs_its_command_and_becomes_healthy(
    services: dict[str, Any], variables: dict[str, str], tmp_path: Path
) -> None:
    ended = subprocess.run(
        [COMMAND, *services.pop("set-up")["command"]], env=variables, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    # Only set-up is given the administrator.
    server = urlsplit(variables["C360_WAREHOUSE_URL"])
    variables = variables | {"C360_WAREHOUSE_URL": f"postgresql://{server.hostname}:{server.port}{server.path}"}
    hooks = Path(variables["C360_HOME"]) / "receive" / "hooks"  # in its container a folder of the host
    hooks.mkdir(parents=True)
    (hooks / "orders").write_text("drill-drill-drill")
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, service in services.items():
            log = (tmp_path / f"{name}.log").open("wb")
            processes[name] = subprocess.Popen(
                [COMMAND, *service["command"]], env=variables, stdout=log, stderr=log, start_new_session=True
            )
        for name, service in services.items():
            check = service["healthcheck"]["test"]
            assert check[:2] == ["CMD", "c360"], name
            deadline = time.monotonic() + SECONDS
            while (
                answer := subprocess.run([COMMAND, *check[2:]], env=variables, capture_output=True, check=False)
            ).returncode:
                told = (tmp_path / f"{name}.log").read_text()[-2000:]
                assert processes[name].poll() is None, f"{name} ended:\n{told}"
                assert time.monotonic() < deadline, f"{name} is not healthy: {answer.stdout!r}\n{told}"
                time.sleep(1)
    finally:
        for process in processes.values():
            os.killpg(process.pid, signal.SIGTERM)
        for process in processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
