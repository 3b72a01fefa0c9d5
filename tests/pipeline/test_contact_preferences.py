"""What customers said about being contacted: the latest statement counts, whatever feed and batch it came with."""

from __future__ import annotations

from typing import Any

import pytest

from customer360.publication.build import build
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline.shop import at, load, order, rows, session, ticket

pytestmark = pytest.mark.builds

STATED = "select channel, is_allowed, allowed_record_key, is_preferred from marts.contact_preferences order by 1"


def says(channel: str, **said: Any) -> list[dict[str, Any]]:
    """What a record says of one channel."""
    return [{"channel": channel, **said}]


def holds(settings: Settings) -> None:
    report = verify(settings, full=True)
    assert [check for check in report.checks if not check.holds] == []


def test_a_no_is_remembered_until_the_customer_says_yes_again(settings: Settings) -> None:
    load(settings, "orders", [order("o1", customer_id="c1", contact_preferences=says("email", allowed=True))])
    build(settings, "test")
    assert rows(settings, STATED) == [("email", True, "o1", None)]

    no = says("email", allowed=False, stated_at=at(5)) + says("phone", preferred=True)
    load(settings, "support_tickets", [ticket("t1", day=4, customer_id="c1", contact_preferences=no)])
    load(
        settings,
        "web_sessions",
        [session("s1", day=4, customer_id="c1", contact_preferences=says("post", allowed=False))],
    )
    build(settings, "test")
    assert rows(settings, STATED) == [
        ("email", False, "t1", None),
        ("phone", None, None, True),
        ("post", False, "s1", None),
    ]

    # A statement that was made before the no and arrives after it changes nothing; neither does silence.
    earlier = says("email", allowed=True, stated_at=at(3))
    load(settings, "orders", [order("o2", day=8, customer_id="c1", contact_preferences=earlier), order("o3", day=9)])
    build(settings, "test")
    assert rows(settings, STATED)[0] == ("email", False, "t1", None)

    load(settings, "orders", [order("o4", day=9, customer_id="c1", contact_preferences=says("email", allowed=True))])
    build(settings, "test")
    assert rows(settings, STATED)[0] == ("email", True, "o4", None)
    holds(settings)


@pytest.mark.slow
def test_two_keys_that_become_one_customer_share_what_either_said(settings: Settings) -> None:
    load(settings, "orders", [order("o1", customer_id="c1", contact_preferences=says("sms", allowed=True))])
    load(
        settings,
        "orders",
        [order("o2", day=1, email="ann@inbox.example", contact_preferences=says("sms", allowed=False))],
    )
    build(settings, "test")
    assert sorted(row[1] for row in rows(settings, STATED)) == [False, True]
    load(settings, "orders", [order("o3", day=2, customer_id="c1", email="ann@inbox.example")])
    build(settings, "test")
    assert rows(settings, STATED) == [("sms", False, "o2", None)]
    load(settings, "orders", [order("o2", day=1, version=3, email="ann@inbox.example", deleted=True)])
    build(settings, "test")
    assert rows(settings, STATED) == [("sms", True, "o1", None)]
    holds(settings)
