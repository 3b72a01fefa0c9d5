"""What the sweep wakes: work that nobody was told of, and work that a failed build has left, with growing pauses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from customer360 import wake, warehouse
from customer360.front_door import landing
from customer360.settings import Settings
from customer360.warehouse.run_log import DIED


def write(settings: Settings, statement: str, *values: object) -> None:
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        connection.execute(warehouse.query(statement), list(values))


def batch(settings: Settings, feed: str, *, age: float, claimed: bool = False) -> None:
    """A loaded batch of ``age`` seconds, which a build has taken or not."""
    write(
        settings,
        """
        insert into ops.batches (feed, file_name, content_hash, state, loaded_at, claimed_at)
        values (%s, gen_random_uuid()::text, gen_random_uuid()::text, 'loaded', now() - %s, case when %s then now() end)
        """,
        feed,
        timedelta(seconds=age),
        claimed,
    )


def run(settings: Settings, state: str, *, minutes_ago: float, kind: str = "build") -> None:
    write(
        settings,
        """
        insert into ops.runs (kind, trigger, state, started_at, finished_at)
        values (%s, 'test', %s, now() - %s, now() - %s)
        """,
        kind,
        state,
        timedelta(minutes=minutes_ago),
        timedelta(minutes=minutes_ago),
    )


def publication(settings: Settings, kind: str, *, minutes_ago: float, days_ago: int = 0) -> None:
    write(
        settings,
        """
        with r as (insert into ops.runs (kind, trigger, state) values (%s, 'test', 'succeeded') returning run_id)
        insert into ops.publications (run_id, kind, as_of_on, published_at) select run_id, %s, %s, now() - %s from r
        """,
        "daily" if kind == "daily" else "build",
        kind,
        settings.today() - timedelta(days=days_ago),
        timedelta(minutes=minutes_ago),
    )


def test_an_empty_installation_waits_for_nothing(settings: Settings) -> None:
    waiting = wake.what_waits(settings)
    assert (waiting.files_of, waiting.batches_of, waiting.is_daily_due) == ((), (), False)
    assert str(waiting) == "nothing"


def test_a_file_that_the_ledger_does_not_know_waits(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "tickets.jsonl"
    source.write_text("{}\n")
    landing.put(settings, "support_tickets", source)
    assert wake.what_waits(settings).files_of == ("support_tickets",)


def test_a_batch_that_was_just_loaded_has_its_event_on_the_way(settings: Settings) -> None:
    batch(settings, "orders", age=2)
    assert wake.has_unbuilt(settings, "orders")
    assert wake.what_waits(settings).batches_of == ()


def test_a_batch_that_was_overlooked_is_woken(settings: Settings) -> None:
    batch(settings, "web_sessions", age=60)
    assert wake.what_waits(settings).batches_of == ("web_sessions",)
    assert not wake.has_unbuilt(settings, "orders")


def test_nothing_is_woken_while_a_writer_is_at_work(settings: Settings) -> None:
    batch(settings, "orders", age=60)
    with warehouse.writer_lock(settings, who="a build"):
        assert wake.what_waits(settings).batches_of == ()
    assert wake.what_waits(settings).batches_of == ("orders",)


@pytest.mark.parametrize(
    ("failures", "minutes_since", "wakes"),
    [(1, 0.5, False), (1, 1.5, True), (3, 3, False), (3, 5, True), (12, 29, False), (12, 31, True)],
)
def test_work_of_a_failed_build_is_woken_again_after_a_growing_pause(
    settings: Settings, failures: int, minutes_since: float, wakes: bool
) -> None:
    batch(settings, "orders", age=60, claimed=True)
    for number in reversed(range(failures)):
        run(settings, "failed", minutes_ago=minutes_since + number)
    assert wake.what_waits(settings).batches_of == (("orders",) if wakes else ())


def test_a_success_in_between_makes_the_pause_short_again(settings: Settings) -> None:
    batch(settings, "orders", age=60, claimed=True)
    for minutes in (40, 30, 20):
        run(settings, "failed", minutes_ago=minutes)
    run(settings, "succeeded", minutes_ago=10, kind="rebuild")
    run(settings, "blocked", minutes_ago=1.5)
    assert wake.what_waits(settings).batches_of == ("orders",)


def test_a_new_batch_does_not_wait_for_the_pause_of_an_old_failure(settings: Settings) -> None:
    run(settings, "failed", minutes_ago=0.1)
    batch(settings, "orders", age=60)
    assert wake.what_waits(settings).batches_of == ("orders",)


def test_keys_that_a_hold_or_a_release_made_dirty_wake_a_build(settings: Settings) -> None:
    write(settings, "insert into ops.dirty values ('order', 'o-1')")
    assert wake.what_waits(settings).batches_of == ("orders",)


def test_the_daily_pass_is_due_once_something_is_published_and_until_it_is_made(settings: Settings) -> None:
    assert not wake.is_daily_due(settings)
    publication(settings, "live", minutes_ago=10)
    assert wake.is_daily_due(settings)
    publication(settings, "daily", minutes_ago=5)
    assert not wake.is_daily_due(settings)
    publication(settings, "live", minutes_ago=1)
    assert not wake.is_daily_due(settings), "once a day, not once a batch"


def test_a_rebuild_is_followed_by_a_daily_pass_in_its_currency(settings: Settings) -> None:
    publication(settings, "rebuild", minutes_ago=10)
    publication(settings, "daily", minutes_ago=5)
    assert not wake.is_daily_due(settings)
    publication(settings, "rebuild", minutes_ago=1)
    assert wake.is_daily_due(settings)


def test_yesterdays_pass_does_not_do_for_today(settings: Settings) -> None:
    publication(settings, "live", minutes_ago=3000)
    publication(settings, "daily", minutes_ago=1440, days_ago=1)
    assert wake.is_daily_due(settings)


def test_a_pass_over_an_empty_warehouse_does_not_count(settings: Settings) -> None:
    publication(settings, "daily", minutes_ago=60)
    publication(settings, "live", minutes_ago=10)
    assert wake.is_daily_due(settings)


@pytest.mark.parametrize("state", ["running", "failed"])
def test_a_build_that_died_after_its_publication_is_followed_by_one_that_judges_it(
    settings: Settings, state: str
) -> None:
    run(settings, state, minutes_ago=1)
    assert wake.what_waits(settings).batches_of == (), "it published nothing: nothing is to be judged"
    write(settings, "update ops.runs set published_at = now(), error = %s", DIED if state == "failed" else None)
    assert wake.what_waits(settings).batches_of == ("orders",)
    run(settings, "succeeded", minutes_ago=0)
    assert wake.what_waits(settings).batches_of == ()
