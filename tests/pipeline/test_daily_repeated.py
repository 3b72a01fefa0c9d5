"""One day, one figure: a daily pass is a function of the records and the date, however often the day is passed.

Histories are random: records arrive between passes of one day, everything is built whole, the business time zone
changes, and today's date moves on. After each step `c360 verify --full` holds, and repeating the pass changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from customer360 import warehouse
from customer360.models import runner
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.publication.verify import verify
from customer360.settings import Settings
from customer360.warehouse import agreement
from tests.pipeline.conftest import copy_of
from tests.pipeline.shop import load_all, order, rows

pytestmark = pytest.mark.builds

CASE = Path(__file__).parents[1] / "cases" / "second-daily-pass"

# Published or kept figures that depend on the population of the day.
DAY_FIGURES = (
    "select customer_key, expected_gap_days, lifecycle_stage from marts.customer_loyalty order by 1",
    "select customer_key, churn_probability, is_late_vs_own_cadence from marts.customer_churn order by 1",
)
STATISTICS = "select statistic, value from state.population_statistics where as_of_on = '{}' order by 1"


@pytest.fixture(scope="session")
def seeded_for_days(embedded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An empty warehouse whose seeds are loaded, to be copied."""
    with copy_of(embedded, tmp_path_factory.mktemp("landing")) as settings:
        runner.run_models(settings, "tag:staging", run_id=None)
        yield settings


class Clock:
    """What day it is, for one history."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.day = datetime.now(UTC).date()
        monkeypatch.setattr(Settings, "today", lambda _settings: self.day)


def figures(settings: Settings, day: date) -> list[list[tuple[Any, ...]]]:
    """What the day's pass published and kept."""
    return [rows(settings, statement) for statement in DAY_FIGURES] + [rows(settings, STATISTICS.format(day), "owner")]


def pass_twice(settings: Settings, clock: Clock) -> None:
    """Make the day's pass, prove it, and make it again: the same rows."""
    build(settings, "test")
    refresh_daily(settings, trigger="test")
    first = figures(settings, clock.day)
    report = verify(settings, full=True)
    assert [check for check in report.checks if not check.holds] == []
    refresh_daily(settings, trigger="test")
    assert figures(settings, clock.day) == first


def case(number: int) -> list[dict[str, Any]]:
    """The records of one file of the case."""
    return [json.loads(line) for line in (CASE / f"{number}.jsonl").read_text().splitlines()]


def test_a_second_pass_of_a_day_compares_with_the_records_of_now(
    seeded_for_days: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    with copy_of(seeded_for_days, tmp_path / "landing") as settings:
        load_all(settings, case(1))
        build(settings, "test")
        refresh_daily(settings, trigger="test")
        load_all(settings, case(2))
        build(settings, "test", full_refresh=True)
        pass_twice(settings, clock)
        gaps = rows(settings, "select expected_gap_days from marts.customer_loyalty order by 1")
        assert [round(float(gap), 1) for (gap,) in gaps] == [28.5, 30.5, 63.5, 63.5]


steps = st.one_of(
    st.tuples(st.just("land"), st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(1, 200)), min_size=1)),
    st.tuples(st.just("rebuild"), st.none()),
    st.tuples(st.just("zone"), st.sampled_from(["UTC", "America/Los_Angeles", "Asia/Tokyo"])),
    st.tuples(st.just("days"), st.integers(1, 40)),
)  # fmt: skip


def play(settings: Settings, clock: Clock, history: list[tuple[str, Any]]) -> None:
    """Go through a history, with a pass of the day after every step."""
    number = 0
    for kind, detail in history:
        if kind == "land":
            made = []
            for customer, days_ago in detail:
                number += 1
                ordered = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
                made.append(order(f"o{number}", customer_id=customer) | {"ordered_at": ordered, "updated_at": ordered})
            load_all(settings, made)
        elif kind == "rebuild":
            build(settings, "test", full_refresh=True)
        elif kind == "zone":
            settings = settings.with_(business_timezone=detail)
            with warehouse.connect("owner", settings) as connection:
                agreement.adopt(connection, settings)
        else:
            clock.day += timedelta(days=detail)
        pass_twice(settings, clock)


@pytest.mark.slow
@hypothesis_settings(
    max_examples=1, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(history=st.lists(steps, min_size=2, max_size=2))
def test_days_that_are_passed_again_and_again_keep_one_figure(
    seeded_for_days: Settings, tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, Any]]
) -> None:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        copy_of(seeded_for_days, tmp_path_factory.mktemp("case") / "landing") as settings,
    ):
        play(settings, Clock(monkeypatch), [("land", [("A", 30), ("A", 10), ("B", 5)]), *history])


@pytest.mark.slow
@pytest.mark.timeout(0)
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(history=st.lists(steps, min_size=3, max_size=9))
def test_long_histories_of_repeated_days_keep_one_figure(
    seeded_for_days: Settings, tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, Any]]
) -> None:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        copy_of(seeded_for_days, tmp_path_factory.mktemp("case") / "landing") as settings,
    ):
        play(settings, Clock(monkeypatch), [("land", [("A", 30), ("A", 10), ("B", 5)]), *history])
