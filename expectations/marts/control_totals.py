"""Marts gate on ops.control_totals: the published tables tell the same money and the same counts."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import no_row


def suite() -> ExpectationSuite:
    """What must hold after every publication of live tables. The totals were moved table by table, independently."""
    return ExpectationSuite(
        name="marts.control_totals",
        expectations=[
            no_row(
                """
                select measure as key, null::bigint as batch_id from {batch} as built group by measure
                having coalesce(sum(total) filter (where source = 'facts'), 0)
                    <> coalesce(sum(total) filter (where source in ('customers', 'unattributed')), 0)
                """,
                description="facts = customers + unattributed, for every measure",
                notes="An order that moved while only one of its two customers was built again shows here.",
            ),
            no_row(
                """
                select measure as key, null::bigint as batch_id from {batch} as built group by measure
                having count(*) filter (where source = 'days') > 0
                    and sum(total) filter (where source = 'facts') <> sum(total) filter (where source = 'days')
                """,
                description="facts = days, for every measure that is kept by day",
                notes="An order that moved to another day while only one of them was built again shows here.",
            ),
        ],
    )
