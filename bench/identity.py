"""Identity: how fast it is at five million identifiers, and how well it knows people on a hard sample, beside Splink.

    python bench/identity.py [--scale 1.0] [--customers 20000] [--skip-speed] [--skip-quality]

Prints one JSON object. Speed: a whole resolution of 5 million identifiers and 8 million links, and after it an
increment of 1,000 links, with what it read of the base. Quality: pairs of records of the generator's hard sample
(``c360 sample --hard-identity``), judged against its truth; Splink 5 links the same records with its usual model.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from customer360 import server, warehouse
from customer360.identity import quality, resolve
from customer360.identity.staged import copy_in, copy_out
from customer360.sample.generator import generate
from customer360.settings import Settings
from customer360.warehouse import Connection, query

Ints = npt.NDArray[np.int64]

_STAGING = """
create table staging.stg_orders (
    order_id text, ordered_at timestamptz, customer_id text, email text, phone text, anonymous_id text);
create table staging.stg_web_sessions (
    session_id text, started_at timestamptz, customer_id text, email text, anonymous_id text, order_id text);
create table staging.stg_support_tickets (
    ticket_id text, created_at timestamptz, customer_id text, email text, phone text, order_id text);
"""
_FEEDS = {
    "orders": ("stg_orders", "order_id", "ordered_at", ["customer_id", "email", "phone", "anonymous_id"]),
    "web_sessions": (
        "stg_web_sessions", "session_id", "started_at", ["customer_id", "email", "anonymous_id", "order_id"],
    ),
    "support_tickets": ("stg_support_tickets", "ticket_id", "created_at", ["customer_id", "email", "phone", "order_id"]),
}  # fmt: skip


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1.0: five million identifiers")
    parser.add_argument("--customers", type=int, default=20_000, help="people of the hard sample")
    parser.add_argument("--skip-speed", action="store_true")
    parser.add_argument("--skip-quality", action="store_true")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    if not options.skip_speed:
        with _scratch_warehouse() as (settings, connection):
            figures["speed"] = measure_speed(settings, connection, options.scale)
    if not options.skip_quality:
        with _scratch_warehouse() as (settings, connection):
            figures["quality"] = measure_quality(settings, connection, options.customers)
    print(json.dumps(figures, indent=2))


@contextmanager
def _scratch_warehouse() -> Iterator[tuple[Settings, Connection]]:
    """A warehouse of its own, with the server's ordinary, durable configuration, and empty staging tables."""
    with tempfile.TemporaryDirectory(prefix="c360-bench-") as home:
        settings = Settings(home=Path(home))
        try:
            warehouse.set_up(settings)
            with warehouse.connect("transformer", settings) as connection:
                for statement in _STAGING.split(";\n"):
                    if statement.strip():
                        connection.execute(query(statement))
                connection.commit()
                yield settings, connection
        finally:
            server.stop(settings, immediate=True)


def measure_speed(settings: Settings, connection: Connection, scale: float) -> dict[str, Any]:
    """Seconds of the whole resolution and of an increment, and the increment's share of the base that it read."""
    people = int(2_900_000 * scale)
    _stage_people(connection, people)
    begun = time.perf_counter()
    resolve(connection, full=False, settings=settings)
    connection.commit()
    whole = time.perf_counter() - begun
    identifiers = _scalar(connection, "select count(*) from identity.identifiers") + _scalar(
        connection, "select count(distinct anonymous_id) from identity.records"
    )
    links = _scalar(
        connection,
        "select sum(num_nonnulls(customer_id_key, email_key, phone_key, anonymous_id)) from identity.records",
    )
    increments = [_increment(settings, connection, people, number) for number in range(5)]
    return {
        "identifiers": identifiers,
        "links": int(links),
        "records": _scalar(connection, "select count(*) from identity.records"),
        "customers": _scalar(connection, "select count(*) from identity.customers"),
        "whole_seconds": round(whole, 1),
        "increment_links": increments[-1]["links"],
        "increment_seconds": [increment["seconds"] for increment in increments],
        "increment_rows_read": increments[-1]["rows_read"],
    }


def _stage_people(connection: Connection, people: int) -> None:
    """Orders, sessions and tickets of invented people: 70 % have an account, some share phones, some change e-mail.

    Per person in the mean 0.55 orders, 0.72 sessions, 0.09 tickets.
    """
    person = f"(abs(hashint8extended(n, 11)) % {people})"
    account = f"case when p % 10 < 7 and abs(hashint8extended(n, 3)) % 100 < {{share}} then 'C' || p end"
    email = f"case when abs(hashint8extended(n, 4)) % 100 < {{share}} then 'p' || p || case when p % 9 = 0 and n % 2 = 0 then 'x' else '' end || '@Mail.example' end"
    phone = (
        "case when abs(hashint8extended(n, 5)) % 100 < {share} then "
        "'+1415' || lpad((2000000 + case when p % 20 = 0 then p + 1 else p end)::text, 7, '0') end"
    )
    device = "'d' || p || '-' || (n % 7 = 0)::int"
    at = "timestamptz '2023-01-01' + abs(hashint8extended(n, 6)) % 94608000 * interval '1 second'"
    for statement in (
        f"""
        insert into staging.stg_orders
        select 'o' || n, {at}, {account.format(share=80)}, {email.format(share=90)}, {phone.format(share=60)},
            case when n % 2 = 0 then {device} end
        from (select n, {person} as p from generate_series(1, {int(people * 0.55)}) as n) as orders
        """,
        f"""
        insert into staging.stg_web_sessions
        select 's' || n, {at}, {account.format(share=60)}, {email.format(share=40)}, {device},
            case when n % 20 = 0 then 'o' || n / 2 end
        from (select n, {person} as p from generate_series(1, {int(people * 0.72)}) as n) as sessions
        """,
        f"""
        insert into staging.stg_support_tickets
        select 't' || n, {at}, {account.format(share=50)}, {email.format(share=90)}, {phone.format(share=60)},
            case when n % 2 = 0 then 'o' || n end
        from (select n, {person} as p from generate_series(1, {int(people * 0.09)}) as n) as tickets
        """,
        "create unique index on staging.stg_orders (order_id)",
        "create unique index on staging.stg_web_sessions (session_id)",
        "create unique index on staging.stg_support_tickets (ticket_id)",
    ):
        connection.execute(query(statement))
    connection.commit()
    connection.autocommit = True
    connection.execute("vacuum analyze staging.stg_orders, staging.stg_web_sessions, staging.stg_support_tickets")
    connection.autocommit = False


def _increment(settings: Settings, connection: Connection, people: int, number: int) -> dict[str, Any]:
    """400 new orders with 1,000 links: known people, new people, merges, and a shared phone now and then."""
    connection.execute(
        query(
            f"""
            insert into staging.stg_orders
            select 'new{number}-' || n, now(), case when n % 4 = 0 then 'N{number}-' || n when p % 10 < 7 then 'C' || p end,
                'p' || case when n % 50 = 0 then p + 1 else p end || '@mail.example',
                case when n % 2 = 0 then '+1415' || lpad((2000000 + p)::text, 7, '0') end,
                case when n % 3 = 0 then 'd' || p || '-0' end
            from (select n, abs(hashint8extended(n, {100 + number})) % {people} as p from generate_series(1, 400) as n) as new
            """
        )
    )
    connection.execute("insert into ops.dirty select 'order', order_id from staging.stg_orders where order_id like 'new%%'"
                       " and not exists (select from identity.records where record_type = 'order' and record_id = order_id)")
    connection.execute("analyze ops.dirty")
    connection.commit()
    before = _rows_read(connection)
    begun = time.perf_counter()
    delta = resolve(connection, settings=settings)
    delta.mark_dirty(connection)
    connection.commit()
    seconds = time.perf_counter() - begun
    rows_read = _rows_read(connection) - before
    if delta.was_full:
        sys.exit("The increment was resolved as a whole: the figure would be none.")
    links = _scalar(
        connection,
        f"select sum(num_nonnulls(customer_id_key, email_key, phone_key, anonymous_id)) from identity.records "
        f"where record_id like 'new{number}-%%'",
    )
    connection.execute("delete from ops.dirty")
    connection.commit()
    return {"seconds": round(seconds, 3), "links": int(links), "rows_read": rows_read}


def _rows_read(connection: Connection) -> int:
    connection.execute("select pg_stat_force_next_flush()")
    connection.commit()
    return int(
        _scalar(
            connection,
            "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) from pg_stat_user_tables "
            "where schemaname in ('staging', 'identity', 'state')",
        )
    )


def _scalar(connection: Connection, statement: str) -> int:
    return int(warehouse.scalar(connection, statement))


if __name__ == "__main__":
    main()
