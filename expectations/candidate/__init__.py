"""The candidate gate: what must be true of a built table before it is published. One module per published table.

Each expectation is a query for the rows that break it, within the keys that the run does again (``ops.dirty``; all rows
after a rebuild and for daily tables), so that the gate's cost follows the change. A query gives ``key``, the row's key
as text, and ``batch_id``, the batch that the row's record came from (null where no single one did): on-call is told
both. Neither is personal data.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import great_expectations.expectations as gxe
from great_expectations import ExpectationSuite
from great_expectations.expectations.metadata_types import FailureSeverity

from customer360.contract.feeds import FEEDS, Feed
from customer360.warehouse import dirty

if TYPE_CHECKING:
    from customer360.publication.publish import Kind


class ExpectNoRows(gxe.UnexpectedRowsExpectation):
    """A query finds no row.

    Great Expectations' own runs its query twice, to count the rows and to fetch the first of them; this one counts. No
    gate fetches rows through it, for they could carry personal data.
    """

    metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.row_count",)

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        count = metrics["unexpected_rows_query.row_count"]
        return {"success": count == 0, "result": {"observed_value": count}}


def suite_of(
    table: str,
    primary_key: tuple[str, ...],
    *,
    scope: str | None,
    scope_key: str | None,
    kind: Kind,
) -> ExpectationSuite:
    """The suite of a table about to be published; of one that has no module here, that its key is a key.

    A live publication is judged by the keys that the run does again, others whole. A live table that the daily pass
    makes anew has a ``daily_suite`` for that.
    """
    whole = kind != "live"
    name = f"expectations.candidate.{table}"
    if find_spec(name):
        module = import_module(name)
        made: ExpectationSuite = (
            module.daily_suite() if kind == "daily" and hasattr(module, "daily_suite") else module.suite(whole=whole)
        )
        return made
    among = changed(scope, scope_key, whole=whole) if scope and scope_key else "true"
    key = one_row_per(*primary_key, among=among, batch="null::bigint")
    return ExpectationSuite(name=f"candidate.{table}", expectations=[key])


def changed(scope: str, column: str, *, whole: bool) -> str:
    """SQL: whether the row's key is among those that the run does again."""
    if whole:
        return "true"
    return f"{column} in {dirty.keys(scope)}"


def moved(
    table: str, columns: tuple[str, ...], scope: str, scope_key: str, *, now: str | None = None, condition: str = "true"
) -> str:
    """SQL: the changed rows of a table as they now are (sign 1) and as they were published (sign -1)."""
    listed = ", ".join(columns)
    among = f"{condition} and {changed(scope, scope_key, whole=False)}"
    return (
        f"select 1 as sign, {listed} from {now or f'candidate.{table}'} as built where {among} "
        f"union all select -1, {listed} from marts.{table} where {among}"
    )


def no_row(
    query: str, *, description: str, notes: str, severity: FailureSeverity = FailureSeverity.CRITICAL
) -> ExpectNoRows:
    """No row breaks the rule: ``query`` finds those that do, as (key, batch_id), in ``{batch} as some_name``."""
    # Great Expectations puts a subquery there, with an alias of its own unless the query has a join. PostgreSQL 15
    # needs an alias, so every query has a join: with one row of no columns, which the planner takes away.
    rows = query.replace("{batch}", "(select whole.* from {batch} as whole cross join (select) as nothing)")
    return ExpectNoRows(unexpected_rows_query=rows, description=description, notes=notes, severity=severity)


def one_row_per(*columns: str, among: str, batch: str = "max(batch_id)") -> ExpectNoRows:
    """The columns are a key of the table: unique, and never null."""
    key = " || ' ' || ".join(f"{column}::text" for column in columns)
    listed = ", ".join(columns)
    return no_row(
        f"""
        select {key} as key, {batch} as batch_id from {{batch}} as built where {among}
        group by {listed} having count(*) > 1 or {" or ".join(f"{column} is null" for column in columns)}
        """,
        description=f"one row per {listed}",
        notes="A key that is there twice doubles every sum that joins by it.",
    )


def filled(*columns: str, key: str, among: str, batch: str = "batch_id") -> ExpectNoRows:
    """None of the columns is null."""
    return no_row(
        f"""
        select {key}::text as key, {batch} as batch_id from {{batch}} as built
        where {among} and ({" or ".join(f"{column} is null" for column in columns)})
        """,
        description=f"{', '.join(columns)} {'is' if len(columns) == 1 else 'are'} there",
        notes="Readers filter and join by these; a null row would drop out of their figures without a trace.",
    )


def known_customer(feed: Feed, *, whole: bool) -> ExpectNoRows:
    """Every fact belongs to a customer who has a row, or to nobody: those touched, and those of touched customers."""
    has_row = "exists (select from candidate.customer_360 as customer where customer.customer_key = {})"
    gone = ""
    if not whole:  # the facts of touched customers who have no row; `or` in one query would read the whole table
        gone = f"""
        union
        select built.{feed.key}::text, built.batch_id
        from (
            select key::bigint as customer_key from ops.dirty
            where scope = 'customer' and not {has_row.format("dirty.key::bigint")}
        ) as gone
        inner join {{batch}} as built using (customer_key)"""
    return no_row(
        f"""
        select fact.{feed.key}::text as key, fact.batch_id from {{batch}} as fact
        where {changed(feed.scope, f"fact.{feed.key}", whole=whole)}
            and fact.customer_key is not null and not {has_row.format("fact.customer_key")}{gone}
        """,
        description="the customer exists",
        notes="A fact whose customer has no row is in no customer's figures and not in the unattributed bucket.",
    )


def of_known_customers(*, among: str, notes: str) -> ExpectNoRows:
    """Each row of a table about customers is about one who has a row in customer_360. The table is named ``built``."""
    return no_row(
        f"""
        select built.customer_key::text as key, null::bigint as batch_id from {{batch}} as built
        where {among} and not exists (
            select from candidate.customer_360 as customer where customer.customer_key = built.customer_key)
        """,
        description="the customer exists",
        notes=notes,
    )


def whose_identity_says(feed: Feed, *, whole: bool) -> ExpectNoRows:
    """The fact has the customer that identity resolution gave to its record."""
    return no_row(
        f"""
        select fact.{feed.key}::text as key, fact.batch_id from {{batch}} as fact
        left join identity.{feed.scope}_customers as resolved using ({feed.key})
        where {changed(feed.scope, f"fact.{feed.key}", whole=whole)}
            and fact.customer_key is distinct from resolved.customer_key
        """,
        description="the customer is the one that identity resolution found",
        notes="After a merge or a split, a fact that was left behind would count for the wrong person.",
    )


def as_landed(feed: Feed, *, whole: bool) -> list[ExpectNoRows]:
    """Every record that was loaded and not deleted has its fact, and no fact is there without one."""
    key = feed.key
    # A record that was built from another feed's has no row of its own in raw.
    landed = "not fact.is_built and " if feed.name in {one.built_into for one in FEEDS.values()} else ""
    return [
        no_row(
            f"""
            select record.{key} as key, max(record.batch_id) as batch_id from raw.{feed.name} as record
            inner join ops.visible_batches using (batch_id)
            where {changed(feed.scope, f"record.{key}", whole=whole)}
                and not exists (select from {{batch}} as fact where fact.{key} = record.{key})
                and not exists (
                    select from staging.{feed.staged} as staged where staged.{key} = record.{key} and staged.is_deleted)
            group by record.{key}
            """,
            description=f"every {feed.scope} that was loaded is there, unless its source has deleted it",
            notes="No row is ever lost: an id that a model drops would be missed by nobody but its customer.",
        ),
        no_row(
            f"""
            select fact.{key} as key, fact.batch_id from {{batch}} as fact
            where {changed(feed.scope, f"fact.{key}", whole=whole)} and {landed}not exists (
                select from raw.{feed.name} as record inner join ops.visible_batches using (batch_id)
                where record.{key} = fact.{key})
                and not exists (select from {feed.frozen} as frozen where frozen.{key} = fact.{key})
            """,
            description=f"no {feed.scope} is there that was not loaded",
            notes="What an erased or held batch alone has brought must be gone.",
        ),
    ]


def every_fact(feed: Feed, *, whole: bool) -> list[ExpectNoRows]:
    """What holds of every feed's fact table: key, records, customers; conflicts of two kinds are warnings."""
    key = feed.key
    built = f"select {key} as key, batch_id from {{batch}} as built where {changed(feed.scope, key, whole=whole)}"
    never = " and ".join((feed.seen_at, " or ".join(feed.owner)))
    return [
        one_row_per(key, among=changed(feed.scope, key, whole=whole)),
        *as_landed(feed, whole=whole),
        known_customer(feed, whole=whole),
        whose_identity_says(feed, whole=whole),
        no_row(
            f"{built} and has_version_conflict",
            severity=FailureSeverity.WARNING,
            description="no two versions have the same updated_at and different content",
            notes="One of them was chosen by its content hash; only the producer knows which is right.",
        ),
        no_row(
            f"{built} and has_id_conflict",
            severity=FailureSeverity.WARNING,
            description=f"no version changes what never changes ({never})",
            notes="Two records share one id, and the older one is lost: give each source its own `source`.",
        ),
    ]
