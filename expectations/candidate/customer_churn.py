"""Candidate gate of customer_churn, a daily table."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import filled, no_row, one_row_per


def suite(*, whole: bool = True) -> ExpectationSuite:
    """What must hold of the whole table: the daily pass makes it anew."""
    return ExpectationSuite(
        name="candidate.customer_churn",
        expectations=[
            one_row_per("customer_key", among="true", batch="null::bigint"),
            filled("as_of_on", "model_status", key="customer_key", among="true", batch="null::bigint"),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id
                from candidate.customer_360 as customer full join {batch} as churn using (customer_key)
                where customer.customer_key is null or churn.customer_key is null
                """,
                description="there is a row for each customer, and for nobody else",
                notes="Who is not judged must be told so by a status, not be missing.",
            ),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id from {batch} as built
                where churn_probability < 0 or churn_probability > 1
                    or as_of_on <> (select max(as_of_on) from {batch} as built)
                """,
                description="probabilities are within 0 and 1, and all rows of one date",
                notes="A probability outside is an error of the scoring, whatever the data.",
            ),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id from {batch} as built
                where (churn_probability is null) <> (model_status in ('out_of_population', 'not_scored'))
                    or (model_status_reason is null) <> (model_status in ('primary', 'out_of_population'))
                """,
                description="who has no probability is told why by the status, and the baseline says why it serves",
                notes="PostgreSQL counts NaN as greater than 1, so that the rule above finds it; this one finds nulls.",
            ),
            no_row(
                """
                select customer_key::text as key, null::bigint as batch_id from {batch} as built
                where model_status in ('primary', 'last_promoted') and abs(
                    baseline_log_odds + recency_contribution + frequency_contribution + value_contribution
                    + order_quality_contribution + sessions_contribution + tickets_contribution
                    - ln(churn_probability / (1 - churn_probability))) > 1e-9
                """,
                description="a score is the sum of its published contributions",
                notes="Reasons that do not add up to the score would explain another one.",
            ),
        ],
    )
