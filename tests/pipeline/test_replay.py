"""Holding, letting go, processing again, tidying: what a person may do to a batch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from customer360 import warehouse
from customer360.front_door import load, quarantine, replay
from customer360.front_door.quarantine import Selection
from customer360.front_door.replay import BatchActionError
from customer360.publication import retention
from customer360.settings import Settings
from tests.pipeline.front_door import (
    assert_balanced,
    batches,
    csv_text,
    drop,
    ingest_one,
    jsonl,
    order,
    raw_rows,
    reasons,
)

WHO: dict[str, Any] = {"who": "Dana", "why": "drill"}


def dirty(settings: Settings) -> set[tuple[str, str]]:
    with warehouse.connect("owner", settings) as connection:
        return set(connection.execute("select scope, key from ops.dirty").fetchall())


def publish(settings: Settings) -> None:
    """As a build does with what it has claimed."""
    with warehouse.connect("owner", settings) as connection:
        connection.execute(
            "update ops.batches set state = 'published', claimed_at = now(), published_at = now() "
            "where state = 'loaded'"
        )
        connection.execute("delete from ops.dirty")


def test_a_held_batch_makes_its_keys_dirty_and_comes_back(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1), order(2)]))
    publish(settings)
    assert replay.hold(settings, 1, **WHO)
    assert not replay.hold(settings, 1, **WHO)
    assert batches(settings)[0].state == "held"
    assert dirty(settings) == {("order", "o1"), ("order", "o2")}
    assert replay.unhold(settings, 1, **WHO)
    assert not replay.unhold(settings, 1, **WHO)
    assert batches(settings)[0].state == "loaded"
    assert_balanced(settings)
    with warehouse.connect("owner", settings) as connection:
        assert connection.execute("select action from ops.batch_actions").fetchall() == [("hold",), ("unhold",)]
        assert warehouse.scalar(connection, "select claimed_at from ops.batches") is None


def test_what_was_never_loaded_cannot_be_held(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.csv", b"nonsense\n1\n")
    with pytest.raises(BatchActionError, match="only a loaded batch"):
        replay.hold(settings, 1, **WHO)
    with pytest.raises(BatchActionError, match="no batch 7"):
        replay.hold(settings, 7, **WHO)


def test_a_hold_waits_for_the_writer(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1)]))
    with warehouse.writer_lock(settings, who="a build"):
        busy = pytest.raises(warehouse.WriterBusyError)
        with busy, warehouse.writer_lock(settings, wait_seconds=0.1):
            pass
    assert replay.hold(settings, 1, **WHO)


def test_a_replay_changes_nothing_when_nothing_has_changed(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1), order(2, status="lost"), order(1), order(3)]))
    publish(settings)
    before = (raw_rows(settings, "orders", "*", "row_number"), reasons(settings))
    for _ in range(2):
        (outcome,) = replay.replay(settings, batch_id=1, **WHO).batches
        assert (outcome.state, outcome.rows, outcome.quarantined, outcome.duplicates) == ("loaded", 2, 1, 1)
        assert (raw_rows(settings, "orders", "*", "row_number"), reasons(settings)) == before
        assert_balanced(settings)
    assert dirty(settings) == {("order", "o1"), ("order", "o3")}


def test_a_replay_leaves_decided_rows_decided(settings: Settings) -> None:
    rows = [order(1), order(2, status="lost"), order(3, updated_at="2026-02-01T00:00:00Z"), order(4, refunds="x")]
    ingest_one(settings, "orders", "a.jsonl", jsonl(rows))
    quarantine.discard(settings, Selection(rule="choice"), **WHO)
    quarantine.release(settings, selection=Selection(rule="order_of_times"), **WHO)
    replay.replay(settings, batch_id=1, **WHO)
    origin = batches(settings)[0]
    assert (origin.landed_rows, origin.loaded_rows, origin.quarantined_rows) == (4, 1, 1)
    assert (origin.released_rows, origin.discarded_rows) == (1, 1)
    assert sorted(row[0] for row in raw_rows(settings, "orders", "order_id")) == ["o1", "o3"]
    assert_balanced(settings)


def test_a_refused_batch_is_tried_again_when_asked(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.csv", csv_text([{"order_id": "o1"}]))
    assert load.ingest(settings).batches == []
    (outcome,) = replay.replay(settings, state="refused", **WHO).batches
    assert (outcome.state, outcome.error[:30]) == ("refused", "the required columns updated_a")
    assert_balanced(settings)


def test_a_batch_without_its_file_cannot_be_processed_again(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1)]))
    (Path(settings.landing_url) / "orders" / "a.jsonl").unlink()
    assert replay.replay(settings, batch_id=1, **WHO).impossible == {
        1: "its file is no longer in the landing zone: land the same file again with `c360 land orders FILE` and "
        "`c360 ingest`, then replay this batch"
    }
    drop(settings, "orders", "a.jsonl", jsonl([order(2)]))
    assert replay.replay(settings, batch_id=1, **WHO).impossible == {
        1: "its file has other content now than when it was read: land the file as it was with `c360 land orders FILE` "
        "and `c360 ingest`, then replay this batch"
    }
    assert len(raw_rows(settings, "orders", "order_id")) == 1


def test_batches_are_chosen_by_feed_time_and_state(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1)]))
    ingest_one(settings, "orders", "b.jsonl", jsonl([order(2)]))
    replay.hold(settings, 2, **WHO)
    assert [o.batch_id for o in replay.replay(settings, feed="orders", **WHO).batches] == [1, 2]
    assert replay.replay(settings, state="held", **WHO).batches == []  # the replay let it go
    assert len(replay.replay(settings, since=datetime.now(UTC) - timedelta(hours=1), **WHO).batches) == 2
    assert replay.replay(settings, since=datetime.now(UTC) + timedelta(hours=1), **WHO).batches == []
    with pytest.raises(BatchActionError, match="every batch there is"):
        replay.replay(settings, **WHO)


def test_tidying_removes_old_files_of_published_batches_and_nothing_else(settings: Settings) -> None:
    ingest_one(settings, "orders", "published.jsonl", jsonl([order(1)]))
    publish(settings)
    ingest_one(settings, "orders", "again.jsonl", jsonl([order(1)]))
    ingest_one(settings, "orders", "loaded.jsonl", jsonl([order(2)]))
    ingest_one(settings, "orders", "refused.csv", b"nonsense\n1\n")
    now = datetime.now(UTC)
    assert retention.tidy(settings, now=now + timedelta(days=89)).files == []
    planned = retention.tidy(settings, now=now + timedelta(days=91), dry_run=True)
    assert len(planned.files) == 2
    assert retention.tidy(settings, now=now + timedelta(days=91)).files == planned.files
    left = {path.name for path in (Path(settings.landing_url) / "orders").glob("*.*")}
    assert left == {"loaded.jsonl", "refused.csv"}
    assert retention.tidy(settings, now=now + timedelta(days=91)).files == []
    assert load.ingest(settings).batches == []
    assert len(raw_rows(settings, "orders", "order_id")) == 2
    assert_balanced(settings)
