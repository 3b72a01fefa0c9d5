"""An increment of 1,000 customers on two bases, one ten times the other, and the full build beside DuckDB.

    python -m bench increment          or: python -m bench.increment [--customers 200000] [--skip-duckdb]

The base: 200,000 customers, 2 million orders, 4 million sessions, 200,000 tickets, made in the warehouse. An increment
is 500 new orders, 300 corrections of old orders, 150 sessions and 50 tickets, each of another customer; its time is
that of build, gates and publication, less that of a run in which one record arrives again and nothing changes. Targets:
the ratio of the larger to the smaller base under 1.5; rows read within 20 times the records of the customers touched.
DuckDB computes the same customer_360 from Parquet on the same machine, and a plain dbt-postgres project
(bench/plain_project.py) builds it from the same raw rows, whole and by increments. All are compared figure by figure.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

from bench.at_rest import let_rest
from bench.increment_data import land_increment, land_nothing_new, make_base
from bench.model_times import slowest_models
from bench.plain_project import PlainProject, same
from customer360 import warehouse
from customer360.progress import Silent
from customer360.publication.build import build
from customer360.settings import Settings
from customer360.warehouse import embedded_server, query

LARGEST_RATIO = 1.5
READ_PER_TOUCHED = 20
IN_DUCKDB = Path(__file__).with_name("customer_360_in_duckdb.sql")
_RUNS = 9


class Stopwatch(Silent):
    """Seconds of each stage of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._name, self._since = "", time.perf_counter()

    def stage(self, name: str, total: int | None = None) -> None:
        """Close the stage before."""
        now = time.perf_counter()
        if self._name:
            self.seconds[self._name] = round(self.seconds.get(self._name, 0) + now - self._since, 2)
        self._name, self._since = name, now


def main() -> int:
    """Print one JSON object; 1 if a target was missed or the two customer_360 differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--touched", type=int, default=1_000, help="customers of an increment")
    parser.add_argument("--skip-duckdb", action="store_true")
    wanted = parser.parse_args()
    figures: dict[str, Any] = {}
    for customers in (wanted.customers // 10, wanted.customers):
        beside = customers == wanted.customers and not wanted.skip_duckdb
        figures[f"{customers:,} customers"] = measure(customers, wanted.touched, with_duckdb=beside)
    small, large = figures.values()
    ratio = round(large["increment_seconds"] / small["increment_seconds"], 2)
    reads = max(small["read_per_touched"], large["read_per_touched"])
    figures |= {"ratio": ratio, "ratio_target": LARGEST_RATIO, "read_target": READ_PER_TOUCHED}
    figures["load_of_the_machine"] = os.getloadavg()[0]
    print(json.dumps(figures, indent=2, default=str))
    return int(ratio >= LARGEST_RATIO or reads > READ_PER_TOUCHED or bool(large.get("duckdb", {}).get("differing")))


def measure(customers: int, touched: int, *, with_duckdb: bool) -> dict[str, Any]:
    """The figures of one base."""
    with tempfile.TemporaryDirectory(prefix="c360-increment-", ignore_cleanup_errors=True) as home:
        settings = Settings(home=Path(home))
        try:
            warehouse.set_up(settings)
            _tell(f"{customers:,} customers: making the base")
            counts = make_base(settings, customers)
            _tell(f"{counts}: building it")
            whole = timed(settings)
            _tell(f"built: {whole}")
            figures: dict[str, Any] = {"base": counts, "full_build": whole}
            if with_duckdb:
                figures["duckdb"] = beside_duckdb(settings, Path(home), whole["seconds"])
                _tell(f"DuckDB: {figures['duckdb']}")
            plain = PlainProject(settings)
            seconds = plain.run()
            figures["plain dbt project"] = {"full_build_seconds": seconds}
            _tell(f"plain dbt project: built in {seconds} s; increments")
            let_rest(settings)
            figures |= measure_increments(settings, customers, touched, plain)
        finally:
            embedded_server.stop(settings, immediate=True)
    return figures


def measure_increments(settings: Settings, customers: int, touched: int, plain: PlainProject) -> dict[str, Any]:
    """Medians of several increments, each of other customers, and of runs that change nothing; what one more read."""
    land_nothing_new(settings)
    timed(settings)  # the first run of a process pays for what it imports
    plain.run()
    empty, runs, of_plain = [], [], []
    for number in range(_RUNS):
        land_nothing_new(settings)
        empty.append(timed(settings))
        land_increment(settings, customers, touched, number)
        runs.append(timed(settings))
        of_plain.append(plain.run())
    differing = plain.differing()
    accounts = land_increment(settings, customers, touched, _RUNS)
    before = _statistics(settings)
    timed(settings)
    read, written, most_read = _moved(before, _statistics(settings))
    records = count_records(settings, accounts)
    middle = _median(runs)
    return {
        "empty_run_seconds": _median(empty)["seconds"],
        "run_seconds": middle["seconds"],
        "increment_seconds": round(middle["seconds"] - _median(empty)["seconds"], 2),
        "read_per_touched": round(read / records, 1),
        "rows": {"of_the_touched": records, "read": read, "written": written, "most_read": most_read},
        "median_run": middle,
        "median_empty_run": _median(empty)["stages"],
        "plain_dbt_run_seconds": sorted(of_plain)[len(of_plain) // 2],
        "run_is_times_plain_dbt": round(middle["seconds"] / sorted(of_plain)[len(of_plain) // 2], 2),
        "differing_from_plain_dbt": differing,
        "all_run_seconds": [run["seconds"] for run in runs],
        "all_empty_run_seconds": [run["seconds"] for run in empty],
    }


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]


def timed(settings: Settings) -> dict[str, Any]:
    """Build what is due; seconds in all, by stage and by the slowest models."""
    watch = Stopwatch()
    begun = time.perf_counter()
    summary = build(settings, "bench", watch)
    seconds = time.perf_counter() - begun
    watch.stage("")
    return {
        "seconds": round(seconds, 2),
        "stages": watch.seconds,
        "slowest_models": slowest_models(settings, summary.run_id),
        "customers": str(summary.tables.get("marts.customer_360", "none changed")),
    }


def count_records(settings: Settings, accounts: list[str]) -> int:
    """The rows of these customers in the fact tables: what their figures are made of."""
    facts = ("fct_orders", "fct_order_items", "fct_refunds", "fct_sessions", "fct_tickets")
    with warehouse.connect("transformer", settings) as connection:
        connection.execute(
            """
            create temporary table touched on commit drop as select distinct customer_key from identity.identifiers
            where identifier_type = 'customer_id' and identifier = any (%s)
            """,
            [accounts],
        )
        return sum(
            warehouse.scalar(connection, f"select count(*) from candidate.{fact} join touched using (customer_key)")
            for fact in facts
        )


Statistics = dict[str, tuple[int, int]]


# An idle session tells its statistics after ten seconds, and the gates keep some of theirs open.
_UNTIL_TOLD_SECONDS = 11


def _statistics(settings: Settings) -> Statistics:
    """Rows read and rows written so far, per table."""
    time.sleep(_UNTIL_TOLD_SECONDS)
    with warehouse.admin(settings) as connection:
        rows = connection.execute(
            """
            select schemaname || '.' || relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0),
                n_tup_ins + n_tup_upd + n_tup_del
            from pg_stat_user_tables where schemaname !~ '^pg_'
            """
        ).fetchall()
    return {table: (read, written) for table, read, written in rows}


def _moved(before: Statistics, after: Statistics) -> tuple[int, int, dict[str, int]]:
    """Rows read, rows written, and the tables of which most was read."""
    read = {table: now - before.get(table, (0, 0))[0] for table, (now, _) in after.items()}
    written = sum(now - before.get(table, (0, 0))[1] for table, (_, now) in after.items())
    most = dict(sorted(read.items(), key=lambda item: -item[1])[:12])
    return sum(read.values()), written, most


def beside_duckdb(settings: Settings, folder: Path, whole_seconds: float) -> dict[str, Any]:
    """DuckDB's seconds for customer_360 from Parquet of the raw rows and of who is who, and the figures that differ."""
    for name, select in _EXPORTS.items():
        _export(settings, select, folder / f"{name}.parquet")
    database = duckdb.connect()
    database.execute(f"set threads = {os.cpu_count()}; set timezone = 'UTC'; set memory_limit = '6GB'")
    database.execute(f"set temp_directory = '{folder / 'spill'}'")
    database.execute(f"set variable here = '{folder}'")
    begun = time.perf_counter()
    database.execute(f"create table customer_360 as {IN_DUCKDB.read_text()}")
    seconds = time.perf_counter() - begun
    columns = [row[0] for row in database.execute("describe customer_360").fetchall()]
    with warehouse.connect("bi_reader", settings) as connection:
        listed = ", ".join(columns)
        ours = connection.execute(query(f"select {listed} from marts.customer_360 order by customer_key")).fetchall()
    theirs = database.execute(f"select {', '.join(columns)} from customer_360 order by customer_key").fetchall()
    differing = {
        column: wrong
        for n, column in enumerate(columns)
        if (wrong := sum(not same(our[n], their[n]) for our, their in zip(ours, theirs, strict=True)))
    }
    return {
        "seconds": round(seconds, 2),
        "full_build_is_times": round(whole_seconds / seconds, 1),
        "customers": len(theirs),
        "columns": len(columns),
        "differing": differing,
    }


def _export(settings: Settings, select: str, target: Path) -> None:
    """Write a query's rows as Parquet, by way of CSV."""
    text = target.with_suffix(".csv")
    with (
        warehouse.connect("owner", settings) as connection,
        connection.cursor() as cursor,
        cursor.copy(query(f"copy ({select}) to stdout (format csv, header)")) as copy,
        text.open("wb") as file,
    ):
        for chunk in copy:
            file.write(chunk)
    duckdb.execute(f"copy (select * from read_csv('{text}', header = true)) to '{target}' (format parquet)")
    text.unlink()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_EXPORTS = {
    "orders": "select * from raw.orders",
    "rates": "select from_currency as currency, valid_on, rate from state.exchange_rates where to_currency = 'USD'",
    "web_sessions": "select * from raw.web_sessions",
    "support_tickets": "select * from raw.support_tickets",
    "records": "select record_type, record_id, customer_key from identity.records",
    "customers": "select * from identity.customers",
}

if __name__ == "__main__":
    sys.exit(main())
