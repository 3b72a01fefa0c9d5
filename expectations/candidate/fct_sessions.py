"""Candidate gate of fct_sessions."""

from __future__ import annotations

from great_expectations import ExpectationSuite
from great_expectations.expectations.metadata_types import FailureSeverity

from expectations.candidate import (
    as_landed,
    changed,
    filled,
    known_customer,
    no_row,
    one_row_per,
    whose_identity_says,
)


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched sessions (of all, if ``whole``)."""
    among = changed("session", "session_id", whole=whole)
    return ExpectationSuite(
        name="candidate.fct_sessions",
        expectations=[
            one_row_per("session_id", among=among),
            filled("started_at", "started_on", "ended_at", "page_views", key="session_id", among=among),
            *as_landed("web_sessions", "session", "session_id", whole=whole),
            no_row(
                f"""
                select session_id as key, batch_id from {{batch}} as built where {among} and (
                    started_at > ended_at or session_seconds < 0 or engaged_seconds < 0
                    or engaged_seconds > session_seconds or page_views < 0 or product_views < 0 or searches < 0
                    or add_to_carts < 0 or checkouts_started < 0)
                """,
                description="a session ends after it starts, and its counts are possible",
                notes="Engaged time and conversion rates are computed from these.",
            ),
            known_customer("session", "session_id", whole=whole),
            whose_identity_says("session", "session_id", whole=whole),
            no_row(
                f"select session_id as key, batch_id from {{batch}} as built where {among} and has_version_conflict",
                severity=FailureSeverity.WARNING,
                description="no two versions have the same updated_at and different content",
                notes="One of them was chosen by its content hash; only the producer knows which is right.",
            ),
        ],
    )
