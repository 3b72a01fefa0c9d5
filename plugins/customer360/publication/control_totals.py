"""Control totals: what the published tables add up to, moved by each publication's differences alone.

Three tables tell the same money: the facts, the customers with the unattributed bucket, the days. Each total is moved
by the rows that changed in its own table, so that an order which moved to another customer without both of them being
built again shows at once: facts ≠ customers + unattributed. No run reads a whole table for it; ``c360 verify``
recounts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal

from psycopg import sql

from customer360.warehouse import Connection

_MONEY = ("gross_amount", "net_amount", "refunded_amount", "refunded_net_amount", "cancelled_amount")

ROWS = "rows"
# Published table → whose totals it gives, and the measures that it adds up: measure → column, or its rows.
SOURCES: dict[str, tuple[str, dict[str, str]]] = {
    "fct_orders": ("facts", {name: name for name in _MONEY}),
    "fct_refunds": ("facts", {"refund_count": ROWS}),
    "fct_sessions": ("facts", {"session_count": ROWS}),
    "fct_tickets": ("facts", {"ticket_count": ROWS}),
    "customer_360": (
        "customers",
        {name: name for name in (*_MONEY, "refund_count", "session_count", "ticket_count")},
    ),
    "unattributed_totals": (
        "unattributed",
        {name: name for name in (*_MONEY, "refund_count", "session_count", "ticket_count")},
    ),
    "fct_daily_revenue": ("days", {name: name for name in (*_MONEY, "refund_count")}),
}


def move(
    connection: Connection,
    table: str,
    *,
    target: sql.Composable,
    changes: sql.Composable,
    key: Sequence[str],
    columns: Collection[str],
    publication_id: int,
) -> None:
    """Move the totals of ``table`` by the differences in ``changes``, before they are written to ``target``.

    Only measures that ``target`` has among its ``columns`` can be moved; a rebuild sets the others (:func:`reset`).
    """
    source, measures = _measures(table, columns)
    if not measures:
        return
    matches = sql.SQL(" and ").join(sql.SQL("m.{0} = c.{0}").format(sql.Identifier(column)) for column in key)
    connection.execute(
        sql.SQL(
            """
            with new_rows as (select {sums} from {changes} where not is_removed),
            old_rows as (
                select {sums} from (
                    select m.* from {target} as m join {changes} as c on {matches} where not c.is_added
                ) as old
            ),
            moved (measure, moved_by) as ({differences})
            insert into ops.control_totals (measure, source, total, publication_id)
            select measure, {source}, moved_by, {publication} from moved
            on conflict (measure, source) do update
                set total = control_totals.total + excluded.total, publication_id = excluded.publication_id
                where excluded.total <> 0
            """
        ).format(
            sums=_sums(measures),
            changes=changes,
            target=target,
            matches=matches,
            differences=sql.SQL(" union all ").join(
                sql.SQL("select {0}, new_rows.{1} - old_rows.{1} from new_rows, old_rows").format(
                    sql.Literal(measure), sql.Identifier(measure)
                )
                for measure in measures
            ),
            source=sql.Literal(source),
            publication=sql.Literal(publication_id),
        )
    )


def reset(
    connection: Connection, table: str, *, built: sql.Composable, columns: Collection[str], publication_id: int
) -> None:
    """Set the totals of ``table`` to what the whole of ``built`` adds up to: after a rebuild."""
    source, measures = _measures(table, columns)
    if not measures:
        return
    connection.execute(
        sql.SQL(
            """
            with sums as (select {sums} from {built})
            insert into ops.control_totals (measure, source, total, publication_id)
            select measure, {source}, total, {publication}
            from sums cross join lateral (values {pairs}) as pairs (measure, total)
            on conflict (measure, source) do update
                set total = excluded.total, publication_id = excluded.publication_id
            """
        ).format(
            sums=_sums(measures),
            built=built,
            source=sql.Literal(source),
            publication=sql.Literal(publication_id),
            pairs=sql.SQL(", ").join(
                sql.SQL("({}, {})").format(sql.Literal(measure), sql.Identifier(measure)) for measure in measures
            ),
        )
    )


def _measures(table: str, columns: Collection[str]) -> tuple[str, dict[str, str]]:
    source, measures = SOURCES.get(table, ("", {}))
    return source, {name: column for name, column in measures.items() if column == ROWS or column in columns}


def recount(connection: Connection, *, schema: str = "marts") -> dict[tuple[str, str], Decimal]:
    """What the totals are when whole tables are read: (measure, source) → total."""
    totals: dict[tuple[str, str], Decimal] = {}
    for table, (source, measures) in SOURCES.items():
        row = connection.execute(
            sql.SQL("select {} from {}").format(_sums(measures), sql.Identifier(schema, table))
        ).fetchone()
        totals.update({(measure, source): total for measure, total in zip(measures, row or (), strict=True)})
    return totals


def _sums(measures: dict[str, str]) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.SQL("coalesce(sum({}), 0)::numeric as {}").format(
            sql.SQL("1") if column == ROWS else sql.Identifier(column), sql.Identifier(measure)
        )
        for measure, column in measures.items()
    )
