"""How fast a million orders pass the front door, beside Postgres' own COPY and beside dlt.

``python -m bench.front_door [ROWS]``. Each file goes through the whole of
:func:`customer360.front_door.load.ingest`: hash, read, every expectation, COPY, raw gate, ledger.
The limit is a server-side COPY of the same rows into the same table,
indexes and all; the peer is dlt loading the same file into the same server. Limit and load are run in turn, so that
a busy machine slows both; the ratio is what counts.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from customer360 import warehouse
from customer360.contract.feeds import FEEDS
from customer360.front_door import landing, load, readers
from customer360.front_door.rows_to_copy import Repeats, csv_of
from customer360.gates import suites
from customer360.settings import Settings
from customer360.warehouse import embedded_server

TARGETS = {"parquet": 0.5, "csv": 0.35, "jsonl": 0.35}
SMALL_ROWS = 100
SMALL_SECONDS = 0.5
PEER_ROWS = 100_000  # dlt is measured on a tenth: its speed per row does not depend on the size


def main(rows: int = 1_000_000) -> int:
    """Print the figures; the number of targets missed."""
    missed = 0
    with tempfile.TemporaryDirectory(prefix="c360-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        settings = Settings(home=home / "home", landing=str(home / "landing"))
        warehouse.set_up(settings)
        suites.landing_suite("orders")
        try:
            missed += _small(settings, home)
            files = _make(rows, 1, home, "million")
            peers = _make(PEER_ROWS, 2, home, "peer")
            print(f"{rows:,} orders, 12 fields and items, on {os.cpu_count()} cores (load {os.getloadavg()[0]:.1f})")
            print("  format    MB    rows/s      s  COPY s  of COPY  dlt rows/s  x dlt")
            for format_, path in files.items():
                seconds = _ours(settings, path)
                limit = _copy(settings, home)
                _empty(settings)
                peer = _dlt(settings, peers[format_], home)
                ratio, times = limit / seconds, (rows / seconds) / peer
                missed += (ratio < TARGETS[format_]) + (times < 5)
                size = path.stat().st_size / 1e6
                print(
                    f"{format_:>8} {size:5.0f} {rows / seconds:9,.0f} {seconds:6.1f} {limit:7.1f} "
                    f"{ratio:8.2f} {peer:11,.0f} {times:6.1f}", flush=True
                )  # fmt: skip
            print("where the time goes, one thread, seconds per million rows (the load runs COPY beside the rest):")
            for format_, path in files.items():
                spent = ", ".join(f"{what} {seconds * 1e6 / rows:.1f}" for what, seconds in _stages(path).items())
                print(f"{format_:>8} {spent}", flush=True)
            print(f"peak memory of the loader: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
        finally:
            embedded_server.stop(settings, immediate=True)
    return missed


def _make(rows: int, seed: int, home: Path, name: str) -> dict[str, Path]:
    """The files by format, made in a process of its own, so that this one's peak memory is the loader's."""
    code = "import sys; from pathlib import Path; from bench.front_door_data import parts, write; "
    code += "write(parts(int(sys.argv[1]), seed=int(sys.argv[2])), Path(sys.argv[3]), sys.argv[4])"
    subprocess.run([sys.executable, "-c", code, str(rows), str(seed), str(home), name], check=True)
    return {suffix: home / f"{name}.{suffix}" for suffix in ("jsonl", "csv", "parquet")}


def _small(settings: Settings, home: Path) -> int:
    """A batch of 100 rows, after imports and one load that warms the process up."""
    for seed in (3, 4):
        path = _make(SMALL_ROWS, seed, home, f"small{seed}")["jsonl"]
        seconds = _ours(settings, path)
    _empty(settings)
    print(f"a batch of {SMALL_ROWS} rows: {seconds:.2f} s (target {SMALL_SECONDS})")
    return seconds > SMALL_SECONDS


def _ours(settings: Settings, path: Path) -> float:
    landing.put(settings, "orders", path)
    started = time.monotonic()
    summary = load.ingest(settings)
    seconds = time.monotonic() - started
    if summary.failed or summary.refused or summary.quarantined_count or not summary.row_count:
        raise SystemExit(f"the load did not go as it should: {summary}")
    return seconds


def _stages(path: Path) -> dict[str, float]:
    """Seconds that each stage takes before the COPY, alone and one after the other."""
    spent = dict.fromkeys(("hash", "read and type", "expectations", "find repeats", "write for COPY"), 0.0)
    feed = FEEDS["orders"]
    with path.open("rb") as stream:
        started = time.monotonic()
        hashlib.file_digest(stream, "sha256")
        spent["hash"] = time.monotonic() - started
        stream.seek(0)
        chunks = readers.open_source(feed, path.name, stream).chunks
        gate, repeats = suites.LandingGate(feed, datetime.now(UTC)), Repeats(feed, path.stat().st_size)
        while True:
            times = [time.monotonic()]
            chunk = next(chunks, None)
            times.append(time.monotonic())
            if chunk is None:
                break
            gate.check(chunk)
            times.append(time.monotonic())
            repeats.suspects(chunk, np.arange(len(chunk)))
            times.append(time.monotonic())
            csv_of(chunk, 1)
            times.append(time.monotonic())
            for what, one, other in zip(list(spent)[1:], times, times[1:], strict=False):
                spent[what] += other - one
    return spent


def _copy(settings: Settings, home: Path) -> float:
    """Seconds of a server-side COPY of the rows that are in raw.orders, into it once it is empty."""
    folder = home / "limit"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    with warehouse.admin(settings) as connection:
        connection.execute(warehouse.query(f"copy raw.orders to '{folder / 'orders.csv'}' (format csv)"))
        connection.execute("truncate raw.orders")
        connection.execute("checkpoint")
        started = time.monotonic()
        connection.execute(warehouse.query(f"copy raw.orders from '{folder / 'orders.csv'}' (format csv)"))
        seconds = time.monotonic() - started
    (folder / "orders.csv").unlink()
    return seconds


def _empty(settings: Settings) -> None:
    with warehouse.admin(settings) as connection:
        connection.execute("truncate raw.orders, quarantine.rows, ops.batches, ops.landing_seen cascade")
        connection.execute("checkpoint")
    shutil.rmtree(settings.landing_url)


_DLT = """
import sys, time, json, os
import dlt, pyarrow.parquet as pq, pyarrow.csv as pv
path, url, folder = sys.argv[1:]

@dlt.resource(name="orders", write_disposition="append", max_table_nesting=0)
def rows():
    if path.endswith(".parquet"):
        for batch in pq.ParquetFile(path).iter_batches(50_000):
            yield batch.to_pylist()
    elif path.endswith(".csv"):
        for batch in pv.open_csv(path):
            yield batch.to_pylist()
    else:
        with open(path) as stream:
            for line in stream:
                yield json.loads(line)

pipeline = dlt.pipeline("peer", pipelines_dir=folder, destination=dlt.destinations.postgres(url), dataset_name="peer")
started = time.monotonic()
pipeline.run(rows())
print(time.monotonic() - started)
"""


def _dlt(settings: Settings, path: Path, home: Path) -> float:
    """Rows per second of dlt's normal path, items kept as JSON as ours are; imports not counted."""
    folder = home / "dlt"
    shutil.rmtree(folder, ignore_errors=True)
    with warehouse.admin(settings) as connection:
        connection.execute("drop schema if exists peer cascade")
        connection.execute("drop schema if exists peer_staging cascade")
    url = embedded_server.ensure_running(settings).url(settings.database)
    environment = os.environ | {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
    done = subprocess.run(
        [sys.executable, "-c", _DLT, str(path), url, str(folder)],
        check=True, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    return PEER_ROWS / float(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
