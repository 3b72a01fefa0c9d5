"""Events become sessions: cut, grown, restated, left out, counted."""

from __future__ import annotations

from typing import Any

import pytest

from customer360.publication.build import build
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline.shop import Record, event, load, load_all, order, rows, session

pytestmark = pytest.mark.builds


def sessions(settings: Settings, columns: str = "session_id, page_views") -> list[tuple[Any, ...]]:
    return rows(settings, f"select {columns} from marts.fct_sessions order by started_at, session_key")


def publish(settings: Settings, *records: Record) -> None:
    load_all(settings, records)
    build(settings, "test")


def test_silence_and_another_campaign_begin_the_next_session(settings: Settings) -> None:
    publish(
        settings,
        event("a", 0), event("b", 30), event("c", 60.02),
        event("d", 61, utm_source="news"), event("e", 62), event("f", 63, utm_source="ads", utm_medium="cpc"),
        event("g", 5, device="d2"),
    )  # fmt: skip
    assert sessions(settings, "session_id, page_views, utm_source, channel") == [
        ("event:a", 2, None, "direct"),
        ("event:g", 1, None, "direct"),
        ("event:c", 3, "news", "other_campaign"),
        ("event:f", 1, "ads", "paid_search"),
    ]
    assert all(check.holds for check in verify(settings, full=True).checks)


def test_a_late_event_restates_its_session(settings: Settings) -> None:
    publish(settings, event("a", 0), event("c", 50), event("v1", 0, session_id="v"))
    assert sessions(settings) == [("event:a", 1), ("v", 1), ("event:c", 1)]
    publish(settings, event("b", 25), event("v2", 500, session_id="v"))
    assert sessions(settings, "session_id, page_views, session_seconds") == [("event:a", 3, 3000), ("v", 2, 30000)]
    publish(settings, event("0", -5))
    assert sessions(settings) == [("event:0", 4), ("v", 2)]
    publish(settings, {**event("b", 25), "deleted": True, "updated_at": event("b", 26)["updated_at"]})
    assert sessions(settings) == [("event:0", 2), ("v", 2), ("event:c", 1)]
    report = verify(settings, full=True)
    assert [check for check in report.checks if not check.holds] == []
