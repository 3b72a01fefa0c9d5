"""Candidate gate of customer_contacts. Its keys are customers' keys: addresses and numbers stay out of results."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import changed, of_known_customers


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the contacts of the touched customers (of all, if ``whole``)."""
    among = changed("customer", "built.customer_key", whole=whole)
    return ExpectationSuite(
        name="candidate.customer_contacts",
        expectations=[
            of_known_customers(
                among=among, notes="Somebody would be written to about a customer whom no other table knows."
            ),
        ],
    )
