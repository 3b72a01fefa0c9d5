"""Candidate gate of fct_refunds."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import changed, filled, no_row, one_row_per


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the refunds of the touched orders (of all, if ``whole``)."""
    among = changed("order", "order_key", whole=whole)
    return ExpectationSuite(
        name="candidate.fct_refunds",
        expectations=[
            one_row_per("order_key", "refund_number", among=among),
            filled("refunded_at", "refunded_on", "original_amount", key="order_key", among=among),
            no_row(
                f"""
                select orders.order_key as key, orders.batch_id
                from (select * from candidate.fct_orders where {among} offset 0) as orders
                cross join lateral (
                    select coalesce(sum(amount), 0) as amount, coalesce(sum(net_amount), 0) as net_amount
                    from {{batch}} as refunds where refunds.order_key = orders.order_key
                ) as added_up
                where exchange_rate is not null
                    and (refunded_amount <> added_up.amount or refunded_net_amount <> added_up.net_amount)
                """,
                description="an order's refunds add up to what the order says",
                notes="Revenue per day counts refunds one by one, revenue per customer by order: both must agree.",
            ),
            no_row(
                f"""
                select refunds.order_key as key, refunds.batch_id
                from (select * from {{batch}} as built where {among} offset 0) as refunds
                left join candidate.fct_orders as orders using (order_key)
                where orders.order_key is null or orders.is_cancelled
                    or orders.customer_key is distinct from refunds.customer_key
                """,
                description="a refund belongs to an order that is not cancelled, and to its customer",
                notes="A cancelled order and its refunds count nowhere but in cancelled_amount.",
            ),
            no_row(
                f"""
                select order_key as key, batch_id from {{batch}} as built where {among} and (
                    original_amount <= 0 or amount < 0 or abs(net_amount) > amount)
                """,
                description="amounts are positive, the net share within them",
                notes="A negative refund would raise revenue.",
            ),
        ],
    )
