"""What a fit of the churn model and its scores cost, at three sizes of shop.

A synthetic log is written straight into raw, with its ledger entries, as a backfill: three years, about four orders,
four sessions and a third of a ticket per customer; rates, lengths of stay and amounts are uneven as in real shops.
Then one build, one fit (the seconds of each snapshot and of learning), and one daily pass (the seconds of the models
that score):

    make bench ONLY=churn_scale
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.increment import Stopwatch
from bench.loyalty import count
from customer360 import warehouse
from customer360.churn import fitting
from customer360.models import runner
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.settings import Settings
from customer360.warehouse import embedded_server, query

FIT_TARGET_SECONDS = 120
SCORING_TARGET_SECONDS = 6
SCORING_MODELS = ("int_customers__featured", "int_customers__scored", "customer_churn")

_PEOPLE = """
create temporary table people as
select
    p,
    now() - interval '1094 days' * random() as came_at,
    -- Between a week and half a year from order to order, one order to dozens.
    exp(2.0 + 3.2 * random()) as gap_days,
    1 + floor(-ln(random() + 1e-9) * (0.3 + 6 * random() ^ 3))::integer as order_count,
    exp(3.0 + 2 * random()) as amount
from generate_series(1, {customers}) as p
"""
_FEEDS = {
    "orders": """
        insert into raw.orders (
            batch_id, row_number, order_id, updated_at, ordered_at, status, currency, total_amount, discount_amount,
            tax_amount, customer_id, email, items, promised_delivery_at, delivered_at, sales_channel)
        select
            {batch_id}, row_number() over (), 'O' || p || '-' || n, at + interval '6 days', at,
            case when a < 0.03 then 'cancelled' when a < 0.06 then 'returned' else 'delivered' end, 'USD',
            round((amount * (0.5 + b))::numeric, 2), case when c < 0.2 then 5 end, 1, 'C' || p,
            case when a < 0.9 then 'p' || p || '@mail.example' end,
            jsonb_build_array(jsonb_build_object('sku', 's' || n, 'quantity', 1, 'unit_price', 10)),
            at + interval '4 days', at + interval '1 day' * (1 + 4 * c), case when b < 0.5 then 'web' else 'store' end
        from (
            select
                p, n, amount, random() as a, random() as b, random() as c,
                date_trunc('second', came_at + interval '1 day' * gap_days * (n - 1) * (0.7 + 0.6 * random())) as at
            from people, generate_series(1, order_count) as n
        ) as drawn
        where at < now() - interval '1 day'
    """,
    "web_sessions": """
        insert into raw.web_sessions (
            batch_id, row_number, session_id, updated_at, anonymous_id, started_at, ended_at, page_views, product_views,
            add_to_carts, customer_id)
        select
            {batch_id}, row_number() over (), 'S' || p || '-' || n, at, 'd' || p, at, at + interval '5 minutes', 3, 2,
            n % 2, 'C' || p
        from (
            select p, n, date_trunc('second', came_at + interval '1 day' * gap_days * order_count * random()) as at
            from people, generate_series(1, 4) as n
        ) as drawn
        where at < now() - interval '1 day'
    """,
    "support_tickets": """
        insert into raw.support_tickets (
            batch_id, row_number, ticket_id, updated_at, created_at, status, channel, category, customer_id)
        select
            {batch_id}, row_number() over (), 'T' || p, at + interval '2 days', at, 'solved', 'email', 'complaint',
            'C' || p
        from (
            select p, date_trunc('second', came_at + interval '1 day' * gap_days * order_count * random()) as at
            from people where p % 3 = 0
        ) as drawn
        where at < now() - interval '3 days'
    """,
}


def main() -> int:
    """Print one JSON object; 1 if a target is missed at the largest size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    wanted = parser.parse_args()
    figures = {f"{customers:,} customers": measure(customers) for customers in wanted.customers}
    print(json.dumps({**figures, "load_of_the_machine": os.getloadavg()[0]}, indent=2))
    largest = list(figures.values())[-1]
    return int(
        largest["fit_seconds"] > FIT_TARGET_SECONDS
        or sum(largest["scoring"][model] for model in SCORING_MODELS) > SCORING_TARGET_SECONDS
    )


def measure(customers: int) -> dict[str, Any]:
    """Build a shop, fit, make the daily pass."""
    with tempfile.TemporaryDirectory(prefix="c360-churn-", ignore_cleanup_errors=True) as home:
        settings = Settings(home=Path(home))
        try:
            warehouse.set_up(settings)
            make_shop(settings, customers)
            print(f"{customers:,} customers: building", file=sys.stderr, flush=True)
            build(settings, "bench")
            figures = measure_fit(settings)
            print(figures, file=sys.stderr, flush=True)
            return {**figures, "scoring": measure_scoring(settings)}
        finally:
            embedded_server.stop(settings, immediate=True)


def make_shop(settings: Settings, customers: int) -> None:
    """Fill raw and the ledger."""
    with warehouse.connect("owner", settings) as connection:
        connection.execute("set local synchronous_commit = off")
        connection.execute("select setseed(0.42)")
        connection.execute(query(_PEOPLE.format(customers=customers)))
        for feed, statement in _FEEDS.items():
            batch_id = warehouse.scalar(
                connection,
                """
                insert into ops.batches (feed, file_name, state, is_history, loaded_at)
                values (%s, 'of the benchmark', 'loaded', true, clock_timestamp()) returning batch_id
                """,
                [feed],
            )
            rows = connection.execute(query(statement.format(batch_id=batch_id))).rowcount
            connection.execute(
                "update ops.batches set landed_rows = %s, loaded_rows = %s where batch_id = %s", [rows, rows, batch_id]
            )


def measure_fit(settings: Settings) -> dict[str, Any]:
    """One fit: seconds by stage, and the memory of this process."""
    watch, began, processor = Stopwatch(), time.perf_counter(), time.process_time()
    server = server_seconds(settings)
    summary = fitting.fit(settings, "bench", progress=watch)
    watch.stage("")
    seconds = time.perf_counter() - began
    snapshots = [value for name, value in watch.seconds.items() if name.startswith("snapshot")]
    with warehouse.connect("transformer", settings) as connection:
        orders = count(connection, "candidate.fct_orders")
    return {
        "orders": orders,
        "fit": str(summary),
        "fit_seconds": round(seconds, 1),
        "processor_seconds_of_python": round(time.process_time() - processor, 1),
        "processor_seconds_of_the_server": round(server_seconds(settings) - server, 1),
        "snapshots": len(snapshots),
        "snapshot_seconds": round(sum(snapshots), 1),
        "stages": watch.seconds,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def measure_scoring(settings: Settings) -> dict[str, float]:
    """Seconds of the models of a daily pass that score, each alone, after a whole pass that creates tables."""
    refresh_daily(settings, trigger="bench")
    seconds = {}
    for model in SCORING_MODELS:
        before = server_seconds(settings)
        [result] = runner.run_models(
            settings, model, run_id=None, full_refresh=True, variables={"as_of_on": settings.today().isoformat()}
        )
        seconds[model] = round(result.seconds, 2)
        seconds[f"{model}: processor"] = round(server_seconds(settings) - before, 2)
    return seconds


def server_seconds(settings: Settings) -> float:
    """Processor time of all the server's processes so far: what a loaded machine does not change."""
    postmaster = int(next(settings.home.rglob("postmaster.pid")).read_text().split()[0])
    ticks = 0
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # Fields after the name in parentheses: parent, ..., utime, stime, and those of children that have ended.
            fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
            if int(process.name) == postmaster:
                ticks += sum(map(int, fields[11:15]))
            elif int(fields[1]) == postmaster:
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    raise SystemExit(main())
