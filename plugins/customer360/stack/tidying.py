"""What keeps Airflow's database and logs from growing for ever: records and task logs of old runs are removed.

A sweep each minute is half a million runs a year. What happened to a batch, a run or a gate is in ``ops``, which this
leaves alone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from customer360 import warehouse
from customer360.settings import Settings
from customer360.stack import processes

_TABLES = ("dag_run", "task_instance", "task_instance_history", "log", "xcom", "asset_event", "job", "trigger")
"""Tables of Airflow that grow with each run; those that belong to them go with them."""
_BATCH_ROWS = 5_000
"""Rows that go in one transaction, so that the scheduler never waits long for a lock."""


@dataclass(frozen=True)
class Tidied:
    """What was removed, or would be: runs in Airflow's database, files of task logs and their bytes."""

    before: datetime | None
    """Older than this; None: nothing is to be removed (C360_AIRFLOW_HISTORY_DAYS=0)."""
    runs: int = 0
    log_files: int = 0
    log_bytes: int = 0

    def __str__(self) -> str:
        if self.before is None:
            return "nothing: C360_AIRFLOW_HISTORY_DAYS is 0"
        return (
            f"{self.runs:,} runs of Airflow and {self.log_files:,} log files ({self.log_bytes:,} bytes) "
            f"from before {self.before:%Y-%m-%d %H:%M} UTC"
        )


def tidy_airflow(settings: Settings, *, now: datetime | None = None, dry_run: bool = False) -> Tidied:
    """Remove the records and task logs of Airflow's runs that are older than C360_AIRFLOW_HISTORY_DAYS.

    Safe beside running tasks, and to repeat. Records that a living run needs stay.

    Raises:
        processes.StackError: Airflow could not clean its database; what it had cleaned stays so.
    """
    if not settings.airflow_history_days:
        return Tidied(None)
    before = (now or datetime.now(UTC)) - timedelta(days=settings.airflow_history_days)
    runs = _runs_before(settings, before)
    if not dry_run and runs:
        _clean_database(settings, before)
        runs -= _runs_before(settings, before)
    files = list(_logs_before(settings.logs / "tasks", before))
    size = sum(path.stat().st_size for path in files)
    if not dry_run:
        _remove(files, settings.logs / "tasks")
    return Tidied(before, runs, len(files), size)


def _runs_before(settings: Settings, before: datetime) -> int:
    name = warehouse.airflow_database_name(settings)
    with warehouse.connect("owner", settings, autocommit=True, database=name) as connection:
        statement = "select count(*) from dag_run where start_date < %s and state in ('success', 'failed')"
        return int(warehouse.scalar(connection, statement, [before]))


def _clean_database(settings: Settings, before: datetime) -> None:
    """By Airflow's own command: it knows which tables hang together, and keeps the last run of each DAG."""
    cleaned = subprocess.run(
        [
            sys.executable, "-m", "airflow", "db", "clean", "--yes", "--skip-archive", "--error-on-cleanup-failure",
            "--batch-size", str(_BATCH_ROWS), "--tables", ",".join(_TABLES),
            "--clean-before-timestamp", before.isoformat(),
        ],
        env=processes.airflow_variables(settings), check=False, capture_output=True, text=True,
    )  # fmt: skip
    if cleaned.returncode:
        said = (cleaned.stderr or cleaned.stdout).strip().rsplit("\n", 1)[-1]
        raise processes.StackError(
            f"Airflow could not clean its database: {said[:500]}",
            "Read the whole of it: `c360 airflow db clean --help` names the command; the next night tries again.",
        )


def _logs_before(folder: Path, before: datetime) -> Iterator[Path]:
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < before.timestamp():
                yield path


def _remove(files: list[Path], top: Path) -> None:
    """Remove files, and the folders below ``top`` that they leave empty."""
    for path in files:
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == top or not folder.is_relative_to(top):
                break
            with contextlib.suppress(OSError):  # it holds another file
                os.rmdir(folder)
