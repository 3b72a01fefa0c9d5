"""Runs in processes of their own, so that a test can kill them.

The processes fork from a server that has imported everything and holds no connection: a drill starts in a fraction of
a second, and dies alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.process import BaseProcess

from customer360.progress import Silent
from customer360.settings import Settings

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [
        "customer360.publication.build",
        "customer360.publication.daily",
        "customer360.models.runner",
        "dbt.cli.main",
        "great_expectations.expectations",
    ]
)

KILLED = -signal.SIGKILL


class DieAtStep(Silent):
    """Ends the process with kill -9 when a named step is done: a model, a table."""

    def __init__(self, step: str) -> None:
        self._step = step

    def step(self, what: str = "", count: int = 1) -> None:
        if what == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def start_build(settings: Settings, *, kill_at: str = "", die_at_step: str = "", daily: bool = False) -> BaseProcess:
    """A build (or a daily pass) in a process of its own, which may be told where to die."""
    process = _processes.Process(target=_build, args=(settings, kill_at, die_at_step, daily), daemon=True)
    process.start()
    return process


def run_build(settings: Settings, *, kill_at: str = "", die_at_step: str = "", daily: bool = False) -> int | None:
    """The same, waited for; returns the exit code (:data:`KILLED` after kill -9)."""
    process = start_build(settings, kill_at=kill_at, die_at_step=die_at_step, daily=daily)
    process.join(300)
    return process.exitcode


def _build(settings: Settings, kill_at: str, die_at_step: str, daily: bool) -> None:
    from customer360.publication.build import build
    from customer360.publication.daily import refresh_daily

    os.environ["C360_KILL_AT"] = kill_at
    progress = DieAtStep(die_at_step) if die_at_step else Silent()
    if daily:
        refresh_daily(settings, trigger="drill", progress=progress)
    else:
        build(settings, "drill", progress)
