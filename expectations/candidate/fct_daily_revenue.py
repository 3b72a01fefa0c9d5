"""Candidate gate of fct_daily_revenue."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import ExpectNoRows, changed, moved, no_row, one_row_per


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched days (of all, if ``whole``)."""
    among = changed("day", "revenue_on", whole=whole)
    return ExpectationSuite(
        name="candidate.fct_daily_revenue",
        expectations=[
            one_row_per("revenue_on", among=among, batch="null::bigint"),
            _adds_up() if whole else _moved_by_what_changed(),
        ],
    )


_NOTES = "Finance reads this table; it must give the same number as the orders themselves."
_ORDERS = """
    coalesce(sum(sign * gross_amount), 0) as gross_amount,
    coalesce(sum(sign * greatest(gross_amount - tax_amount - shipping_amount, 0)) filter (where not is_cancelled), 0)
        as net_amount,
    max(batch_id) as batch_id
"""
_REFUNDS = """
    coalesce(sum(sign * amount), 0) as refunded_amount, coalesce(sum(sign * net_amount), 0) as net_amount,
    max(batch_id) as batch_id
"""


def _adds_up() -> ExpectNoRows:
    return no_row(
        f"""
        with orders as (
            select ordered_on as revenue_on, {_ORDERS}
            from (select 1 as sign, * from candidate.fct_orders) as facts group by ordered_on
        ),
        refunds as (
            select refunded_on as revenue_on, {_REFUNDS}
            from (select 1 as sign, * from candidate.fct_refunds) as facts group by refunded_on
        )
        select revenue_on::text as key, greatest(orders.batch_id, refunds.batch_id) as batch_id
        from orders full join refunds using (revenue_on) full join {{batch}} as days using (revenue_on)
        where (days.gross_amount, days.refunded_amount, days.net_amount) is distinct from (
            coalesce(orders.gross_amount, 0), coalesce(refunds.refunded_amount, 0),
            coalesce(orders.net_amount, 0) - coalesce(refunds.net_amount, 0))
        """,
        description="a day's revenue is the sum of its orders and of the refunds made on it",
        notes=_NOTES,
    )


def _moved_by_what_changed() -> ExpectNoRows:
    """Of the published totals, without reading the days' other orders (docs/decisions/0006)."""
    orders = ("order_key", "batch_id", "ordered_on", "is_cancelled", "gross_amount", "tax_amount", "shipping_amount")
    refunds = ("order_key", "batch_id", "refunded_on", "amount", "net_amount")
    days = ("revenue_on", "gross_amount", "refunded_amount", "net_amount")
    return no_row(
        f"""
        with orders as (
            select ordered_on as revenue_on, {_ORDERS}
            from ({moved("fct_orders", orders, "order", "order_key")}) as facts group by ordered_on
        ),
        refunds as (
            select refunded_on as revenue_on, {_REFUNDS}
            from ({moved("fct_refunds", refunds, "order", "order_key")}) as facts group by refunded_on
        ),
        days as (
            select revenue_on, sum(sign * gross_amount) as gross_amount, sum(sign * refunded_amount) as refunded_amount,
                sum(sign * net_amount) as net_amount
            from ({moved("fct_daily_revenue", days, "day", "revenue_on", now="{batch}")}) as totals group by revenue_on
        )
        select revenue_on::text as key, greatest(orders.batch_id, refunds.batch_id) as batch_id
        from orders full join refunds using (revenue_on) full join days using (revenue_on)
        where coalesce(days.gross_amount, 0) <> coalesce(orders.gross_amount, 0)
            or coalesce(days.refunded_amount, 0) <> coalesce(refunds.refunded_amount, 0)
            or coalesce(days.net_amount, 0) <> coalesce(orders.net_amount, 0) - coalesce(refunds.net_amount, 0)
        """,
        description="a day's revenue moved by what its changed orders and refunds did",
        notes=_NOTES,
    )
