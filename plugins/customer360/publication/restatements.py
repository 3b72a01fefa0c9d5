"""Restatements: which published figures of past days a publication changes, by how much and by which batch.

A figure is restated when a row that was published before, of a day that is over, changes or goes. What a day brings
for the first time, and what happens today, restates nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from psycopg import sql

from customer360.warehouse import Connection, query


@dataclass(frozen=True)
class Restated:
    """A table whose figures people have quoted: its key, the day of a row, and the figures."""

    key: str
    day: str
    figures: tuple[str, ...]
    batches: str = ""
    """Of a table of days: the query (day, batch_id) of what moved them; otherwise a row names its own batch."""


# Reads the comparisons that the same publication has made (customer360.publication.publish): a changed order moves the
# day it is placed on now and the day it was placed on, a changed refund likewise.
_BATCHES_OF_DAYS = " union ".join(
    f"""
    select {day} as day, batch_id from pg_temp.changes_{fact} where not is_removed
    union
    select m.{day}, coalesce(c.batch_id, m.batch_id)
    from pg_temp.changes_{fact} as c join marts.{fact} as m using ({key}) where not c.is_added
    """
    for fact, key, day in (
        ("fct_orders", "order_id", "ordered_on"),
        ("fct_refunds", "order_id, refund_number", "refunded_on"),
    )
)


TABLES = {
    "fct_orders": Restated(
        "order_id",
        "ordered_on",
        ("gross_amount", "discount_amount", "tax_amount", "shipping_amount", "cancelled_amount"),
    ),
    "fct_daily_revenue": Restated(
        "revenue_on",
        "revenue_on",
        ("gross_amount", "net_amount", "refunded_amount", "cancelled_amount"),
        batches=_BATCHES_OF_DAYS,
    ),
}


def record(
    connection: Connection,
    table: str,
    *,
    target: sql.Composable,
    changes: sql.Composable,
    columns: Collection[str],
    today: date,
    publication_id: int,
) -> None:
    """Write the restated figures of ``table`` to ops.restatements, before ``changes`` are written to ``target``.

    Figures that ``target`` did not have yet among its ``columns`` cannot have been quoted. A day's figure names the
    batch that moved it; where several did, the newest, since the orders' own rows name each.
    """
    restated = TABLES.get(table)
    if restated is None or not set(restated.figures) <= set(columns):
        return
    figures = sql.SQL(", ").join(
        sql.SQL("({0}, m.{1}, c.{1})").format(sql.Literal(figure), sql.Identifier(figure))
        for figure in restated.figures
    )
    connection.execute(
        sql.SQL(
            """
            with batches (day, batch_id) as materialized ({batches})
            insert into ops.restatements (publication_id, table_name, key, figure, old_amount, new_amount, batch_id)
            select {publication}, {name}, m.{key}::text, figure, old_amount, new_amount, {batch}
            from {changes} as c join {target} as m using ({key})
            cross join lateral (values {figures}) as figures (figure, old_amount, new_amount)
            where not c.is_added and m.{day} < {today} and old_amount is distinct from new_amount
            """
        ).format(
            publication=sql.Literal(publication_id),
            name=sql.Literal(table),
            key=sql.Identifier(restated.key),
            batches=sql.SQL(query(restated.batches or "select null::date, null::bigint")),
            batch=sql.SQL(
                query(
                    f"(select max(batch_id) from batches where day = m.{restated.day})"
                    if restated.batches
                    else "c.batch_id"
                )
            ),
            changes=changes,
            target=target,
            figures=figures,
            day=sql.Identifier(restated.day),
            today=sql.Literal(today),
        )
    )
