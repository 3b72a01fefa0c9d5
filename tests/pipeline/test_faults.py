"""What a build survives: kill -9 anywhere, two at once, a gate that says no.

After each fault two things hold: readers saw nothing but whole versions, and the next run ends where a run without the
fault would have ended (proved by a recount of everything from raw to marts).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from great_expectations import ExpectationSuite

from customer360 import warehouse
from customer360.front_door import replay
from customer360.gates import suites
from customer360.progress import Silent
from customer360.publication.build import build, published_tables
from customer360.publication.daily import refresh_daily
from customer360.publication.publication_gates import check_candidate
from customer360.publication.verify import verify
from customer360.settings import Settings
from customer360.warehouse import run_log
from customer360.warehouse.run_log import GateBlockedError
from expectations.candidate import no_row
from tests.pipeline.drills import KILLED, run_build, start_build
from tests.pipeline.shop import load, load_all, order, rows, session, ticket

pytestmark = pytest.mark.builds

# Each drill costs two runs: by default the points between which the traces differ most.
BEFORE_COMMIT = [
    "build.claimed",
    pytest.param("build.staged", marks=pytest.mark.slow),
    "build.resolved",
    pytest.param("build.modelled", marks=pytest.mark.slow),
    pytest.param("build.checked", marks=pytest.mark.slow),
    pytest.param("publish.compared", marks=pytest.mark.slow),
    pytest.param("publish.writing", marks=pytest.mark.slow),
    "publish.written",
]
MODELS = [
    pytest.param("stg_orders", marks=pytest.mark.slow),
    "fct_orders",
    pytest.param("customer_360", marks=pytest.mark.slow),
]


def land_changes(settings: Settings) -> None:
    """A correction that merges two customers, a late order, a refund taken back, new things of every feed."""
    load_all(
        settings,
        [
            order("o1", version=9, customer_id="c1", email="one@example.org", total="90.00"),
            order("o2", version=9, customer_id="c2", email="one@example.org", total="60.00", currency="EUR"),
            order("o5", day=-150, customer_id="c3"),
            session("s3", customer_id="c3"),
            ticket("t1", version=9, email="one@example.org", status="solved"),
        ],
    )


def assert_sound(settings: Settings) -> None:
    report = verify(settings)
    assert [check for check in report.checks if not check.holds] == []
    assert rows(settings, "select * from ops.dirty") == []
    assert rows(settings, "select distinct state from ops.batches") == [("published",)]


@pytest.mark.parametrize("point", BEFORE_COMMIT)
def test_a_run_killed_at_any_named_point_is_done_by_the_next(shop: Settings, point: str) -> None:
    before = rows(shop, "select * from marts.fct_orders order by order_id")
    land_changes(shop)
    assert run_build(shop, kill_at=point) == KILLED
    assert rows(shop, "select * from marts.fct_orders order by order_id") == before
    assert build(shop, "next").state == "succeeded"
    assert_sound(shop)
    assert rows(shop, "select total_amount from marts.fct_orders where order_id = 'o1'") == [(90,)]
    told = "select trigger, state, error from ops.runs where trigger in ('drill', 'next') order by run_id"
    assert rows(shop, told) == [("drill", "failed", run_log.DIED), ("next", "succeeded", None)]


def test_a_run_killed_right_after_its_commit_is_published_once(shop: Settings) -> None:
    land_changes(shop)
    assert run_build(shop, kill_at="publish.committed") == KILLED
    assert rows(shop, "select total_amount from marts.fct_orders where order_id = 'o1'") == [(90,)]
    publications = rows(shop, "select count(*) from ops.publications")
    following = build(shop, "next")
    assert (following.state, following.publication_id) == ("succeeded", None), "it judges what the dead run could not"
    judged = "select distinct gate, outcome from ops.gate_results where run_id = (select max(run_id) from ops.runs)"
    assert rows(shop, judged) == [("marts", "passed")]
    assert build(shop, "another").state == "idle"
    assert rows(shop, "select count(*) from ops.publications") == publications
    assert_sound(shop)


@pytest.mark.parametrize("model", MODELS)
def test_dbt_killed_among_its_models_is_done_by_the_next_run(shop: Settings, model: str) -> None:
    land_changes(shop)
    assert run_build(shop, die_at_step=model) == KILLED
    assert build(shop, "next").state == "succeeded"
    assert_sound(shop)


@pytest.mark.parametrize("point", ["build.modelled", pytest.param("publish.writing", marks=pytest.mark.slow)])
def test_a_first_build_that_was_killed_is_made_whole_by_the_next(settings: Settings, point: str) -> None:
    load_all(settings, [order("o1", customer_id="c1"), session("s1", customer_id="c1"), ticket("t1", email="a@b.org")])
    assert run_build(settings, kill_at=point) == KILLED
    assert rows(settings, "select to_regclass('marts.fct_orders')") == [(None,)]
    assert build(settings, "next").state == "succeeded"
    assert_sound(settings)


def test_a_daily_pass_that_was_killed_leaves_yesterdays_figures_and_the_next_makes_todays(shop: Settings) -> None:
    assert run_build(shop, kill_at="daily.built", daily=True) == KILLED
    assert rows(shop, "select count(as_of_on) from marts.customer_360") == [(0,)]
    refresh_daily(shop, trigger="next")
    assert rows(shop, "select count(*) - count(as_of_on) from marts.customer_360") == [(0,)]
    assert_sound(shop)


def test_two_runs_at_once_publish_everything_once(shop: Settings) -> None:
    land_changes(shop)
    runs = [start_build(shop), start_build(shop)]
    load(shop, "orders", [order("o7", customer_id="c7")])
    for run in runs:
        run.join(300)
    assert [run.exitcode for run in runs] == [0, 0]
    build(shop, "last")
    assert_sound(shop)
    assert rows(shop, "select count(*) from marts.fct_orders where order_id in ('o5', 'o7')") == [(2,)]


class Reader:
    """Somebody who looks every 20 ms, in one transaction and in single statements."""

    VERSION = """
        select (select count(distinct total_amount) from marts.fct_orders where order_id like 'v%'),
            (select max(total_amount) from marts.fct_orders where order_id like 'v%'),
            (select sum(gross_amount) from marts.customer_360 where gross_amount > 0),
            (select sum(gross_amount) from marts.fct_daily_revenue)
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.versions: set[int] = set()
        self.looks = 0
        self.violations: list[Any] = []

    def _look(self) -> None:
        with warehouse.connect("bi_reader", self._settings) as connection:
            while not self._stop.wait(0.02):
                try:
                    first = connection.execute(warehouse.query(self.VERSION)).fetchone()
                    again = connection.execute(warehouse.query(self.VERSION)).fetchone()
                    connection.rollback()
                except psycopg.Error as error:
                    self.violations.append(error)
                    connection.rollback()
                    continue
                assert first is not None
                self.looks += 1
                kinds, version, customers, days = first
                self.versions.add(int(version))
                if kinds != 1 or first != again or customers != 10 * version or days != 10 * version:
                    self.violations.append((first, again))

    @contextmanager
    def looking(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()


def test_a_reader_sees_one_whole_version_at_a_time_through_runs_one_of_them_killed(settings: Settings) -> None:
    """Ten orders of five customers; in version v each costs v: two versions in one look, or a missing table, show."""

    def land(version: int) -> None:
        load(
            settings,
            "orders",
            [order(f"v{n}", customer_id=f"c{n % 5}", version=version, total=str(version)) for n in range(10)],
        )

    land(1)
    build(settings, "first")
    reader = Reader(settings)
    with reader.looking():
        land(2)
        build(settings, "test")
        refresh_daily(settings, trigger="test")
        land(3)
        assert run_build(settings, kill_at="publish.written") == KILLED
        land(4)
        build(settings, "test")
        land(5)
        build(settings, "test", full_refresh=True)
        refresh_daily(settings, trigger="test")
    assert reader.violations == []
    assert reader.versions <= {1, 2, 4, 5}, "version 3 was never published"
    assert reader.looks > 50
    assert_sound(settings)


def test_a_process_that_outlives_a_restart_of_the_server_judges_on_new_connections(shop: Settings) -> None:
    load_all(shop, [session("s5", customer_id="c1")])
    assert build(shop, "test").state == "succeeded"
    with warehouse.admin(shop, database="postgres") as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", [shop.database]
        )
    load_all(shop, [order("o6", customer_id="c6", total="6.00")])
    assert build(shop, "test").state == "succeeded"


def test_a_blocked_candidate_is_not_published_and_a_hold_lets_the_others_go_on(shop: Settings) -> None:
    shop = shop.with_(isolate=False)  # else the run would quarantine the row by itself
    bad = load(shop, "orders", [order("o8", customer_id="c8", total="-5.00")])
    good = load(shop, "web_sessions", [session("s8", customer_id="c1")])
    before = rows(shop, "select * from marts.customer_360 order by customer_key")
    with pytest.raises(GateBlockedError, match="no amount is negative") as caught:
        build(shop, "test")
    assert "o8" in str(caught.value)
    assert f"batch {bad} (orders" in str(caught.value)
    assert f"c360 hold {bad} --because" in caught.value.next_step
    assert rows(shop, "select * from marts.customer_360 order by customer_key") == before
    assert rows(shop, "select state, error is not null from ops.runs order by run_id desc limit 1") == [
        ("blocked", True)
    ]
    with pytest.raises(GateBlockedError):
        refresh_daily(shop, trigger="no daily figures are made from what is not published")

    replay.hold(shop, bad, who="test", why="negative total")
    assert build(shop, "test").state == "succeeded"
    assert rows(shop, f"select batch_id, state from ops.batches where batch_id in ({bad}, {good}) order by 1") == [
        (bad, "held"),
        (good, "published"),
    ]
    assert rows(shop, "select count(*) from marts.fct_sessions where session_id = 's8'") == [(1,)]
    assert verify(shop).holds

    replay.unhold(shop, bad, who="test", why="to see it blocked again")
    with pytest.raises(GateBlockedError):
        build(shop, "test")
    load(shop, "orders", [order("o8", version=1, customer_id="c8", total="5.00")])
    assert build(shop, "test").state == "succeeded"
    assert rows(shop, "select total_amount from marts.fct_orders where order_id = 'o8'") == [(5,)]
    assert_sound(shop)


def test_an_expectation_that_cannot_be_evaluated_stops_the_line(shop: Settings) -> None:
    load(shop, "support_tickets", [ticket("t8", customer_id="c1")])
    with warehouse.connect("owner", shop) as connection:
        connection.execute("alter table raw.support_tickets rename column ticket_key to was_renamed")
    tables = published_tables(shop)
    with run_log.recorded(shop, "build", "test") as run, pytest.raises(GateBlockedError, match="fct_tickets") as caught:
        check_candidate(shop, run, tables, kind="rebuild", progress=Silent())
    assert "could not judge" in str(caught.value)
    assert "c360 why run" in caught.value.next_step


def test_gates_look_few_keys_up_and_walk_no_table_by_a_merge_join(shop: Settings) -> None:
    planned = no_row(
        "select order_id as key, batch_id from {batch} as built where current_setting('enable_mergejoin') = 'on'",
        description="plans", notes="plans",
    )  # fmt: skip
    suite = ExpectationSuite(name="candidate.planned", expectations=[planned])
    assert rows(shop, "select count(*) > 0 from candidate.fct_orders", "owner") == [(True,)]
    outcome = suites.run_suite(
        "candidate", suite, suites.Table("candidate", "fct_orders", "transformer"), settings=shop
    )
    assert [one.outcome for one in outcome.results] == ["passed"]


def test_an_expectation_that_takes_too_long_is_ended_and_stops_the_line(shop: Settings) -> None:
    endless = no_row(
        "select order_id as key, batch_id from {batch} as built where pg_sleep(60) is null",
        description="sleeps", notes="sleeps",
    )  # fmt: skip
    table = suites.Table("candidate", "fct_orders", "transformer")
    suite = ExpectationSuite(name="candidate.endless", expectations=[endless])
    began = time.monotonic()
    outcome = suites.run_suite("candidate", suite, table, settings=shop.with_(gate_timeout_seconds=1))
    assert time.monotonic() - began < 30
    assert outcome.blocked
    assert [one.outcome for one in outcome.results] == ["crashed"]
