"""Raw gate of the feed web_sessions."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations import raw


def suite() -> ExpectationSuite:
    """The expectations of one loaded batch of web_sessions."""
    return raw.suite("web_sessions")
