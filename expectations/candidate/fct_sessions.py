"""Candidate gate of fct_sessions."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from customer360.contract.feeds import WEB_SESSIONS
from expectations.candidate import changed, every_fact, filled, no_row


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched sessions (of all, if ``whole``)."""
    among = changed("session", "session_key", whole=whole)
    return ExpectationSuite(
        name="candidate.fct_sessions",
        expectations=[
            *every_fact(WEB_SESSIONS, whole=whole),
            filled("started_at", "started_on", "ended_at", "page_views", key="session_key", among=among),
            no_row(
                f"""
                select session_key as key, batch_id from {{batch}} as built where {among} and (
                    started_at > ended_at or session_seconds < 0 or engaged_seconds < 0
                    or engaged_seconds > session_seconds or page_views < 0 or product_views < 0 or searches < 0
                    or add_to_carts < 0 or checkouts_started < 0)
                """,
                description="a session ends after it starts, and its counts are possible",
                notes="Engaged time and conversion rates are computed from these.",
            ),
        ],
    )
