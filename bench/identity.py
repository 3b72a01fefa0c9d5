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
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from customer360 import warehouse
from customer360.identity import quality, resolve
from customer360.identity.staged import copy_in, copy_out
from customer360.sample.generator import generate
from customer360.settings import Settings
from customer360.warehouse import Connection, embedded_server, query

Ints = npt.NDArray[np.int64]

_THRESHOLDS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 0.9, 0.99)

_STAGING = """
create table staging.stg_orders (
    order_key text, ordered_at timestamptz, customer_id text, email text, phone text, anonymous_id text,
    source text default '', is_deleted boolean default false);
create table staging.stg_web_sessions (
    session_key text, started_at timestamptz, customer_id text, email text, anonymous_id text, order_key text,
    source text default '', is_deleted boolean default false);
create table staging.stg_support_tickets (
    ticket_key text, created_at timestamptz, customer_id text, email text, phone text, order_key text,
    source text default '', is_deleted boolean default false);
"""
_FEEDS = {
    "orders": ("stg_orders", "order_id", "ordered_at", ["customer_id", "email", "phone", "anonymous_id"]),
    "web_sessions": (
        "stg_web_sessions", "session_id", "started_at", ["customer_id", "email", "anonymous_id", "order_id"],
    ),
    "support_tickets": (
        "stg_support_tickets", "ticket_id", "created_at", ["customer_id", "email", "phone", "order_id"],
    ),
}  # fmt: skip

# The sample names no source: an id is its own record key.
_KEYS = {"order_id": "order_key", "session_id": "session_key", "ticket_id": "ticket_key"}


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
            embedded_server.stop(settings, immediate=True)


def measure_speed(settings: Settings, connection: Connection, scale: float) -> dict[str, Any]:
    """Seconds of the whole resolution and of an increment, and the increment's share of the base that it read."""
    people = int(3_200_000 * scale)
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
    account = "case when p % 10 < 7 and abs(hashint8extended(n, 3)) % 100 < {share} then 'C' || p end"
    changed = "case when p % 9 = 0 and n % 2 = 0 then 'x' else '' end"
    email = f"case when abs(hashint8extended(n, 4)) % 100 < {{share}} then 'p' || p || {changed} || '@Mail.example' end"
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
        "create unique index on staging.stg_orders (order_key)",
        "create unique index on staging.stg_web_sessions (session_key)",
        "create unique index on staging.stg_support_tickets (ticket_key)",
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
            select 'new{number}-' || n, now(),
                case when n % 4 = 0 then 'N{number}-' || n when p % 10 < 7 then 'C' || p end,
                'p' || case when n % 50 = 0 then p + 1 else p end || '@mail.example',
                case when n % 2 = 0 then '+1415' || lpad((2000000 + p)::text, 7, '0') end,
                case when n % 3 = 0 then 'd' || p || '-0' end
            from (
                select n, abs(hashint8extended(n, {100 + number})) % {people} as p from generate_series(1, 400) as n
            ) as new
            """
        )
    )
    connection.execute(
        query(
            "insert into ops.dirty select 'order', order_key from staging.stg_orders "
            f"where order_key like 'new{number}-%'"
        )
    )
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
    return _scalar(
        connection,
        "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) from pg_stat_user_tables "
        "where schemaname in ('staging', 'identity', 'state')",
    )


def measure_quality(settings: Settings, connection: Connection, customers: int) -> dict[str, Any]:
    """Pairwise precision and recall on the hard sample: ours with and without what devices attribute, and Splink's."""
    sample = settings.home / "sample"
    generate(
        customers, 730, None, 7, sample,
        hard_identity=True, fresh_batches=1, history_versions="latest",
        formats=("parquet",), fresh_formats=("parquet",),
    )  # fmt: skip
    for feed, (table, record_id, seen_at, others) in _FEEDS.items():
        columns = [record_id, seen_at, *others]
        staged = [_KEYS.get(name, name) for name in columns]
        copy_in(connection, f"staging.{table}", staged, _latest(sample, feed, record_id, columns))
    begun = time.perf_counter()
    resolve(connection, settings=settings)
    connection.commit()
    seconds = time.perf_counter() - begun
    judged = _Judged.read(connection, sample)
    own = np.any(judged.shown >= 0, axis=1)
    everything = np.ones(len(judged.customer), np.bool_)
    return {
        "people": customers,
        "records": len(judged.customer),
        "ours": {
            "seconds": round(seconds, 1),
            "by_own_identifiers": judged.figures(judged.customer, own),
            "with_orders_and_devices": judged.figures(judged.customer, everything),
            "unattributed_records": int((judged.customer < 0).sum()),
        },
        "device_attribution": _attribution(connection, judged),
        "splink": _splink(judged, own),
    }


def _latest(sample: Path, feed: str, record_id: str, columns: list[str]) -> pa.Table:
    files = [
        str(file) for file in sample.rglob("*.parquet") if file.name.startswith(feed) and "truth" not in file.parts
    ]
    staged = ", ".join(f"{name} as {_KEYS.get(name, name)}" for name in columns)
    found = duckdb.sql(
        f"""
        select {staged} from read_parquet({files}, union_by_name = true)
        qualify row_number() over (partition by {record_id} order by updated_at desc) = 1
        """
    )
    if found is None:
        raise RuntimeError("DuckDB gives nothing only for a statement that is no query")
    return found.to_arrow_table()


class _Judged:
    """The resolved records, in one order, with the people behind them."""

    def __init__(self, records: pa.Table, people: Ints) -> None:
        self.records = records
        self.person = people
        self.customer: Ints = records["customer_key"].fill_null(-1).to_numpy()
        self.shown: Ints = np.stack([records[f"free_{n}"].fill_null(-1).to_numpy() for n in range(3)], axis=1)

    @classmethod
    def read(cls, connection: Connection, sample: Path) -> _Judged:
        """Join the outcome with the truth. Records that the truth does not know are not judged."""
        identifiers = " ".join(
            f"left join identity.identifiers as i{n} on i{n}.identifier_key = r.{column}"
            for n, column in enumerate(("customer_id_key", "email_key", "phone_key"))
        )
        free = ", ".join(f"case when i{n}.blocked_by is null then i{n}.identifier_key end" for n in range(3))
        texts = ", ".join(f"i{n}.identifier" for n in range(3))
        outcome = copy_out(
            connection,
            f"select r.record_type, r.record_id, r.customer_key, {free}, {texts} "
            f"from identity.records as r {identifiers}",
            {"record_type": pa.string(), "record_id": pa.string(), "customer_key": pa.int64()}
            | {f"free_{n}": pa.int64() for n in range(3)}
            | {"customer_id": pa.string(), "email": pa.string(), "phone": pa.string()},
        )
        truth = pq.read_table(sample / "truth" / "records.parquet")
        database = duckdb.connect()
        database.register("outcome", outcome)
        database.register("truth", truth)
        joined = database.sql(
            """
            select outcome.*, dense_rank() over (order by truth.person_id) as person
            from outcome inner join truth on truth.record_id = outcome.record_id and truth.feed = case record_type
                when 'order' then 'orders' when 'session' then 'web_sessions' else 'support_tickets' end
            order by record_type, outcome.record_id
            """
        ).to_arrow_table()
        return cls(joined, joined["person"].to_numpy())

    def figures(self, customer: Ints, among: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Precision and recall among some of the records."""
        found = quality.pairwise(customer[among], self.person[among])
        return {
            "records": int(among.sum()),
            "joined_pairs": found.joined_pairs,
            "precision": round(found.precision, 5),
            "recall": round(found.recall, 5),
            "recall_sharing_an_unblocked_identifier": round(
                quality.recall_of_sharing(customer[among], self.person[among], self.shown[among]), 5
            ),
        }


def _attribution(connection: Connection, judged: _Judged) -> dict[str, Any]:
    """Of the records that a device attributes, the share whose person is that of the record that names them.

    Apart for devices of one known person and of several: whose visit it is on a shared tablet nobody can be sure of.
    """
    attributed = copy_out(
        connection,
        """
        select r.record_type, r.record_id, r.source_type, r.source_id, known.people > 1 as is_shared
        from identity.records as r
        inner join (
            select anonymous_id, count(distinct customer_key) as people from identity.records
            where rule in ('customer_id', 'email', 'phone', 'linked_order') group by anonymous_id
        ) as known using (anonymous_id)
        where r.rule in ('device_before', 'device_after')
        """,
        {name: pa.string() for name in ("record_type", "record_id", "source_type", "source_id")}
        | {"is_shared": pa.bool_()},
    )
    database = duckdb.connect()
    database.register("attributed", attributed)
    database.register("judged", judged.records)
    rows = database.sql(
        """
        select is_shared, count(*), avg((one.person = other.person)::int) from attributed as a
        inner join judged as one on one.record_type = a.record_type and one.record_id = a.record_id
        inner join judged as other on other.record_type = a.source_type and other.record_id = a.source_id
        group by is_shared
        """
    ).fetchall()
    return {
        "on_shared_devices" if is_shared else "on_devices_of_one": {"records": count, "right": round(share, 4)}
        for is_shared, count, share in sorted(rows)
    }


def _splink(judged: _Judged, among: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Splink's usual model on the same normalised identifiers: learned without labels, clustered by threshold.

    It is given each distinct (customer_id, e-mail, phone) once, which is kinder to it than every record would be, and
    judged at many thresholds. The low ones are needed: where an identifier agrees nearly only within people, random
    pairs overstate how often it agrees by chance (u), and a single agreement gets a modest probability.
    """
    import splink.comparison_library as compare
    from splink import Linker, SettingsCreator, block_on
    from splink.backends.duckdb import DuckDBAPI

    database = duckdb.connect()
    database.register("records", judged.records.filter(pa.array(among)).select(["customer_id", "email", "phone"]))
    database.execute(
        "create table profiles as select row_number() over () as unique_id, * from (select distinct * from records)"
    )
    begun = time.perf_counter()
    api = DuckDBAPI(database)
    settings = SettingsCreator(
        link_type="dedupe_only",
        comparisons=[
            compare.ExactMatch("customer_id"),
            compare.EmailComparison("email"),
            compare.LevenshteinAtThresholds("phone", [1]),
        ],
        blocking_rules_to_generate_predictions=[block_on("customer_id"), block_on("email"), block_on("phone")],
    )
    linker = Linker(api.register("profiles"), settings, log_level="ERROR")
    rules: list[Any] = [block_on("customer_id"), block_on("email"), block_on("phone")]
    linker.training.estimate_probability_two_random_records_match(rules, recall=0.9)
    linker.training.estimate_u_using_random_sampling(max_pairs=20_000_000)
    for rule in rules:
        linker.training.estimate_parameters_using_expectation_maximisation(rule)
    scored = linker.inference.predict(threshold_match_probability=0.001)
    by_threshold = {}
    for threshold in _THRESHOLDS:
        clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(scored, threshold)
        database.register("clusters", clusters.as_duckdbpyrelation().to_arrow_table())
        in_order = database.sql(
            """
            select c.cluster_id::bigint as cluster from (select row_number() over () as n, * from records) as r
            inner join clusters as c on r.customer_id is not distinct from c.customer_id
                and r.email is not distinct from c.email and r.phone is not distinct from c.phone
            order by r.n
            """
        ).to_arrow_table()
        customer = np.full(len(among), -1, np.int64)
        customer[among] = in_order["cluster"].to_numpy()
        figures = judged.figures(customer, among)
        by_threshold[threshold] = {name: figures[name] for name in ("precision", "recall")}
    return {
        "profiles": database.sql("select count(*) from profiles").fetchall()[0][0],
        "seconds": round(time.perf_counter() - begun, 1),
        "by_match_probability": by_threshold,
    }


def _scalar(connection: Connection, statement: str) -> int:
    return int(warehouse.scalar(connection, statement))


if __name__ == "__main__":
    main()
