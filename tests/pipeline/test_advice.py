"""Advice is followed until all is well: the command that the product gives mends what was broken by hand.

Whatever is broken, no build publishes fewer records than the ledger says were loaded.
"""

from __future__ import annotations

import random
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from customer360 import warehouse
from customer360.cli import registry
from customer360.front_door import landing, quarantine, replay
from customer360.front_door.quarantine import Selection
from customer360.oncall.monitor import look_once
from customer360.oncall.status import status
from customer360.publication.build import build
from customer360.publication.verify import verify
from customer360.settings import Settings, get_settings
from customer360.warehouse.run_log import GateBlockedError
from tests.pipeline.front_door import drop, jsonl
from tests.pipeline.front_door import order as landed_order

WHO: dict[str, Any] = {"who": "Dana", "why": "drill"}


@pytest.fixture
def here(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A shop with one landed file of two orders published; this process' settings are those of its warehouse.

    Its other batches came without files, as in an installation that has tidied its landing zone.
    """
    landing.prepare(shop)
    drop(shop, "orders", "by-hand.jsonl", jsonl([landed_order(501), landed_order(502)]))
    monkeypatch.setenv("C360_HOME", str(shop.home))
    monkeypatch.setenv("C360_DATABASE", shop.database)
    monkeypatch.setenv("C360_LANDING", shop.landing)
    get_settings.cache_clear()
    assert type_in("c360 ingest") == 0
    build(shop, "test")
    yield shop
    get_settings.cache_clear()


def type_in(command: str) -> int:
    app = typer.Typer()
    registry.register(app)
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    if result.exit_code:
        sys.stdout.write(f"{command}: {result.output}\n{result.exception!r}\n")
    return result.exit_code


def by_hand(settings: Settings, statement: str) -> None:
    with warehouse.admin(settings) as connection:
        connection.execute(warehouse.query(statement))


def count(settings: Settings, table: str) -> int:
    with warehouse.connect("owner", settings) as connection:
        return int(warehouse.scalar(connection, f"select count(*) from {table}"))


def newest_batch(settings: Settings) -> int:
    with warehouse.connect("owner", settings) as connection:
        return int(warehouse.scalar(connection, "select max(batch_id) from ops.batches where feed = 'orders'"))


def kinds(settings: Settings) -> list[str]:
    return [one["kind"] for one in status(settings).incidents]


def test_a_build_never_publishes_less_than_was_loaded(here: Settings) -> None:
    published, batch = count(here, "marts.fct_orders"), newest_batch(here)
    look_once(here)
    by_hand(here, f"delete from raw.orders where batch_id = {batch} and row_number = 1")
    (told,) = [one for one in status(here).incidents if one["kind"] == "raw_differs"]
    with pytest.raises(GateBlockedError, match="Raw lacks rows"):
        build(here, "test", full_refresh=True)
    assert count(here, "marts.fct_orders") == published
    look_once(here)
    assert kinds(here) == ["raw_differs"]  # the blocked run has the same cause, and is no incident of its own
    assert type_in(told["command"]) == 0
    build(here, "test", full_refresh=True)
    assert count(here, "marts.fct_orders") == published
    assert verify(here).holds
    assert status(here).is_well


def test_a_batch_that_lost_rows_before_its_build_is_not_published(here: Settings) -> None:
    drop(here, "orders", "more.jsonl", jsonl([landed_order(503), landed_order(504)]))
    assert type_in("c360 ingest") == 0
    by_hand(here, f"delete from raw.orders where batch_id = {newest_batch(here)} and row_number = 2")
    with pytest.raises(GateBlockedError) as blocked:
        build(here, "test")
    assert type_in(blocked.value.next_step.split("`")[1]) == 0
    build(here, "test")
    assert verify(here).holds


def test_a_file_that_is_gone_is_landed_again_and_replayed(here: Settings, tmp_path: Path) -> None:
    batch = newest_batch(here)
    (file,) = landing.files(here, "orders")
    kept = tmp_path / "kept.jsonl"
    Path(file.location).rename(kept)
    by_hand(here, f"delete from raw.orders where batch_id = {batch}")
    outcome = replay.replay(here, batch_id=batch, **WHO)
    assert "land the same file again" in outcome.impossible[batch]
    assert type_in(f"c360 land orders {kept}") == 0
    assert type_in("c360 ingest") == 0
    assert type_in(replay.bring_back(batch).strip("`")) == 0
    build(here, "test")
    assert verify(here).holds


def test_released_rows_that_were_lost_have_a_way_back(here: Settings) -> None:
    old = landed_order(505, ordered_at="1970-01-01T00:00:00Z")
    drop(here, "orders", "odd.jsonl", jsonl([old, landed_order(506)]))
    assert type_in("c360 ingest") == 0
    origin = newest_batch(here)
    released = quarantine.release(here, selection=Selection(batch_id=origin), **WHO).batch_ids[0]
    build(here, "test")
    published = count(here, "marts.fct_orders")
    by_hand(here, f"delete from raw.orders where batch_id = {released}")
    assert type_in(replay.bring_back(released).strip("`")) == 0
    assert type_in(f"c360 quarantine release --batch {origin} --because 'released before'") == 0
    build(here, "test")
    assert count(here, "marts.fct_orders") == published
    assert verify(here).holds


@pytest.mark.parametrize(
    "change", ["drop column net_amount", "add column mine int", "alter column status type varchar(40)"]
)
def test_a_published_column_changed_by_hand_is_noticed_and_mended(here: Settings, change: str) -> None:
    by_hand(here, f"alter table marts.fct_orders {change}")
    (told,) = [one for one in status(here).incidents if one["kind"] == "marts_changed"]
    assert told["command"] == "c360 run"
    build(here, "test")
    assert status(here).is_well
    assert verify(here).holds


_DAMAGES = (
    "delete from raw.orders where batch_id = {batch} and row_number = 1",
    "delete from raw.orders where batch_id = {batch}",
    "insert into raw.orders (batch_id, row_number, order_id, updated_at, ordered_at, status, currency, total_amount) "
    "select batch_id, row_number + 900, order_id, updated_at, ordered_at, status, currency, total_amount "
    "from raw.orders where batch_id = {batch}",
    "update ops.batches set loaded_rows = loaded_rows - 1 where batch_id = {batch}",
    "delete from marts.fct_orders where order_key = 'o502'",
    "update marts.customer_360 set net_amount = net_amount + 1",
    "alter table marts.fct_orders drop column net_amount",
    "alter table marts.customer_360 drop column order_count cascade",
    "alter table marts.fct_daily_revenue add column mine int",
    "drop table marts.fct_refunds cascade",
    "alter table marts.fct_orders drop constraint fct_orders_pkey cascade",
    "revoke all on raw.orders from c360_loader, c360_transformer",
    "revoke select on all tables in schema marts from c360_bi_reader",
    "update ops.batches set state = 'loaded', publication_id = null where batch_id = {batch}",
    "update ops.batches set state = 'landed' where batch_id = {batch}",
    "delete from candidate.fct_orders",
    "drop table candidate.customer_360 cascade",
    "truncate ops.live_build",
    "delete from identity.records",
)


def advice(settings: Settings) -> str:
    """The first command that the product gives: of the gravest incident, else of the first check that is broken."""
    incidents = [one for one in status(settings).incidents if one["kind"] != "feed_late"]
    if incidents:
        return str(incidents[0]["command"])
    for check in verify(settings).checks:
        if not check.holds:
            return check.next_step.split("`")[1]
    return "c360 run" if status(settings).feeds and has_work(settings) else ""


def has_work(settings: Settings) -> bool:
    with warehouse.connect("owner", settings) as connection:
        return bool(
            warehouse.scalar(
                connection, "select exists (select from ops.unpublished_batches) or exists (select from ops.dirty)"
            )
        )


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 16))])
def test_advice_is_followed_until_all_is_well_and_nothing_is_lost(here: Settings, seed: int) -> None:
    chance = random.Random(seed)
    whole = count(here, "marts.fct_orders")
    for damage in chance.sample(_DAMAGES, k=chance.randint(1, 3)):
        by_hand(here, damage.format(batch=newest_batch(here)))
    least = count(here, "marts.fct_orders")
    followed: list[str] = []
    while command := advice(here):
        followed.append(command)
        assert len(followed) < 9, followed
        type_in(command)  # a run may stop at the gate, which is what the next advice is about
        assert count(here, "marts.fct_orders") >= least, followed
    assert verify(here).holds
    assert count(here, "marts.fct_orders") == whole, followed
