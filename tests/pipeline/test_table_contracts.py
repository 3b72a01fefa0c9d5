"""What the published tables declare in PostgreSQL: foreign keys, not-null columns, a description of everything."""

from __future__ import annotations

import pytest

from customer360 import warehouse
from customer360.publication import table_contracts
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.publication.table_contracts import REFERENCES, REQUIRED
from customer360.settings import Settings
from expectations.candidate import suite_of
from tests.pipeline.shop import load_all, order, rows

pytestmark = pytest.mark.builds

FOREIGN_KEYS = """
    select c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text, c.conenforced
    from pg_constraint as c join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
    where c.contype = 'f' and c.connamespace in ('marts'::regnamespace, 'marts_pii'::regnamespace)
"""
NULLABLE = """
    select c.relname || '.' || a.attname
    from pg_attribute as a join pg_class as c on c.oid = a.attrelid and c.relkind = 'r'
    where c.relnamespace = 'marts'::regnamespace and a.attnum > 0 and not a.attnotnull
"""


@pytest.fixture
def refreshed(shop: Settings) -> Settings:
    """The shop with its daily tables."""
    refresh_daily(shop, trigger="test")
    return shop


def test_a_reader_sees_every_foreign_key_and_every_one_holds(refreshed: Settings) -> None:
    found = rows(refreshed, FOREIGN_KEYS, "pii_reader")
    assert {(table.rpartition(".")[2], column) for table, column, *_ in found} == {
        (table, column) for table, columns in REFERENCES.items() for column in columns
    }
    assert not any(is_enforced for *_, is_enforced in found)
    for table, column, referenced, _ in found:
        orphans = f"""
            select count(*) from {table} as t where {column} is not null
            and not exists (select from {referenced} as r where r.{column} = t.{column})
        """
        assert rows(refreshed, orphans, "pii_reader") == [(0,)], (table, column)


def test_what_is_required_is_not_null_and_the_gate_proves_it(refreshed: Settings) -> None:
    nullable = {name for (name,) in rows(refreshed, NULLABLE)}
    for table, columns in REQUIRED.items():
        suite = suite_of(table, (), scope=None, scope_key=None, kind="rebuild")
        said = " ".join(str(expectation.description) for expectation in suite.expectations).replace(",", "")
        for column in columns:
            assert f"{table}.{column}" not in nullable
            assert column in said.split(), f"no gate proves {table}.{column}"


def test_an_increment_declares_nothing_and_a_rebuild_what_is_missing(shop: Settings) -> None:
    drop = """
        alter table marts.fct_orders
            drop constraint fct_orders_customer_key_fkey, alter column ordered_on drop not null
    """
    with warehouse.connect("publisher", shop) as connection:
        connection.execute(warehouse.query(drop))
    load_all(shop, [order("o9", customer_id="c1")])
    build(shop, "test")
    assert not [one for one in rows(shop, FOREIGN_KEYS) if one[0].endswith("fct_orders")]
    with warehouse.connect("bi_reader", shop) as reader:  # a rebuild waits for nobody who reads
        reader.execute("select count(*) from marts.fct_orders")
        build(shop, "test", full_refresh=True)
        # Not null needs the table for itself, a foreign key does not.
        assert [one for one in rows(shop, FOREIGN_KEYS) if one[0].endswith("fct_orders")]
        assert ("fct_orders.ordered_on",) in rows(shop, NULLABLE)
    build(shop, "test", full_refresh=True)
    assert ("fct_orders.ordered_on",) not in rows(shop, NULLABLE)


def test_a_server_without_such_keys_has_none(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with warehouse.connect("publisher", shop) as connection:
        connection.execute("alter table marts.fct_orders drop constraint fct_orders_customer_key_fkey")
    monkeypatch.setattr(table_contracts, "NOT_ENFORCED_SINCE", 10**9)
    build(shop, "test", full_refresh=True)
    assert not [one for one in rows(shop, FOREIGN_KEYS) if one[0].endswith("fct_orders")]


def test_every_table_and_column_that_readers_see_has_a_description(refreshed: Settings) -> None:
    columns = """
        select n.nspname || '.' || c.relname, a.attname, obj_description(c.oid, 'pg_class'),
            col_description(c.oid, a.attnum)
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where n.nspname in ('marts', 'marts_pii', 'ops') and c.relkind in ('r', 'v')
    """
    found = rows(refreshed, columns)
    assert len({table for table, *_ in found}) > 50
    assert sorted({table for table, _, said, _ in found if not said}) == []
    assert sorted(f"{table}.{column}" for table, column, _, said in found if not said) == []
