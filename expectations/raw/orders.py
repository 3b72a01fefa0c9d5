"""Raw gate of the feed orders."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations import raw


def suite() -> ExpectationSuite:
    """The expectations of one loaded batch of orders."""
    return raw.suite("orders")
