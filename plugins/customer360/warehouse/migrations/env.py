"""Alembic's environment: one connection as owner; the version table lives in ops. Called by warehouse.set_up.

A migration grants to a role by its plain name (``to transformer``); here it becomes the role's name in the server,
which carries the installation's prefix.
"""

import re
from typing import Any

from alembic import context
from sqlalchemy import create_engine, event, pool

engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
roles: dict[str, str] = context.config.attributes["roles"]
_GRANT = re.compile(r"(?:\s|--[^\n]*\n)*(?:grant|revoke)\b", re.IGNORECASE)
_TO = re.compile(r"(\b(?:to|from)\s+)((?:\w+\s*,\s*)*\w+)(\s*;?\s*)$", re.IGNORECASE)


@event.listens_for(engine, "before_cursor_execute", retval=True)
def _name_the_roles(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
    found = _TO.search(statement) if _GRANT.match(statement) else None
    if found:
        named = ", ".join(f'"{roles[name.strip()]}"' for name in found[2].split(","))
        statement = f"{statement[: found.start()]}{found[1]}{named}{found[3]}"
    return statement, parameters


with engine.connect() as connection:
    context.configure(connection=connection, version_table_schema="ops", transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
