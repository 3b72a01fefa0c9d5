"""Candidate gate of customer_loyalty, a daily table."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import filled, no_row, one_row_per


def suite(*, whole: bool = True) -> ExpectationSuite:
    """What must hold of the whole table: the daily pass makes it anew."""
    return ExpectationSuite(
        name="candidate.customer_loyalty",
        expectations=[
            one_row_per("customer_key", among="true", batch="null::bigint"),
            filled("as_of_on", "order_count", "tier", key="customer_key", among="true", batch="null::bigint"),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id
                from candidate.customer_360 as customer full join {batch} as loyalty using (customer_key)
                where customer.customer_key is null or loyalty.customer_key is null
                """,
                description="there is a row for each customer, and for nobody else",
                notes="A list by tier must reach everybody, and nobody twice.",
            ),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id from {batch} as built
                where as_of_on <> (select max(as_of_on) from {batch} as built)
                """,
                description="all rows are of one date",
                notes="Ranks and tiers of different days cannot be compared.",
            ),
        ],
    )
