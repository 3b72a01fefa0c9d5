"""The columns of marts are promises: none changes without a line in CHANGELOG.md."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from customer360.models.runner import journal_tables, model_tables
from customer360.publication.table_contracts import REFERENCES, REQUIRED
from customer360.settings import get_settings

ROOT = Path(__file__).resolve().parents[2]
LAST_RELEASE = "0.1.0"
"""The release whose schema is on record in tests/upgrade; a release records its own there."""

JOURNALS = (
    "loyalty_points_ledger", "customer_alerts", "loyalty_tier_history", "vip_history", "lifecycle_stage_history",
    "relationship_ladder_history", "customer_360_history",
)  # fmt: skip
Schema = dict[str, dict[str, str]]


def released() -> Schema:
    """The columns of the last release: table → column → type."""
    found: Schema = {}
    with (ROOT / "tests" / "upgrade" / LAST_RELEASE / "marts_schema.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["table"], {})[row["column"]] = row["type"]
    return found


def present() -> Schema:
    """The columns that the models and journals declare now."""
    settings = get_settings()
    return {
        f"{table.publish_to}.{table.name}": dict(table.columns)
        for table in (*model_tables(settings), *journal_tables(settings))
        if table.publish_to
    }


def unannounced(before: Schema, now: Schema, unreleased: str) -> Iterator[str]:
    """What differs between two schemas, and no line of the changelog names."""
    entries = re.split(r"\n(?=- |#)", unreleased)
    named = [set(re.findall(r"\w+(?:\([\d,]+\))?", " ".join(re.findall(r"`([^`]*)`", entry)))) for entry in entries]

    def is_said(*words: str) -> bool:
        return any(set(words) <= names for names in named)

    for table in sorted(before.keys() | now.keys()):
        name = table.partition(".")[2]
        old, new = before.get(table), now.get(table)
        if old is None or new is None:
            if not is_said(name):
                yield f"{table} is {'new' if old is None else 'gone'}"
            continue
        for column in sorted(old.keys() | new.keys()):
            was, is_now = old.get(column), new.get(column)
            if was == is_now or is_said(name, column):
                continue
            if was is None or is_now is None:
                yield f"{table}.{column} is {'new' if was is None else 'gone'}"
            elif not is_said(was, is_now):
                yield f"{table}.{column} was {was} and is {is_now}"


def unreleased() -> str:
    """The section of the changelog about what is not released yet."""
    text = (ROOT / "CHANGELOG.md").read_text()
    return text.partition("## [Unreleased]")[2].partition("\n## [")[0]


def test_no_published_column_changes_without_a_line_in_the_changelog() -> None:
    before, now = released(), present()
    assert len(before) > 25
    assert before["marts.fct_orders"]["total_amount"] == "numeric(18,4)"
    assert list(unannounced(before, now, unreleased())) == []


def test_a_column_that_came_went_or_changed_its_type_is_seen() -> None:
    before = {"marts.t": {"a": "text", "b": "bigint", "c": "date"}, "marts.gone": {"a": "text"}}
    now = {"marts.t": {"a": "text", "b": "text", "d": "date"}, "marts.new": {"a": "text"}}
    assert list(unannounced(before, now, "")) == [
        "marts.gone is gone", "marts.new is new", "marts.t.b was bigint and is text", "marts.t.c is gone",
        "marts.t.d is new",
    ]  # fmt: skip
    said = (
        "- `marts.t`: new `d`, no `c` any more.\n- `gone` is gone, and new is no name\n- They are `text` (`bigint`)\n"
    )
    assert list(unannounced(before, now, said)) == ["marts.new is new"]


def test_every_key_that_another_table_owns_is_a_foreign_key_or_has_its_reason() -> None:
    """A column named like another table's key, without a foreign key, looks like a forgotten one."""
    owners = {"customer_key": "customer_360", "order_key": "fct_orders", "session_key": "fct_sessions",
              "ticket_key": "fct_tickets"}  # fmt: skip
    undeclared = {
        "order_key": {
            "fct_sessions": "a session may name an order that never landed",
            "fct_tickets": "a ticket may name an order that never landed",
        },
        "ticket_key": {"ticket_service_levels": "a ticket may be deleted between two daily passes"},
        "customer_key": {
            "customer_key_crosswalk": "it holds every key that was ever published",
            **dict.fromkeys(JOURNALS, "a journal keeps the key of its day"),
        },
    }
    tables = {table.partition(".")[2]: columns for table, columns in present().items()}
    seen = 0
    for table, columns in tables.items():
        for column, owner in owners.items():
            if column in columns and table != owner:
                seen += 1
                assert (REFERENCES.get(table, {}).get(column) == owner) != (table in undeclared.get(column, {})), (
                    table,
                    column,
                )
    assert seen > 15
    for table, declared in {**REFERENCES, **REQUIRED}.items():
        assert set(declared) <= set(tables[table]), table
