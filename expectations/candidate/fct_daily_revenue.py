"""Candidate gate of fct_daily_revenue."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import changed, no_row, one_row_per


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched days (of all, if ``whole``)."""
    among = changed("day", "revenue_on", whole=whole)
    return ExpectationSuite(
        name="candidate.fct_daily_revenue",
        expectations=[
            one_row_per("revenue_on", among=among, batch="null::bigint"),
            no_row(
                f"""
                with orders as (
                    select ordered_on as revenue_on, coalesce(sum(gross_amount), 0) as gross_amount,
                        coalesce(sum(gross_amount - tax_amount - shipping_amount) filter (where not is_cancelled), 0)
                            as net_amount,
                        max(batch_id) as batch_id
                    from candidate.fct_orders where {changed("day", "ordered_on", whole=whole)} group by ordered_on
                ),
                refunds as (
                    select refunded_on as revenue_on, coalesce(sum(amount), 0) as refunded_amount,
                        coalesce(sum(net_amount), 0) as net_amount, max(batch_id) as batch_id
                    from candidate.fct_refunds where {changed("day", "refunded_on", whole=whole)} group by refunded_on
                ),
                days as (select * from {{batch}} as built where {among})
                select revenue_on::text as key, greatest(orders.batch_id, refunds.batch_id) as batch_id
                from orders full join refunds using (revenue_on) full join days using (revenue_on)
                where (days.gross_amount, days.refunded_amount, days.net_amount) is distinct from (
                    coalesce(orders.gross_amount, 0), coalesce(refunds.refunded_amount, 0),
                    coalesce(orders.net_amount, 0) - coalesce(refunds.net_amount, 0))
                """,
                description="a day's revenue is the sum of its orders and of the refunds made on it",
                notes="Finance reads this table; it must give the same number as the orders themselves.",
            ),
        ],
    )
