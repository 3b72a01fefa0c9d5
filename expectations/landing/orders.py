"""Landing gate of the feed orders."""

from __future__ import annotations

from great_expectations import ExpectationSuite
from great_expectations.expectations.metadata_types import FailureSeverity

from customer360.contract.feeds import LINE_AMOUNT, ORDERS, REFUND_TOLERANCE, REFUND_TOLERANCE_SHARE
from customer360.gates.row_rules import (
    ExpectCovered,
    ExpectElementAtLeast,
    ExpectElementAtMost,
    ExpectElementProductWithin,
    ExpectNotBefore,
    ExpectSumAtMost,
)
from expectations.landing import costing, every_field


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
                **costing("delivered_at"),
            ),
            *(
                ExpectElementProductWithin(
                    column="items",
                    element=element,
                    factor="quantity",
                    limit=str(LINE_AMOUNT),
                    description=f"items[].{element} times the quantity is less than {LINE_AMOUNT:,}",
                    notes="What a line costs is an amount like any other.",
                )
                for element in ("unit_price", "list_price", "unit_cost")
            ),
            ExpectElementAtMost(
                column="items",
                element="returned_quantity",
                other="quantity",
                description="items[].returned_quantity is at most the quantity",
                notes="More came back than was sold; kept items would be negative.",
            ),
            ExpectElementAtLeast(
                column="refunds",
                element="amount",
                minimum="0",
                is_excluded=True,
                description="refunds[].amount is more than 0",
                notes="A refund of nothing is noise, a negative one a charge.",
            ),
            ExpectSumAtMost(
                column="refunds",
                element="amount",
                total="total_amount",
                tolerance=str(REFUND_TOLERANCE),
                share=str(REFUND_TOLERANCE_SHARE),
                description=f"the refunds add up to at most total_amount, give or take {REFUND_TOLERANCE} or "
                f"{REFUND_TOLERANCE_SHARE:.1%}",
                notes="Net revenue of an order is never below zero.",
            ),
            ExpectSumAtMost(
                column="refunds",
                element="amount",
                total="total_amount",
                severity=FailureSeverity.WARNING,
                description="the refunds add up to at most total_amount, to the cent",
                notes="A cent too much is rounding: the order is loaded, and no more is taken back than was charged.",
            ),
            ExpectCovered(
                column="total_amount",
                parts=["tax_amount", "shipping_amount"],
                severity=FailureSeverity.WARNING,
                description="total_amount is at least tax_amount and shipping_amount together",
                notes="Gift cards and store credit make it smaller: such an order is loaded, its net revenue is 0 and "
                "marked (is_net_floored).",
            ),
        ],
    )
