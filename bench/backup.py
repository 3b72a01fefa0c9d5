"""How long a backup holds up builds, how large it is, and how long a restore takes with all its checks.

    python -m bench backup             or: python -m bench.backup [--customers 200000]

Two bases as in bench.increment, one ten times the other, built and published. Target: the restore's seconds per row at
the larger base are at most 1.5 times those at the smaller one.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from bench.increment import Stopwatch
from bench.increment_data import make_base
from customer360 import restore, warehouse
from customer360.backup import sealing, take
from customer360.progress import Silent
from customer360.publication.build import build
from customer360.settings import Settings
from customer360.warehouse import embedded_server

LARGEST_RATIO = 1.5


def main() -> int:
    """Print one JSON object; 1 if the target was missed or a check of the restored warehouse does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=200_000)
    wanted = parser.parse_args()
    figures: dict[str, Any] = {}
    for customers in (wanted.customers // 10, wanted.customers):
        figures[f"{customers:,} customers"] = measure(customers)
    small, large = ({**one, "per_row": one["restore_seconds"] / one["rows"]} for one in figures.values())
    ratio = round(large["per_row"] / small["per_row"], 2)
    broken = small["broken"] + large["broken"]
    figures |= {"ratio": ratio, "ratio_target": LARGEST_RATIO, "load_of_the_machine": os.getloadavg()[0]}
    print(json.dumps(figures, indent=2, default=str))
    return int(ratio >= LARGEST_RATIO or bool(broken))


def measure(customers: int) -> dict[str, Any]:
    """The figures of one base."""
    with tempfile.TemporaryDirectory(prefix="c360-backup-", ignore_cleanup_errors=True) as folder:
        key = Path(folder) / "keys" / "backup.key"
        sealing.new_key(key)
        settings = Settings(home=Path(folder) / "home", backup_url=f"{folder}/backups", backup_key_file=str(key))
        fresh = settings.with_(home=Path(folder) / "fresh")
        try:
            warehouse.set_up(settings)
            make_base(settings, customers)
            build(settings, "bench", Silent())
            made = take.take(settings, trigger="bench")
            embedded_server.stop(settings)
            watch = Stopwatch()
            restored = restore.restore(fresh, progress=watch)
            watch.stage("")
        finally:
            embedded_server.stop(settings, immediate=True)
            embedded_server.stop(fresh, immediate=True)
    return {
        "rows": made.rows,
        "backup_seconds": made.seconds,
        "builds_waited_seconds": made.waited_seconds,
        "megabytes": round(made.bytes / 1e6, 1),
        "restore_seconds": restored.seconds,
        "stages": watch.seconds,
        "broken": restored.broken,
    }


if __name__ == "__main__":
    raise SystemExit(main())
