"""What the server did for each statement of a run: every plan, with the rows that its nodes looked at.

The embedded server has neither auto_explain nor pg_stat_statements, so that the clients ask: inside :func:`watched`
each statement of this process (its own, dbt's, Great Expectations') is first run by ``explain (analyze)`` in a
savepoint that is rolled back, and then for itself.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import psycopg
import psycopg2
import psycopg2.extensions
import sqlparse

_EXPLAIN = "explain (analyze, buffers, timing off, format json) "
_EXPLAINABLE = re.compile(
    r"(select|with|insert|update|delete|merge|create\s+(temp|temporary)\s+table\s.*\sas\s)", re.IGNORECASE | re.DOTALL
)
_COMMENT = re.compile(r"^\s*(/\*.*?\*/\s*|--[^\n]*\n\s*)*", re.DOTALL)


@dataclass(frozen=True)
class Examined:
    """One execution of a statement: who sent it, how it begins, and the rows that the nodes of its plan looked at."""

    sender: str
    text: str
    rows: int
    written: int
    milliseconds: float
    plan: dict[str, Any]

    @property
    def worst(self) -> str:
        """The node that looked at most rows, in words."""
        node = max(_nodes(self.plan), key=_looked_at)
        return f"{node['Node Type']} {node.get('Relation Name', node.get('CTE Name', ''))} ×{node['Actual Loops']:,}"

    def __str__(self) -> str:
        return f"{self.rows:>12,} rows, {self.milliseconds:9.1f} ms  {self.sender}: {self.text[:90]!r} ({self.worst})"


@dataclass
class Watch:
    """The statements that ran, in order."""

    statements: list[Examined] = field(default_factory=list)

    def by_statement(self) -> dict[tuple[str, str], int]:
        """Rows looked at by (sender, beginning of the text), executions added up."""
        sums: dict[tuple[str, str], int] = {}
        for one in self.statements:
            key = (one.sender, re.sub(r"\d+", "#", one.text[:160]))
            sums[key] = sums.get(key, 0) + one.rows
        return sums


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _looked_at(node: dict[str, Any]) -> float:
    """Rows that a node took up. One that it compares with a list of keys counts once for each of them."""
    removed = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    lists = (listed.count(",") + 1 for listed in re.findall(r"= ANY \('\{([^}]*)\}'", node.get("Filter", "")))
    return float((node["Actual Rows"] + removed) * node["Actual Loops"] * max(1, *lists, 1))


def _examined(sender: str, text: str, answer: Any) -> Examined:
    explained = (json.loads(answer) if isinstance(answer, str) else answer)[0]
    plan = explained["Plan"]
    written = sum(node.get("Actual Rows", 0) for node in _nodes(plan) if node["Node Type"] == "ModifyTable")
    return Examined(
        sender,
        re.sub(r"\s+", " ", text).strip(),
        int(sum(_looked_at(node) for node in _nodes(plan))),
        int(written),
        explained["Execution Time"] + explained.get("Planning Time", 0),
        plan,
    )


def _without_comment(text: str) -> str:
    return text[_COMMENT.match(text).end() :]  # type: ignore[union-attr]


def _caller() -> str:
    """The innermost function of the product that is at work."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name == "customer360.models.statements" and "statement" in frame.f_locals:
            return f"dbt {frame.f_locals['statement'].model}"
        if name.startswith("customer360.") and not name.startswith("customer360.warehouse"):
            return f"{name.removeprefix('customer360.')}.{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "?"


@contextmanager
def watched() -> Iterator[Watch]:
    """Explain every statement of this process meanwhile. Connections that were open before are watched as well."""
    watch = Watch()
    execute = psycopg.Cursor.execute
    connect = psycopg2.connect

    def explained(cursor: Any, statement: Any, params: Any = None, **options: Any) -> Any:
        connection = cursor.connection
        text = psycopg.ClientCursor(connection).mogrify(statement, params)
        several = [] if params else sqlparse.split(text)
        if len(several) > 1:  # a model's increment: each by itself, in the transaction that the caller has opened
            for piece in several:
                explained(cursor, piece.encode())
            return cursor
        bare = _without_comment(text)
        if _EXPLAINABLE.match(bare):
            with connection.transaction(force_rollback=True):
                own = psycopg.Cursor(connection)
                execute(own, (_EXPLAIN + bare).encode())
                (plan,) = own.fetchone() or (None,)
                watch.statements.append(_examined(_caller(), bare, plan))
        return execute(cursor, statement, params, **options)

    class Explaining(psycopg2.extensions.cursor):
        def execute(self, statement: Any, params: Any = None) -> None:
            text = self.mogrify(statement, params).decode()
            node = re.search(r'"node_id": "model\.customer360\.(\w+)"', text)
            for piece in sqlparse.split(text):
                bare = _without_comment(piece)
                if _EXPLAINABLE.match(bare):
                    super().execute("savepoint before" if not self.connection.autocommit else "begin")
                    super().execute(_EXPLAIN + bare)
                    answer = self.fetchone()[0]
                    if self.connection.autocommit:
                        super().execute("rollback")
                    else:
                        super().execute("rollback to savepoint before; release savepoint before")
                    watch.statements.append(_examined(f"dbt {node[1]}" if node else "gate", bare, answer))
                super().execute(piece)

    def connecting(*args: Any, **options: Any) -> Any:
        options.setdefault("cursor_factory", Explaining)
        return connect(*args, **options)

    with mock.patch.object(psycopg.Cursor, "execute", explained), mock.patch.object(psycopg2, "connect", connecting):
        yield watch
