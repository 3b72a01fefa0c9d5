"""Candidate gate of customer_loyalty, a daily table."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import filled, no_row, one_row_per

SHARES = (
    "primary_brand_share", "primary_brand_spend_share", "cumulative_value_share", "csat_response_rate",
    "delivered_value_percentile", "delivered_value_coverage", "switching_cost_index", "risk_financial", "risk_time",
    "risk_product", "risk_psychological", "perceived_risk_index", "promotion_share", "on_time_rate",
    "promises_kept_rate", "preferred_contact_channel_share", "preferred_sales_channel_share", "loyalty_score",
    "loyalty_score_coverage",
)  # fmt: skip

# What each share is a share of; where this is zero or unknown, the share is not measured.
DENOMINATORS = {
    "primary_brand_share": "primary_category_quantity",
    "primary_brand_spend_share": "primary_category_amount",
    "margin_coverage": "net_before_refunds_amount_365d",
    "csat_response_rate": "resolved_ticket_count_365d",
    "delivered_value_coverage": "risk_order_count",
    "purchase_trend": "purchase_day_count_prior_270d",
    "risk_financial": "new_category_line_count",
    "risk_time": "risk_delivered_count",
    "risk_product": "risk_bought_quantity",
    "risk_psychological": "risk_order_count",
    "promotion_share": "order_count",
    "on_time_rate": "promised_delivered_count",
    "promises_kept_rate": "promise_due_count",
    "preferred_contact_channel_share": "contact_count",
    "preferred_sales_channel_share": "order_count",
}


def suite(*, whole: bool = True) -> ExpectationSuite:
    """What must hold of the whole table: the daily pass makes it anew."""
    return ExpectationSuite(
        name="candidate.customer_loyalty",
        expectations=[
            one_row_per("customer_key", among="true", batch="null::bigint"),
            filled(
                "as_of_on",
                "order_count",
                "tier",
                "lifecycle_stage",
                "lifecycle_stage_5",
                "ladder_rung",
                "loyalty_quadrant",
                "points_balance",
                key="customer_key",
                among="true",
                batch="null::bigint",
            ),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id
                from candidate.customer_360 as customer full join {batch} as loyalty using (customer_key)
                where customer.customer_key is null or loyalty.customer_key is null
                """,
                description="there is a row for each customer, and for nobody else",
                notes="A list by tier must reach everybody, and nobody twice.",
            ),
            no_row(
                f"""
                select customer_key::text as key, null::bigint as batch_id from {{batch}} as built
                where {" or ".join(f"{share} not between 0 and 1" for share in SHARES)}
                """,
                description="every share lies between 0 and 1",
                notes="A share beyond its whole is a numerator that counts what its denominator does not.",
            ),
            no_row(
                f"""
                select customer_key::text as key, null::bigint as batch_id from {{batch}} as built
                where {
                    " or ".join(
                        f"({share} is not null and coalesce({whole_of}, 0) = 0)"
                        for share, whole_of in DENOMINATORS.items()
                    )
                }
                """,
                description="no share is there without its denominator",
                notes="A ratio of nothing is not measured: null, and not zero.",
            ),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id from {batch} as built
                left join staging.lifecycle_stages as stages on stages.rule = built.stage_rule
                where (built.lifecycle_stage, built.lifecycle_stage_5)
                    is distinct from (stages.stage_4, stages.stage_5)
                    or built.ladder_rung not in (
                        'prospect', 'purchaser', 'client', 'supporter', 'advocate', 'partner')
                    or (built.ladder_rung = 'prospect') <> (built.purchase_day_count = 0)
                """,
                description="a stage is that of its rule, and who never bought is a prospect",
                notes="Stages are exhaustive and exclusive: each customer is in exactly one.",
            ),
            no_row(
                """
                select upper_tier.tier as key, null::bigint as batch_id
                from (
                    select tier, array_position(array['base', 'silver', 'gold', 'platinum'], tier) as height,
                        min(points_365d) as lowest
                    from {batch} as built group by tier
                ) as upper_tier
                left join (
                    select array_position(array['base', 'silver', 'gold', 'platinum'], tier) as height,
                        max(points_365d) as highest
                    from {batch} as built group by tier
                ) as lower_tier on lower_tier.height < upper_tier.height
                where upper_tier.lowest <= lower_tier.highest or upper_tier.height is null
                """,
                description="who has more points is in no lower tier",
                notes="Tiers are promises to customers: they must follow from the points alone.",
            ),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id from {batch} as built
                where points_balance < 0 or points_expiring_30d not between 0 and points_balance
                """,
                description="no balance is below zero, and none expires that is not there",
                notes="Points that a customer never had cannot be taken back or expire.",
            ),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id from {batch} as built
                where (order_count = 0) <> (purchase_day_count = 0) or purchase_day_count > order_count
                    or purchase_day_count_365d > purchase_day_count or (order_count = 0) <> (recency_days is null)
                """,
                description="orders, purchase days and recency agree",
                notes="They are computed apart, from the same orders.",
            ),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id from {batch} as built
                where as_of_on <> (select max(as_of_on) from {batch} as built)
                """,
                description="all rows are of one date",
                notes="Ranks and tiers of different days cannot be compared.",
            ),
        ],
    )
