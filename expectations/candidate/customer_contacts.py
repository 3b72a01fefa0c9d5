"""Candidate gate of customer_contacts. Its keys are customers' keys: addresses and numbers stay out of results."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import changed, no_row


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the contacts of the touched customers (of all, if ``whole``)."""
    among = changed("customer", "contacts.customer_key", whole=whole)
    return ExpectationSuite(
        name="candidate.customer_contacts",
        expectations=[
            no_row(
                f"""
                select contacts.customer_key::text as key, null::bigint as batch_id from {{batch}} as contacts
                where {among} and not exists (
                    select from candidate.customer_360 as c where c.customer_key = contacts.customer_key)
                """,
                description="the customer exists",
                notes="Somebody would be written to about a customer whom no other table knows.",
            ),
        ],
    )
