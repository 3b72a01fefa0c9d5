"""Candidate gate of contact_preferences."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import changed, no_row, of_known_customers, one_row_per


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the statements of the touched customers (of all, if ``whole``)."""
    among = changed("customer", "built.customer_key", whole=whole)
    return ExpectationSuite(
        name="candidate.contact_preferences",
        expectations=[
            one_row_per("customer_key", "channel", among=among, batch="null::bigint"),
            no_row(
                f"""
                select concat_ws(' ', customer_key, channel) as key, null::bigint as batch_id from {{batch}} as built
                where {among} and (
                    (is_allowed is null) <> (allowed_record_key is null)
                    or (is_preferred is null) <> (preferred_record_key is null)
                    or (is_allowed is null and is_preferred is null))
                """,
                description="each statement has the record that says so",
                notes="A consent that nobody can show evidence of is none.",
            ),
            of_known_customers(among=among, notes="A statement would be kept of somebody whom no other table knows."),
        ],
    )
