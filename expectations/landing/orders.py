"""Landing gate of the feed orders."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from customer360.contract.feeds import ORDERS
from customer360.gates.row_rules import (
    ExpectAtLeast,
    ExpectElementAtLeast,
    ExpectElementAtMost,
    ExpectElementPlausibleTime,
    ExpectElementValue,
    ExpectNotBefore,
    ExpectPlausibleTime,
    ExpectSumAtMost,
)
from expectations.landing import every_field

_FUTURE = "A time in 2999 would win over every later version for ever; one of 1970 is an unset clock."


def suite() -> ExpectationSuite:
    """The expectations of one order row."""
    return ExpectationSuite(
        name="landing.orders",
        expectations=[
            *every_field(ORDERS),
            ExpectNotBefore(
                column="updated_at",
                earlier="ordered_at",
                description="updated_at is not before ordered_at",
                notes="No version of an order is older than the order; a clock is wrong or the two are mixed up.",
            ),
            ExpectNotBefore(
                column="delivered_at",
                earlier="ordered_at",
                description="delivered_at is not before ordered_at",
                notes="Delivery times would be negative and averages of them wrong.",
            ),
            *(
                ExpectPlausibleTime(
                    column=column,
                    days_ahead=1,
                    description=f"{column} lies between 1995 and the landing",
                    notes=_FUTURE,
                )
                for column in ("updated_at", "ordered_at", "delivered_at")
            ),
            ExpectPlausibleTime(
                column="promised_delivery_at",
                days_ahead=3660,
                description="promised_delivery_at lies between 1995 and ten years from the landing",
                notes="A promise may lie ahead, but not in 2999.",
            ),
            *(
                ExpectAtLeast(
                    column=column,
                    minimum=0,
                    description=f"{column} is not negative",
                    notes="A negative amount would be a refund in disguise and be netted twice.",
                )
                for column in ("total_amount", "discount_amount", "shipping_amount", "tax_amount")
            ),
            ExpectElementAtLeast(
                column="items",
                element="quantity",
                minimum=0,
                is_excluded=True,
                description="items[].quantity is more than 0",
                notes="A line of nothing is not a line.",
            ),
            *(
                ExpectElementAtLeast(
                    column="items",
                    element=element,
                    minimum=0,
                    description=f"items[].{element} is not negative",
                    notes="Negative prices and quantities turn sums around unseen.",
                )
                for element in ("unit_price", "list_price", "unit_cost", "discount_amount", "returned_quantity")
            ),
            ExpectElementAtMost(
                column="items",
                element="returned_quantity",
                other="quantity",
                description="items[].returned_quantity is at most the quantity",
                notes="Nobody returns more than they bought; kept items would be negative.",
            ),
            *(
                ExpectElementValue(
                    column="refunds",
                    element=element,
                    description=f"refunds[].{element} is there",
                    notes="A refund counts on its own day with its own amount; without one it cannot be netted.",
                )
                for element in ("refunded_at", "amount")
            ),
            ExpectElementAtLeast(
                column="refunds",
                element="amount",
                minimum=0,
                is_excluded=True,
                description="refunds[].amount is more than 0",
                notes="A refund of nothing is noise, a negative one a charge.",
            ),
            ExpectElementPlausibleTime(
                column="refunds",
                element="refunded_at",
                days_ahead=1,
                description="refunds[].refunded_at lies between 1995 and the landing",
                notes=_FUTURE,
            ),
            ExpectSumAtMost(
                column="refunds",
                element="amount",
                total="total_amount",
                description="the refunds add up to at most total_amount",
                notes="Net revenue of an order is never below zero.",
            ),
        ],
    )
