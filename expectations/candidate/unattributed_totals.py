"""Candidate gate of unattributed_totals."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import ExpectNoRows, changed, moved, no_row, one_row_per


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched days (of all, if ``whole``)."""
    among = changed("day", "event_on", whole=whole)
    return ExpectationSuite(
        name="candidate.unattributed_totals",
        expectations=[
            one_row_per("event_on", among=among, batch="null::bigint"),
            _adds_up() if whole else _moved_by_what_changed(),
        ],
    )


_NOTES = "Without it customers and facts would differ by what nobody can be named for."


def _adds_up() -> ExpectNoRows:
    return no_row(
        """
        with orders as (
            select ordered_on as event_on, count(*) as order_count, coalesce(sum(gross_amount), 0) as gross_amount,
                max(batch_id) as batch_id
            from candidate.fct_orders where customer_key is null group by ordered_on
        ),
        days as (
            select event_on, order_count, gross_amount from {batch} as built
            where order_count > 0 or gross_amount <> 0
        )
        select event_on::text as key, orders.batch_id from orders full join days using (event_on)
        where (days.order_count, days.gross_amount) is distinct from (orders.order_count, orders.gross_amount)
        """,
        description="a day's bucket holds exactly the orders that belong to nobody",
        notes=_NOTES,
    )


def _moved_by_what_changed() -> ExpectNoRows:
    """Of the published buckets, without reading the days' other orders (docs/decisions/0006)."""
    orders = ("order_key", "batch_id", "ordered_on", "gross_amount")
    days = ("event_on", "order_count", "gross_amount")
    nobodys = moved("fct_orders", orders, "order", "order_key", condition="customer_key is null")
    return no_row(
        f"""
        with orders as (
            select ordered_on as event_on, sum(sign) as order_count,
                coalesce(sum(sign * gross_amount), 0) as gross_amount, max(batch_id) as batch_id
            from ({nobodys}) as facts group by ordered_on
        ),
        days as (
            select event_on, sum(sign * order_count) as order_count, sum(sign * gross_amount) as gross_amount
            from ({moved("unattributed_totals", days, "day", "event_on", now="{batch}")}) as totals group by event_on
        )
        select event_on::text as key, orders.batch_id from orders full join days using (event_on)
        where coalesce(days.order_count, 0) <> coalesce(orders.order_count, 0)
            or coalesce(days.gross_amount, 0) <> coalesce(orders.gross_amount, 0)
        """,
        description="a day's bucket moved by the changed orders that belong, or belonged, to nobody",
        notes=_NOTES,
    )
