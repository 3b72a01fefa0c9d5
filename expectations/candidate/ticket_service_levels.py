"""Candidate gate of ticket_service_levels, a daily table."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import filled, no_row, one_row_per

KINDS = ("first_response", "resolution")


def suite(*, whole: bool = True) -> ExpectationSuite:
    """What must hold of the whole table: the daily pass makes it anew."""
    limits = (f"{kind}_{what}" for kind in KINDS for what in ("limit_hours", "outcome"))
    return ExpectationSuite(
        name="candidate.ticket_service_levels",
        expectations=[
            one_row_per("ticket_key", among="true", batch="null::bigint"),
            filled("created_on", "priority", *limits, key="ticket_key", among="true", batch="null::bigint"),
            no_row(
                f"""
                select ticket_key as key, null::bigint as batch_id from {{batch}} as built
                where {" or ".join(_differs(kind) for kind in KINDS)}
                """,
                description="an outcome follows from the hours and their limit",
                notes="A rate counts outcomes: one that contradicts its hours would be believed.",
            ),
            no_row(
                """
                select coalesce(built.ticket_key, fact.ticket_key) as key, fact.batch_id
                from {batch} as built
                full join (
                    select ticket_key, batch_id from candidate.fct_tickets
                    where created_on <= (select max(as_of_on) from candidate.customer_loyalty)
                ) as fact using (ticket_key)
                where built.ticket_key is null or fact.ticket_key is null
                """,
                description="every ticket is there, and no other",
                notes="The tickets that were never answered are those that a join leaves out.",
            ),
        ],
    )


def _differs(kind: str) -> str:
    hours, limit, outcome = f"{kind}_business_hours", f"{kind}_limit_hours", f"{kind}_outcome"
    return (
        f"{outcome} not in ('met', 'missed', 'open', 'unknown') or {hours} < 0"
        f" or ({hours} is not null and ({outcome} = 'met') <> ({hours} <= {limit}))"
        f" or ({hours} is null and {outcome} = 'met')"
        f" or ({hours} is not null and {outcome} not in ('met', 'missed'))"
    )
