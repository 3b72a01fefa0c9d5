"""Landing gate of the feed support_tickets."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from customer360.contract.feeds import SATISFACTION_SCALES, SUPPORT_TICKETS
from customer360.gates.row_rules import ExpectAtMostOther, ExpectNotBefore, ExpectOneOf, ExpectOnlyWith
from expectations.landing import costing, every_field


def suite() -> ExpectationSuite:
    """The expectations of one ticket row."""
    return ExpectationSuite(
        name="landing.support_tickets",
        expectations=[
            *every_field(SUPPORT_TICKETS),
            ExpectNotBefore(
                column="updated_at",
                earlier="created_at",
                description="updated_at is not before created_at",
                notes="No version of a ticket is older than the ticket.",
            ),
            *(
                ExpectNotBefore(
                    column=column,
                    earlier="created_at",
                    description=f"{column} is not before created_at",
                    notes="Response and resolution times would be negative.",
                    **costing(column),
                )
                for column in ("first_response_at", "resolved_at")
            ),
            ExpectOneOf(
                column="satisfaction_scale_max",
                choices=[str(scale) for scale in SATISFACTION_SCALES],
                description="the scale is one that is in use",
                notes="An unusual scale is mostly a score in the wrong column.",
                **costing("satisfaction_score", "satisfaction_scale_max"),
            ),
            ExpectAtMostOther(
                column="satisfaction_score",
                other="satisfaction_scale_max",
                description="the score is at most its scale",
                notes="Satisfaction above 1 would outweigh all other answers.",
                **costing("satisfaction_score", "satisfaction_scale_max"),
            ),
            *(
                ExpectOnlyWith(
                    column=column,
                    other=other,
                    description=f"{column} comes with {other}",
                    notes="4 of 5 and 4 of 10 are opposite opinions.",
                    **costing(column),
                )
                for column, other in (
                    ("satisfaction_score", "satisfaction_scale_max"),
                    ("satisfaction_scale_max", "satisfaction_score"),
                )
            ),
            ExpectOnlyWith(
                column="compensation_amount",
                other="currency",
                description="a compensation comes with its currency",
                notes="An amount without a currency cannot be converted.",
            ),
            ExpectOnlyWith(
                column="currency",
                other="compensation_amount",
                description="a currency comes with its compensation",
                notes="A currency of nothing says nothing.",
                **costing("currency"),
            ),
        ],
    )
