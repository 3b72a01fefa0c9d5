"""The statements of an increment: the SQL that dbt compiled, kept, and run again without dbt.

Between two increments nothing changes in a model's SQL: it names ``ops.dirty``, and what that holds is the server's
business. Yet dbt renders, compiles and tells of every model again, which is most of a small run's time
(docs/decisions/0018). So the text that dbt ran is kept under everything it depends on, and the next increment sends it
as it is, in the same order of dependency.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from customer360 import warehouse
from customer360.models.results import FAILED, ModelResult, masked
from customer360.settings import Settings
from customer360.warehouse import Connection


@dataclass(frozen=True)
class Statement:
    """One model's increment: its table, its SQL, the models that come before it, and the file that on-call reads."""

    model: str
    table: str
    sql: str
    after: tuple[str, ...]
    file: str


@dataclass(frozen=True)
class Seed:
    """A table loaded from a file of the project; its comment holds the file's checksum."""

    table: str
    comment: str


@dataclass(frozen=True)
class Increment:
    """All that a call with one selection does over dirty keys, and what it takes to be there."""

    statements: tuple[Statement, ...]
    seeds: tuple[Seed, ...]
    tables: tuple[str, ...]
    """Tables that must exist: those of the statements and those that they read."""


def key_of(project: Path, given: Mapping[str, Any]) -> str:
    """What the text of the statements depends on: every file of the project, and the values of the call."""
    hashed = hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode())
    for path in sorted(path for path in project.rglob("*") if path.suffix in {".sql", ".yml", ".csv"}):
        hashed.update(path.relative_to(project).as_posix().encode() + path.read_bytes())
    return hashed.hexdigest()[:32]


def keep(folder: Path, name: str, key: str, increment: Increment) -> None:
    """Keep the statements of a selection, in place of older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.{threading.get_native_id()}.tmp"
    partial.write_text(json.dumps({"key": key, **asdict(increment)}))
    partial.replace(folder / f"{name}.json")


def kept(folder: Path, name: str, key: str, connection: Connection) -> Increment | None:
    """The statements of a selection; None if they are of another key, or the warehouse lacks what they need."""
    try:
        found = json.loads((folder / f"{name}.json").read_text())
        if found.pop("key") != key:
            return None
        increment = Increment(
            tuple(Statement(**{**one, "after": tuple(one["after"])}) for one in found["statements"]),
            tuple(Seed(**one) for one in found["seeds"]),
            tuple(found["tables"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # there is none, or a version before this one wrote it
    is_ready = warehouse.scalar(
        connection,
        """
        select bool_and(to_regclass(name) is not null
            and (comment is null or obj_description(to_regclass(name), 'pg_class') = comment))
        from unnest(%s::text[], %s::text[]) as needed (name, comment)
        """,
        [
            [*increment.tables, *(seed.table for seed in increment.seeds)],
            [*(None for _ in increment.tables), *(seed.comment for seed in increment.seeds)],
        ],
    )
    return increment if is_ready else None


def run(
    settings: Settings, statements: Sequence[Statement], *, threads: int, finished: Callable[[ModelResult], None]
) -> list[ModelResult]:
    """Run the statements, each in a transaction of its own, as soon as those before it are done.

    Those behind one that failed are skipped. Results are in the order in which they finished.
    """
    waiting = {one.model: one for one in statements}
    done: dict[str, ModelResult] = {}
    connections = _Connections(settings)

    def ready() -> list[Statement]:
        return [one for one in waiting.values() if all(before in done for before in one.after)]

    with connections, ThreadPoolExecutor(threads, thread_name_prefix="increment") as pool:
        running: dict[Future[ModelResult], str] = {}
        while waiting or running:
            for one in ready():
                del waiting[one.model]
                if any(done[before].status != "success" for before in one.after):
                    done[one.model] = ModelResult(one.model, "skipped", 0, None, "")
                    finished(done[one.model])
                else:
                    running[pool.submit(_run_one, connections, one)] = one.model
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                done[running.pop(future)] = future.result()
                finished(future.result())
    return list(done.values())


def _run_one(connections: _Connections, statement: Statement) -> ModelResult:
    began = time.perf_counter()
    try:
        connection = connections.of_this_thread()
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(warehouse.query(statement.sql))
            rows = cursor.rowcount
            while cursor.nextset():
                rows = cursor.rowcount
    except psycopg.Error as error:
        told = masked(str(error.diag.message_primary or error))
        return ModelResult(
            statement.model,
            "error",
            time.perf_counter() - began,
            None,
            f"Database Error: {told}",
            error.sqlstate or "",
        )
    return ModelResult(statement.model, "success", time.perf_counter() - began, rows if rows >= 0 else None, "")


class _Connections:
    """One connection as transformer for each thread, as dbt has them, closed at the end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._local = threading.local()
        self._opened: list[Connection] = []

    def __enter__(self) -> _Connections:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._opened:
            connection.close()

    def of_this_thread(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = warehouse.connect(
                "transformer", self._settings, autocommit=True, application_name="customer360 models"
            )
            self._opened.append(connection)
            connection.execute("set timezone = 'UTC'; set jit = off")
            self._local.connection = connection
        return connection


def has_failed(results: Sequence[ModelResult]) -> bool:
    """Whether a model failed."""
    return any(result.status in FAILED for result in results)
