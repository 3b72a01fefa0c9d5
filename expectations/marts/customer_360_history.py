"""Marts gate on marts.customer_360_history, after a daily pass."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import no_row


def suite() -> ExpectationSuite:
    """What must hold of the journal once the pass is published; periods that ended before it were judged then."""
    return ExpectationSuite(
        name="marts.customer_360_history",
        expectations=[
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id from {batch} as built
                where valid_to_on is null group by customer_key having count(*) > 1
                """,
                description="a customer has one open period",
                notes="Two would count the customer twice in every question about today.",
            ),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id
                from (
                    select customer_key, valid_to_on,
                        lead(valid_from_on) over (partition by customer_key order by period_id) as next_from_on
                    from {batch} as built
                    where customer_key in (
                        select customer_key from {batch} as newest
                        where valid_from_on = (select max(valid_from_on) from {batch} as built))
                ) as periods
                where valid_to_on is null and next_from_on is not null or valid_to_on > next_from_on
                """,
                description="the periods of a customer do not overlap",
                notes="What was known on a day must be one row, or joins by day count a customer twice.",
            ),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id
                from marts.customer_360 as customer
                full join (select * from {batch} as built where valid_to_on is null) as known using (customer_key)
                where (customer.tier, customer.order_count, customer.net_amount)
                    is distinct from (known.tier, known.order_count, known.net_amount)
                """,
                description="the open periods are what customer_360 says today",
                notes="A journal that missed a change would tell a past that never was.",
            ),
        ],
    )
