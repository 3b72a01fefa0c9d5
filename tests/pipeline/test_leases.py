"""The writer's lease: what a reader can do to it, and what becomes of a holder that dies, sleeps or is ended."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from customer360 import warehouse
from customer360.errors import WarehouseUnavailableError
from customer360.settings import Settings

HOLD = """
import sys, time
from pathlib import Path
from customer360 import warehouse
from customer360.settings import Settings
settings = Settings(home=Path(sys.argv[1]), database=sys.argv[2], writer_lease_seconds=float(sys.argv[3]))
with warehouse.writer_lock(settings, who="build of another process"):
    with warehouse.connect("transformer", settings) as connection:
        connection.execute("select 1")
        print("held", flush=True)
        time.sleep(600)
"""


def holding(settings: Settings, seconds: float = 30) -> subprocess.Popen[str]:
    """A process that holds the lease, with a transaction of a model open."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(settings.home), settings.database, str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def sessions(settings: Settings) -> int:
    """How many sessions work under a lease."""
    with warehouse.admin(settings) as connection:
        return int(
            warehouse.scalar(
                connection,
                "select count(*) from pg_stat_activity where datname = current_database() "
                r"and application_name like '%%[writer %%]'",
                [],
            )
        )


@pytest.mark.parametrize("role", ["bi_reader", "pii_reader", "oncall"])
def test_a_reader_cannot_keep_the_writers_out(settings: Settings, role: warehouse.Role) -> None:
    """The attack: every lock that a login with the right to read can take, in a session and in a transaction."""
    with warehouse.connect(role, settings, autocommit=True) as session, warehouse.connect(role, settings) as reader:
        for key in (360_001, 360_002, 360_003, 360_004):
            session.execute("select pg_advisory_lock(%s)", [key])
        reader.execute("set transaction read write")
        reader.execute("lock table ops.leases, ops.runs, ops.batches, ops.incidents in access share mode")
        reader.execute("select * from ops.leases")
        with warehouse.writer_lock(settings, wait_seconds=0.5), warehouse.connect("publisher", settings) as publisher:
            token = warehouse.scalar(publisher, "select token from ops.leases where name = 'writer'")
            assert warehouse.hold_token(publisher, token)


@pytest.mark.parametrize("role", ["bi_reader", "pii_reader", "oncall", "loader", "transformer"])
@pytest.mark.parametrize(
    "forbidden",
    [
        "select * from ops.leases for key share",
        "update ops.leases set released_at = now()",
        "insert into ops.leases (name) values ('mine')",
        "delete from ops.leases",
        "lock table ops.leases in share mode",
    ],
)
def test_only_the_pipelines_writers_touch_a_lease(settings: Settings, role: warehouse.Role, forbidden: str) -> None:
    with warehouse.connect(role, settings) as connection:
        connection.execute("set transaction read write")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(warehouse.query(forbidden))


def test_the_second_writer_is_told_who_holds_the_lease(settings: Settings) -> None:
    with (
        warehouse.writer_lock(settings, who="build 7"),
        pytest.raises(warehouse.WriterBusyError, match="build 7"),
        warehouse.writer_lock(settings, wait_seconds=0.2),
    ):
        pass
    with warehouse.writer_lock(settings, wait_seconds=0.2):
        pass


def test_a_holder_that_was_killed_on_this_machine_is_noticed_at_once(settings: Settings) -> None:
    process = holding(settings, seconds=600)
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        assert "build of another process" in warehouse.holder(connection)
        process.kill()
        process.wait()
        assert warehouse.holder(connection) == ""
    with warehouse.writer_lock(settings, wait_seconds=5):
        assert sessions(settings) == 0


def test_a_holder_elsewhere_keeps_its_lease_by_its_heartbeat_and_loses_it_without(settings: Settings) -> None:
    process = holding(settings, seconds=2)
    try:
        with warehouse.connect("owner", settings, autocommit=True) as connection:
            began = warehouse.scalar(connection, "select heartbeat_at from ops.leases where name = 'writer'")
            time.sleep(2.5)
            beaten = warehouse.scalar(connection, "select heartbeat_at from ops.leases where name = 'writer'")
            assert (beaten - began).total_seconds() > 1.5
            assert warehouse.holder(connection) != ""
            process.send_signal(19)  # SIGSTOP: a machine that sleeps, with a transaction open
            connection.execute("update ops.leases set process = 'elsewhere:1:1' where name = 'writer'")
            assert warehouse.holder(connection) != ""
            assert sessions(settings) == 1
        with warehouse.writer_lock(settings, wait_seconds=10):
            assert sessions(settings) == 0, "what the sleeper left open has been ended"
            process.send_signal(18)  # SIGCONT: it wakes up, and finds that it is no longer the writer
            assert process.wait(timeout=20) != 0
    finally:
        process.kill()
        process.wait()


def test_a_holder_that_is_ended_by_hand_stops(settings: Settings) -> None:
    process = holding(settings, seconds=3)
    try:
        assert "build of another process" in warehouse.end_holder(settings)
        assert process.wait(timeout=20) != 0
        assert warehouse.end_holder(settings) == ""
    finally:
        process.kill()
        process.wait()


def test_a_process_that_lost_its_lease_says_so(settings: Settings) -> None:
    def work() -> None:
        with warehouse.writer_lock(settings), warehouse.connect("transformer", settings) as connection:
            warehouse.end_holder(settings)
            connection.execute("select 1")

    with pytest.raises(warehouse.RunFencedError):
        work()


def test_holding_the_lease_holds_back_no_vacuum(settings: Settings) -> None:
    with warehouse.writer_lock(settings.with_(writer_lease_seconds=1.0)), warehouse.admin(settings) as connection:
        time.sleep(0.5)
        held = connection.execute(
            "select application_name from pg_stat_activity where datname = current_database() "
            "and pid <> pg_backend_pid() and (backend_xmin is not null or backend_xid is not null)"
        ).fetchall()
    assert held == []


def test_the_lease_is_held_through_a_server_that_restarts_in_between(settings: Settings, tmp_path: Path) -> None:
    """The sessions of holder and heartbeat are cut: the token still stands in its row."""
    with warehouse.writer_lock(settings.with_(writer_lease_seconds=3.0)) as lease:
        with warehouse.admin(settings) as connection:
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s "
                "and pid <> pg_backend_pid()",
                [settings.database],
            )
        time.sleep(4)
        with warehouse.connect("publisher", settings) as publisher:
            assert warehouse.hold_token(publisher, lease.token)
    with warehouse.writer_lock(settings, wait_seconds=0.2):
        pass


@pytest.fixture
def pooled(settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """The same warehouse through PgBouncer in transaction mode, with two connections for everybody."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("no PgBouncer here: apt-get install pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="c360-pool-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    direct = urlsplit(warehouse.url("owner", settings))
    kept = json.loads((settings.home / "roles.json").read_text())["passwords"]
    (folder / "users.txt").write_text("".join(f'"{name}" "{password}"\n' for name, password in kept.items()))
    (folder / "pgbouncer.ini").write_text(
        f"""
        [databases]
        {settings.database} = host=127.0.0.1 port={direct.port} pool_size=2
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = scram-sha-256
        auth_file = {folder / "users.txt"}
        pool_mode = transaction
        logfile = {folder / "log"}
        """.replace("        ", "")
    )
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    for path in (folder, *folder.iterdir()):
        if user:
            shutil.chown(path, user, user)
    process = subprocess.Popen(
        [program, "-q", str(folder / "pgbouncer.ini")], user=user, group=user, extra_groups=[] if user else None
    )
    try:
        pooled = settings.with_(warehouse_url=f"postgresql://127.0.0.1:{port}/{settings.database}")
        deadline = time.monotonic() + 20
        while True:
            try:
                warehouse.connect("owner", pooled).close()
                break
            except WarehouseUnavailableError:
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.1)
        yield pooled
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


def test_the_lease_holds_through_a_pooler_in_transaction_mode(settings: Settings, pooled: Settings) -> None:
    """Every statement may run in another session, which knows no lock and no prepared statement of the last."""
    hasty = pooled.with_(writer_lease_seconds=1.0)
    with warehouse.writer_lock(hasty, who="build through a pooler") as lease:
        for _ in range(20):
            lease.check()
        time.sleep(2)
        with pytest.raises(warehouse.WriterBusyError, match="build through a pooler"):
            take(pooled)
        with pytest.raises(warehouse.WriterBusyError, match="build through a pooler"):
            take(settings)
        with warehouse.connect("publisher", pooled) as publisher:
            assert warehouse.hold_token(publisher, lease.token)
        lease.check()
    take(settings)
    take(pooled)


def take(settings: Settings) -> None:
    with warehouse.writer_lock(settings, wait_seconds=0.3):
        pass


def test_no_code_takes_a_lock_that_any_reader_could_take() -> None:
    package = Path(warehouse.__file__).parents[1]
    modules = list(package.rglob("*.py"))
    assert len(modules) > 100
    assert [path.name for path in modules if "advisory_lock" in path.read_text()] == []
    assert [path.name for path in modules if "advisory_xact" in path.read_text()] == []
