"""The models without the build around them: claim, staging, a given identity, live models.

Who a record belongs to is an input here: customer ``c7`` is customer_key 7, a record without customer_id nobody's.
The identity tables are filled by that rule, with the dirty keys that the identity step would report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from customer360 import warehouse
from customer360.contract.feeds import FEEDS, RECORD_FEEDS
from customer360.exchange import rates
from customer360.models import runner
from customer360.models.runner import ModelResult
from customer360.publication.build import published_tables
from customer360.publication.publish import publish
from customer360.settings import Settings
from customer360.warehouse import query, run_log
from tests.pipeline.shop import Record, load_all

SCOPES = {feed.name: (feed.scope, feed.key) for feed in FEEDS.values()}


def build(settings: Settings, records: Sequence[Record] = (), *, is_history: bool = False, full: bool = False) -> None:
    """Load the records, build the live models over what is due (the first time: whole), and publish them."""
    load_all(settings, records, is_history=is_history)
    claim(settings)
    with warehouse.connect("transformer", settings) as connection:
        full = full or not warehouse.scalar(connection, "select exists (select from ops.publications)")
    run_live(settings, full=full)
    finish(settings, full=full)


def claim(settings: Settings) -> None:
    """Claim every loaded batch and mark its ids dirty, as the build does."""
    with warehouse.connect("transformer", settings) as connection:
        taken = connection.execute(
            "update ops.batches set claimed_at = now() where state = 'loaded' and claimed_at is null"
            " returning batch_id, feed"
        ).fetchall()
        for batch_id, feed in taken:
            mark_batch_dirty(connection, feed, batch_id)


def mark_batch_dirty(connection: warehouse.Connection, feed: str, batch_id: int) -> None:
    """Mark the ids of a batch as dirty."""
    scope, key = SCOPES[feed]
    connection.execute(
        query(
            f"insert into ops.dirty select distinct '{scope}', {key} from raw.{feed} where batch_id = %s"
            " on conflict do nothing"
        ),
        [batch_id],
    )


def run_live(settings: Settings, *, full: bool = False, run_id: int | None = None) -> list[ModelResult]:
    """Staging, identity and the live models, over the dirty keys or whole."""
    results = runner.run_models(settings, "tag:staging", run_id=run_id, full_refresh=full)
    identify(settings)
    with warehouse.connect("transformer", settings) as connection:
        rates.refresh(connection, settings, whole=True, sources_changed=full)
    return results + runner.run_models(settings, "tag:live", run_id=run_id, full_refresh=full)


def run_daily(settings: Settings, as_of_on: str) -> None:
    """The daily figures of customer_360, whole, for one date; loyalty and churn have tests of their own."""
    models = ["int_customers__windowed", "customer_360"]
    runner.run_models(settings, models, run_id=None, full_refresh=True, variables={"as_of_on": as_of_on})


def finish(settings: Settings, *, full: bool = False) -> None:
    """Publish what was built, without the gates."""
    with run_log.recorded(settings, "build", "test") as run:
        publish(settings, published_tables(settings), run_id=run.run_id, kind="rebuild" if full else "live")


def identify(settings: Settings) -> None:
    """Fill the identity tables from the staged customer_ids, and mark what changed."""
    with warehouse.connect("transformer", settings) as connection:
        for feed, (scope, key) in ((feed, SCOPES[feed]) for feed in RECORD_FEEDS):
            for statement in (_OWNERS, _MARK_RECORDS, _MARK_CUSTOMERS, _REPLACE_OWNERS):
                connection.execute(query(statement.format(scope=scope, key=key, feed=feed)))
        connection.execute(query(_CUSTOMERS))


_OWNERS = """
    create table if not exists identity.{scope}_customers ({key} text primary key, customer_key bigint, rule text);
    create temporary table now_{scope} on commit drop as
    select {key}, nullif(substr(customer_id, 2), '')::bigint as customer_key from staging.stg_{feed};
    create temporary table changed_{scope} on commit drop as
    select {key}, before.customer_key as old_key, now.customer_key as new_key
    from identity.{scope}_customers as before full join now_{scope} as now using ({key})
    where before.customer_key is distinct from now.customer_key
"""
_MARK_RECORDS = "insert into ops.dirty select '{scope}', {key} from changed_{scope} on conflict do nothing"
_MARK_CUSTOMERS = """
    insert into ops.dirty select 'customer', k::text from changed_{scope}, unnest(array[old_key, new_key]) as k
    where k is not null on conflict do nothing
"""
_REPLACE_OWNERS = """
    delete from identity.{scope}_customers;
    insert into identity.{scope}_customers select {key}, customer_key, 'customer_id' from now_{scope}
"""
_CUSTOMERS = """
    create table if not exists identity.customers (
        customer_key bigint primary key, identifier_count integer, identity_confidence numeric(5, 4),
        first_seen_at timestamptz);
    create table if not exists identity.identifiers (identifier_type text, identifier text, customer_key bigint);
    delete from identity.customers;
    delete from identity.identifiers;
    insert into identity.customers
    select customer_key, 1, 1, timestamptz '2026-01-01' from (
        select customer_key from identity.order_customers
        union select customer_key from identity.session_customers
        union select customer_key from identity.ticket_customers) as owners
    where customer_key is not null;
    insert into identity.identifiers
    select distinct 'email', email, substr(customer_id, 2)::bigint from staging.stg_orders
    where email is not null and customer_id is not null
"""


def rows(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    """What the models wrote."""
    with warehouse.connect("transformer", settings) as connection:
        return connection.execute(query(statement)).fetchall()


def one(settings: Settings, statement: str) -> dict[str, Any]:
    """The only row of a query, by column."""
    with warehouse.connect("transformer", settings) as connection:
        cursor = connection.execute(query(statement))
        found = cursor.fetchall()
        assert len(found) == 1, f"{len(found)} rows, not one: {statement}"
        return dict(zip([column.name for column in cursor.description or ()], found[0], strict=True))
