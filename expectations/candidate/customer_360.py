"""Candidate gate of customer_360."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import ExpectNoRows, changed, filled, no_row, one_row_per

# What the daily pass must leave as it is published.
_LIVE = (
    "identifier_count", "first_seen_at", "order_count", "cancelled_order_count", "purchase_day_count", "first_order_at",
    "last_order_at", "gross_amount", "discount_amount", "tax_amount", "shipping_amount", "refunded_amount",
    "refunded_net_amount", "net_amount", "cancelled_amount", "refund_count", "item_quantity", "returned_quantity",
    "kept_quantity", "session_count", "last_session_at", "page_view_count", "ticket_count", "open_ticket_count",
    "complaint_count", "last_ticket_at",
)  # fmt: skip
_MONEY = ("gross_amount", "net_amount", "refunded_amount", "refunded_net_amount", "cancelled_amount")


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched customers (of all, if ``whole``)."""
    among = changed("customer", "customer_key", whole=whole)
    # Of a customer's figures no single record is the source: the latest of their orders' batches is the first suspect.
    suspect = "(select max(f.batch_id) from candidate.fct_orders as f where f.customer_key = customer.customer_key)"
    return ExpectationSuite(
        name="candidate.customer_360",
        expectations=[
            one_row_per("customer_key", among=among, batch="null::bigint"),
            filled("order_count", "identifier_count", *_MONEY, key="customer_key", among=among, batch="null::bigint"),
            no_row(
                f"""
                select customer_key::text as key, null::bigint as batch_id
                from (select customer_key from {{batch}} as built where {among}) as customer
                full join (select customer_key from identity.customers where {among}) as known using (customer_key)
                where customer.customer_key is null or known.customer_key is null
                """,
                description="there is a row for each customer that identity knows, and for nobody else",
                notes="A merged customer who keeps a row is counted twice; one without a row is not counted.",
            ),
            no_row(
                f"""
                with facts as (
                    select customer_key, count(*) filter (where is_valid) as order_count,
                        {", ".join(f"coalesce(sum({name}), 0) as {name}" for name in _MONEY)}
                    from candidate.fct_orders where customer_key is not null and {among} group by customer_key
                )
                select customer.customer_key::text as key, {suspect} as batch_id
                from {{batch}} as customer left join facts using (customer_key)
                where {changed("customer", "customer.customer_key", whole=whole)}
                    and ({", ".join(f"customer.{name}" for name in ("order_count", *_MONEY))})
                        is distinct from ({", ".join(f"coalesce(facts.{n}, 0)" for n in ("order_count", *_MONEY))})
                """,
                description="a customer's orders and money are the sum of their orders",
                notes="Revenue must be the same number whether it is added up by order or by customer.",
            ),
            no_row(
                f"""
                select customer_key::text as key, {suspect} as batch_id
                from (select * from {{batch}} as built where {among} offset 0) as customer
                where session_count <> (
                        select count(*) from candidate.fct_sessions as f where f.customer_key = customer.customer_key)
                    or ticket_count <> (
                        select count(*) from candidate.fct_tickets as f where f.customer_key = customer.customer_key)
                """,
                description="a customer has as many sessions and tickets as their facts",
                notes="What a merge moved must have arrived, and left where it was.",
            ),
            _possible(suspect, among),
        ],
    )


def daily_suite() -> ExpectationSuite:
    """What must hold after a daily pass, which makes the table anew beside the live columns that were judged before."""
    return ExpectationSuite(
        name="candidate.customer_360",
        expectations=[
            one_row_per("customer_key", among="true", batch="null::bigint"),
            filled("as_of_on", "tier", key="customer_key", among="true", batch="null::bigint"),
            no_row(
                f"""
                select customer_key::text as key, null::bigint as batch_id
                from (select *, true as is_there from {{batch}} as built) as now
                full join (select *, true as is_there from marts.customer_360) as was using (customer_key)
                where (now.is_there, {", ".join(f"now.{name}" for name in _LIVE)})
                    is distinct from (was.is_there, {", ".join(f"was.{name}" for name in _LIVE)})
                """,
                description="nobody came or went, and what does not depend on the date is what was published",
                notes="A daily pass that moves an amount would publish what no build has checked against the facts.",
            ),
            _possible("null::bigint", "true"),
        ],
    )


def _possible(suspect: str, among: str) -> ExpectNoRows:
    return no_row(
        f"""
        select customer_key::text as key, {suspect} as batch_id from {{batch}} as customer where {among} and (
            order_count < 0 or identifier_count < 1 or first_order_at > last_order_at
            or purchase_day_count > order_count or gross_amount < 0 or refunded_amount > gross_amount + 0.01
            or identity_confidence < 0 or identity_confidence > 1
            or average_satisfaction < 0 or average_satisfaction > 1 or on_time_rate < 0 or on_time_rate > 1)
        """,
        description="counts, rates and dates are possible",
        notes="A rate beyond 1 or a first order after the last is an error of a model, whatever the data.",
    )
