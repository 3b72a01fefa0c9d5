"""``make bench [ONLY=name]``: run each benchmark in a process of its own, one after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCHMARKS = (
    "front_door",
    "sources",
    "receive",
    "latency",
    "identity",
    "increment",
    "loyalty",
    "churn",
    "churn_scale",
    "curve",
    "cuts",
    "idle",
    "steady",
    "backup",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; returns the number that failed."""
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}. There are: {', '.join(BENCHMARKS)}.")
        return 2
    failed = 0
    for name in names or BENCHMARKS:
        print(f"\n== {name} ==", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=HERE.parent, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
