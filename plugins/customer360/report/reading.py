"""Reading marts for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.rows import dict_row

from customer360.warehouse import Connection, query, scalar

Row = dict[str, Any]


def read(connection: Connection, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
    """The rows of a query, by column name."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query(statement), parameters).fetchall()


def read_one(connection: Connection, statement: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
    """The values of a query that gives one row."""
    row = connection.execute(query(statement), parameters).fetchone()
    assert row is not None, statement  # noqa: S101 - an aggregate gives a row
    return tuple(row)


def exists(connection: Connection, *tables: str) -> bool:
    """Whether all these tables are published."""
    return all(scalar(connection, "select to_regclass(%s)", [table]) for table in tables)


def percent(share: Any, digits: int = 0) -> str:
    """A share for people; a dash where it is not measured."""
    return "–" if share is None else f"{100 * float(share):.{digits}f} %"


def number(value: Any, digits: int = 0) -> str:
    """A figure for people; a dash where it is not measured."""
    return "–" if value is None else f"{float(value):,.{digits}f}"


def money(value: Any, currency: str, digits: int = 0) -> str:
    """An amount for people, with its currency; a dash where it is not measured."""
    return "–" if value is None else f"{number(value, digits)} {currency}".rstrip()
