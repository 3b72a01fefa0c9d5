"""Candidate gate of customer_alert_precision, a daily table."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import no_row, one_row_per


def suite(*, whole: bool = True) -> ExpectationSuite:
    """What must hold of the whole table: the daily pass makes it anew."""
    return ExpectationSuite(
        name="candidate.customer_alert_precision",
        expectations=[
            one_row_per("rule", among="true", batch="null::bigint"),
            no_row(
                """
                select rule as key, null::bigint as batch_id from {batch} as built
                where alert_count < decided_alert_count or came_true_count not between 0 and decided_alert_count
                    or alert_precision <> round(came_true_count::numeric / nullif(decided_alert_count, 0), 6)
                    or (alert_precision is null) <> (decided_alert_count = 0)
                    or alert_precision_low not between 0 and alert_precision
                    or alert_precision_high not between alert_precision and 1
                """,
                description="precision is the alerts that came true by those whose window has passed, in its interval",
                notes="An alert whose window is open has neither come true nor failed.",
            ),
            no_row(
                """
                select coalesce(built.rule, rules.rule) as key, null::bigint as batch_id
                from {batch} as built full join staging.alert_rules as rules using (rule)
                where built.rule is null or rules.rule is null
                """,
                description="every rule is there, and no other",
                notes="A rule that never warned is a measured zero.",
            ),
        ],
    )
