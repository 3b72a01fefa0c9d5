"""A published shop that is built once, and a copy of it for each test that wants one."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from customer360 import warehouse
from customer360.cli import app
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.settings import Settings, get_settings
from tests.pipeline.shop import load_all, order, session, ticket
from tests.pipeline.year_of_a_shop import make_records


@contextmanager
def copy_of(original: Settings, landing: Path) -> Iterator[Settings]:
    """A copy of a test's database, for as long as the block runs."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    with warehouse.admin(original, database="postgres") as connection:
        # Great Expectations keeps connections in a pool, and a database in use cannot be copied.
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", [original.database]
        )
        connection.execute(warehouse.query(f"create database {name} template {original.database} strategy file_copy"))
        connection.execute(
            warehouse.query(
                f"grant create, connect, temporary on database {name} to "
                f"{warehouse.role_name('owner', original)}, {warehouse.role_name('transformer', original)}"
            )
        )
    landing.mkdir(exist_ok=True)
    yield original.with_(database=name, landing=str(landing))
    with warehouse.admin(original, database="postgres") as connection:
        connection.execute(warehouse.query(f"drop database if exists {name} with (force)"))


@pytest.fixture(scope="session")
def built_shop(embedded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The original of :func:`shop`: read it, never write it."""
    with copy_of(embedded, tmp_path_factory.mktemp("landing")) as settings:
        refund = {"refund_id": "r1", "refunded_at": "2026-03-05T12:00:00+00:00", "amount": "30.00"}
        items = [{"sku": "a", "quantity": 2, "unit_price": 30}, {"sku": "b", "quantity": 1, "unit_price": 40}]
        load_all(
            settings,
            [
                order("o1", customer_id="c1", email="one@example.org", refunds=[refund], items=items, version=5),
                order("o2", customer_id="c2", total="50.00", currency="EUR"),
                order("o3", anonymous_id="nobody", total="7.00"),
                order("o4", customer_id="c1", status="cancelled", total="9.99"),
                session("s1", customer_id="c1"),
                ticket("t1", email="one@example.org"),
            ],
        )
        build(settings, "test")
        load_all(settings, [order("o2", version=1, customer_id="c2", total="55.00", currency="EUR"), session("s2")])
        build(settings, "test")
        yield settings


@pytest.fixture
def shop(built_shop: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A published shop of this test alone, after two publications and before any daily pass.

    Two customers; an order and a session of nobody; a refund, a cancelled order, two currencies.
    """
    with copy_of(built_shop, tmp_path / "landing") as settings:
        yield settings


@pytest.fixture(scope="session")
def year_shop(embedded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A shop of the day of installation, after its first daily pass: read it, or a copy of it, never write it."""
    with copy_of(embedded, tmp_path_factory.mktemp("landing")) as settings:
        load_all(settings, make_records(1, settings.today()))
        build(settings, "test")
        refresh_daily(settings, trigger="test")
        yield settings


@pytest.fixture
def terminal_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Callable[..., tuple[int, str, str]]]]:
    """Opens a terminal of an installation; that types a command and gives its exit code, output and errors."""

    def opened(settings: Settings, columns: int = 80) -> Callable[..., tuple[int, str, str]]:
        at_home = {"HOME": str(settings.home), "DATABASE": settings.database, "LANDING": settings.landing}
        for name, value in at_home.items():
            monkeypatch.setenv(f"C360_{name}", value)
        monkeypatch.setenv("COLUMNS", str(columns))
        get_settings.cache_clear()
        return typed

    def typed(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["c360", *map(str, words)])
        code: Any = 0
        try:
            app.main()
        except SystemExit as end:
            code = end.code
        told = capsys.readouterr()
        return int(code or 0), told.out, told.err

    yield opened
    get_settings.cache_clear()
