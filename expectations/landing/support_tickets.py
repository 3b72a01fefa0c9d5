"""Landing gate of the feed support_tickets."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from customer360.contract.feeds import SATISFACTION_SCALES, SUPPORT_TICKETS
from customer360.gates.row_rules import (
    ExpectAtLeast,
    ExpectAtMostOther,
    ExpectBothOrNeither,
    ExpectNotBefore,
    ExpectOneOf,
    ExpectPlausibleTime,
)
from expectations.landing import every_field


def suite() -> ExpectationSuite:
    """The expectations of one ticket row."""
    return ExpectationSuite(
        name="landing.support_tickets",
        expectations=[
            *every_field(SUPPORT_TICKETS),
            *(
                ExpectNotBefore(
                    column=column,
                    earlier="created_at",
                    description=f"{column} is not before created_at",
                    notes="Response and resolution times would be negative.",
                )
                for column in ("updated_at", "first_response_at", "resolved_at")
            ),
            *(
                ExpectPlausibleTime(
                    column=column,
                    days_ahead=1,
                    description=f"{column} lies between 1995 and the landing",
                    notes="A time in 2999 would win over every later version for ever; one of 1970 is an unset clock.",
                )
                for column in ("updated_at", "created_at", "first_response_at", "resolved_at")
            ),
            *(
                ExpectAtLeast(
                    column=column,
                    minimum=0,
                    description=f"{column} is not negative",
                    notes="A count, a score and a payment start at 0.",
                )
                for column in ("replies", "reopens", "satisfaction_score", "compensation_amount")
            ),
            ExpectBothOrNeither(
                column="satisfaction_score",
                other="satisfaction_scale_max",
                description="a score comes with its scale",
                notes="4 of 5 and 4 of 10 are opposite opinions.",
            ),
            ExpectOneOf(
                column="satisfaction_scale_max",
                choices=[str(scale) for scale in SATISFACTION_SCALES],
                description="the scale is one that is in use",
                notes="A scale that nobody uses is a score in the wrong column.",
            ),
            ExpectAtMostOther(
                column="satisfaction_score",
                other="satisfaction_scale_max",
                description="the score is at most its scale",
                notes="Satisfaction above 1 would outweigh everybody else's.",
            ),
            ExpectBothOrNeither(
                column="compensation_amount",
                other="currency",
                description="a compensation comes with its currency",
                notes="An amount without a currency cannot be converted.",
            ),
        ],
    )
