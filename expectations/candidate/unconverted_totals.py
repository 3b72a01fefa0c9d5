"""Candidate gate of unconverted_totals."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import ExpectNoRows, changed, moved, no_row, one_row_per


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched days (of all, if ``whole``)."""
    among = changed("day", "ordered_on", whole=whole)
    return ExpectationSuite(
        name="candidate.unconverted_totals",
        expectations=[
            one_row_per("ordered_on", "currency", among=among, batch="null::bigint"),
            _adds_up() if whole else _moved_by_what_changed(),
        ],
    )


_NOTES = "An order without a rate is in no sum of money; this table says how much of it waits."


def _adds_up() -> ExpectNoRows:
    return no_row(
        """
        with orders as (
            select ordered_on, currency, count(*) as order_count,
                coalesce(sum(original_total_amount) filter (where not is_cancelled), 0) as amount,
                max(batch_id) as batch_id
            from candidate.fct_orders where exchange_rate is null group by ordered_on, currency
        )
        select concat_ws(' ', coalesce(built.ordered_on, orders.ordered_on), coalesce(built.currency, orders.currency))
            as key, orders.batch_id
        from orders
        full join {batch} as built on built.ordered_on = orders.ordered_on and built.currency = orders.currency
        where (built.order_count, built.original_gross_amount) is distinct from (orders.order_count, orders.amount)
        """,
        description="a day's row of a currency holds exactly the orders that have no exchange rate",
        notes=_NOTES,
    )


def _moved_by_what_changed() -> ExpectNoRows:
    """Of the published rows, without reading the days' other orders (docs/decisions/0006)."""
    orders = ("order_key", "batch_id", "ordered_on", "currency", "is_cancelled", "original_total_amount")
    days = ("ordered_on", "currency", "order_count", "original_gross_amount")
    waiting = moved("fct_orders", orders, "order", "order_key", condition="exchange_rate is null")
    return no_row(
        f"""
        with orders as (
            select ordered_on, currency, sum(sign) as order_count,
                sum(case when is_cancelled then 0 else sign * original_total_amount end) as amount,
                max(batch_id) as batch_id
            from ({waiting}) as facts group by ordered_on, currency
        ),
        days as (
            select ordered_on, currency, sum(sign * order_count) as order_count,
                sum(sign * original_gross_amount) as amount
            from ({moved("unconverted_totals", days, "day", "ordered_on", now="{batch}")}) as totals
            group by ordered_on, currency
        )
        select concat_ws(' ', ordered_on, currency) as key, orders.batch_id
        from orders full join days using (ordered_on, currency)
        where coalesce(days.order_count, 0) <> coalesce(orders.order_count, 0)
            or coalesce(days.amount, 0) <> coalesce(orders.amount, 0)
        """,
        description="a day's row of a currency moved by the changed orders that have, or had, no exchange rate",
        notes=_NOTES,
    )
