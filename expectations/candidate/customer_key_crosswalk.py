"""Candidate gate of customer_key_crosswalk."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import changed, no_row, one_row_per


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched keys (of all, if ``whole``)."""
    among = changed("customer", "customer_key", whole=whole)
    return ExpectationSuite(
        name="candidate.customer_key_crosswalk",
        expectations=[
            one_row_per("customer_key", among=among, batch="null::bigint"),
            no_row(
                f"""
                select crosswalk.customer_key::text as key, null::bigint as batch_id from {{batch}} as crosswalk
                where {changed("customer", "crosswalk.customer_key", whole=whole)}
                    and present_customer_key is not null and not exists (
                    select from candidate.customer_360 as c where c.customer_key = crosswalk.present_customer_key)
                """,
                description="the present customer exists",
                notes="Who kept an old key in a list must find the person whom it stands for now.",
            ),
            no_row(
                f"""
                select customer.customer_key::text as key, null::bigint as batch_id
                from candidate.customer_360 as customer
                where {changed("customer", "customer.customer_key", whole=whole)} and not exists (
                    select from {{batch}} as crosswalk where crosswalk.customer_key = customer.customer_key
                        and crosswalk.present_customer_key = customer.customer_key)
                """,
                description="every customer's key stands for that customer",
                notes="A key that is published and not in the crosswalk could not be followed after a merge.",
            ),
        ],
    )
