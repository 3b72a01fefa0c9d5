"""Candidate gate of retention_value, a daily table."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import no_row, one_row_per


def suite(*, whole: bool = True) -> ExpectationSuite:
    """What must hold of the whole table: the daily pass makes it anew."""
    return ExpectationSuite(
        name="candidate.retention_value",
        expectations=[
            one_row_per("value_segment", among="true", batch="null::bigint"),
            no_row(
                """
                select value_segment as key, null::bigint as batch_id from {batch} as built
                where retained_customer_count not between 0 and customer_count
                    or retention_rate <> round(retained_customer_count::numeric / customer_count, 6)
                    or value_segment not in ('high', 'medium', 'low', 'all')
                    or margin_multiple < 0 or uplift_of_five_points < 0
                """,
                description="a rate is the customers who stayed by those there were, and more of them are worth more",
                notes="The multiple rises with the rate, whatever the discount: a negative uplift is an error.",
            ),
            no_row(
                """
                select 'all' as key, null::bigint as batch_id
                from (
                    select sum(customer_count * sign) as customers, sum(retained_customer_count * sign) as retained
                    from {batch} as built
                    cross join lateral (select case when value_segment = 'all' then -1 else 1 end as sign) as signs
                ) as differences
                where customers <> 0 or retained <> 0
                """,
                description="the segments sum to all",
                notes="Each customer is in one segment.",
            ),
        ],
    )
