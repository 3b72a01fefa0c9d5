"""Freshdesk: tickets of the API v2 with ``include=requester,stats``, and satisfaction ratings.

Fields and numbers: developers.freshdesk.com/api (Tickets, Satisfaction ratings) and singer-io/tap-freshdesk,
``tap_freshdesk/schemas/{tickets,satisfaction_ratings}.json``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from customer360.contract.feeds import SUPPORT_TICKETS
from tests.unit.source_trials import Outcome, run


def ticket(**changes: Any) -> dict[str, Any]:
    return {
        "cc_emails": [], "fwd_emails": [], "reply_cc_emails": [], "spam": False, "email_config_id": None,
        "group_id": 2, "priority": 1, "requester_id": 5, "responder_id": None, "source": 2, "status": 2,
        "subject": "Please help", "to_emails": None, "product_id": None, "id": 18, "type": "Problem",
        "created_at": "2026-05-01T10:00:00Z", "updated_at": "2026-05-02T10:00:00Z", "description_text": "Not working.",
        "tags": [], "is_escalated": False, "due_by": "2026-05-09T10:00:00Z", "custom_fields": {},
        "requester": {"id": 5, "email": "ann@buyer.example", "mobile": "+4917012345678", "phone": None, "name": "A"},
        "stats": {"first_responded_at": "2026-05-01T11:00:00Z", "resolved_at": "2026-05-02T09:00:00Z",
                  "closed_at": None},
    } | changes  # fmt: skip


def tried(*tickets: dict[str, Any], ratings: Any = ()) -> Outcome:
    page = {"tickets": list(tickets), "satisfaction_ratings": list(ratings)}
    done = run("freshdesk", "tickets.json", json.dumps(page).encode())
    assert done.conversion.unknown_columns == []
    return done


def test_a_ticket_is_mapped_whole() -> None:
    done = tried(ticket(status=4, tags=["payment"]))
    assert (done.reasons, done.conversion.defaults) == ({}, {})
    expected = {
        "ticket_id": "18", "updated_at": "2026-05-02T10:00:00Z", "created_at": "2026-05-01T10:00:00Z",
        "status": "solved", "channel": "web", "category": "payment", "email": "ann@buyer.example",
        "phone": "+4917012345678", "priority": "low", "first_response_at": "2026-05-01T11:00:00Z",
        "resolved_at": "2026-05-02T09:00:00Z", "subject": "Please help", "body": "Not working.",
    }  # fmt: skip
    assert {key: value for key, value in done.only.items() if key in expected} == expected


@pytest.mark.parametrize(
    ("status", "mapped", "default"),
    [(2, "open", False), (3, "pending", False), (4, "solved", False), (5, "closed", False), (6, "pending", True),
     (7, "pending", True), (23, "pending", True)],
)  # fmt: skip
def test_a_status_is_mapped_and_an_accounts_own_counts_as_pending(status: int, mapped: str, default: bool) -> None:
    done = tried(ticket(status=status))
    assert done.only["status"] == mapped
    assert ("status: pending" in done.conversion.defaults) == default


@pytest.mark.parametrize(
    ("source", "channel"),
    [(1, "email"), (2, "web"), (3, "phone"), (5, "social"), (6, "social"), (7, "chat"), (9, "web"), (10, "email"),
     (13, "chat"), (99, "web")],
)  # fmt: skip
def test_a_channel_is_mapped(source: int, channel: str) -> None:
    assert tried(ticket(source=source)).only["channel"] == channel


@pytest.mark.parametrize(("priority", "word"), [(1, "low"), (2, "normal"), (3, "high"), (4, "urgent")])
def test_a_priority_is_mapped(priority: int, word: str) -> None:
    assert tried(ticket(priority=priority)).only["priority"] == word


@pytest.mark.parametrize(
    ("answer", "score"), [(103, 7), (102, 6), (101, 5), (100, 4), (-101, 3), (-102, 2), (-103, 1), (0, None)]
)
def test_a_rating_is_a_step_of_seven(answer: int, score: int | None) -> None:
    done = tried(ticket(), ratings=[{"ticket_id": 18, "ratings": {"default_question": answer}, "feedback": "x",
                                     "created_at": "2026-05-03T00:00:00Z"}])  # fmt: skip
    assert (done.only.get("satisfaction_score"), done.reasons) == (score, {})


def test_the_plain_list_of_the_api_is_read_and_spam_and_deleted_tickets_are_not_counted() -> None:
    tickets = [ticket(), ticket(id=2, spam=True), ticket(id=3, deleted=True)]
    done = run("freshdesk", "tickets.json", json.dumps(tickets).encode())
    asides = done.asides
    assert asides.pop("spam") == 1
    if "deleted" in SUPPORT_TICKETS.by_name:
        assert (asides, done.records[3]["deleted"]) == ({}, True)
    else:
        assert (asides, list(done.records)) == ({"a deleted ticket": 1}, [1])
