"""Candidate gate of order_attribution."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import changed, filled, no_row, one_row_per


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the orders that are attributed again (of all, if ``whole``)."""
    among = changed("attribution", "order_key", whole=whole)
    return ExpectationSuite(
        name="candidate.order_attribution",
        expectations=[
            one_row_per("order_key", "touch_number", among=among, batch="null::bigint"),
            filled("customer_key", "channel", "window_days", key="order_key", among=among, batch="null::bigint"),
            no_row(
                f"""
                select order_key as key, null::bigint as batch_id from {{batch}} as built where {among}
                group by order_key
                having (sum(first_touch_weight), sum(last_touch_weight), sum(linear_weight)) <> (1, 1, 1)
                    or count(*) <> max(touch_count)
                """,
                description="the weights of an order's touches add up to 1 in each model",
                notes="An order whose touches weigh more or less than one order counts twice or not at all.",
            ),
            no_row(
                f"""
                select orders.order_key as key, orders.batch_id
                from (
                    select order_key, batch_id, net_amount from candidate.fct_orders
                    where customer_key is not null and not is_cancelled and {among}
                ) as orders
                full join (
                    select order_key, sum(first_touch_net_amount) as first_amount,
                        sum(last_touch_net_amount) as last_amount, sum(linear_net_amount) as linear_amount
                    from {{batch}} as built where {among} group by order_key
                ) as attributed using (order_key)
                where orders.order_key is null or attributed.order_key is null
                    or (first_amount, last_amount, linear_amount)
                        is distinct from (orders.net_amount, orders.net_amount, orders.net_amount)
                """,
                description="each order of a customer is there, with its net revenue in each model",
                notes="Revenue by channel must add up to the revenue of the orders.",
            ),
            no_row(
                f"""
                select built.order_key as key, null::bigint as batch_id from {{batch}} as built
                where {among} and session_key is not null and not exists (
                    select from candidate.fct_sessions as visit
                    where visit.session_key = built.session_key and visit.customer_key = built.customer_key)
                """,
                description="each touch is a session of the order's customer",
                notes="A session that was cut anew has another name; the order must not point at the old one.",
            ),
        ],
    )
