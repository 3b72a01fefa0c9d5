"""Marts gate on ops.publications: the version that readers see is the one just made, and nothing was left behind."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from expectations.candidate import no_row


def suite(*, publication_id: int, is_daily: bool) -> ExpectationSuite:
    """What must hold right after publication ``publication_id``."""
    expectations = [
        no_row(
            f"""
            select publication_id::text as key, null::bigint as batch_id from {{batch}} as built
            where publication_id = (select max(publication_id) from {{batch}} as built) and (
                publication_id <> {publication_id:d} or published_at < now() - interval '10 minutes')
            """,
            description="the newest version is the one just published",
            notes="A second writer, or a clock that jumped, would make readers see an older one.",
        )
    ]
    if not is_daily:
        expectations.append(
            no_row(
                """
                select batch_id::text as key, batch_id from ops.batches
                where batch_id in (select batch_id from ops.unpublished_batches where is_claimed)
                    or (publication_id = (select max(publication_id) from {batch} as built) and state <> 'published')
                """,
                description="every batch that was built is published",
                notes="A batch that stays behind is fresh in the ledger and missing in the tables.",
            )
        )
    return ExpectationSuite(name="marts.publications", expectations=expectations)
