"""docs/tables.md: every table and column that is published or built, from the files that declare them."""

from __future__ import annotations

from collections.abc import Iterable

from customer360.models.runner import ModelTable, journal_tables, model_tables
from customer360.settings import get_settings

_PARTS = (
    (
        "What BI reads: `marts`",
        "marts",
        "Published as one version, in one transaction, after the candidate gate. Beside what is below each table has "
        "`refreshed_at`: when the content of the row last changed (UTC). Columns marked Daily, and tables without a "
        "scope, move with the daily pass alone; its date is `ops.publications.as_of_on`.",
    ),
    ("Personal data: `marts_pii`", "marts_pii", "Published with `marts`; role `pii_reader` alone may read it."),
    (
        "Between the doors",
        None,
        "Built by role `transformer` and read by nobody but the next step. They may change without notice.",
    ),
)


def tables_page() -> str:
    """The page. Needs no warehouse: the project's files are parsed."""
    settings = get_settings()
    tables = [*model_tables(settings), *journal_tables(settings)]
    lines = [
        "# Tables",
        "",
        "Every table that the models build. Money is in the reporting currency (`C360_REPORTING_CURRENCY`) unless it "
        "says otherwise; times are UTC, dates business dates (`C360_BUSINESS_TIMEZONE`). "
        "Source: `dbt_project/models/`, one SQL and one YAML file per table, named like it.",
        "",
    ]
    for title, published_in, introduction in _PARTS:
        part = sorted((table for table in tables if table.publish_to == published_in), key=lambda t: (t.schema, t.name))
        lines += [f"## {title}", "", introduction, "", *_overview(part), ""]
        for table in part:
            lines += _section(table)
    return "\n".join(lines).rstrip() + "\n"


def _overview(tables: Iterable[ModelTable]) -> list[str]:
    return ["| table | grain |", "|---|---|", *(f"| [{t.name}](#{t.name}) | {_grain(t)} |" for t in tables)]


def _grain(table: ModelTable) -> str:
    return table.description.split(". ")[0].removesuffix(".") + "."


def _section(table: ModelTable) -> list[str]:
    shown = f"{table.publish_to or table.schema}.{table.name}"
    replaced = f"the dirty keys of scope {table.scope} (`{table.scope_key}`)" if table.scope else "always whole"
    if table.schema == "state":
        replaced = "never; a daily pass adds rows to it and completes open ones"
    return [
        f"### {table.name}",
        "",
        f"`{shown}`. {table.description}",
        "",
        f"Key: {', '.join(f'`{column}`' for column in table.primary_key)}. Built anew: {replaced}.",
        "",
        "| column | type | what it is |",
        "|---|---|---|",
        *(
            f"| `{column}` | {kind} | {table.column_descriptions[column].replace('|', '/')} |"
            for column, kind in table.columns.items()
        ),
        "",
    ]
