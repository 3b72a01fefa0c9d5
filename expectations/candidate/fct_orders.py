"""Candidate gate of fct_orders."""

from __future__ import annotations

from great_expectations import ExpectationSuite
from great_expectations.expectations.metadata_types import FailureSeverity

from customer360.contract.feeds import ORDERS, REFUND_TOLERANCE, REFUND_TOLERANCE_SHARE
from expectations.candidate import changed, every_fact, filled, no_row


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched orders (of all, if ``whole``)."""
    among = changed("order", "order_key", whole=whole)
    return ExpectationSuite(
        name="candidate.fct_orders",
        expectations=[
            *every_fact(ORDERS, whole=whole),
            filled("ordered_at", "ordered_on", "updated_at", "status", "currency", key="order_key", among=among),
            no_row(
                f"""
                with latest as (
                    select order_key, max(record.updated_at) as updated_at
                    from raw.orders as record inner join ops.visible_batches using (batch_id)
                    where {changed("order", "order_key", whole=whole)} group by order_key
                )
                select fact.order_key as key, fact.batch_id from {{batch}} as fact inner join latest using (order_key)
                where not exists (
                    select from raw.orders as record inner join ops.visible_batches using (batch_id)
                    where record.order_key = fact.order_key and record.updated_at = latest.updated_at
                        and record.currency = fact.currency and record.total_amount = fact.original_total_amount
                        and (fact.is_cancelled or fact.original_refunded_amount = (
                            select coalesce(sum((refund ->> 'amount')::numeric), 0)
                            from jsonb_array_elements(record.refunds) as refund))
                )
                and not exists (
                    select from state.frozen_orders as frozen
                    where frozen.order_key = fact.order_key and frozen.updated_at >= latest.updated_at)
                """,
                description="total and refunds are those of the latest version that was loaded",
                notes="Reconciles the money from raw to candidate past every model, order by order.",
            ),
            no_row(
                f"""
                select order_key as key, batch_id from {{batch}} as built where {among} and (
                    total_amount < 0 or discount_amount < 0 or tax_amount < 0 or shipping_amount < 0
                    or refunded_amount < 0 or refunded_amount > total_amount or net_amount < 0 or item_count < 1
                    or original_refunded_amount > original_total_amount
                        + greatest({REFUND_TOLERANCE}, {REFUND_TOLERANCE_SHARE} * original_total_amount))
                """,
                description="no amount is negative, and no more is refunded than was charged",
                notes="The landing gate refuses such records, so that here it is a model that errs.",
            ),
            no_row(
                f"""
                select order_key as key, batch_id from {{batch}} as built
                where {among} and exchange_rate is not null and (
                    abs(total_amount - original_total_amount * exchange_rate) > 0.0001
                    or gross_amount + cancelled_amount <> total_amount)
                """,
                description="the reporting amount is the original at the day's rate, gross or cancelled",
                notes="Every order's money is in exactly one of gross and cancelled.",
            ),
            no_row(
                f"select order_key as key, batch_id from {{batch}} as built where {among} and exchange_rate is null",
                severity=FailureSeverity.WARNING,
                description="there is a rate into the reporting currency",
                notes="Orders without one are counted but in no sum of money: `c360 rates list` shows what is missing.",
            ),
        ],
    )
