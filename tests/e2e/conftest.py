"""One real stack for all end-to-end tests: Airflow's four processes, PostgreSQL, a small sample shop."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from customer360 import warehouse
from customer360.front_door import landing
from customer360.sample import SampleFile, SampleManifest, generate
from customer360.settings import Settings
from customer360.stack import processes
from customer360.stack.airflow_api import AirflowApi

ROOT = Path(__file__).resolve().parents[2]
ENDED = {"published", "refused", "duplicate"}


def until(condition: Callable[[], object], seconds: float, what: str | Callable[[], str]) -> None:
    """Await a condition; fails with ``what`` did not happen, which may be asked for when it did not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.1)


@dataclass
class Shop:
    """A running stack and the sample that tests land in it, piece by piece."""

    settings: Settings
    api: AirflowApi
    sample: SampleManifest
    _next: dict[str, list[SampleFile]] = field(default_factory=dict)

    def land(self, feed: str) -> str:
        """Land the feed's next fresh batch; returns its name."""
        if feed not in self._next:
            self._next[feed] = [file for file in self.sample.fresh(feed=feed) if file.rows]
        file = self._next[feed].pop(0)
        return landing.put(self.settings, feed, self.sample.path(file)).name

    def states(self, names: list[str]) -> dict[str, str]:
        """The ledger's state of each file that it knows."""
        with warehouse.connect("oncall", self.settings, autocommit=True) as connection:
            rows = connection.execute(
                "select file_name, state from ops.batches where file_name = any(%s)", [names]
            ).fetchall()
        return dict(rows)

    def is_done(self, names: list[str]) -> bool:
        """Whether nothing of these files waits for anybody."""
        states = self.states(names)
        return len(states) == len(set(names)) and set(states.values()) <= ENDED

    def until_done(self, names: list[str], seconds: float) -> None:
        """Await that the files are published (or refused, or duplicates)."""
        deadline = time.monotonic() + seconds
        while not self.is_done(names):
            if time.monotonic() > deadline:
                raise AssertionError(f"after {seconds} s: {self.states(names)}; runs: {self.runs()}")
            time.sleep(0.1)

    def runs(self) -> list[tuple[str, str]]:
        """The newest DAG runs and their states."""
        found = self.api.get("/dags/~/dagRuns", limit=20, order_by="-run_after")["dag_runs"]
        return [(run["dag_id"], run["state"]) for run in found]

    def pause(self, dag_id: str, paused: bool = True) -> None:
        """Pause a DAG, or let it go on."""
        self.api.patch(f"/dags/{dag_id}", {"is_paused": paused})


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    # Not below pytest's own folder, which a newer pytest session closes to the server's user (tests/conftest.py).
    home = Path(tempfile.mkdtemp(prefix="c360-stack-"))
    dags = home / "dags"  # a copy, which a test may break
    shutil.copytree(ROOT / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    settings = Settings(home=home, monitor_seconds=5, dags=str(dags))
    sample_at = tmp_path_factory.mktemp("sample") / "shop"
    sample = generate(
        300, 60, None, 7, sample_at, fresh_batches=40, fresh_days=20, history_versions="latest", history_files=1
    )
    try:
        processes.up(settings)
        shop = Shop(settings, processes.api(settings), sample)
        names = [landing.put(settings, f.feed, sample.path(f), history=True).name for f in sample.history()]
        shop.until_done(names, 300)
        yield shop
    finally:
        processes.down(settings)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def logs(shop: Shop) -> Path:
    """Where the stack's processes log."""
    return shop.settings.logs
