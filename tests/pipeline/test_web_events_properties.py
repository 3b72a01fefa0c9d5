"""Sessions are a function of the set of events, whatever way they came: held against one that Python cuts.

Histories are random: events of devices that fall silent, change their campaign, are late, sent twice, corrected and
deleted, in any split into batches and any order, with batches that are held and given back. After each step staging is
brought up to date by its dirty keys alone. Twelve devices that share nothing are twelve cases.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from customer360 import warehouse
from customer360.models import runner
from customer360.settings import Settings
from tests.pipeline.conftest import copy_of
from tests.pipeline.models_shop import claim, rows
from tests.pipeline.shop import NOON, Record, event, load

pytestmark = pytest.mark.builds

_DEVICES = 12
_MINUTES = [0, 1, 15, 29, 30, 30.01, 31, 45, 60, 61, 90, 200, 2000]


@st.composite
def _event(draw: st.DrawFn) -> Record:
    device = f"d{draw(st.integers(1, _DEVICES))}"
    minute = draw(st.sampled_from(_MINUTES))
    made = event(
        f"{device}-{draw(st.integers(1, 12))}",
        minute,
        device=device,
        name=draw(st.sampled_from(["page_view", "Page_View", "product_view", "search", "scroll"])),
        session_id=draw(st.sampled_from([None, None, None, f"s-{device}"])),
        utm_source=draw(st.sampled_from([None, None, None, "news", "ads"])),
        utm_campaign=draw(st.sampled_from([None, None, "may"])),
        page_url=draw(
            st.sampled_from([None, "https://shop.example/a?id=7&utm_medium=cpc", "https://u:p@shop.example/b#c"])
        ),
        engaged_seconds=draw(st.sampled_from([None, "1.5", 60])),
        is_internal=draw(st.sampled_from([None, None, None, None, None, True])),
        user_agent=draw(st.sampled_from([None, None, None, None, "Googlebot/2.1", "CUBOT X19"])),
        source=draw(st.sampled_from([None, None, "b"])),
        deleted=draw(st.sampled_from([None, None, None, True])),
    )
    # Of two contents with one version the greater hash wins, which Python does not know: each has a version of its own.
    version = int(hashlib.md5(json.dumps(made).encode(), usedforsecurity=False).hexdigest()[:8], 16)
    return made | {"updated_at": (NOON + timedelta(days=10, microseconds=version)).isoformat()}


Step = tuple[str, Any]


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Batches of events, and batches that are held and given back."""
    count = draw(st.integers(2, 4))
    steps: list[Step] = []
    landed: list[Record] = []
    for number in range(count):
        batch = draw(st.lists(_event(), min_size=20, max_size=60))
        batch += draw(st.lists(st.sampled_from(landed), max_size=5)) if landed else []
        steps.append(("land", batch))
        landed += batch
        if draw(st.booleans()):
            steps.append((draw(st.sampled_from(["hold", "unhold"])), draw(st.integers(0, number))))
    return steps


def expected(events: list[Record]) -> dict[str, tuple[Any, ...]]:
    """The sessions of the events, by a second hand."""
    latest: dict[tuple[str, str], Record] = {}
    for record in events:
        key = (record.get("source") or "", record["event_id"])
        if key not in latest or latest[key]["updated_at"] < record["updated_at"]:
            latest[key] = record
    visits: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in latest.values():
        if not record.get("deleted"):
            whose = (
                ("session", record["session_id"]) if record.get("session_id") else ("device", record["anonymous_id"])
            )
            visits[record.get("source") or "", *whose].append(record)
    found: dict[str, tuple[Any, ...]] = {}
    for (source, kind, name), own in visits.items():
        own.sort(key=lambda record: (record["occurred_at"], record["event_id"]))
        for part in [own] if kind == "session" else _cut(own):
            session_id = name if kind == "session" else f"event:{part[0]['event_id']}"
            found[f"{source}/{session_id}" if source else session_id] = _summed(part)
    return found


def _cut(events: list[Record]) -> Iterator[list[Record]]:
    part: list[Record] = []
    campaign: Any = None
    for record in events:
        silent = part and _time(record) - _time(part[-1]) > timedelta(minutes=30)
        named = _campaign(record)
        if silent or (named and campaign and named != campaign):
            yield part
            part = []
            campaign = None if silent else campaign
        campaign = named or campaign
        part.append(record)
    yield part


def _time(record: Record) -> datetime:
    return datetime.fromisoformat(record["occurred_at"])


def _campaign(record: Record) -> tuple[Any, ...] | None:
    medium = "cpc" if "utm_medium=cpc" in (record["page_url"] or "") else None
    named = (record["utm_source"], medium, record["utm_campaign"])
    return named if any(named) else None


def _summed(events: list[Record]) -> tuple[Any, ...]:
    names = [record["name"].lower() for record in events]
    pages = [record["page_url"] for record in events if record["page_url"]]
    measured = [float(record["engaged_seconds"]) for record in events if record["engaged_seconds"] is not None]
    start, end = _time(events[0]), _time(events[-1])
    campaign = next(filter(None, map(_campaign, events)), (None, None, None))
    left_out = None
    if end - start > timedelta(hours=24):
        left_out = "too_long"
    if any(record["is_internal"] for record in events):
        left_out = "internal"
    if any("Googlebot" in (record["user_agent"] or "") for record in events):
        left_out = "bot"
    return (
        start, end, len(events), names.count("page_view"), names.count("product_view"), names.count("search"),
        int(min(sum(measured), (end - start).total_seconds())) if measured else None, *campaign,
        pages[0].split("?")[0].split("#")[0].replace("u:p@", "") if pages else None, left_out,
    )  # fmt: skip


@pytest.fixture(scope="module")
def staged(embedded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An empty warehouse whose staging tables exist, to be copied."""
    with copy_of(embedded, tmp_path_factory.mktemp("landing")) as settings:
        runner.run_models(settings, "tag:staging", run_id=None)
        yield settings


_FOUND = """
    select session_key, started_at, ended_at, event_count, page_views, product_views, searches, engaged_seconds,
        utm_source, utm_medium, utm_campaign, landing_page, left_out_as from intermediate.int_sessions__built
"""


def tried(staged: Settings, folder: Any, steps: list[Step]) -> None:
    with copy_of(staged, folder) as settings:
        batches: list[tuple[int, list[Record]]] = []
        held: set[int] = set()
        for what, of in steps:
            if what == "land":
                batches.append((load(settings, "web_events", of), of))
                claim(settings)
            else:
                _set_held(settings, batches[of][0], is_held=what == "hold")
                held = held | {of} if what == "hold" else held - {of}
            runner.run_models(settings, "tag:staging", run_id=None)
            with warehouse.connect("owner", settings) as connection:
                connection.execute("delete from ops.dirty")
            seen = [record for n, (_, batch) in enumerate(batches) if n not in held for record in batch]
            found = {row[0]: row[1:] for row in rows(settings, _FOUND)}
            wanted = expected(seen)
            assert found == wanted
            staged_keys = {key for (key,) in rows(settings, "select session_key from staging.stg_web_sessions")}
            assert staged_keys == {key for key, values in wanted.items() if values[-1] is None}


def _set_held(settings: Settings, batch_id: int, *, is_held: bool) -> None:
    """What `c360 hold` and `unhold` do to staging."""
    with warehouse.connect("owner", settings) as connection:
        connection.execute(
            "update ops.batches set state = %s where batch_id = %s", ["held" if is_held else "loaded", batch_id]
        )
        connection.execute(
            "insert into ops.dirty select distinct 'event', event_key from raw.web_events where batch_id = %s"
            " on conflict do nothing",
            [batch_id],
        )


@pytest.mark.timeout(600)
@hypothesis_settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(steps=histories())
def test_sessions_are_what_their_events_make_in_any_order(
    staged: Settings, tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    tried(staged, tmp_path_factory.mktemp("case"), steps)


@pytest.mark.slow
@pytest.mark.timeout(0)
@hypothesis_settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(steps=histories())
def test_seven_hundred_devices_have_the_sessions_that_their_events_make(
    staged: Settings, tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    tried(staged, tmp_path_factory.mktemp("case"), steps)
