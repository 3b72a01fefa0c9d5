"""What the shell completes: feeds, roles, drills, runbooks, batches.

The shell waits for each of these, so they import nothing heavy, and a warehouse that is away gives no completions.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOMS = Path(__file__).resolve().parents[1]
_SHOWN = 50


def feeds_of(incomplete: str) -> list[str]:
    """Names of feeds."""
    from customer360.contract.feeds import FEEDS

    return [name for name in FEEDS if name.startswith(incomplete)]


def roles_of(incomplete: str) -> list[str]:
    """Roles of the warehouse."""
    from customer360 import warehouse

    return [role for role in warehouse.ROLES if role.startswith(incomplete)]


def runbooks_of(incomplete: str) -> list[str]:
    """Names of runbooks."""
    from customer360.settings import PROJECT_ROOT

    pages = (PROJECT_ROOT / "docs" / "runbooks").glob(f"{incomplete}*.md")
    return sorted(page.stem for page in pages)


def drills_of(incomplete: str) -> list[str]:
    """Names of drills, read from the source: importing it takes seconds."""
    tree = ast.parse((ROOMS / "oncall" / "drills.py").read_text(encoding="utf-8"))
    drills = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(mark, ast.Name) and mark.id in ("_drill", "_stack_drill") for mark in node.decorator_list)
    ]
    return [name for name in ["list", *drills] if name.startswith(incomplete)]


def batches_of(incomplete: str) -> list[tuple[str, str]]:
    """Numbers of the newest batches, with the file and the state of each."""
    import psycopg

    from customer360 import warehouse
    from customer360.errors import Customer360Error
    from customer360.settings import get_settings

    try:
        with warehouse.connect("oncall", get_settings(), autocommit=True) as connection:
            rows = connection.execute(
                """
                select batch_id::text, file_name || ' (' || state || ')' from ops.batches
                where starts_with(batch_id::text, %s) order by batch_id desc limit %s
                """,
                [incomplete, _SHOWN],
            ).fetchall()
    except (psycopg.Error, Customer360Error, OSError):
        return []
    return [(number, what) for number, what in rows]
