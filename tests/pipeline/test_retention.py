"""Raw lets go of what is old; what marts say of it stays, whatever is built, replayed or corrected afterwards."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from customer360 import warehouse
from customer360.cli import front_door
from customer360.errors import Customer360Error
from customer360.front_door import load, quarantine, replay
from customer360.oncall.status import status
from customer360.progress import Silent
from customer360.publication import retention
from customer360.publication.build import build, published_tables
from customer360.publication.copies import build_as_of
from customer360.publication.daily import refresh_daily
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline.conftest import copy_of
from tests.pipeline.shop import at, load_all, order, rows, session, ticket
from tests.pipeline.shop import load as load_batch

pytestmark = pytest.mark.builds

# The shop of the tests opened on 2026-03-01; "now" is a year later, and raw is kept for 300 days.
NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
STARTS_ON = date(2026, 5, 5)
WHO: dict[str, Any] = {"who": "Dana", "why": "policy"}
OLD = [
    order("o1", customer_id="C-1", email=" Ann@Example.com", phone="+49 30 1234567", total="90.50",
          extra={"note": "ring twice"}),
    order("o1", version=3, customer_id="C-1", email=" Ann@Example.com", phone="+49 30 1234567", total="91.50",
          status="delivered", delivered_at=at(2), refunds=[{"refund_id": "r", "refunded_at": at(3), "amount": "1.50"}]),
    order("o2", day=1, email="bob@example.com", items=[{"sku": "a", "quantity": 2, "unit_price": "50"}]),
    order("o3", day=2, anonymous_id="d2", status="cancelled"),
    order("o4", day=3, currency="XXX", customer_id="C-1"),
    session("s1", customer_id="C-1"),
    session("s2", day=1),
    session("s3", day=2, device="lost"),
    ticket("t1", email="ann@example.com", subject="My name is Ann", body="Secret", status="solved", resolved_at=at(1)),
    ticket("t1", version=2, email="ann@example.com", status="open", satisfaction_score=1, satisfaction_scale_max=5),
]  # fmt: skip
YOUNG = [
    order("o9", day=100, email="ann@example.com"),
    order("o2", day=1, version=99, email="bob@example.com", total="120.00"),  # its last version is young
    session("s9", day=100, device="d1"),
]


@pytest.fixture(scope="module")
def original(module_settings: Settings) -> Settings:
    load_all(module_settings, OLD, is_history=True)
    load_all(module_settings, YOUNG, is_history=True)
    build(module_settings, "test")
    return module_settings


@pytest.fixture
def settings(original: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A published shop of this test alone that keeps raw for 300 days."""
    with copy_of(original, tmp_path / "landing") as own:
        yield own.with_(raw_retention_days=300)


def tidy(settings: Settings, **options: Any) -> retention.FreezeSummary:
    summary = retention.tidy(settings, now=NOW, **WHO, **options).raw
    assert summary is not None
    return summary


def published(settings: Settings) -> dict[str, list[tuple[object, ...]]]:
    """Every published row, without the time of its last change."""
    with warehouse.connect("owner", settings) as connection:
        found = {}
        for table in published_tables(settings):
            names = connection.execute(
                "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute where attnum > 0 "
                "and attrelid = to_regclass(%s) and attname <> 'refreshed_at' and not attisdropped",
                [str(table)],
            ).fetchone()
            if names and names[0]:
                statement = warehouse.query(f"select {names[0]} from {table} as t order by t::text")
                found[str(table)] = connection.execute(statement).fetchall()
        return found


def assert_holds(settings: Settings, *, full: bool = False) -> None:
    broken = [check for check in verify(settings, full=full).checks if not check.holds]
    assert broken == []


def ids(settings: Settings, feed: str, key: str) -> list[str]:
    return [row[0] for row in rows(settings, f"select {key} from raw.{feed} order by 1", role="transformer")]


def test_what_is_old_leaves_raw_and_no_published_row_moves(settings: Settings) -> None:
    before = published(settings)
    summary = tidy(settings)
    assert (summary.history_starts_on, summary.retired_rows) == (STARTS_ON, 9)
    assert summary.frozen == {"orders": 3, "web_sessions": 3, "support_tickets": 1, "web_events": 0}
    assert ids(settings, "orders", "order_id") == ["o2", "o2", "o9"]
    assert ids(settings, "web_sessions", "session_id") == ["s9"]
    assert ids(settings, "support_tickets", "ticket_id") == []
    assert_holds(settings)
    assert build(settings, "test").tables == {}  # staged from what was kept, and nothing differs
    assert published(settings) == before
    build(settings, "test", full_refresh=True)
    assert published(settings) == before
    refresh_daily(settings, trigger="test")
    assert_holds(settings, full=True)


def test_what_is_frozen_holds_no_text_that_identifies_a_person(settings: Settings) -> None:
    tidy(settings)
    build(settings, "test")
    with warehouse.connect("owner", settings) as connection:
        kept = "\n".join(
            str(connection.execute(warehouse.query(f"select to_jsonb(f)::text from {table} as f")).fetchall())
            for table in (*(f"state.frozen_{feed}" for feed in retention.FEEDS), "raw.orders", "raw.support_tickets")
        )
        staged = str(connection.execute("select to_jsonb(s)::text from staging.stg_orders as s").fetchall())
    assert "o1" in kept
    for text in ("Ann@", "30 1234567", "Secret", "ring twice", "My name"):
        assert text not in kept
    assert "ring twice" not in staged
    assert " Ann@Example.com" not in staged


def test_a_second_tidy_of_the_day_changes_nothing_and_a_dry_run_never_does(settings: Settings) -> None:
    planned = tidy(settings, dry_run=True)
    assert ids(settings, "support_tickets", "ticket_id") == ["t1", "t1"]
    assert rows(settings, "select count(*) from state.freezes", role="transformer") == [(0,)]
    assert status(settings).history_starts_on is None
    assert tidy(settings) == planned
    assert status(settings).history_starts_on == STARTS_ON
    again = tidy(settings)
    assert (again.count, again.retired_rows, again.history_starts_on) == (0, 0, STARTS_ON)
    told = "select history_starts_on, order_count, session_count, ticket_count, retired_rows, acted_by, because"
    assert rows(settings, f"{told} from state.freezes", role="transformer") == [
        (STARTS_ON, 3, 3, 1, 9, "Dana", "policy")
    ]
    assert rows(settings, "select action, sum(row_count), max(acted_by) from ops.batch_actions group by 1") == [
        ("retire", 9, "Dana")
    ]


def test_nothing_is_removed_unless_it_is_configured_and_built(settings: Settings) -> None:
    assert retention.tidy(settings.with_(raw_retention_days=0), now=NOW).raw is None
    load_all(settings, [order("o1", version=4)], is_history=True)  # not built: o1 is not ripe
    assert tidy(settings).frozen["orders"] == 2
    build(settings, "test")
    assert tidy(settings).frozen["orders"] == 1
    with warehouse.connect("owner", settings) as connection:
        connection.execute("delete from ops.live_build")
    waiting = tidy(settings)
    assert "a build of every table is due" in waiting.waiting
    assert waiting.count == 0


def test_a_held_batch_is_not_frozen_and_a_frozen_one_is_not_held_or_replayed(settings: Settings) -> None:
    (held,) = [row[0] for row in rows(settings, "select min(batch_id) from ops.batches where feed = 'web_sessions'")]
    replay.hold(settings, held, **WHO)
    build(settings, "test")
    assert tidy(settings).frozen["web_sessions"] == 0
    assert ids(settings, "web_sessions", "session_id") == ["s1", "s2", "s3", "s9"]
    replay.unhold(settings, held, **WHO)
    build(settings, "test")
    assert tidy(settings).frozen["web_sessions"] == 3
    build(settings, "test")
    with pytest.raises(replay.BatchActionError, match=f"3 rows of batch {held} have left raw"):
        replay.hold(settings, held, **WHO)
    assert "land a newer version" in replay.replay(settings, batch_id=held, **WHO).impossible[held]
    assert_holds(settings)


def test_a_late_correction_of_a_frozen_record_counts_and_freezes_again(settings: Settings) -> None:
    tidy(settings)
    build(settings, "test")
    newer = order("o1", version=5, customer_id="C-1", total="80.00", status="delivered")
    older = order("o3", day=2, version=-1, total="5.00", status="paid")
    late = [newer, older, ticket("t1", version=9, email="ann@example.com", status="solved", resolved_at=at(8))]
    load_all(settings, late, is_history=True)
    assert build(settings, "test").state == "succeeded"
    facts = rows(settings, "select order_id, original_total_amount, status from marts.fct_orders order by 1")
    assert [fact for fact in facts if fact[0] in ("o1", "o3")] == [("o1", 80, "delivered"), ("o3", 100, "cancelled")]
    resolved = rows(settings, "select first_resolved_at, version_count, replies from marts.fct_tickets")
    assert resolved == [(datetime.fromisoformat(at(1)), 3, 0)]
    assert_holds(settings, full=True)
    before = published(settings)
    assert tidy(settings).frozen == {"orders": 2, "web_sessions": 0, "support_tickets": 1, "web_events": 0}
    build(settings, "test")
    assert published(settings) == before
    assert_holds(settings)


def test_a_frozen_version_that_is_landed_once_more_changes_nothing(settings: Settings) -> None:
    before = published(settings)
    tidy(settings)
    build(settings, "test")
    load_all(settings, OLD, is_history=True)
    other = order("o4", day=3, currency="XXX", customer_id="C-2", total="7.00")  # another content of the same version
    load_all(settings, [other], is_history=True)
    assert build(settings, "test").tables == {}
    assert published(settings) == before
    assert_holds(settings)
    assert tidy(settings).retired_rows == 10


@pytest.mark.slow
def test_a_deleted_record_stays_deleted_when_raw_has_let_go_of_it(settings: Settings) -> None:
    gone = [
        order("o1", version=4, customer_id="C-1", email=" Ann@Example.com", phone="+49 30 1234567", deleted=True),
        session("s3", day=2, device="lost", updated_at=at(4), deleted=True),
    ]
    load_all(settings, gone, is_history=True)
    build(settings, "test")
    before = published(settings)
    assert "o1" not in str(before["marts.fct_orders"])
    tidy(settings)
    assert "o1" not in ids(settings, "orders", "order_id")
    assert build(settings, "test").tables == {}
    load_all(settings, [OLD[0]], is_history=True)  # an older version, landed once more
    assert build(settings, "test").tables == {}
    assert published(settings) == before
    assert_holds(settings)
    load_all(settings, [order("o1", version=5, customer_id="C-1")])
    build(settings, "test")
    assert "o1" in str(published(settings)["marts.fct_orders"])
    refresh_daily(settings, trigger="test")
    assert_holds(settings, full=True)


def test_a_record_whose_identifier_would_be_read_as_another_one_stays(settings: Settings) -> None:
    unstable = "Jose\u200b\u0301"  # without the invisible character its accent would join the letter before it
    load_all(settings, [order("o5", customer_id=unstable), order("o6", customer_id="José")], is_history=True)
    build(settings, "test")
    assert tidy(settings).frozen["orders"] == 4
    assert "o5" in ids(settings, "orders", "order_id")
    assert "o6" not in ids(settings, "orders", "order_id")


def test_a_late_correction_is_told_with_its_batch(settings: Settings) -> None:
    from tests.pipeline.front_door import drop, jsonl

    tidy(settings)
    drop(
        settings,
        "orders",
        "late.jsonl",
        jsonl([order("o1", version=5, customer_id="C-1"), order("new", email="n@x.org")]),
    )
    load.ingest(settings)
    (told,) = rows(settings, "select warning from ops.batches where warning is not null")
    assert told[0] == (
        f"1 records were frozen already (history starts on {STARTS_ON}): of each the newest version counts, and it is "
        "frozen again in its time"
    )


@pytest.mark.slow
def test_a_frozen_past_is_not_shown_as_it_was_known_and_the_rest_is(settings: Settings) -> None:
    build_as_of(settings, STARTS_ON, trigger="test", progress=Silent())
    schema = f"asof_{STARTS_ON:%Y%m%d}"
    before = rows(settings, f"select to_jsonb(c) from {schema}.customer_360 as c order by 1")
    assert before
    tidy(settings)
    build(settings, "test")
    build_as_of(settings, STARTS_ON, trigger="test", progress=Silent())
    assert rows(settings, f"select to_jsonb(c) from {schema}.customer_360 as c order by 1") == before
    with pytest.raises(Customer360Error, match="history starts on 2026-05-05"):
        build_as_of(settings, STARTS_ON - timedelta(days=1), trigger="test", progress=Silent())


def test_a_batch_that_was_no_history_is_kept_until_its_load_is_old(settings: Settings) -> None:
    load_batch(settings, "orders", [order("o8", email="x@example.com")])
    build(settings, "test")
    with warehouse.connect("owner", settings) as connection:
        connection.execute("update ops.batches set loaded_at = '2026-05-05 00:00+00' where not is_history")
    assert tidy(settings).frozen["orders"] == 3
    with warehouse.connect("owner", settings) as connection:
        connection.execute("update ops.batches set loaded_at = '2026-05-04 23:59+00' where not is_history")
    assert tidy(settings).frozen["orders"] == 1


def test_decided_rows_of_the_quarantine_lose_their_record_when_they_are_old(settings: Settings) -> None:
    from tests.pipeline.front_door import drop, jsonl

    drop(
        settings,
        "orders",
        "bad.jsonl",
        jsonl([order("b1", status="lost", email="x@example.com"), order("b2", items=[])]),
    )
    load.ingest(settings)
    quarantine.discard(settings, quarantine.Selection(rule="choice"), **WHO)
    build(settings, "test")
    with warehouse.connect("owner", settings) as connection:
        connection.execute("update quarantine.rows set closed_at = '2026-01-01' where closed_at is not null")
    assert tidy(settings).forgotten_rows == 1
    kept = rows(
        settings, "select state, record is null, reasons is null from quarantine.rows order by 1", role="loader"
    )
    assert kept == [("discarded", True, False), ("open", False, False)]
    assert_holds(settings)


@pytest.mark.parametrize("point", ["freeze.retired", "freeze.finished"])
def test_a_tidy_killed_half_way_has_done_nothing(settings: Settings, point: str) -> None:
    before = ids(settings, "orders", "order_id")
    program = (
        "import sys, pickle; from customer360.publication import retention;"
        "s, now = pickle.loads(sys.stdin.buffer.read()); retention.tidy(s, now=now, who='Dana', why='policy')"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps((settings, NOW)),
        env=os.environ | {"C360_KILL_AT": point},
        check=False,
    )
    assert run.returncode == -signal.SIGKILL
    assert ids(settings, "orders", "order_id") == before
    assert_holds(settings)
    assert tidy(settings).count == 7
    assert_holds(settings)


def test_every_staged_column_is_kept_or_is_one_that_must_go(settings: Settings) -> None:
    gone = {"extra", "customer_id", "email", "phone"}
    for feed in retention.FEEDS:
        with warehouse.connect("owner", settings) as connection:
            frozen = set(retention.frozen_columns(connection, feed))
            staged = connection.execute(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped",
                [f"staging.stg_{feed}"],
            ).fetchall()
        missing = {name for (name,) in staged} - frozen
        assert missing, feed
        derived = set() if feed == "orders" else {"order_key", "is_built", "stream_key"}  # worked out from the others
        assert missing <= gone | derived, f"state.frozen_{feed} lacks {missing - gone}: add them in a migration"


def test_the_command_says_what_it_did(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    app = typer.Typer()
    front_door.register(app)
    monkeypatch.setattr(front_door, "get_settings", lambda: settings)
    told = CliRunner().invoke(app, ["tidy", "--dry-run"])
    assert told.exit_code == 0
    assert "Would be done: 0 landed files removed" in told.output
    assert "rows removed from raw" in told.output.replace("\n", " ")
