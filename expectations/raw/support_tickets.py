"""Raw gate of the feed support_tickets."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations import raw


def suite() -> ExpectationSuite:
    """The expectations of one loaded batch of support_tickets."""
    return raw.suite("support_tickets")
