"""Candidate gate of fct_tickets."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from customer360.contract.feeds import SUPPORT_TICKETS
from expectations.candidate import changed, every_fact, filled, no_row


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched tickets (of all, if ``whole``)."""
    among = changed("ticket", "ticket_key", whole=whole)
    return ExpectationSuite(
        name="candidate.fct_tickets",
        expectations=[
            *every_fact(SUPPORT_TICKETS, whole=whole),
            filled(
                "created_at", "created_on", "status", "channel", "category", "is_open", key="ticket_key", among=among
            ),
            no_row(
                f"""
                select ticket_key as key, batch_id from {{batch}} as built where {among} and (
                    first_response_hours < 0 or first_resolution_hours < 0
                    or final_resolution_hours < first_resolution_hours or replies < 0 or reopens < 0
                    or satisfaction < 0 or satisfaction > 1 or compensation_amount < 0)
                """,
                description="times follow each other, and satisfaction is within 0 and 1",
                notes="Support is judged by these; scores of different scales are compared only when normalised.",
            ),
        ],
    )
