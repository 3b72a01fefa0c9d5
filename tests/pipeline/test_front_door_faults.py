"""The fault matrix at the front door: cases 1-3, 5, 6, 8-13. After each fault raw equals the ledger, the next run
reaches what a fault-free run reaches, and one more run changes nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from customer360 import kill_points, warehouse
from customer360.errors import WarehouseUnavailableError
from customer360.front_door import landing, ledger, load, quarantine
from customer360.front_door.landing import LandingError
from customer360.front_door.quarantine import Selection
from customer360.gates import suites
from customer360.settings import Settings
from customer360.warehouse import embedded_server
from tests.pipeline.front_door import assert_balanced, batches, drop, ingest_one, jsonl, order, raw_rows, reasons

_fork = multiprocessing.get_context("fork")


def in_process(work: Callable[[], object], **environment: str) -> multiprocessing.process.BaseProcess:
    """Start work in a process of its own, which inherits all imports and can be killed."""

    def run() -> None:
        os.environ.update(environment)
        work()

    process = _fork.Process(target=run)
    process.start()
    return process


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.02)


CONTENT = jsonl([*(order(n) for n in range(1, 200)), order(5), order(200, status="lost")])


def assert_loaded_once(settings: Settings) -> None:
    """The next run reaches the end, and one more changes nothing."""
    assert_balanced(settings)
    load.ingest(settings)
    for _ in range(2):
        assert_balanced(settings)
        (batch,) = batches(settings)
        assert (batch.state, batch.landed_rows, batch.loaded_rows) == ("loaded", 201, 199)
        assert (batch.quarantined_rows, batch.duplicate_rows) == (1, 1)
        assert len(raw_rows(settings, "orders", "order_id")) == 199
        assert list(reasons(settings)) == [201]
        assert load.ingest(settings).batches == []


# --- landing ---------------------------------------------------------------------------------------------------------


def test_a_half_written_file_is_ignored_until_it_is_renamed_into_place(settings: Settings) -> None:
    """Fault 1."""
    landing.prepare(settings)
    folder = Path(settings.landing_url) / "orders"
    for name in (".a.jsonl", "a.jsonl.part"):
        (folder / name).write_bytes(jsonl([order(1)])[:40])
    assert load.ingest(settings).batches == []
    (folder / "a.jsonl.part").write_bytes(jsonl([order(1)]))
    (folder / "a.jsonl.part").rename(folder / "a.jsonl")
    assert load.ingest(settings).row_count == 1


def test_landing_never_overwrites(settings: Settings, tmp_path: Path) -> None:
    """Faults 2 and 3."""
    source = tmp_path / "a.jsonl"
    source.write_bytes(jsonl([order(1)]))
    first = landing.put(settings, "orders", source)
    assert landing.put(settings, "orders", source).location == first.location
    source.write_bytes(jsonl([order(2)]))
    second = landing.put(settings, "orders", source)
    assert (first.name, second.name) == ("a.jsonl", "a~2.jsonl")
    assert load.ingest(settings).row_count == 2
    assert not [path for path in (Path(settings.landing_url) / "orders").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "name", ["../evil.jsonl", "a/b.jsonl", "line\nbreak.jsonl", "x" * 250 + ".jsonl", ".hidden.jsonl", "a.jsonl.part",
             "a.exe", "", "..", "bell\x07.csv", "x" * 4096 + ".csv"]
)  # fmt: skip
def test_a_hostile_name_is_not_landed(settings: Settings, tmp_path: Path, name: str) -> None:
    """Fault 5, at ``c360 land``."""
    source = tmp_path / "source.jsonl"
    source.write_bytes(jsonl([order(1)]))
    if not name:
        source = source.rename(tmp_path / "no suffix")
    with pytest.raises(LandingError):
        landing.put(settings, "orders", source, name=name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"landing", source.name})


def test_what_is_no_regular_file_is_refused_unopened(settings: Settings, tmp_path: Path) -> None:
    """Fault 5, in the landing zone itself."""
    landing.prepare(settings)
    folder = Path(settings.landing_url) / "orders"
    secret = tmp_path / "secret.jsonl"
    secret.write_bytes(jsonl([order(1)]))
    (folder / "link.jsonl").symlink_to(secret)
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "folder.jsonl").mkdir()
    (folder / "bad\nname.jsonl").write_bytes(b"x")
    (folder / ("n" * 240 + ".jsonl")).write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(folder)  # a socket's path may have 107 bytes only
        listener.bind("socket.jsonl")
        os.chdir(here)
        if os.geteuid() == 0:
            os.mknod(folder / "device.jsonl", 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero, without end
        summary = load.ingest(settings)
    errors = {outcome.file_name: outcome.error for outcome in summary.refused}
    assert len(errors) == len(summary.batches) == (7 if os.geteuid() == 0 else 6)
    assert errors["link.jsonl"] == "it is a symbolic link; only regular files are read"
    assert errors["pipe.jsonl"] == "it is a pipe; only regular files are read"
    assert errors["bad\N{REPLACEMENT CHARACTER}name.jsonl"] == "its name holds control characters"
    assert secret.exists()
    assert raw_rows(settings, "orders", "order_id") == []
    assert load.ingest(settings).batches == []


def test_a_file_that_is_removed_before_it_is_read_leaves_a_trace_and_is_taken_when_it_comes_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing.prepare(settings)
    path = Path(settings.landing_url) / "orders" / "a.jsonl"
    path.write_bytes(jsonl([order(1)]))
    (listed,) = landing.files(settings, "orders")
    path.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(landing, "files", lambda *_: [listed])
        (outcome,) = load.ingest(settings).batches
    assert outcome.state == "refused"
    assert outcome.error.startswith("it was removed or renamed before")
    assert load.ingest(settings).batches == []
    path.write_bytes(jsonl([order(1)]))
    os.utime(path, ns=(listed.modified_ns, listed.modified_ns))
    (outcome,) = load.ingest(settings).batches
    assert outcome.state == "loaded"


def test_a_feeds_folder_that_is_a_link_is_not_followed(settings: Settings, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.jsonl").write_bytes(jsonl([order(1)]))
    (Path(settings.landing_url) / "orders").symlink_to(outside)
    assert landing.files(settings, "orders") == []


# --- kill -9 ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def warm() -> None:
    """What a child process needs is imported before it is forked."""
    suites.landing_suite("orders")
    load.raw_suite("orders")


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("point", [name for name in kill_points.POINTS if name.startswith(("land.", "load."))])
def test_a_loader_killed_at_any_point_leaves_all_or_nothing(settings: Settings, point: str) -> None:
    """Fault 8."""
    drop(settings, "orders", "a.jsonl", CONTENT)
    process = in_process(lambda: load.ingest(settings), C360_KILL_AT=point)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, "the point was never reached"
    assert len(raw_rows(settings, "orders", "order_id")) in {0, 199}
    assert_loaded_once(settings)


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("point", [name for name in kill_points.POINTS if name.startswith("release.")])
def test_a_release_killed_at_any_point_leaves_all_or_nothing(settings: Settings, point: str) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1, updated_at="2026-02-01T00:00:00Z")]))

    def release() -> quarantine.ReleaseOutcome:
        return quarantine.release(settings, who="Dana", why="drill", selection=Selection(batch_id=1))

    process = in_process(release, C360_KILL_AT=point)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert_balanced(settings)
    assert raw_rows(settings, "orders", "order_id") == []
    assert release().released == 1
    assert release().released == 0
    assert_balanced(settings)


def test_every_kill_point_is_named_in_the_code() -> None:
    package = Path(kill_points.__file__).parent
    code = "\n".join(path.read_text() for path in package.rglob("*.py") if path.name != "kill_points.py")
    assert len(kill_points.POINTS) >= 9
    assert [point for point in kill_points.POINTS if f'reach("{point}")' not in code] == []


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.fixture
def pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Hold whoever reaches a point until the file is removed."""
    path = tmp_path / "paused"

    def at(point: str) -> Path:
        monkeypatch.setenv("C360_PAUSE_AT", point)
        monkeypatch.setenv("C360_PAUSE_FILE", str(path))
        return path

    yield at
    path.unlink(missing_ok=True)


def test_a_backend_killed_inside_copy_leaves_nothing_and_the_load_succeeds(
    settings: Settings, pause: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 9."""
    drop(settings, "orders", "a.jsonl", CONTENT)
    paused = pause("load.copying")
    summaries: list[load.IngestSummary] = []
    thread = threading.Thread(target=lambda: summaries.append(load.ingest(settings)))
    thread.start()
    wait_for(paused.exists)
    monkeypatch.delenv("C360_PAUSE_AT")
    with warehouse.admin(settings) as connection:
        killed = connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'customer360 load %'"
        ).fetchall()
    paused.unlink()
    thread.join(60)
    assert len(killed) == 1
    assert [outcome.state for outcome in summaries[0].batches] == ["loaded"]
    assert_loaded_once(settings)


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A server of this test alone, as durable as in production."""
    monkeypatch.setenv("C360_POSTGRES_OPTIONS", "-c shared_buffers=32MB")
    settings = Settings(home=tmp_path / "home", landing=str(tmp_path / "landing"))
    warehouse.set_up(settings)
    yield settings
    embedded_server.stop(settings, immediate=True)


def test_a_server_stopped_between_commit_and_answer_has_the_batch_once(
    own_server: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 10."""
    drop(own_server, "orders", "a.jsonl", CONTENT)
    commit = psycopg.Connection.commit
    stopped: list[bool] = []

    def commit_without_answer(connection: psycopg.Connection[object]) -> None:
        commit(connection)
        is_load = connection.info.get_parameters()["application_name"].startswith("customer360 load")
        if is_load and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE and not stopped:
            with warehouse.connect("oncall", own_server) as other:
                if warehouse.scalar(other, "select count(*) from ops.batches where state = 'loaded'") == 0:
                    return  # an earlier commit of the same load, such as that of its claim
            stopped.append(embedded_server.stop(own_server, immediate=True))
            raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(psycopg.Connection, "commit", commit_without_answer)
    summary = load.ingest(own_server)
    assert stopped == [True]
    assert [outcome.state for outcome in summary.batches] == ["loaded"]
    assert_loaded_once(own_server)


def test_a_server_killed_during_a_load_is_started_again_and_the_batch_is_there_once(
    own_server: Settings, pause: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(own_server, "orders", "a.jsonl", CONTENT)
    paused = pause("load.copied")
    failures: list[Exception] = []

    def ingest() -> None:
        try:
            load.ingest(own_server)
        except WarehouseUnavailableError as error:
            failures.append(error)

    thread = threading.Thread(target=ingest)
    thread.start()
    wait_for(paused.exists)
    monkeypatch.delenv("C360_PAUSE_AT")
    embedded_server.kill(own_server)
    paused.unlink()
    thread.join(60)
    assert_loaded_once(own_server)


def test_a_server_whose_backends_outlive_it_is_started_again(own_server: Settings) -> None:
    """A backend that computes does not notice that its server was killed; PostgreSQL starts no other beside it."""
    busy = psycopg.connect(warehouse.url("owner", own_server), autocommit=True)
    busy.execute("set max_parallel_workers_per_gather = 0")
    busy.pgconn.send_query(b"select count(*) from generate_series(1, 100000) a, generate_series(1, 1000000) b")
    backend = psutil.Process(busy.info.backend_pid)
    leader = backend.parent()
    assert leader is not None
    leader.kill()
    leader.wait(10)
    assert backend.status() == psutil.STATUS_RUNNING, "the orphan works on"
    embedded_server.ensure_running(own_server)
    backend.wait(20)
    with warehouse.connect("owner", own_server) as connection:
        assert warehouse.scalar(connection, "select 1") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system can only be mounted by root")
def test_a_full_disk_fails_the_batch_by_name_and_the_next_run_resumes(own_server: Settings, tmp_path: Path) -> None:
    """Fault 11."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "tmpfs", str(small)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        (small / "space").mkdir()
        subprocess.run(["chown", "-R", "pgserver", str(small / "space")], check=True)
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(folder.stat().st_mode | 0o011)
        with warehouse.admin(own_server) as connection:
            connection.execute(warehouse.query(f"create tablespace small location '{small / 'space'}'"))
            connection.execute("alter table raw.orders set tablespace small")
        (small / "ballast").write_bytes(b"x" * (1 << 20))
        drop(own_server, "orders", "a.jsonl", jsonl([order(n, region="x" * 500) for n in range(4000)]))
        (outcome,) = load.ingest(own_server).batches
        assert outcome.state == "failed"
        assert "disk is full" in outcome.error
        assert_balanced(own_server)
        assert raw_rows(own_server, "orders", "order_id") == []
        with warehouse.admin(own_server) as connection:
            connection.execute("alter table raw.orders set tablespace pg_default")
        (outcome,) = load.ingest(own_server).batches
        assert (outcome.state, outcome.rows) == ("loaded", 4000)
        assert_balanced(own_server)
    finally:
        embedded_server.stop(own_server, immediate=True)
        subprocess.run(["umount", "-l", str(small)], check=True)


# --- fencing ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("warm")
def test_a_paused_loader_that_wakes_up_cannot_commit(settings: Settings, pause: Callable[[str], Path]) -> None:
    """Fault 13."""
    hasty = settings.with_(load_lease_seconds=0.2)
    drop(hasty, "orders", "a.jsonl", CONTENT)
    paused = pause("load.copied")
    process = in_process(lambda: load.ingest(hasty))
    wait_for(paused.exists)
    os.environ.pop("C360_PAUSE_AT")
    wait_for(lambda: load.ingest(hasty).loaded)
    assert_balanced(settings)
    paused.unlink()
    process.join(60)
    assert process.exitcode == 0
    assert batches(settings)[0].attempts == 2
    assert_loaded_once(settings)


def test_a_loader_whose_token_is_void_is_fenced_at_the_commit(settings: Settings) -> None:
    """The second line of defence, should the server fail to end the paused loader's session."""
    drop(settings, "orders", "a.jsonl", CONTENT)
    with warehouse.connect("loader", settings, autocommit=True) as control:
        for file in landing.files(settings):
            ledger.register(control, settings, file)
        with warehouse.connect("loader", settings) as slow:
            token = ledger.claim(slow, 1, lease_seconds=300)
            assert token == 1
            assert ledger.claim(control, 1, lease_seconds=300) is None
            control.execute("update ops.batches set attempts = attempts + 1")
            with pytest.raises(ledger.FencedError):
                ledger.beat(control, 1, token)
            with pytest.raises(ledger.FencedError):
                ledger.finish(
                    slow, 1, token, ledger.Counts(), reading={}, unknown_fields={}, unusable_fields={}, gated_at=None
                )
            slow.rollback()
        ledger.let_go(control, 1, token + 1)  # its loader has ended
    assert_loaded_once(settings)
