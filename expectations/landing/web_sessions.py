"""Landing gate of the feed web_sessions."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from customer360.contract.feeds import WEB_SESSIONS
from customer360.gates.row_rules import ExpectNotBefore, ExpectSecondsWithin, ExpectWithinHours
from expectations.landing import costing, every_field


def suite() -> ExpectationSuite:
    """The expectations of one session row."""
    return ExpectationSuite(
        name="landing.web_sessions",
        expectations=[
            *every_field(WEB_SESSIONS),
            ExpectNotBefore(
                column="ended_at",
                earlier="started_at",
                description="ended_at is not before started_at",
                notes="Durations would be negative.",
            ),
            ExpectWithinHours(
                column="ended_at",
                since="started_at",
                hours=24,
                description="a session lasts at most 24 hours",
                notes="A longer one is a tab left open or a bot, and would outweigh every real visit.",
            ),
            ExpectSecondsWithin(
                column="engaged_seconds",
                start="started_at",
                end="ended_at",
                description="engaged_seconds is at most the length of the session",
                notes="A visitor is not engaged for longer than they are there; the unit is wrong (milliseconds?).",
                **costing("engaged_seconds"),
            ),
        ],
    )
