"""Landing gate of the feed web_events."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from customer360.contract.feeds import WEB_EVENTS
from customer360.gates.row_rules import ExpectNotBefore
from expectations.landing import costing, every_field


def suite() -> ExpectationSuite:
    """The expectations of one event."""
    return ExpectationSuite(
        name="landing.web_events",
        expectations=[
            *every_field(WEB_EVENTS),
            ExpectNotBefore(
                column="updated_at",
                earlier="occurred_at",
                description="updated_at is not before occurred_at",
                notes="No version of an event is older than the event; a clock is wrong.",
                **costing("updated_at"),
            ),
        ],
    )
