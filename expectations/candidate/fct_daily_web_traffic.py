"""Candidate gate of fct_daily_web_traffic."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import changed, no_row, one_row_per


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched days (of all, if ``whole``)."""
    among = changed("day", "traffic_on", whole=whole)
    return ExpectationSuite(
        name="candidate.fct_daily_web_traffic",
        expectations=[
            one_row_per("traffic_on", "source", among=among, batch="null::bigint"),
            no_row(
                f"""
                select traffic_on::text as key, null::bigint as batch_id from {{batch}} as built
                where {among} and (
                    event_count < session_count or bot_event_count < bot_session_count
                    or internal_event_count < internal_session_count or too_long_event_count < too_long_session_count)
                """,
                description="no kind of session has more sessions than events",
                notes="A session without an event was built from nothing.",
            ),
        ],
    )
