"""Restatements: which published figures of past days a publication changes, by how much and by which batch.

A figure is restated when a row that was published before, of a day that is over, changes or goes. What a day brings
for the first time, and what happens today, restates nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from psycopg import sql

from customer360.warehouse import Connection


@dataclass(frozen=True)
class Restated:
    """A table whose figures people have quoted: its key, the day of a row, and the figures."""

    key: str
    day: str
    figures: tuple[str, ...]
    has_batch: bool


TABLES = {
    "fct_orders": Restated(
        "order_id",
        "ordered_on",
        ("gross_amount", "discount_amount", "tax_amount", "shipping_amount", "cancelled_amount"),
        has_batch=True,
    ),
    "fct_daily_revenue": Restated(
        "revenue_on",
        "revenue_on",
        ("gross_amount", "net_amount", "refunded_amount", "cancelled_amount"),
        has_batch=False,
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

    Figures that ``target`` did not have yet among its ``columns`` cannot have been quoted.
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
            batch=sql.SQL("c.batch_id" if restated.has_batch else "null"),
            changes=changes,
            target=target,
            figures=figures,
            day=sql.Identifier(restated.day),
            today=sql.Literal(today),
        )
    )
