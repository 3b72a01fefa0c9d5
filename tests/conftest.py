"""What every test may ask for: an embedded server for the session, and a migrated database for each test."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from customer360 import warehouse
from customer360.settings import Settings
from customer360.warehouse import embedded_server

ROOT = Path(__file__).resolve().parents[1]

# The tests' servers keep nothing after a power cut, which makes them several times faster.
os.environ.setdefault("C360_POSTGRES_OPTIONS", "-c fsync=off -c synchronous_commit=off -c full_page_writes=off")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Airflow reads these when it is first imported, by whichever test comes first.
_AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="c360-airflow-")
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME.name
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROOT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


@pytest.fixture(scope="session")
def embedded() -> Iterator[Settings]:
    """Settings of a running embedded server whose database ``c360_template`` is migrated."""
    # Not below pytest's own folder: each new pytest session takes the rights of others away from that, and the server
    # of a session that runs already is another user.
    with tempfile.TemporaryDirectory(prefix="c360-tests-", ignore_cleanup_errors=True) as home:
        settings = Settings(home=Path(home), database="c360_template")
        warehouse.set_up(settings)
        yield settings
        embedded_server.stop(settings, immediate=True)


@pytest.fixture
def settings(embedded: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Settings of an empty, migrated warehouse and an empty landing zone of this test alone."""
    with _own_database(embedded, tmp_path) as own:
        yield own


@pytest.fixture(scope="module")
def module_settings(embedded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The same for all tests of a module, which then must not mind each other's traces."""
    with _own_database(embedded, tmp_path_factory.mktemp("module")) as own:
        yield own


@contextlib.contextmanager
def _own_database(embedded: Settings, folder: Path) -> Iterator[Settings]:
    name = f"t_{uuid.uuid4().hex[:12]}"
    with warehouse.admin(embedded, database="postgres") as connection:
        connection.execute(warehouse.query(f"create database {name} template c360_template strategy file_copy"))
        connection.execute(
            warehouse.query(f"grant create, connect, temporary on database {name} to owner, transformer")
        )
    landing = folder / "landing"
    landing.mkdir()
    yield embedded.with_(database=name, landing=str(landing))
    with warehouse.admin(embedded, database="postgres") as connection:
        connection.execute(warehouse.query(f"drop database if exists {name} with (force)"))


@pytest.fixture
def browser() -> Iterator[Any]:
    """A headless Chromium driven by Selenium; the test is skipped where none is installed."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no browser here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync", "window-size=1200,1000",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(service=Service(driver), options=options)
    yield started
    started.quit()
