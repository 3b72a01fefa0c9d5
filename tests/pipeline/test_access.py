"""Readers of the warehouse as attackers: what each log-in can do to the others, to the pipeline and to the server."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from customer360 import warehouse
from customer360.oncall import monitor
from customer360.settings import Settings
from customer360.warehouse import embedded_server, logins

pytestmark = pytest.mark.usefixtures("closed")


@pytest.fixture
def closed(settings: Settings) -> None:
    """The test's database as a set-up leaves it: a copy of a database has the rights of a new one."""
    warehouse.set_up(settings)


@pytest.fixture
def login(settings: Settings) -> Iterator[Callable[[str, warehouse.Reader], str]]:
    """Makes log-ins, and revokes them in the end: roles are the server's and not the database's."""
    made: list[str] = []

    def make(name: str, kind: warehouse.Reader = "bi_reader") -> str:
        made.append(name)
        return logins.add(settings, name, kind)

    yield make
    for name in made:
        with contextlib.suppress(logins.LoginError):
            logins.revoke(settings, name)


def names(settings: Settings) -> dict[str, str]:
    return {one.name: one.kind for one in logins.listed(settings)}


def test_an_installation_begins_with_one_login_for_each_kind_of_reader(settings: Settings) -> None:
    assert names(settings) == {f"default_{kind}": kind for kind in warehouse.READERS}
    with psycopg.connect(warehouse.reader_url("bi_reader", settings)) as connection:
        assert connection.execute("select count(*) from ops.batches").fetchone() == (0,)
        assert connection.execute("show transaction_isolation").fetchone() == ("repeatable read",)


def test_a_group_of_readers_lets_nobody_in(settings: Settings) -> None:
    with warehouse.connect("owner", settings) as connection:
        found = connection.execute(
            "select rolname, rolcanlogin from pg_roles where rolname = any(%s)",
            [[warehouse.role_name(kind, settings) for kind in warehouse.READERS]],
        ).fetchall()
    assert len(found) == 3
    assert not any(may_log_in for _, may_log_in in found)


def test_a_login_reads_as_its_kind_until_it_is_revoked(settings: Settings, login: Callable[..., str]) -> None:
    target = login("ann")
    reader = psycopg.connect(target, autocommit=True)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("select * from raw.orders")
    rotated = logins.rotate(settings, "ann")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(target)
    psycopg.connect(rotated).close()
    assert logins.revoke(settings, "ann") == 1
    with pytest.raises(psycopg.OperationalError):
        reader.execute("select 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(rotated)
    assert "ann" not in names(settings)


@pytest.mark.parametrize(
    "attack",
    [
        "alter role {other} password 'mine'",
        "alter role {other} set search_path = public",
        "alter role {other} connection limit 0",
        "alter role {pipeline} password 'mine'",
        "alter role {group} set default_transaction_isolation = 'read committed'",
        "alter role {me} connection limit 1000",
        "alter role {me} set temp_file_limit = -1",
        "set temp_file_limit = -1",
        "grant {group} to {other}",
        "set role {owner}",
        "create role mine",
        "create temporary table mine (a int)",
        "select lo_create(0)",
        "select lo_from_bytea(0, 'x')",
        "create schema mine",
        "create table public.mine (a int)",
        "select pg_read_file('/etc/passwd')",
        "copy (select 1) to program 'true'",
    ],
)
def test_a_reader_changes_nothing_but_itself(settings: Settings, login: Callable[..., str], attack: str) -> None:
    mine, _ = login("mallory"), login("bob")
    known = {
        "me": f"{settings.role_prefix}mallory",
        "other": f"{settings.role_prefix}bob",
        "pipeline": warehouse.login_name("bi_reader", settings),
        "group": warehouse.role_name("bi_reader", settings),
        "owner": warehouse.role_name("owner", settings),
    }
    with psycopg.connect(mine, autocommit=True) as reader:
        reader.execute("set default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(warehouse.query(attack.format(**known)))


def test_a_reader_may_change_its_own_password_and_nobody_else_notices(
    settings: Settings, login: Callable[..., str]
) -> None:
    default = warehouse.reader_url("bi_reader", settings)
    with psycopg.connect(login("mallory"), autocommit=True) as reader:
        reader.execute("set default_transaction_read_only = off")
        reader.execute(warehouse.query(f"alter role {settings.role_prefix}mallory password 'mine'"))
    psycopg.connect(default).close()
    warehouse.connect("bi_reader", settings).close()


@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_a_reader_connects_to_no_other_database(settings: Settings, login: Callable[..., str], database: str) -> None:
    target = psycopg.conninfo.conninfo_to_dict(login("mallory")) | {"dbname": database}
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(psycopg.conninfo.make_conninfo("", **target))


def test_readers_cannot_take_the_connections_of_the_pipeline(settings: Settings, login: Callable[..., str]) -> None:
    targets = [login(f"tool_{number}") for number in range(8)]
    with contextlib.ExitStack() as opened:
        taken = 0
        for target in targets:
            with contextlib.suppress(psycopg.OperationalError):
                for _ in range(20):
                    opened.enter_context(psycopg.connect(target))
                    taken += 1
        assert 40 <= taken <= 60
        with warehouse.writer_lock(settings), warehouse.connect("publisher", settings) as connection:
            assert warehouse.scalar(connection, "select 1") == 1
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(targets[0])


def test_one_login_has_so_many_connections_and_no_more(settings: Settings, login: Callable[..., str]) -> None:
    target = login("tool")
    with contextlib.ExitStack() as opened:
        for _ in range(settings.reader_connections):
            opened.enter_context(psycopg.connect(target))
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            psycopg.connect(target)


@pytest.mark.parametrize("leaves", ["select pg_sleep(60)", "begin; select 1", "select 1"])
def test_what_takes_too_long_is_ended_whatever_the_login_has_set(
    settings: Settings, login: Callable[..., str], leaves: str
) -> None:
    hasty = settings.with_(reader_statement_seconds=0, reader_idle_transaction_seconds=0, reader_idle_seconds=0)
    reader = psycopg.connect(login("mallory"), autocommit=True)
    reader.execute("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0")
    reader.execute("set idle_session_timeout = 0")
    reader.pgconn.send_query(leaves.encode())
    monitor.look_once(settings)
    with warehouse.connect("owner", settings) as connection:
        assert logins.end_what_is_too_long(connection, settings) == 0
        assert logins.end_what_is_too_long(connection, hasty) == 1
    reader.close()
    warehouse.connect("bi_reader", hasty).close()


def test_a_reader_that_fills_the_disk_is_stopped(settings: Settings, login: Callable[..., str]) -> None:
    tight = settings.with_(reader_temp_file_mb=2)
    target = logins.add(tight, "sorter", "bi_reader")
    try:
        with psycopg.connect(target) as reader:
            reader.execute("set work_mem = '64kB'")
            with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
                reader.execute("select n from generate_series(1, 1000000) as n order by md5(n::text)")
    finally:
        logins.revoke(settings, "sorter")


@pytest.mark.parametrize(
    "name", ["owner", "bi_reader", "pipeline_oncall", "Ann", "a b", 'a"b', "", "1a", "default_bi_reader"]
)
def test_a_name_that_would_not_do_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(logins.LoginError):
        logins.add(settings, name, "bi_reader")


def test_the_command_line_adds_lists_rotates_and_revokes(
    settings: Settings, terminal_of: Callable[..., Callable[..., tuple[int, str, str]]]
) -> None:
    type_ = terminal_of(settings, columns=160)
    code, said, _ = type_("access", "add", "carol", "--as", "pii_reader", "--airflow", "operator")
    assert code == 0
    assert "postgresql://c360_carol:" in said
    code, said, _ = type_("access", "list")
    assert "carol" in said
    assert "operator" in said
    assert type_("access", "rotate", "carol")[0] == 0
    assert type_("access", "revoke", "carol")[0] == 0
    assert "carol" not in type_("access", "list")[1]
    code, _, said = type_("access", "revoke", "carol")
    assert code == 1
    assert "no log-in 'carol'" in said


def test_secrets_are_readable_by_their_owner_alone(settings: Settings) -> None:
    for path in (settings.home / "roles.json", settings.home / "postgres.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(settings.home).stat().st_mode) & 0o066 == 0
    assert embedded_server.is_running(settings)
