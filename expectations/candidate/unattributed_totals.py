"""Candidate gate of unattributed_totals."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import changed, no_row, one_row_per


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched days (of all, if ``whole``)."""
    among = changed("day", "event_on", whole=whole)
    return ExpectationSuite(
        name="candidate.unattributed_totals",
        expectations=[
            one_row_per("event_on", among=among, batch="null::bigint"),
            no_row(
                f"""
                with orders as (
                    select ordered_on as event_on, count(*) as order_count,
                        coalesce(sum(gross_amount), 0) as gross_amount, max(batch_id) as batch_id
                    from candidate.fct_orders
                    where customer_key is null and {changed("day", "ordered_on", whole=whole)} group by ordered_on
                ),
                days as (
                    select event_on, order_count, gross_amount from {{batch}} as built
                    where {among} and (order_count > 0 or gross_amount <> 0)
                )
                select event_on::text as key, orders.batch_id from orders full join days using (event_on)
                where (days.order_count, days.gross_amount) is distinct from (orders.order_count, orders.gross_amount)
                """,
                description="a day's bucket holds exactly the orders that belong to nobody",
                notes="Without it customers and facts would differ by what nobody can be named for.",
            ),
        ],
    )
