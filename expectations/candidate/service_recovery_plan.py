"""Candidate gate of service_recovery_plan, a daily table."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import filled, no_row, one_row_per


def suite(*, whole: bool = True) -> ExpectationSuite:
    """What must hold of the whole table: the daily pass makes it anew."""
    return ExpectationSuite(
        name="candidate.service_recovery_plan",
        expectations=[
            one_row_per("customer_key", "likely_failure", among="true", batch="null::bigint"),
            filled("action", "channel", "valid_to_on", key="customer_key", among="true", batch="null::bigint"),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id from {batch} as built
                where action_cost_amount > maximum_spend_amount
                    or maximum_spend_amount > least(
                        (
                            select value from intermediate.int_loyalty_parameters__applied
                            where parameter = 'recovery_maximum_amount'
                        ),
                        round(expected_value_365_amount::numeric * (
                            select value from intermediate.int_loyalty_parameters__applied
                            where parameter = 'recovery_expected_value_share'
                        ), 2)
                    )
                    or expected_value_365_amount is null
                """,
                description="no action costs more than the customer's expected value carries",
                notes="A plan above its budget spends the shop's money on customers who will not bring it back.",
            ),
            no_row(
                """
                select plan.customer_key::text as key, null::bigint as batch_id from {batch} as plan
                left join candidate.customer_loyalty as customer using (customer_key)
                where customer.customer_key is null or plan.valid_to_on <= customer.as_of_on
                """,
                description="each plan is of a customer there is, and not over yet",
                notes="What is over is not to be done; who was merged or erased is not to be written to.",
            ),
        ],
    )
