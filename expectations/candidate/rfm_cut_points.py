"""Candidate gate of rfm_cut_points, a daily table."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import filled, no_row, one_row_per


def suite(*, whole: bool = True) -> ExpectationSuite:
    """What must hold of the whole table: the daily pass makes it anew."""
    return ExpectationSuite(
        name="candidate.rfm_cut_points",
        expectations=[
            one_row_per("measure", "quintile", among="true", batch="null::bigint"),
            filled("as_of_on", "upper_bound", key="measure", among="true", batch="null::bigint"),
            no_row(
                """
                select measure as key, null::bigint as batch_id from {batch} as built
                group by measure having array_agg(quintile order by quintile) <> array[1, 2, 3, 4]::bigint[]
                    or measure not in ('recency_days', 'order_count', 'monetary_amount')
                """,
                description="a measure has the four cuts between its quintiles",
                notes="A missing cut would give two quintiles one score.",
            ),
            no_row(
                """
                select measure as key, null::bigint as batch_id from (
                    select measure, upper_bound, lag(upper_bound) over (partition by measure order by quintile) as below
                    from {batch} as built
                ) as cuts
                where upper_bound < below
                """,
                description="cuts rise",
                notes="Scores count the cuts passed: a cut below the one before would turn their order around.",
            ),
        ],
    )
