"""Alembic's environment: one connection as owner; the version table lives in ops. Called by warehouse.migrate."""

from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, version_table_schema="ops", transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
