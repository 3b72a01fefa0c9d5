"""The columns of the published tables on record, so that a change by hand is noticed and mended.

A publication records the columns of the tables that it wrote. Where marts differ from that, the next build makes every
table whole: it brings the columns back with their values, and counts the control totals again.
"""

from __future__ import annotations

from collections.abc import Sequence

from customer360.warehouse import Connection

_PRESENT = """
    select n.nspname::text as schema_name, c.relname::text as table_name, a.attname::text as column_name,
        format_type(a.atttypid, a.atttypmod) as type_name
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relkind = 'r'
"""


def record(connection: Connection, tables: Sequence[tuple[str, str]]) -> None:
    """Record the columns that these tables (schema, name) have now, in the publication's transaction."""
    for schema, name in tables:
        connection.execute(
            f"""
            with present as ({_PRESENT} and n.nspname = %(schema)s and c.relname = %(name)s),
            gone as (
                delete from ops.published_columns as p where schema_name = %(schema)s and table_name = %(name)s
                and not exists (select from present where present.column_name = p.column_name)
            )
            insert into ops.published_columns as p (schema_name, table_name, column_name, type_name)
            select schema_name, table_name, column_name, type_name from present
            on conflict (schema_name, table_name, column_name) do update set type_name = excluded.type_name
                where p.type_name <> excluded.type_name
            """,
            {"schema": schema, "name": name},
        )


def changed(connection: Connection) -> list[str]:
    """What differs from the record, as words: empty if nothing does, or if nothing is on record yet."""
    rows = connection.execute(
        f"""
        with known as (select distinct schema_name, table_name from ops.published_columns),
        present as (select p.* from ({_PRESENT}) as p join known using (schema_name, table_name))
        select schema_name || '.' || table_name || '.' || column_name,
            p.type_name, r.type_name
        from present as p full join ops.published_columns as r using (schema_name, table_name, column_name)
        where p.type_name is distinct from r.type_name order by 1
        """
    ).fetchall()
    return [
        f"{name} was dropped" if is_now is None else f"{name} was added" if was is None
        else f"{name} is {is_now} and was {was}"
        for name, is_now, was in rows
    ]  # fmt: skip
