"""What the whole stack burns while no file arrives, process by process, beside Airflow without a single DAG.

    python -m bench idle          or: python -m bench.idle [--seconds 120]

Seconds of processor time per second, as a share of all cores, of everything that ``c360 up`` started and of PostgreSQL;
the minute's sweep is in it. The peer is the same Airflow, same settings, same machine, with an empty folder of DAGs and
without the monitor. Target: at most two points more than the peer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil

from customer360 import warehouse
from customer360.settings import Settings
from customer360.stack import processes
from customer360.warehouse import embedded_server

MORE_POINTS = 2.0
_SETTLES_SECONDS = 75


def main() -> int:
    """Print one JSON object; 1 if the stack burns more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=120)
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a benchmark that is cut off stops its stack too
    whole = measure(wanted.seconds, bare=False)
    peer = measure(wanted.seconds, bare=True)
    more = round(whole["all"] - peer["all"], 2)
    print(
        json.dumps({"stack": whole, "airflow without a DAG": peer, "points_more": more, "may": MORE_POINTS}, indent=2)
    )
    return int(more > MORE_POINTS)


def measure(seconds: int, *, bare: bool) -> dict[str, float]:
    """Percent of all cores that each process burns, its children with it."""
    home = Path(tempfile.mkdtemp(prefix="c360-idle-"))
    settings = Settings(home=home)
    empty = home / "no_dags"
    if bare:
        empty.mkdir()
        settings = settings.with_(dags=str(empty))
    try:
        warehouse.set_up(settings)
        processes.up(settings)
        time.sleep(_SETTLES_SECONDS)
        before = burnt(settings)
        time.sleep(seconds)
        after = burnt(settings)
    finally:
        processes.down(settings)
        embedded_server.stop(settings)
        shutil.rmtree(home, ignore_errors=True)
    each = {
        name: round(100 * (after[name] - before.get(name, 0)) / seconds / (os.cpu_count() or 1), 2)
        for name in sorted(after)
        if not (bare and name == "monitor")
    }
    return {**each, "all": round(sum(each.values()), 2)}


def burnt(settings: Settings) -> dict[str, float]:
    """Processor seconds so far by the part of the stack, ended children included."""
    postmaster = int((embedded_server.data_directory(settings) / "postmaster.pid").read_text().split()[0])
    roots = {**processes.running(settings), "postgres": postmaster, "monitor": processes.monitor_pid(settings)}
    return {name: _with_children(psutil.Process(pid)) for name, pid in roots.items() if pid}


def _with_children(process: psutil.Process) -> float:
    total = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        try:
            total += sum(child.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


if __name__ == "__main__":
    sys.exit(main())
