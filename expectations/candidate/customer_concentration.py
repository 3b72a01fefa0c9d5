"""Candidate gate of customer_concentration, a daily table."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import no_row, one_row_per


def suite(*, whole: bool = True) -> ExpectationSuite:
    """What must hold of the whole table: the daily pass makes it anew."""
    return ExpectationSuite(
        name="candidate.customer_concentration",
        expectations=[
            one_row_per("as_of_on", among="true", batch="null::bigint"),
            no_row(
                """
                select as_of_on::text as key, null::bigint as batch_id from {batch} as built
                where top20_value_share not between 0 and 1 or customer_share_of_80_value not between 0 and 1
                    or gini_coefficient not between 0 and 1 or losing_customer_share not between 0 and 1
                    or top20_customer_count > customer_count
                    or top20_value_share < round(top20_customer_count::numeric / nullif(customer_count, 0), 6)
                """,
                description="shares lie between 0 and 1, and the first fifth brings at least a fifth",
                notes="Customers are ranked by value: whoever comes first cannot bring less than the mean.",
            ),
            no_row(
                """
                select as_of_on::text as key, null::bigint as batch_id from {batch} as built
                cross join (
                    select count(value_amount_365d) as customer_count,
                        coalesce(sum(greatest(value_amount_365d, 0)), 0) as amount,
                        count(*) filter (where is_top20_value) as top20_customer_count
                    from candidate.customer_loyalty
                ) as customers
                where built.customer_count <> customers.customer_count
                    or built.positive_value_amount <> customers.amount
                    or built.top20_customer_count <> customers.top20_customer_count
                """,
                description="customers, their value and the first fifth are those of customer_loyalty",
                notes="The sum over customers is the total, to the last decimal.",
            ),
        ],
    )
