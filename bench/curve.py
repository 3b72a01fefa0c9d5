"""Increments of 1,000 to 18,000 records on one base: the cost per record must not rise with the size.

    python -m bench curve          or: python -m bench.curve [--customers 20000]

The peer of a size is the size before it. Seconds are those of build, gates and publication; processor seconds of this
process and of PostgreSQL are beside them, since other work on the machine slows the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from bench.at_rest import let_rest
from bench.increment import timed
from bench.increment_data import land_increment, land_nothing_new, make_base
from customer360 import warehouse
from customer360.settings import Settings
from customer360.warehouse import embedded_server

TARGETS = {1_000: 1.5, 3_000: 2.0, 9_000: 3.5, 18_000: 5.5}
_RUNS = 3
_SAME = 1.1
"""Medians of three runs differ by a tenth."""


def main() -> int:
    """Print one JSON object; 1 if a size costs more per record than a smaller one, or than its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="c360-curve-", ignore_cleanup_errors=True) as home:
        settings = Settings(home=Path(home))
        try:
            warehouse.set_up(settings)
            make_base(settings, wanted.customers)
            timed(settings)
            let_rest(settings)
            sizes = measure(settings, wanted.customers)
        finally:
            embedded_server.stop(settings, immediate=True)
    per_record = [found["milliseconds_per_record"] for found in sizes.values()]
    rises = any(later > _SAME * before for before, later in pairwise(per_record))
    missed = [size for size, found in sizes.items() if found["seconds"] > found["target_seconds"]]
    print(json.dumps({**sizes, "rises": rises, "missed": missed, "load": os.getloadavg()[0]}, indent=2))
    return int(rises or bool(missed))


def measure(settings: Settings, customers: int) -> dict[int, dict[str, Any]]:
    """The median run of each size, each increment of other customers as far as there are others."""
    land_nothing_new(settings)
    timed(settings)  # the first run of a process pays for what it imports
    found: dict[int, dict[str, Any]] = {}
    number = 0
    for size, target in TARGETS.items():
        runs = []
        for _ in range(_RUNS):
            number += 1
            land_increment(settings, customers, size, number)
            before = processor_seconds(settings)
            run = timed(settings)
            runs.append({**run, "processor_seconds": round(processor_seconds(settings) - before, 2)})
        middle = sorted(runs, key=lambda run: run["seconds"])[_RUNS // 2]
        found[size] = {
            "seconds": middle["seconds"],
            "target_seconds": target,
            "processor_seconds": middle["processor_seconds"],
            "milliseconds_per_record": round(1000 * middle["seconds"] / size, 2),
            "stages": middle["stages"],
            "slowest_models": middle["slowest_models"],
        }
        print(f"{size:,} records: {middle['seconds']} s", file=sys.stderr, flush=True)
    return found


def processor_seconds(settings: Settings) -> float:
    """Processor time so far of this process and of PostgreSQL, ended backends included."""
    postmaster = psutil.Process(
        int((embedded_server.data_directory(settings) / "postmaster.pid").read_text().split()[0])
    )
    total = sum(os.times()[:2]) + sum(postmaster.cpu_times()[:4])
    for backend in postmaster.children():
        try:
            total += sum(backend.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


if __name__ == "__main__":
    sys.exit(main())
