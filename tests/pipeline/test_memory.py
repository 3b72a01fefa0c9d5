"""The loader's memory is bounded, whatever the size of the file."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from customer360.settings import Settings
from tests.pipeline.front_door import assert_balanced, batches

ROOT = Path(__file__).resolve().parents[2]
ROWS = 5_000_000
GIGABYTE_IN_KB = 1 << 20

_MAKE = """
import sys
from collections.abc import Callable
from pathlib import Path
from bench.front_door_data import parts, write
for suffix, path in write(parts(int(sys.argv[1]), seed=1), Path(sys.argv[2]), "many").items():
    if suffix != sys.argv[3]:
        path.unlink()
"""
_LOAD = """
import pickle, resource, sys
from customer360.front_door import load
summary = load.ingest(pickle.loads(sys.stdin.buffer.read()))
print(summary.row_count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_five_million_rows_are_loaded_in_less_than_a_gigabyte(
    settings: Settings, suffix: str, record_property: Callable[[str, object], None]
) -> None:
    feed = Path(settings.landing_url) / "orders"
    feed.mkdir()
    subprocess.run([sys.executable, "-c", _MAKE, str(ROWS), str(feed), suffix], check=True, cwd=ROOT)
    done = subprocess.run(
        [sys.executable, "-c", _LOAD], input=pickle.dumps(settings), check=True, capture_output=True, cwd=ROOT
    )
    rows, peak = map(int, done.stdout.split()[-2:])
    record_property("peak MB", round(peak / 1024))
    assert rows == ROWS
    assert peak < GIGABYTE_IN_KB, f"{peak / 1024:,.0f} MB"
    assert batches(settings)[0].landed_rows == ROWS
    assert_balanced(settings)
