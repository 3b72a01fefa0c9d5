"""The raw gate: what must be true after a batch was loaded and before its transaction commits."""

from __future__ import annotations

import great_expectations.expectations as gxe
from great_expectations import ExpectationSuite


def suite(feed: str) -> ExpectationSuite:
    """The expectations of one loaded batch, told as one row: what the ledger says beside what the table holds."""
    return ExpectationSuite(
        name=f"raw.{feed}",
        expectations=[
            gxe.ExpectColumnPairValuesToBeEqual(
                column_A="raw_rows",
                column_B="ledger_rows",
                description="the table holds the rows that the ledger says were loaded",
                notes="A batch of which a part is missing must never be built from.",
            ),
            gxe.ExpectColumnPairValuesToBeEqual(
                column_A="landed_rows",
                column_B="accounted_rows",
                description="every row of the file is loaded, in quarantine, or a duplicate",
                notes="The first principle: no row is ever lost, and it can be proved.",
            ),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="file_rows",
                column_B="last_row_number",
                or_equal=True,
                description="no row number is beyond the file's last row",
                notes="On-call finds a record in its file by that number.",
            ),
        ],
    )
