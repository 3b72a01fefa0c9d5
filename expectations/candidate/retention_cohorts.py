"""Candidate gate of retention_cohorts, a daily table."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import no_row, one_row_per


def suite(*, whole: bool = True) -> ExpectationSuite:
    """What must hold of the whole table: the daily pass makes it anew."""
    return ExpectationSuite(
        name="candidate.retention_cohorts",
        expectations=[
            one_row_per("cohort_month", "month_number", among="true", batch="null::bigint"),
            no_row(
                """
                select cohort_month::text as key, null::bigint as batch_id from {batch} as built
                where active_customer_count not between 0 and customer_count
                    or retention_rate <> round(active_customer_count::numeric / customer_count, 6)
                    or (retention_rate is null) <> (active_customer_count is null)
                    or (net_amount is null) <> (active_customer_count is null)
                    or (month_number = 0 and active_customer_count <> customer_count)
                """,
                description="a rate is its customers by the cohort's, and a cohort's first month has them all",
                notes="Null is a month that has not ended; a rate above 1 counts somebody who is not of the cohort.",
            ),
            no_row(
                """
                select cohort_month::text as key, null::bigint as batch_id from {batch} as built
                group by cohort_month
                having count(*) <> max(month_number) + 1 or min(month_number) <> 0
                    or min(customer_count) <> max(customer_count)
                """,
                description="a cohort has every month since its first, and one size",
                notes="A month in which nobody bought is a measured zero, not a gap in the picture.",
            ),
            no_row(
                """
                select 'all cohorts' as key, null::bigint as batch_id
                from (
                    select coalesce(sum(customer_count), 0) as customers from {batch} as built where month_number = 0
                ) as cohorts
                cross join (
                    select count(*) as customers from candidate.customer_loyalty where purchase_day_count > 0
                ) as buyers
                where cohorts.customers <> buyers.customers
                """,
                description="each customer with a valid order is in one cohort",
                notes="The cohorts' sizes sum to all who ever bought.",
            ),
        ],
    )
