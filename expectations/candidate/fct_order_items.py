"""Candidate gate of fct_order_items."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import changed, filled, no_row, one_row_per


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the lines of the touched orders (of all, if ``whole``)."""
    among = changed("order", "order_key", whole=whole)
    # "offset 0": first the touched, then what is asked of them; the planner thinks that any row would do.
    touched = f"select order_key, batch_id, item_count from candidate.fct_orders where {among} offset 0"
    return ExpectationSuite(
        name="candidate.fct_order_items",
        expectations=[
            one_row_per("order_key", "line_number", among=among),
            filled("ordered_on", key="order_key", among=among),
            no_row(
                f"""
                select orders.order_key as key, orders.batch_id from ({touched}) as orders
                where coalesce(orders.item_count, 0) <> (
                    select count(*) from {{batch}} as items where items.order_key = orders.order_key)
                """,
                description="an order has as many lines as its record has items",
                notes="A line that is left over from an older version sells what nobody bought.",
            ),
            no_row(
                f"""
                select items.order_key as key, items.batch_id
                from (select * from {{batch}} as built where {among} offset 0) as items
                left join candidate.fct_orders as orders using (order_key)
                where orders.order_key is null or orders.customer_key is distinct from items.customer_key
                """,
                description="a line belongs to an order, and to its customer",
                notes="A line on its own is in the items' figures and in no order's.",
            ),
            no_row(
                f"""
                select orders.order_key as key, max(orders.batch_id) as batch_id
                from (select * from candidate.fct_orders where {among} and refunded_amount <> 0 offset 0) as orders
                inner join {{batch}} as items using (order_key)
                group by orders.order_key
                having max(orders.refunded_amount) <> sum(items.refunded_amount)
                    or max(orders.refunded_net_amount) <> sum(items.refunded_net_amount)
                """,
                description="the lines' refunds add up to those of their order",
                notes="A refund rate by article would differ from that of the shop.",
            ),
            no_row(
                f"""
                select order_key as key, batch_id from {{batch}} as built where {among} and (
                    quantity <= 0 or returned_quantity < 0 or returned_quantity > quantity
                    or kept_quantity < 0 or kept_quantity > quantity or kept_amount < 0)
                """,
                description="quantities and amounts are possible",
                notes="Favourite brands, returns and margins are computed from these.",
            ),
        ],
    )
