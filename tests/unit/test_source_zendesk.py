"""Zendesk Support: the incremental export of tickets (API v2) with ``include=users,metric_sets``.

Fields: developer.zendesk.com, "Incremental exports", "Tickets", "Ticket metrics", "Satisfaction ratings", and
singer-io/tap-zendesk, ``tap_zendesk/schemas/{tickets,ticket_metrics,users}.json``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from customer360.contract.feeds import SUPPORT_TICKETS
from tests.unit.source_trials import Outcome, run


def ticket(**changes: Any) -> dict[str, Any]:
    return {
        "id": 35436, "external_id": None, "created_at": "2026-05-01T10:00:00Z", "updated_at": "2026-05-02T10:00:00Z",
        "generated_timestamp": 1777716000, "type": "incident", "subject": "Help!", "raw_subject": "Help! {{x}}",
        "description": "The fire is very colorful.", "priority": "high", "status": "open", "recipient": None,
        "requester_id": 20978392, "submitter_id": 76872, "assignee_id": 235323, "tags": ["enterprise", "other_tag"],
        "via": {"channel": "email", "source": {"from": {}, "to": {}, "rel": None}}, "custom_fields": [],
        "satisfaction_rating": {"score": "unoffered"},
    } | changes  # fmt: skip


USERS = [
    {"id": 20978392, "email": "old@buyer.example", "phone": None, "updated_at": "2025-01-01T00:00:00Z"},
    {"id": 20978392, "email": "ann@buyer.example", "phone": "+15551234567", "updated_at": "2026-01-01T00:00:00Z"},
]
METRICS = [{
    "ticket_id": 35436, "replies": 4, "reopens": 1, "solved_at": "2026-05-02T09:00:00Z",
    "updated_at": "2026-05-02T10:00:00Z", "reply_time_in_minutes": {"calendar": 71, "business": 12},
}]  # fmt: skip


def tried(*tickets: dict[str, Any], users: Any = None, metric_sets: Any = None) -> Outcome:
    page = {
        "tickets": list(tickets), "count": len(tickets), "end_of_stream": True, "end_time": 1, "next_page": None,
        "users": USERS if users is None else users, "metric_sets": METRICS if metric_sets is None else metric_sets,
    }  # fmt: skip
    done = run("zendesk", "tickets.json", json.dumps(page, indent=2).encode())
    assert done.conversion.unknown_columns == []
    return done


def test_a_ticket_is_mapped_whole() -> None:
    done = tried(ticket(status="solved"))
    assert done.reasons == {}
    expected = {
        "ticket_id": "35436", "updated_at": "2026-05-02T10:00:00.000000Z", "created_at": "2026-05-01T10:00:00Z",
        "status": "solved", "channel": "email", "category": "other", "email": "ann@buyer.example",
        "phone": "+15551234567", "priority": "high", "first_response_at": "2026-05-01T11:11:00.000000Z",
        "resolved_at": "2026-05-02T09:00:00Z", "replies": "4", "reopens": "1", "subject": "Help! {{x}}",
        "body": "The fire is very colorful.",
    }  # fmt: skip
    assert {key: value for key, value in done.only.items() if key in expected} == expected
    assert done.conversion.defaults == {"category: other": 1}


def test_ids_are_its_own_once_the_contract_has_namespaces() -> None:
    done = tried(ticket())
    if "source" in SUPPORT_TICKETS.by_name:
        assert (done.only["source"], done.only["customer_id"]) == ("zendesk", "20978392")
    else:
        assert "customer_id" not in done.only  # it would be taken for the shop's


@pytest.mark.parametrize(
    ("status", "mapped"),
    [("new", "new"), ("open", "open"), ("pending", "pending"), ("hold", "pending"), ("solved", "solved"),
     ("closed", "closed")],
)  # fmt: skip
def test_a_status_is_mapped_and_only_what_is_solved_has_a_time_of_it(status: str, mapped: str) -> None:
    done = tried(ticket(status=status))
    assert done.only["status"] == mapped
    assert ("resolved_at" in done.only) == (mapped in {"solved", "closed"})


@pytest.mark.parametrize(
    ("score", "expected"),
    [("good", (1, 1)), ("bad", (0, 1)), ("good_with_comment", (1, 1)), ("bad_with_comment", (0, 1)),
     ("offered", (None, None)), ("unoffered", (None, None)), (None, (None, None))],
)  # fmt: skip
def test_a_satisfaction_word_becomes_a_thumb_and_a_question_is_no_answer(score: str | None, expected: Any) -> None:
    record = tried(ticket(satisfaction_rating={"score": score})).only
    assert (record.get("satisfaction_score"), record.get("satisfaction_scale_max")) == expected


@pytest.mark.parametrize(
    ("via", "channel"),
    [("web", "web"), ("email", "email"), ("voice", "phone"), ("chat", "chat"), ("native_messaging", "chat"),
     ("whatsapp", "chat"), ("facebook", "social"), ("instagram_dm", "social"), ("api", "web"), ("help_center", "web")],
)  # fmt: skip
def test_a_channel_is_mapped(via: str, channel: str) -> None:
    done = tried(ticket(via={"channel": via}))
    assert done.only["channel"] == channel
    assert ("channel: web" in done.conversion.defaults) == (via == "api")


def test_the_category_is_a_tag_or_the_type_question_or_counted_as_unknown() -> None:
    assert tried(ticket(tags=["vip", "return"])).only["category"] == "return"
    asked = tried(ticket(type="question"))
    assert (asked.only["category"], asked.conversion.defaults) == ("question", {})


def test_a_change_that_leaves_updated_at_alone_is_a_newer_version() -> None:
    assert tried(ticket(generated_timestamp=1777888800)).only["updated_at"] == "2026-05-04T10:00:00.000000Z"


def test_pages_line_by_line_metrics_inside_the_ticket_and_missing_users_are_all_read() -> None:
    inside = ticket(metric_set=METRICS[0])
    pages = [{"tickets": [inside], "users": USERS}, {"tickets": [ticket(id=2, requester_id=9)], "users": []}]
    done = run("zendesk", "pages.jsonl", b"".join(json.dumps(page).encode() + b"\n" for page in pages))
    assert done.records[1]["replies"] == "4"
    assert "email" not in done.records[2]
    alone = run("zendesk", "tickets.jsonl", json.dumps(inside).encode())
    assert "email" not in alone.only


def test_deleted_and_sample_tickets_are_not_counted() -> None:
    done = tried(ticket(), ticket(id=2, status="deleted"), ticket(id=3, via={"channel": "sample_ticket"}))
    asides = done.asides
    assert asides.pop("a sample ticket that Zendesk makes for a new account") == 1
    if "deleted" in SUPPORT_TICKETS.by_name:
        assert (asides, done.records[2]["deleted"]) == ({}, True)
    else:
        assert (asides, list(done.records)) == ({"a deleted ticket": 1}, [1])
