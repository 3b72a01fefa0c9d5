"""Candidate gate of fct_orders."""

from __future__ import annotations

from great_expectations import ExpectationSuite
from great_expectations.expectations.metadata_types import FailureSeverity

from customer360.contract.feeds import REFUND_TOLERANCE, REFUND_TOLERANCE_SHARE
from expectations.candidate import (
    VISIBLE,
    as_landed,
    changed,
    filled,
    known_customer,
    no_row,
    one_row_per,
    whose_identity_says,
)


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched orders (of all, if ``whole``)."""
    among = changed("order", "order_id", whole=whole)
    return ExpectationSuite(
        name="candidate.fct_orders",
        expectations=[
            one_row_per("order_id", among=among),
            filled("ordered_at", "ordered_on", "updated_at", "status", "currency", key="order_id", among=among),
            *as_landed("orders", "order", "order_id", whole=whole),
            no_row(
                f"""
                with latest as (
                    select order_id, max(record.updated_at) as updated_at
                    from raw.orders as record inner join ops.batches using (batch_id)
                    where {VISIBLE} and {changed("order", "order_id", whole=whole)} group by order_id
                )
                select fact.order_id as key, fact.batch_id from {{batch}} as fact inner join latest using (order_id)
                where not exists (
                    select from raw.orders as record inner join ops.batches using (batch_id)
                    where {VISIBLE} and record.order_id = fact.order_id and record.updated_at = latest.updated_at
                        and record.currency = fact.currency and record.total_amount = fact.original_total_amount
                        and (fact.is_cancelled or fact.original_refunded_amount = (
                            select coalesce(sum((refund ->> 'amount')::numeric), 0)
                            from jsonb_array_elements(record.refunds) as refund))
                )
                and not exists (
                    select from state.frozen_orders as frozen
                    where frozen.order_id = fact.order_id and frozen.updated_at >= latest.updated_at)
                """,
                description="total and refunds are those of the latest version that was loaded",
                notes="Reconciles the money from raw to candidate past every model, order by order.",
            ),
            no_row(
                f"""
                select order_id as key, batch_id from {{batch}} as built where {among} and (
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
                select order_id as key, batch_id from {{batch}} as built
                where {among} and exchange_rate is not null and (
                    abs(total_amount - original_total_amount * exchange_rate) > 0.0001
                    or gross_amount + cancelled_amount <> total_amount)
                """,
                description="the reporting amount is the original at the day's rate, gross or cancelled",
                notes="Every order's money is in exactly one of gross and cancelled.",
            ),
            known_customer("order", "order_id", whole=whole),
            whose_identity_says("order", "order_id", whole=whole),
            no_row(
                f"select order_id as key, batch_id from {{batch}} as built where {among} and exchange_rate is null",
                severity=FailureSeverity.WARNING,
                description="there is a rate into the reporting currency",
                notes="Orders without one are counted but in no sum: add the rate to dbt_project/seeds/fx_rates.csv.",
            ),
            no_row(
                f"select order_id as key, batch_id from {{batch}} as built where {among} and has_version_conflict",
                severity=FailureSeverity.WARNING,
                description="no two versions have the same updated_at and different content",
                notes="One of them was chosen by its content hash; only the producer knows which is right.",
            ),
        ],
    )
