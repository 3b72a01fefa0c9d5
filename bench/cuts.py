"""The same year of records published in one run, after a first file alone, and in ten runs.

    python -m bench cuts          or: python -m bench.cuts [--customers 5000]

The peer of a cut is the one run of the same records on the same machine: a cut may cost 1.5 times as much and one
second more for each further run. Loads are not counted; builds, gates and publications are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.increment import timed
from customer360 import warehouse
from customer360.front_door import landing
from customer360.front_door.load import ingest
from customer360.sample import SampleFile, generate
from customer360.settings import Settings
from customer360.warehouse import embedded_server

RUNS = 10
TIMES = 1.5
SECONDS_PER_RUN = 1.0


def main() -> int:
    """Print one JSON object; 1 if a cut costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=5_000)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="c360-cuts-", ignore_cleanup_errors=True) as folder:
        shop = generate(
            wanted.customers, 365, None, 360, Path(folder) / "sample",
            fresh_batches=1, fresh_days=1, history_files=RUNS, history_versions="latest",
        )  # fmt: skip
        files = [(file, shop.path(file)) for file in shop.history()]
        cuts = {name: cut(files) for name, cut in CUTS.items()}
        measure(Path(folder) / "first", [files[-1:]])  # the first run of a process pays for what it imports
        figures: dict[str, Any] = {}
        for name, parts in cuts.items():
            figures[name] = measure(Path(folder) / name.replace(" ", "_"), parts)
            print(f"{name}: {figures[name]['seconds']} s", file=sys.stderr, flush=True)
    once = figures["one run"]["seconds"]
    for name, found in figures.items():
        found["allowed_seconds"] = round(TIMES * once + SECONDS_PER_RUN * (len(cuts[name]) - 1), 1)
        found["times_one_run"] = round(found["seconds"] / once, 2)
    missed = [name for name, found in figures.items() if found["seconds"] > found["allowed_seconds"]]
    print(json.dumps({**figures, "missed": missed, "load_of_the_machine": os.getloadavg()[0]}, indent=2))
    return int(bool(missed))


Part = list[tuple[SampleFile, Path]]


def _in_order(files: Part) -> list[Part]:
    """The files of each feed by time, the n-th of each feed together."""
    by_feed: dict[str, Part] = {}
    for file in files:
        by_feed.setdefault(file[0].feed, []).append(file)
    return [[part[n] for part in by_feed.values() if n < len(part)] for n in range(max(map(len, by_feed.values())))]


CUTS = {
    "one run": lambda files: [files],
    "one file first": lambda files: [files[:1], files[1:]],
    "ten runs": _in_order,
}


def measure(home: Path, parts: list[Part]) -> dict[str, Any]:
    """Publish the parts one after the other in a warehouse of its own; the seconds of each run."""
    home.mkdir()
    settings = Settings(home=home, landing=str(home / "landing"))
    try:
        warehouse.set_up(settings)
        runs = []
        for part in parts:
            for file, path in part:
                landing.put(settings, file.feed, path, history=True)
            ingest(settings)
            runs.append(timed(settings))
    finally:
        embedded_server.stop(settings, immediate=True)
    return {"seconds": round(sum(run["seconds"] for run in runs), 1), "runs": runs}


if __name__ == "__main__":
    sys.exit(main())
