"""A warehouse on a server of one's own: PostgreSQL 15, no superuser, not alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from customer360 import restore as restoring
from customer360 import warehouse
from customer360.backup import take
from customer360.errors import ConfigurationError, WarehouseUnavailableError
from customer360.run import run_everything
from customer360.settings import Settings
from customer360.stack import airflow_environment
from customer360.warehouse import agreement, roles, server
from tests.own_server import OwnServer, own_server
from tests.pipeline.shop import load_all, order, rows, session, ticket
from tests.pipeline.test_backup import with_backups

RIGHTS = "login createrole createdb nosuperuser"


@pytest.fixture(scope="module")
def debian() -> Iterator[OwnServer]:
    with own_server(15) as running:
        yield running


@pytest.fixture
def bare(debian: OwnServer, tmp_path: Path) -> Iterator[Settings]:
    """Settings of an empty database whose owner may create roles and databases and is nothing more."""
    debian.run(f"create role shop_admin {RIGHTS} password 'secret'")
    debian.run("create database shop owner shop_admin")
    (tmp_path / "landing").mkdir()
    yield Settings(
        home=tmp_path / "home",
        warehouse_url=debian.url("shop_admin", database="shop"),
        landing=str(tmp_path / "landing"),
    )
    for database in ("shop", "shop2", "c360_airflow"):
        debian.run(f"drop database if exists {database} with (force)")
    with psycopg.connect(debian.url(), autocommit=True) as connection:
        made = connection.execute("select rolname from pg_roles where rolname !~ '^(pg_|postgres$)'").fetchall()
        for (name,) in made:
            debian.run(f'drop owned by "{name}" cascade; drop role "{name}"')


def all_roles(debian: OwnServer) -> dict[str, str]:
    """Everything that could be altered about the roles of the server."""
    with psycopg.connect(debian.url()) as connection:
        return dict(
            connection.execute(
                "select rolname, concat(a, (select setconfig from pg_db_role_setting where setrole = a.oid)) "
                "from pg_authid as a"
            ).fetchall()
        )


def test_the_whole_way_on_postgresql_15_as_no_superuser(bare: Settings) -> None:
    """Set-up twice, a shop through every gate, the daily pass, readers: what CI's main job does, in small."""
    warehouse.set_up(bare)
    warehouse.set_up(bare)
    load_all(bare, [order("o1", customer_id="c1"), session("s1", customer_id="c1"), ticket("t1")])
    run_everything(bare, trigger="test")
    assert rows(bare, "select count(*) from marts.fct_orders") == [(1,)]
    assert rows(bare, "select count(*) > 0 from marts.customer_360") == [(True,)]
    load_all(bare, [order("o1", customer_id="c1", version=2, total="70.00"), order("o2", customer_id="c2")])
    run_everything(bare, trigger="test")
    assert rows(bare, "select count(*) from marts.fct_orders") == [(2,)]
    assert rows(bare, "select state, count(*) from ops.runs where state in ('failed', 'blocked') group by 1") == []
    with psycopg.connect(warehouse.reader_url("bi_reader", bare)) as reader:
        assert reader.execute("select count(*) from marts.fct_orders").fetchone() == (2,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("select * from raw.orders")
    assert warehouse.create_airflow_database(bare).endswith("/c360_airflow")


def test_a_second_installation_leaves_the_first_alone(debian: OwnServer, bare: Settings, tmp_path: Path) -> None:
    warehouse.set_up(bare)
    debian.run("create role other_admin login createrole createdb password 'secret'")
    debian.run("create database shop2 owner other_admin")
    before = all_roles(debian)
    second = bare.with_(home=tmp_path / "second", warehouse_url=debian.url("other_admin", database="shop2"))
    with pytest.raises(ConfigurationError, match="already has the role c360_owner, which belongs to another") as caught:
        warehouse.set_up(second)
    assert "C360_ROLE_PREFIX" in caught.value.next_step
    assert all_roles(debian) == before
    second = second.with_(role_prefix="shop2_")
    warehouse.set_up(second)
    assert {name: was for name, was in all_roles(debian).items() if name in before} == before
    warehouse.connect("bi_reader", bare).close()
    warehouse.connect("bi_reader", second).close()


@pytest.mark.parametrize("name", ["c360_owner", "c360_bi_reader", "c360_pipeline_oncall"])
def test_a_role_of_our_name_that_is_not_ours_stops_the_set_up(debian: OwnServer, bare: Settings, name: str) -> None:
    debian.run(f"create role {name} login password 'theirs'")
    before = all_roles(debian)
    with pytest.raises(ConfigurationError, match=f"{name}, which was not made by customer360"):
        warehouse.set_up(bare)
    assert all_roles(debian) == before


def test_roles_of_everyday_names_are_left_alone(debian: OwnServer, bare: Settings) -> None:
    for name in ("owner", "loader", "bi_reader"):
        debian.run(f"create role {name} login password 'theirs'")
    before = all_roles(debian)
    warehouse.set_up(bare)
    assert {name: was for name, was in all_roles(debian).items() if name in before} == before


def test_a_schema_of_our_name_that_is_not_ours_stops_the_set_up(debian: OwnServer, bare: Settings) -> None:
    debian.run("create schema staging", database="shop")
    with pytest.raises(ConfigurationError, match="schema staging that belongs to postgres"):
        warehouse.set_up(bare)


def test_a_database_of_our_name_that_is_not_ours_stops_airflow(debian: OwnServer, bare: Settings) -> None:
    warehouse.set_up(bare)
    debian.run("create database c360_airflow")
    with pytest.raises(ConfigurationError, match="database c360_airflow that belongs to postgres"):
        warehouse.create_airflow_database(bare)


@pytest.mark.parametrize(
    ("taken", "statement"),
    [
        ("alter role shop_admin nocreaterole", 'alter role "shop_admin" createrole'),
        ("alter database shop owner to postgres", 'alter database "shop" owner to "shop_admin"'),
    ],
)
def test_a_missing_right_is_named_with_its_statement(
    debian: OwnServer, bare: Settings, taken: str, statement: str
) -> None:
    debian.run(taken)
    with pytest.raises(ConfigurationError, match="lacks a right") as caught:
        warehouse.set_up(bare)
    assert statement in caught.value.next_step
    debian.run(statement)
    warehouse.set_up(bare)


def test_the_right_to_create_databases_is_named_where_airflow_needs_it(debian: OwnServer, bare: Settings) -> None:
    debian.run("alter role shop_admin nocreatedb")
    warehouse.set_up(bare)
    with pytest.raises(ConfigurationError, match="lacks a right") as caught:
        warehouse.create_airflow_database(bare)
    assert 'alter role "shop_admin" createdb' in caught.value.next_step


def test_a_lost_home_is_replaced_on_purpose(bare: Settings, tmp_path: Path) -> None:
    warehouse.set_up(bare)
    found = bare.with_(home=tmp_path / "found again")
    with pytest.raises(ConfigurationError, match="already has the role"):
        warehouse.set_up(found)
    warehouse.set_up(found, adopt=True)
    warehouse.connect("publisher", found).close()
    warehouse.set_up(found)


def test_a_restore_beside_the_roles_of_a_lost_home_adopts_them(
    debian: OwnServer, bare: Settings, tmp_path: Path
) -> None:
    warehouse.set_up(bare)
    load_all(bare, [order("o1", customer_id="c1")])
    lost = with_backups(bare, tmp_path)
    made = take.take(lost, trigger="test")
    debian.run("create database shop2 owner shop_admin")
    found = lost.with_(home=tmp_path / "found", warehouse_url=debian.url("shop_admin", database="shop2"))
    before = all_roles(debian)
    with pytest.raises(ConfigurationError, match="has the roles of this installation already") as caught:
        restoring.restore(found)
    assert "--adopt" in caught.value.next_step
    assert all_roles(debian) == before
    restored = restoring.restore(found, adopt=True)
    assert (restored.name, restored.broken) == (made.name, [])
    assert rows(found, "select count(*) from raw.orders", "owner") == [(1,)]
    for role in warehouse.ROLES:
        warehouse.connect(role, found).close()
    with pytest.raises(WarehouseUnavailableError, match="password"):
        warehouse.connect("owner", bare)


def test_containers_need_no_administrator(bare: Settings) -> None:
    warehouse.set_up(bare)
    parts = server.server_of(bare.warehouse_url)
    inside = bare.with_(warehouse_url=f"postgresql://127.0.0.1:{parts.port}/shop")
    warehouse.connect("owner", inside).close()
    with pytest.raises(ConfigurationError, match="names no user"):
        warehouse.set_up(inside)


def test_an_installation_of_before_the_prefix_goes_on(debian: OwnServer, bare: Settings) -> None:
    """Its roles are renamed, what BI logs in by keeps its password, and the grants stay."""
    warehouse.set_up(bare)
    kept = server.credentials(bare)["passwords"]
    old = {}
    for role in warehouse.ROLES:
        if role in warehouse.READERS:
            debian.run(f"drop owned by c360_pipeline_{role}", database="shop")
            debian.run(f"drop role c360_pipeline_{role}; drop role c360_default_{role}")
            old[role] = f"of {role}"
            debian.run(f"alter role c360_{role} login password 'of {role}'")
        else:
            old[role] = kept[f"c360_{role}"]
        debian.run(f"comment on role c360_{role} is null; alter role c360_{role} rename to {role}")
    (bare.home / "roles.json").write_text(json.dumps(old))
    warehouse.set_up(bare)
    assert not {"owner", "bi_reader", "oncall"} & set(all_roles(debian))
    for role in warehouse.ROLES:
        warehouse.connect(role, bare).close()
    with psycopg.connect(debian.url("c360_default_bi_reader", "of%20bi_reader", "shop")) as reader:
        reader.execute("select count(*) from ops.batches")


# ---- messages -------------------------------------------------------------------------------------------------------

SECRET = "p@ss/w#rd:1?"  # pragma: allowlist secret


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@host:5432/db",
        "postgresql://me:p%ss@host:5432/db",  # pragma: allowlist secret
        "postgresql://me:pass word@host:5432/db",
        "postgresql://me:pass@host:port/db",  # pragma: allowlist secret
        "postgresql://me:pass@host:99999/db",  # pragma: allowlist secret
        "postgresql://me:pass@host:5432",  # pragma: allowlist secret
        "mysql://me:pass@host:5432/db",  # pragma: allowlist secret
        "host=127.0.0.1 password=pass",
    ],
)
def test_a_url_that_cannot_be_read_is_said_without_a_part_of_the_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="C360_WAREHOUSE_URL") as caught:
        warehouse.set_up(Settings(home=tmp_path, warehouse_url=url))
    said = f"{caught.value} {caught.value.next_step}"
    assert "pass" not in said.replace("password", "").replace("getpass", "")
    assert not any(part in said for part in ("w#rd", "rd:1", "p@ss"))
    # pragma: allowlist nextline secret
    assert re.search(r"postgresql://user:password@host:(port|5432)/database", said) or "65535" in said


@pytest.mark.parametrize(
    ("change", "reason", "advice"),
    [
        (lambda url: url.replace("secret", "wrong"), "the password of postgres is not right", "password"),
        (lambda url: url.removesuffix("/postgres") + "/nowhere", "no database nowhere", "database"),
        (lambda url: url + "?sslmode=require", "asks for SSL", "sslmode"),
        (lambda url: url.replace("127.0.0.1", "no-such-host.invalid"), "host name is not known", "host"),
    ],
)
def test_a_server_that_lets_nobody_in_is_said_plainly(
    debian: OwnServer, tmp_path: Path, change: Callable[[str], str], reason: str, advice: str
) -> None:
    with pytest.raises(WarehouseUnavailableError, match=reason) as caught:
        warehouse.set_up(Settings(home=tmp_path, warehouse_url=change(debian.url())))
    assert advice in caught.value.next_step
    assert "c360 up" not in caught.value.next_step, "that starts no server of one's own"
    assert caught.value.__cause__ is None


def test_a_server_that_is_away_is_said_plainly(tmp_path: Path) -> None:
    with own_server(15) as gone:
        pass
    with pytest.raises(WarehouseUnavailableError, match="nothing answers"):
        warehouse.set_up(Settings(home=tmp_path, warehouse_url=gone.url()))


def until_encrypted(url: str) -> None:
    """Await that a server has read its new settings: it does so after it has said that it will."""
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(f"{url}?sslmode=require").close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the server does not encrypt"
            time.sleep(0.05)
        else:
            return


@contextlib.contextmanager
def tls_server() -> Iterator[tuple[OwnServer, Path]]:
    """A server that takes encrypted connections alone, and its certificate, which names 127.0.0.1 and no other host."""
    with own_server(15) as server_:
        hba = server_.folder / "data" / "pg_hba.conf"
        key, certificate = server_.folder / "data" / "server.key", server_.folder / "data" / "server.crt"
        certify(key, certificate)
        if os.geteuid() == 0:
            shutil.chown(key, "postgres", "postgres")
        key.chmod(0o600)
        certificate.chmod(0o644)  # a command of an earlier test may have closed new files to others
        server_.run("alter system set ssl = on")
        hba.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        server_.run("select pg_reload_conf()")
        until_encrypted(server_.url())
        yield server_, certificate


def certify(key: Path, certificate: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=warehouse",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip


def test_a_server_that_wants_ssl_says_so_and_its_certificate_is_checked(tmp_path: Path) -> None:
    with tls_server() as (server_, certificate):
        refused = Settings(home=tmp_path, warehouse_url=server_.url() + "?sslmode=disable")
        with pytest.raises(WarehouseUnavailableError, match="only connections with SSL") as caught:
            warehouse.set_up(refused)
        assert "sslmode=require" in caught.value.next_step
        mine, other = tmp_path / "ca.pem", tmp_path / "other.pem"
        shutil.copy(certificate, mine)
        certify(tmp_path / "other.key", other)
        by_name = server_.url().replace("127.0.0.1", "localhost")
        for url in (f"{server_.url()}?sslmode=verify-full&sslrootcert={other}",
                    f"{by_name}?sslmode=verify-full&sslrootcert={mine}"):  # fmt: skip
            with pytest.raises(WarehouseUnavailableError):
                warehouse.set_up(Settings(home=tmp_path, warehouse_url=url))
        encrypted = Settings(home=tmp_path, warehouse_url=f"{server_.url()}?sslmode=verify-full&sslrootcert={mine}")
        warehouse.set_up(encrypted)
        for role in warehouse.ROLES:
            with warehouse.connect(role, encrypted) as connection:
                assert warehouse.scalar(connection, "select ssl from pg_stat_ssl where pid = pg_backend_pid()")


@pytest.mark.slow
def test_the_whole_way_over_tls_with_the_certificate_checked(tmp_path: Path) -> None:
    """psycopg, dbt, Great Expectations, both drivers of Airflow: the server takes nothing but TLS, so each has it."""
    with tls_server() as (server_, certificate):
        authority = tmp_path / "ca.pem"
        shutil.copy(certificate, authority)
        (tmp_path / "landing").mkdir()
        server_.run(f"create role shop_admin {RIGHTS} password 'secret'")
        server_.run("create database shop owner shop_admin")
        url = f"{server_.url('shop_admin', database='shop')}?sslmode=verify-full&sslrootcert={authority}"
        settings = Settings(home=tmp_path / "home", warehouse_url=url, landing=str(tmp_path / "landing"))
        warehouse.set_up(settings)
        load_all(settings, [order("o1", customer_id="c1"), session("s1", customer_id="c1"), ticket("t1")])
        run_everything(settings, trigger="test")
        assert rows(settings, "select count(*) from marts.fct_orders") == [(1,)]
        assert (
            rows(settings, "select state, count(*) from ops.runs where state in ('failed', 'blocked') group by 1") == []
        )
        environment = airflow_environment.environment(settings, warehouse.create_airflow_database(settings), 8080)
        program = (
            "import asyncio\n"
            "from airflow import settings\n"
            "from sqlalchemy import text\n"
            "asked = text('select ssl from pg_stat_ssl where pid = pg_backend_pid()')\n"
            "settings.initialize()\n"
            "async def ask():\n"
            "    async with settings.async_engine.connect() as connection:\n"
            "        return await connection.scalar(asked)\n"
            "with settings.engine.connect() as connection:\n"
            "    print('encrypted', connection.scalar(asked), asyncio.run(ask()))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        assert "encrypted True True" in done.stdout, done.stderr[-2000:]


def test_an_old_server_is_refused_by_its_version() -> None:
    with pytest.raises(ConfigurationError, match="PostgreSQL 14; customer360 needs 15"):
        roles.check_version(140_012)
    roles.check_version(150_000)


# ---- settings that every process must have alike --------------------------------------------------------------------


def test_a_process_with_another_time_zone_or_currency_stops_until_it_is_adopted(settings: Settings) -> None:
    load_all(settings, [order("o1", customer_id="c1")])
    run_everything(settings, trigger="test")
    for other, variable in (
        (settings.with_(business_timezone="Europe/Berlin"), "C360_BUSINESS_TIMEZONE"),
        (settings.with_(reporting_currency="EUR"), "C360_REPORTING_CURRENCY"),
    ):
        before = rows(settings, "select count(*) from ops.runs")
        with pytest.raises(ConfigurationError, match=variable) as caught:
            run_everything(other, trigger="test")
        assert "c360 adopt-settings" in caught.value.next_step
        assert rows(settings, "select count(*) from ops.runs") == before
    euro = settings.with_(reporting_currency="EUR")
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        assert agreement.adopt(connection, euro) == {"reporting_currency": "USD"}
    run_everything(euro, trigger="test")
    with pytest.raises(ConfigurationError, match="is EUR"):
        run_everything(settings, trigger="test")
