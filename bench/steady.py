"""Two files a second, minute after minute, through a real Airflow: how old is a record when BI reads it?

    python -m bench steady          or: python -m bench.steady [--seconds 1200] [--orders 200] [--sessions 400]

The base is a shop of 20,000 customers (200,000 orders, 400,000 sessions). Each second one file of orders and one of
sessions land, of customers that the shop knows. The age of a file is the time from its landing to the publication of
its rows. Its peer is its own first part: where the pipeline keeps up, the last third of the files is no older than the
first. Target: p95 of all files at most 12 s on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.at_rest import let_rest
from bench.increment_data import make_base
from bench.latency import p50, p95
from customer360 import warehouse
from customer360.publication.build import build
from customer360.settings import Settings
from customer360.stack import processes

TARGET_SECONDS = 12.0
_SAME = 1.25
"""Thirds of a run differ by less than this where the pipeline keeps up."""
_DRAIN_SECONDS = 600
_TELL_SECONDS = 30


def main() -> int:
    """Print one JSON object; 1 if the target was missed or the age grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=1200)
    parser.add_argument("--orders", type=int, default=200, help="orders in each second's file")
    parser.add_argument("--sessions", type=int, default=400, help="sessions in each second's file")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a benchmark that is cut off stops its stack too
    home = Path(tempfile.mkdtemp(prefix="c360-steady-"))  # of its own, which PostgreSQL's system user can reach
    settings = Settings(home=home)
    try:
        warehouse.set_up(settings)
        make_base(settings, wanted.customers)
        build(settings, "bench")
        let_rest(settings)
        processes.up(settings)
        warm_up(settings, wanted)
        landed = land(settings, wanted)
        figures = ages(settings, landed)
    finally:
        processes.down(settings)
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(figures, indent=2))
    return int(figures["p95"] > TARGET_SECONDS or figures["grows"])


def orders_of(dice: random.Random, first: int, count: int, customers: int) -> str:
    """JSON lines of new orders of known customers, placed now."""
    now = datetime.now(UTC)
    lines = []
    for number in range(first, first + count):
        person = dice.randint(1, customers)
        ordered_at = (now - timedelta(minutes=dice.randint(1, 600))).isoformat()
        price = dice.randint(5, 200)
        item = {"sku": f"s{number % 500}", "category": f"category {number % 11}", "quantity": 1, "unit_price": price}
        order = {
            "order_id": f"N{number}", "updated_at": now.isoformat(), "ordered_at": ordered_at, "status": "paid",
            "currency": "USD", "total_amount": f"{price}.00", "customer_id": f"C{person}", "items": [item],
        }  # fmt: skip
        lines.append(json.dumps(order))
    return "\n".join(lines) + "\n"


def sessions_of(dice: random.Random, first: int, count: int, customers: int) -> str:
    """JSON lines of new visits on devices that known customers use."""
    now = datetime.now(UTC)
    lines = []
    for number in range(first, first + count):
        started = now - timedelta(minutes=dice.randint(15, 600))
        session = {
            "session_id": f"V{number}", "updated_at": now.isoformat(), "started_at": started.isoformat(),
            "ended_at": (started + timedelta(minutes=10)).isoformat(), "page_views": dice.randint(1, 12),
            "anonymous_id": f"d{dice.randint(1, customers)}-{number % 2}", "utm_medium": "mail",
        }  # fmt: skip
        lines.append(json.dumps(session))
    return "\n".join(lines) + "\n"


def put(settings: Settings, feed: str, name: str, text: str) -> float:
    """Land a file whole; returns when."""
    zone = Path(settings.landing_url) / feed
    partial = zone / f"{name}.part"
    partial.write_text(text)
    partial.rename(zone / name)
    return time.time()


def warm_up(settings: Settings, wanted: argparse.Namespace) -> None:
    """Land two files of each feed and wait: the first task of each worker pays for what it imports."""
    dice = random.Random(0)
    names = {}
    for number in range(2):
        first = 900_000_000 + 1000 * number
        for feed, text in (
            ("orders", orders_of(dice, first, 10, wanted.customers)),
            ("web_sessions", sessions_of(dice, first, 10, wanted.customers)),
        ):
            name = f"{feed}-warm-{number}.jsonl"
            names[name] = put(settings, feed, name, text)
    wait_for(settings, names, 180)


def land(settings: Settings, wanted: argparse.Namespace) -> dict[str, float]:
    """Land the files of every second in its second; returns when each landed, once all are published."""
    dice = random.Random(1)
    landed: dict[str, float] = {}
    began = time.monotonic()
    for second in range(wanted.seconds):
        texts = {
            "orders": orders_of(dice, second * wanted.orders, wanted.orders, wanted.customers),
            "web_sessions": sessions_of(dice, second * wanted.sessions, wanted.sessions, wanted.customers),
        }
        time.sleep(max(0.0, began + second - time.monotonic()))
        for feed, text in texts.items():
            name = f"{feed}-{second:06}.jsonl"
            landed[name] = put(settings, feed, name, text)
        if second % _TELL_SECONDS == _TELL_SECONDS - 1:
            told = f"{second + 1} s: {waiting(settings, landed)} of {len(landed)} files not published yet"
            print(told, file=sys.stderr, flush=True)
    wait_for(settings, landed, _DRAIN_SECONDS)
    return landed


def waiting(settings: Settings, landed: dict[str, float]) -> int:
    """How many of the files are not published."""
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        return len(landed) - int(
            warehouse.scalar(
                connection,
                "select count(*) from ops.batches where state = 'published' and file_name = any(%s)",
                [list(landed)],
            )
        )


def wait_for(settings: Settings, landed: dict[str, float], seconds: float) -> None:
    """Return when every file is published."""
    deadline = time.monotonic() + seconds
    while left := waiting(settings, landed):
        if time.monotonic() > deadline:
            raise SystemExit(f"{left} files were not published within {seconds:.0f} s; logs: {settings.logs}")
        time.sleep(0.5)


def ages(settings: Settings, landed: dict[str, float]) -> dict[str, Any]:
    """Seconds from landing to publication, of all files and of each third; what the runs were like."""
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        published: dict[str, float] = dict(
            connection.execute(
                """
                select b.file_name, extract(epoch from r.published_at)::float8
                from ops.batches as b join ops.publications as p using (publication_id)
                    join ops.runs as r on r.run_id = p.run_id
                where b.file_name = any(%s)
                """,
                [list(landed)],
            ).fetchall()
        )
        runs = connection.execute(
            """
            select count(*), max(batch_count), percentile_cont(0.5) within group (
                order by extract(epoch from published_at - claimed_at))::float8
            from ops.runs where state = 'succeeded' and batch_count > 0 and published_at >= to_timestamp(%s)
            """,
            [min(landed.values())],
        ).fetchone() or (0, 0, 0.0)
    by_time = [published[name] - at for name, at in sorted(landed.items(), key=lambda item: item[1])]
    third = max(1, len(by_time) // 3)
    parts = [by_time[:third], by_time[third:-third], by_time[-third:]]
    return {
        "files": len(by_time),
        "p50": round(p50(by_time), 2),
        "p95": round(p95(by_time), 2),
        "target_p95": TARGET_SECONDS,
        "p95_of_each_third": [round(p95(part), 2) for part in parts if part],
        "grows": p95(parts[-1]) > _SAME * p95(parts[0]),
        "runs": {"count": runs[0], "most_files": runs[1], "median_seconds": round(runs[2] or 0.0, 2)},
        "load_of_the_machine": os.getloadavg()[0],
    }


if __name__ == "__main__":
    sys.exit(main())
