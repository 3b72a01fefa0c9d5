"""Candidate gate of relationship_levels, a daily table."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import filled, no_row, one_row_per


def suite(*, whole: bool = True) -> ExpectationSuite:
    """What must hold of the whole table: the daily pass makes it anew."""
    return ExpectationSuite(
        name="candidate.relationship_levels",
        expectations=[
            one_row_per("rfm_segment", among="true", batch="null::bigint"),
            filled("relationship_level", key="rfm_segment", among="true", batch="null::bigint"),
            no_row(
                """
                select coalesce(levels.rfm_segment, customers.rfm_segment) as key, null::bigint as batch_id
                from {batch} as levels
                full join (
                    select rfm_segment, count(*) as customer_count from candidate.customer_loyalty
                    where rfm_segment is not null group by rfm_segment
                ) as customers using (rfm_segment)
                where levels.customer_count is distinct from customers.customer_count
                """,
                description="the segments and their customers are those of customer_loyalty",
                notes="A level of relationship is chosen by how many customers it would be kept with.",
            ),
        ],
    )
