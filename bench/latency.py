"""From a landed file to what BI reads, through a real Airflow: p50 and p95 over batches of 1,000 orders, by stage.

The base is a shop of 20,000 customers with a year of history. Its peer is its own target: 10 s at the 95th percentile
on two idle cores. The stages are those that the ledger and the runs record, so that the sum is the whole.

With ``--webhooks`` one order at a time is posted to `c360 receive` instead, and awaited in ``marts.fct_orders``: from
POST to published row, 8 s at the 95th percentile.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from customer360 import warehouse
from customer360.front_door import landing
from customer360.progress import Silent
from customer360.receiver import hooks
from customer360.run import run_everything
from customer360.sample import generate
from customer360.settings import Settings
from customer360.stack import processes

ROWS = 1_000
TOKEN = "bench-bench-bench"  # noqa: S105
TARGET_SECONDS = 10.0
WEBHOOK_SECONDS = 8.0
STAGES = ("detected", "gated", "loaded", "claimed", "built", "checked", "published")


def main() -> int:
    """Print the table; 1 if a batch was not published."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--webhooks", action="store_true")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a benchmark that is cut off stops its stack too
    # A home of its own, which PostgreSQL's system user can reach.
    home = Path(tempfile.mkdtemp(prefix="c360-latency-"))
    settings = Settings(home=home, receive=wanted.webhooks)
    try:
        pieces = prepare(settings, wanted.customers, wanted.batches + 2)
        if wanted.webhooks:
            return push(settings, pieces)
        processes.up(settings)
        for piece in pieces[:2]:  # the first task of each worker pays for what it imports
            measure(settings, piece)
        dice = random.Random(1)
        measured = []
        for piece in pieces[2:]:
            time.sleep(dice.random())  # Airflow looks around once a second: meet it at every phase
            measured.append(measure(settings, piece))
        report(measured, wanted.customers, as_json=wanted.json)
    finally:
        processes.down(settings)
        shutil.rmtree(home, ignore_errors=True)
    return 0


def prepare(settings: Settings, customers: int, count: int) -> list[Path]:
    """Build the base without Airflow; returns ``count`` files of 1,000 orders to be landed."""
    days = count * ROWS / (customers * 9.5 / 365) * 1.5 + 1
    shop = generate(
        customers, 365 + round(days), None, 1, settings.home / "sample",
        fresh_batches=1, fresh_days=days, fresh_formats=("jsonl",), history_versions="latest",
    )  # fmt: skip
    warehouse.set_up(settings)
    for file in shop.history():
        landing.put(settings, file.feed, shop.path(file), history=True)
    run_everything(settings, progress=Silent())
    lines = [line for file in shop.fresh(feed="orders") for line in shop.path(file).read_text().splitlines()]
    if len(lines) < count * ROWS:
        raise SystemExit(f"The sample gave {len(lines)} fresh orders, {count * ROWS} are needed.")
    pieces = []
    for number in range(count):
        path = settings.home / "sample" / f"orders-{number:02}.jsonl"
        path.write_text("\n".join(lines[number * ROWS : (number + 1) * ROWS]) + "\n")
        pieces.append(path)
    return pieces


def measure(settings: Settings, piece: Path, seconds: float = 120) -> dict[str, float]:
    """Land one file and wait for its publication; returns the seconds that each stage took."""
    zone = Path(settings.landing_url) / "orders"
    partial = zone / f"{piece.name}.part"
    shutil.copyfile(piece, partial)
    landed = time.time()
    partial.rename(zone / piece.name)
    deadline = time.monotonic() + seconds
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        while time.monotonic() < deadline:
            row = connection.execute(
                """
                select extract(epoch from b.landed_at), extract(epoch from b.gated_at), extract(epoch from b.loaded_at),
                    extract(epoch from r.claimed_at), extract(epoch from r.built_at), extract(epoch from r.checked_at),
                    extract(epoch from r.published_at)
                from ops.batches as b join ops.publications as p using (publication_id)
                    join ops.runs as r on r.run_id = p.run_id
                where b.feed = 'orders' and b.file_name = %s and b.state = 'published' and r.published_at is not null
                """,
                [piece.name],
            ).fetchone()
            if row:
                moments = [landed, *map(float, row)]
                return {
                    stage: later - earlier for stage, earlier, later in zip(STAGES, moments, moments[1:], strict=False)
                }
            time.sleep(0.05)
    raise SystemExit(f"{piece.name} was not published within {seconds:.0f} s; logs: {settings.logs}")


def push(settings: Settings, pieces: list[Path]) -> int:
    """Print the seconds from the POST of one order to its published row; 1 if the target is missed."""
    folder = hooks.secrets_folder(settings)
    folder.mkdir(parents=True)
    (folder / "orders").write_text(TOKEN)
    address = f"{processes.up(settings).webhooks}orders"
    dice, seconds = random.Random(1), []
    for number, piece in enumerate(pieces):
        with piece.open() as lines:
            order = json.loads(lines.readline()) | {"order_id": f"pushed-{number}"}
        time.sleep(3 + dice.random())  # after the last run has ended
        began = time.time()
        httpx.post(address, json=order, headers={"authorization": f"Bearer {TOKEN}"}).raise_for_status()
        _await_order(settings, order["order_id"])
        seconds.append(time.time() - began)
    warm = seconds[2:]
    print(f"{len(warm)} orders, one at a time, on a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"from POST to published row: p50 {p50(warm):.2f} s, p95 {p95(warm):.2f} s (target {WEBHOOK_SECONDS:.0f} s)")
    return int(p95(warm) > WEBHOOK_SECONDS)


def _await_order(settings: Settings, order_id: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        while time.monotonic() < deadline:
            statement = "select exists (select from marts.fct_orders where order_id = %s)"
            if warehouse.scalar(connection, statement, [order_id]):
                return
            time.sleep(0.05)
    raise SystemExit(f"{order_id} was not published within {seconds:.0f} s; logs: {settings.logs}")


def report(measured: list[dict[str, float]], customers: int, *, as_json: bool = False) -> None:
    """Seconds per stage: median and 95th percentile (the second worst of 20)."""
    whole = [sum(batch.values()) for batch in measured]
    figures = {"whole way": whole} | {stage: [batch[stage] for batch in measured] for stage in STAGES}
    if as_json:
        print(json.dumps({name: {"p50": p50(v), "p95": p95(v)} for name, v in figures.items()}))
        return
    print(f"{len(measured)} batches of {ROWS:,} orders on a base of {customers:,} customers; seconds until …")
    print(f"load of the machine (1 min): {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print(f"{'':<12}{'p50':>8}{'p95':>8}")
    for name, values in figures.items():
        print(f"{name:<12}{p50(values):>8.2f}{p95(values):>8.2f}")
    print(f"\np95 is {p95(whole) / TARGET_SECONDS:.2f} times the target of {TARGET_SECONDS:.0f} s")


def p50(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def p95(values: list[float]) -> float:
    """The least value that 95 % do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-95 * len(ordered) // 100) - 1)]


if __name__ == "__main__":
    sys.exit(main())
