"""Candidate gate of complaint_recovery, a daily table."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import no_row, one_row_per


def suite(*, whole: bool = True) -> ExpectationSuite:
    """What must hold of the whole table: the daily pass makes it anew."""
    return ExpectationSuite(
        name="candidate.complaint_recovery",
        expectations=[
            one_row_per("severity", "handling", among="true", batch="null::bigint"),
            no_row(
                """
                select severity || ' ' || handling as key, null::bigint as batch_id from {batch} as built
                where complaint_count < decided_complaint_count
                    or came_back_count not between 0 and decided_complaint_count
                    or came_back_rate <> round(came_back_count::numeric / nullif(decided_complaint_count, 0), 6)
                    or (came_back_rate is null) <> (decided_complaint_count = 0)
                """,
                description="a rate is those who came back by the complaints that are decided",
                notes="A complaint is decided when its 90 days have passed; before, it is in no rate.",
            ),
            no_row(
                """
                select severity || ' ' || handling as key, null::bigint as batch_id from {batch} as built
                where came_back_rate_low not between 0 and came_back_rate
                    or came_back_rate_high not between came_back_rate and 1
                    or (came_back_rate_low is null) <> (came_back_rate is null)
                    or published_came_back_rate is null or published_came_back_rate not between 0 and 1
                """,
                description="a rate lies in its interval, within 0 and 1, beside the published one",
                notes="Small numbers without their interval would be read as findings.",
            ),
            no_row(
                """
                select severity || ' ' || handling as key, null::bigint as batch_id
                from (values ('minor'), ('major')) as severities (severity)
                cross join (values ('fast'), ('slow'), ('unresolved'), ('silent')) as handlings (handling)
                full join {batch} as built using (severity, handling)
                where built.complaint_count is null or handlings.handling is null
                """,
                description="every severity and handling is there, and no other",
                notes="Nobody is a measured zero; a row that is missing would be read as no such complaints.",
            ),
        ],
    )
