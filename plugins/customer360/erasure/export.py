"""A person's data, for the person: everything that was landed, and everything that was made of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from psycopg import sql

from customer360 import templates, warehouse
from customer360.contract.feeds import FEEDS
from customer360.erasure.erase import keyed_tables
from customer360.erasure.person import Person, PersonError, find
from customer360.errors import Customer360Error
from customer360.settings import Settings
from customer360.warehouse import Connection


class ExportError(Customer360Error):
    """A file cannot be written."""


def collect(settings: Settings, kind: str, text: str) -> dict[str, Any]:
    """Table -> rows about the person, with the identifiers that lead to them.

    Raises:
        PersonError: nobody is known by that identifier.
    """
    with warehouse.connect("owner", settings) as connection:
        person = find(connection, settings, kind, text)
        tables = _landed(connection, person)
        keyed = keyed_tables(connection)
    for table in keyed:
        if table.schema in {"state", "marts", "marts_pii"}:
            with warehouse.connect(table.owner, settings) as connection:
                statement = sql.SQL("select to_jsonb(t) from {} as t where customer_key = any(%s)").format(
                    table.identifier
                )
                rows = [row[0] for row in connection.execute(statement, [list(person.keys)])]
            if rows:
                tables[str(table)] = rows
    if not tables:
        raise PersonError("Nothing here is about that person.", "Try another identifier.")
    identifiers = [{"type": one, "value": value} for one, value in sorted(person.identifiers)]
    return {"identifiers": identifiers, "tables": tables}


def _landed(connection: Connection, person: Person) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for feed in FEEDS.values():
        facts = () if feed.built_into else (f"marts.{feed.fact}",)
        for name in (f"raw.{feed.name}", feed.frozen, *facts):
            exists = warehouse.scalar(connection, "select to_regclass(%s) is not null", [name])
            if not exists:
                continue
            statement = sql.SQL("select to_jsonb(t) from {} as t where {} = any(%s)").format(
                sql.Identifier(*name.split(".")), sql.Identifier(feed.key)
            )
            rows = [row[0] for row in connection.execute(statement, [person.records.get(feed.name, [])])]
            if rows:
                found[name] = rows
    return found


def export(settings: Settings, kind: str, text: str, file: Path) -> int:
    """Write a person's data to a new file (mode 0600), .json or .html; returns how many rows.

    Raises:
        ExportError: the file exists, or its name says neither.
        PersonError: nobody is known by that identifier.
    """
    if file.suffix not in {".json", ".html"}:
        raise ExportError(f"{file.name} ends neither in .json nor in .html.", "Choose one of the two.")
    data = collect(settings, kind, text)
    content = json.dumps(data, indent=1, ensure_ascii=False, default=str)
    if file.suffix == ".html":
        shown = {
            table: [{name: value for name, value in row.items() if value is not None} for row in rows]
            for table, rows in data["tables"].items()
        }
        content = templates.render(
            "person.html", policy=templates.SELF_CONTAINED, identifiers=data["identifiers"], tables=shown
        )
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ExportError(f"{file} exists and is not overwritten.", "Name another file.") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(content)
    return sum(len(rows) for rows in data["tables"].values())
