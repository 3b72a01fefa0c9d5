"""Publication, on candidate tables made by hand: what changes, what stays, who waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from customer360 import warehouse
from customer360.publication import publish
from customer360.publication.publish import Change, Publication, PublicationWaitsError, PublishedTable
from customer360.settings import Settings
from customer360.warehouse import run_log

ORDERS = PublishedTable("fct_orders", ("order_id",), "order", "order_id")
ITEMS = PublishedTable("fct_order_items", ("order_id", "line_number"), "order", "order_id")
CUSTOMERS = PublishedTable("customer_360", ("customer_key",), "customer", "customer_key", is_daily=True)
LOYALTY = PublishedTable("customer_loyalty", ("customer_key",), is_live=False, is_daily=True)
TABLES = (ORDERS, ITEMS, CUSTOMERS, LOYALTY)

CANDIDATE = """
create table candidate.fct_orders (order_id text primary key, customer_key bigint, ordered_on date,
    total_amount numeric(18,4), note jsonb);
comment on table candidate.fct_orders is 'One row per order.';
comment on column candidate.fct_orders.total_amount is 'What the customer was charged.';
create table candidate.fct_order_items (order_id text, line_number bigint, sku text);
create table candidate.customer_360 (customer_key bigint primary key, order_count bigint, tier text);
create table candidate.customer_loyalty (customer_key bigint primary key, tier text);
insert into candidate.fct_orders select 'o' || i, 1 + i % 3, date '2026-01-01' + i, i, '{"b": 1, "a": 2}'
    from generate_series(1, 9) as i;
insert into candidate.fct_order_items select 'o' || i, l, 'sku' || l
    from generate_series(1, 9) as i, generate_series(1, 2) as l;
insert into candidate.customer_360 select k, 3, 'gold' from generate_series(1, 3) as k;
insert into candidate.customer_loyalty select k, 'gold' from generate_series(1, 3) as k;
"""


def do(settings: Settings, statements: str, role: warehouse.Role = "transformer") -> None:
    with warehouse.connect(role, settings) as connection:
        connection.execute(warehouse.query(statements))


def rows(settings: Settings, statement: str, role: warehouse.Role = "bi_reader") -> list[tuple[Any, ...]]:
    with warehouse.connect(role, settings) as connection:
        return connection.execute(warehouse.query(statement)).fetchall()


def dirty(settings: Settings, **keys: list[object]) -> None:
    with warehouse.connect("transformer", settings) as connection:
        for scope, values in keys.items():
            for value in values:
                connection.execute("insert into ops.dirty values (%s, %s)", [scope, str(value)])


def publication(settings: Settings, kind: publish.Kind = "live", fingerprint: str | None = None) -> Publication:
    with run_log.recorded(settings, "build", "test") as run:
        return publish.publish(settings, TABLES, run_id=run.run_id, kind=kind, fingerprint=fingerprint)


@pytest.fixture
def published(settings: Settings) -> Settings:
    """A warehouse whose hand-made candidate tables are published once."""
    do(settings, CANDIDATE)
    publication(settings, "rebuild", fingerprint="of the first build")
    publication(settings, "daily")
    return settings


@contextmanager
def a_reader_in_the_middle(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """A BI transaction that has read marts.fct_orders and stays open."""
    with warehouse.connect("bi_reader", settings) as reader:
        reader.execute("select count(*) from marts.fct_orders")
        yield reader


def test_the_first_publication_makes_tables_with_keys_indexes_and_descriptions(published: Settings) -> None:
    assert rows(published, "select count(*) from marts.fct_orders where refreshed_at is not null") == [(9,)]
    comments = dict(
        rows(
            published,
            """
            select attname, col_description(attrelid, attnum) from pg_attribute
            where attrelid = 'marts.fct_orders'::regclass and attnum > 0
            """,
        )
    )
    assert comments["total_amount"] == "What the customer was charged."
    assert "changed" in comments["refreshed_at"]
    assert rows(published, "select obj_description('marts.fct_orders'::regclass)") == [("One row per order.",)]
    indexes = {name for (name,) in rows(published, "select indexname from pg_indexes where schemaname = 'marts'")}
    assert {"fct_orders_pkey", "fct_orders_by_customer_key", "fct_orders_by_ordered_on"} <= indexes


def test_only_rows_that_differ_are_written_and_counted(published: Settings) -> None:
    before = dict(rows(published, "select order_id, refreshed_at from marts.fct_orders"))
    do(
        published,
        """
        update candidate.fct_orders set total_amount = 100 where order_id = 'o1';
        update candidate.fct_orders set note = '{"a": 2, "b": 1}', total_amount = 2.0000 where order_id = 'o2';
        delete from candidate.fct_orders where order_id = 'o3';
        delete from candidate.fct_order_items where order_id = 'o3' or (order_id = 'o1' and line_number = 2);
        insert into candidate.fct_orders values ('o10', null, '2026-02-01', 10);
        """,
    )
    dirty(published, order=["o1", "o2", "o3", "o10"], customer=[1])
    outcome = publication(published)

    assert outcome.tables == {"marts.fct_orders": Change(1, 1, 1), "marts.fct_order_items": Change(0, 0, 3)}
    after = dict(rows(published, "select order_id, refreshed_at from marts.fct_orders"))
    assert {order for order in before if order in after and before[order] != after[order]} == {"o1"}
    assert rows(published, "select total_amount from marts.fct_orders where order_id = 'o1'") == [(100,)]
    assert sorted(rows(published, "select table_name, key from marts.deleted_keys"), key=str) == [
        ("marts.fct_order_items", {"order_id": "o1", "line_number": 2}),
        ("marts.fct_order_items", {"order_id": "o3", "line_number": 1}),
        ("marts.fct_order_items", {"order_id": "o3", "line_number": 2}),
        ("marts.fct_orders", {"order_id": "o3"}),
    ]
    stored = rows(published, "select tables from ops.publications order by publication_id desc limit 1")
    assert stored == [
        (
            {
                "marts.fct_orders": {"added": 1, "changed": 1, "removed": 1, "redated": 0},
                "marts.fct_order_items": {"added": 0, "changed": 0, "removed": 3, "redated": 0},
            },
        )
    ]
    assert rows(published, "select * from ops.dirty") == []


def test_what_is_not_dirty_is_not_published(published: Settings) -> None:
    do(published, "update candidate.fct_orders set total_amount = 100 where order_id in ('o1', 'o2')")
    dirty(published, order=["o1"])
    publication(published)
    assert rows(published, "select order_id from marts.fct_orders where total_amount = 100") == [("o1",)]


def test_a_customer_who_is_no_more_leaves_the_daily_tables_at_once(published: Settings) -> None:
    do(published, "delete from candidate.customer_360 where customer_key = 2")
    dirty(published, customer=[2, 3])
    outcome = publication(published)
    assert outcome.tables == {"marts.customer_360": Change(0, 0, 1), "marts.customer_loyalty": Change(0, 0, 1)}
    assert rows(published, "select customer_key from marts.customer_loyalty order by 1") == [(1,), (3,)]


def test_the_daily_pass_compares_the_daily_tables_whole_and_leaves_the_dirty_keys(published: Settings) -> None:
    do(
        published,
        """
        update candidate.customer_loyalty set tier = 'silver' where customer_key = 1;
        update candidate.customer_360 set tier = 'silver' where customer_key = 1;
        update candidate.fct_orders set total_amount = 100;
        """,
    )
    dirty(published, order=["o1"])
    outcome = publication(published, "daily")
    assert outcome.tables == {"marts.customer_360": Change(0, 1, 0), "marts.customer_loyalty": Change(0, 1, 0)}
    assert rows(published, "select scope, key from ops.dirty") == [("order", "o1")]


def test_a_row_in_which_only_the_date_of_the_day_moved_keeps_its_refreshed_at(published: Settings) -> None:
    do(published, "alter table candidate.customer_loyalty add column as_of_on date default date '2026-03-01'")
    publication(published, "daily")
    before = dict(rows(published, "select customer_key, refreshed_at from marts.customer_loyalty"))
    do(
        published,
        """
        update candidate.customer_loyalty set as_of_on = '2026-03-02';
        update candidate.customer_loyalty set tier = 'silver' where customer_key = 1;
        delete from candidate.customer_loyalty where customer_key = 3;
        insert into candidate.customer_loyalty values (4, 'base', '2026-03-02');
        """,
    )
    assert publication(published, "daily").tables == {"marts.customer_loyalty": Change(1, 1, 1, redated=1)}
    assert rows(published, "select distinct as_of_on::text from marts.customer_loyalty") == [("2026-03-02",)]
    after = dict(rows(published, "select customer_key, refreshed_at from marts.customer_loyalty"))
    assert after[2] == before[2]
    assert after[1] > before[1]
    do(published, "update candidate.customer_loyalty set as_of_on = '2026-03-03'")
    assert publication(published, "daily").tables == {}
    assert rows(published, "select distinct as_of_on::text from marts.customer_loyalty") == [("2026-03-03",)]


def test_a_publication_that_fails_in_the_middle_leaves_the_old_version_whole(published: Settings) -> None:
    before = rows(published, "select * from marts.fct_orders order by 1")
    do(
        published,
        """
        update candidate.fct_orders set total_amount = 100;
        alter table candidate.customer_loyalty drop constraint customer_loyalty_pkey;
        insert into candidate.customer_loyalty values (4, 'gold'), (4, 'silver');
        """,
    )
    dirty(published, order=["o1"])
    with pytest.raises(psycopg.errors.UniqueViolation):
        publication(published, "daily")
    assert rows(published, "select * from marts.fct_orders order by 1") == before
    assert rows(published, "select count(*) from ops.publications") == [(2,)]
    ((state, error),) = rows(published, "select state, error from ops.runs order by run_id desc limit 1")
    assert state == "failed"
    assert "UniqueViolation on customer_loyalty_pkey" in error


def test_row_changes_do_not_wait_for_readers_and_readers_keep_their_version(published: Settings) -> None:
    with a_reader_in_the_middle(published) as reader:
        do(published, "update candidate.fct_orders set total_amount = 100")
        dirty(published, order=[f"o{i}" for i in range(1, 10)])
        assert publication(published).tables == {"marts.fct_orders": Change(0, 9, 0)}
        seen = reader.execute("select count(*) from marts.fct_orders where total_amount = 100").fetchone()
        assert seen == (0,)
    assert rows(published, "select count(*) from marts.fct_orders where total_amount = 100") == [(9,)]


def test_a_new_column_arrives_with_its_values_and_the_rest_of_the_row_stays(published: Settings) -> None:
    before = dict(rows(published, "select order_id, refreshed_at from marts.fct_orders"))
    do(
        published,
        """
        alter table candidate.fct_orders add column region text, drop column note;
        alter table candidate.fct_orders alter column customer_key type text;
        update candidate.fct_orders set region = 'north' where order_id = 'o1';
        update candidate.fct_orders set customer_key = null where order_id <> 'o2';
        comment on column candidate.fct_orders.region is 'Where it went.';
        """,
    )
    outcome = publication(published)
    assert outcome.tables == {"marts.fct_orders": Change(0, 2, 0)}
    assert rows(
        published, "select order_id, customer_key, region from marts.fct_orders where order_id < 'o4' order by 1"
    ) == [("o1", None, "north"), ("o2", "3", None), ("o3", None, None)]
    after = dict(rows(published, "select order_id, refreshed_at from marts.fct_orders"))
    assert {order for order in after if before[order] != after[order]} == {"o1", "o2"}


def test_a_new_column_waits_for_a_reader_only_so_long_and_the_next_run_brings_it(published: Settings) -> None:
    do(published, "alter table candidate.fct_orders add column region text default 'north'")
    dirty(published, order=["o1"])
    with a_reader_in_the_middle(published) as reader:
        with pytest.raises(PublicationWaitsError, match="region"):
            publication(published)
        assert reader.execute("select count(*) from marts.fct_orders").fetchone() == (9,)
    assert rows(published, "select scope, key from ops.dirty") == [("order", "o1")]
    assert publication(published).tables == {"marts.fct_orders": Change(0, 9, 0)}
    assert rows(published, "select distinct region from marts.fct_orders") == [("north",)]


def test_a_column_that_somebodys_view_shows_is_not_torn_away(published: Settings) -> None:
    with warehouse.connect("owner", published) as connection:
        connection.execute("create schema bi; create view bi.notes as select order_id, note from marts.fct_orders")
    do(published, "alter table candidate.fct_orders drop column note")
    with pytest.raises(publish.LayoutError, match=r"view bi\.notes"):
        publication(published)
    assert rows(published, "select count(note) from marts.fct_orders") == [(9,)]


def test_a_run_that_was_taken_over_cannot_publish(published: Settings) -> None:
    do(published, "update candidate.fct_orders set total_amount = 100")
    dirty(published, order=["o1"])
    with run_log.recorded(published, "build", "paused") as paused:
        paused.lock.execute("select pg_advisory_unlock_all()")  # as when its session is cut
        with run_log.recorded(published, "build", "next"):
            pass
        with pytest.raises(run_log.RunFencedError):
            publish.publish(published, TABLES, run_id=paused.run_id, kind="live")
        with pytest.raises(run_log.RunFencedError):
            paused.mark("built")
    assert rows(published, "select count(*) from marts.fct_orders where total_amount = 100") == [(0,)]
    assert rows(published, "select trigger, state from ops.runs order by run_id desc limit 2") == [
        ("next", "succeeded"),
        ("paused", "failed"),
    ]


def test_a_reader_who_looks_all_the_time_sees_one_version_at_a_time(published: Settings) -> None:
    """Every order carries the number of its version; no statement and no transaction may see two of them."""
    seen: list[set[int]] = []
    stop = threading.Event()

    def look() -> None:
        with warehouse.connect("bi_reader", published) as reader:
            while not stop.is_set():
                first = reader.execute("select distinct total_amount::int from marts.fct_orders").fetchall()
                second = reader.execute("select distinct order_count::int from marts.customer_360").fetchall()
                reader.rollback()
                seen.append({version for (version,) in first + second})

    do(published, "update candidate.fct_orders set total_amount = 0; update candidate.customer_360 set order_count = 0")
    publication(published, "rebuild", "again")
    thread = threading.Thread(target=look)
    thread.start()
    for version in range(1, 16):
        do(
            published,
            f"""
            update candidate.fct_orders set total_amount = {version};
            update candidate.customer_360 set order_count = {version};
            """,
        )
        dirty(published, order=[f"o{i}" for i in range(1, 10)], customer=[1, 2, 3])
        publication(published)
    stop.set()
    thread.join()
    assert len(seen) > 15
    assert {len(versions) for versions in seen} == {1}
    assert len(set.union(*seen)) > 3, "the reader looked too seldom to prove anything"
