"""Candidate gate of fct_tickets."""

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
    """What must hold of the touched tickets (of all, if ``whole``)."""
    among = changed("ticket", "ticket_id", whole=whole)
    return ExpectationSuite(
        name="candidate.fct_tickets",
        expectations=[
            one_row_per("ticket_id", among=among),
            filled(
                "created_at", "created_on", "status", "channel", "category", "is_open", key="ticket_id", among=among
            ),
            *as_landed("support_tickets", "ticket", "ticket_id", whole=whole),
            no_row(
                f"""
                select ticket_id as key, batch_id from {{batch}} as built where {among} and (
                    first_response_hours < 0 or first_resolution_hours < 0
                    or final_resolution_hours < first_resolution_hours or replies < 0 or reopens < 0
                    or satisfaction < 0 or satisfaction > 1 or compensation_amount < 0)
                """,
                description="times follow each other, and satisfaction is within 0 and 1",
                notes="Support is judged by these; scores of different scales are compared only when normalised.",
            ),
            known_customer("ticket", "ticket_id", whole=whole),
            whose_identity_says("ticket", "ticket_id", whole=whole),
            no_row(
                f"select ticket_id as key, batch_id from {{batch}} as built where {among} and has_version_conflict",
                severity=FailureSeverity.WARNING,
                description="no two versions have the same updated_at and different content",
                notes="One of them was chosen by its content hash; only the producer knows which is right.",
            ),
        ],
    )
