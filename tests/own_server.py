"""A PostgreSQL server of one's own for tests: Debian's, started on a free port and stopped with the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

_USER = "postgres"


@dataclass(frozen=True)
class OwnServer:
    """Where it listens, and its superuser's URL. ``folder`` holds its data and its certificate."""

    port: int
    folder: Path

    def url(self, user: str = _USER, password: str = "secret", database: str = "postgres") -> str:  # noqa: S107
        """A connection URL; the password is not quoted."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres") -> None:
        """Run a statement as the superuser."""
        with psycopg.connect(self.url(database=database), autocommit=True) as connection:
            connection.execute(statement)


def binaries(version: int = 15) -> Path:
    """Debian's programs of a PostgreSQL version; the test is skipped by name where they are not installed."""
    folder = Path(f"/usr/lib/postgresql/{version}/bin")
    if not (folder / "initdb").exists():
        pytest.skip(f"no PostgreSQL {version} here: apt-get install postgresql")
    return folder


@contextlib.contextmanager
def own_server(version: int = 15, *options: str) -> Iterator[OwnServer]:
    """A running server of that version, which nothing outlives."""
    programs = binaries(version)
    folder = Path(tempfile.mkdtemp(prefix="c360-own-"))
    user = _USER if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user, user)

    def run(*command: str) -> None:
        done = subprocess.run(
            [programs / command[0], *command[1:]],
            user=user, group=user, extra_groups=[] if user else None, cwd="/", capture_output=True, text=True,
            check=False, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        (folder / "password").write_text("secret")
        if user:
            shutil.chown(folder / "password", user, user)
        data = str(folder / "data")
        run(
            "initdb", "-D", data, "-U", _USER, "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256",
            f"--pwfile={folder / 'password'}",
        )  # fmt: skip
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        extra = " ".join(("-c fsync=off", "-c synchronous_commit=off", "-c jit=off", *options))
        run(
            "pg_ctl", "-D", data, "-w", "-l", str(folder / "log"),
            "-o", f"-h 127.0.0.1 -p {port} -c unix_socket_directories='' {extra}", "start",
        )  # fmt: skip
        try:
            yield OwnServer(port, folder)
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
