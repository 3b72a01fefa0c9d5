"""The warehouse: its roles, its connections, its migrations, and the lock that keeps one writer at a time.

Every step connects as the role whose right it needs (design: "Schemas in the warehouse"), so that a mistake in a
step is a permission error and not a lost table.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, LiteralString, cast
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from customer360.errors import ConfigurationError, Customer360Error, WarehouseUnavailableError
from customer360.settings import Settings
from customer360.warehouse import embedded_server

Role = Literal["owner", "loader", "transformer", "publisher", "oncall", "bi_reader", "pii_reader"]
ROLES: tuple[Role, ...] = ("owner", "loader", "transformer", "publisher", "oncall", "bi_reader", "pii_reader")
Connection = psycopg.Connection[TupleRow]

SCHEMAS = (
    "raw", "quarantine", "state", "staging", "identity", "intermediate", "candidate", "marts", "marts_pii", "ops",
)  # fmt: skip

AIRFLOW_DATABASE = "airflow"

# Advisory locks, by the number that names each in every session of the database; all stand here, as two of one number
# would wait for each other. (A batch has a lock of its own in the ledger, by two numbers.)
WRITER_LOCK = 360_001
"""One writer (architecture, principle 8)."""
_MIGRATION_LOCK = 360_002
INCIDENTS_LOCK = 360_003
"""One monitor enters what it found: two must not announce twice."""
SNAPSHOTS_LOCK = 360_004
"""One fit or evaluation at a time: they share the scratch schemas."""

NO_MERGE_JOIN = "enable_mergejoin=off"
"""A setting for gates and for work on few keys. By its histogram, which ends before the newest keys, the planner
expects a merge join to stop early; it walks the whole index (docs/decisions/0014)."""


class WriterBusyError(Customer360Error):
    """Another build, daily refresh, erasure or release holds the writer lock."""


def query(text: str) -> LiteralString:
    """Mark SQL that this project composed (never from input) as safe for psycopg's type checker."""
    return cast(LiteralString, text)


def url(role: Role, settings: Settings, *, database: str | None = None) -> str:
    """The connection URL of a role, with its password.

    Raises:
        ConfigurationError: the warehouse has not been set up yet.
        WarehouseUnavailableError: the embedded server does not start.
    """
    password = _passwords(settings).get(role)
    if password is None and settings.is_embedded:
        set_up(settings)  # the first command on a fresh machine needs no other before it
        password = _passwords(settings).get(role)
    if password is None:
        raise ConfigurationError(f"The role {role} has no password here yet.", "Run `c360 up --no-airflow`.")
    parts = urlsplit(_admin_url(settings))
    host = parts.hostname or "127.0.0.1"
    netloc = f"{role}:{quote(password, safe='')}@{host}:{parts.port or 5432}"
    path = f"/{database}" if database else parts.path
    return urlunsplit((parts.scheme, netloc, path, parts.query, ""))


def connect(
    role: Role, settings: Settings, *, autocommit: bool = False, application_name: str = "customer360"
) -> Connection:
    """Open a connection as ``role``. The embedded server is started if it does not run.

    Raises:
        WarehouseUnavailableError: nothing answers, or the password is refused.
    """
    return _open(url(role, settings), autocommit=autocommit, application_name=application_name)


def admin(settings: Settings, *, database: str | None = None) -> Connection:
    """An autocommit connection of the server's administrator, for the set-up and for tests."""
    parts = urlsplit(_admin_url(settings))
    target = urlunsplit(parts._replace(path=f"/{database}")) if database else urlunsplit(parts)
    return _open(target, autocommit=True, application_name="customer360 set-up")


def _open(target: str, *, autocommit: bool, application_name: str) -> Connection:
    try:
        return psycopg.connect(
            target, autocommit=autocommit, application_name=application_name, connect_timeout=10, keepalives_idle=30
        )
    except psycopg.OperationalError as error:
        where = urlsplit(target)
        raise WarehouseUnavailableError(
            f"The warehouse at {where.hostname}:{where.port}{where.path} does not let {where.username} in: "
            f"{str(error).strip().splitlines()[-1]}",
            "Run `c360 up --no-airflow`; with a server of your own check C360_WAREHOUSE_URL.",
        ) from error


@contextlib.contextmanager
def writer_lock(settings: Settings, *, wait_seconds: float = 600, who: str = "customer360") -> Iterator[Connection]:
    """Hold the one-writer lock (architecture, principle 8) for as long as the block runs.

    The lock belongs to a session of its own: if this process is killed, the server frees it.

    Raises:
        WriterBusyError: another writer did not finish in ``wait_seconds``; the message names it.
    """
    with connect("owner", settings, autocommit=True, application_name=f"customer360 writer: {who}") as connection:
        deadline = time.monotonic() + wait_seconds
        while not _try_lock(connection):
            if time.monotonic() > deadline:
                holder = lock_holder(connection) or "Another writer"
                raise WriterBusyError(
                    f"{holder} has been writing for longer than {wait_seconds:.0f} s.",
                    "Run `c360 status` to see it; this run's work stays pending and the next run does it.",
                )
            time.sleep(0.05)
        yield connection


def _try_lock(connection: Connection) -> bool:
    row = connection.execute("select pg_try_advisory_lock(%s)", [WRITER_LOCK]).fetchone()
    return bool(row and row[0])


def lock_holder(connection: Connection) -> str:
    """Who holds the writer lock now, as a person would name it; empty if nobody does."""
    row = connection.execute(
        """
        select a.application_name, a.pid from pg_locks as l join pg_stat_activity as a using (pid)
        where l.locktype = 'advisory' and l.granted and l.objid = %s and l.database = (
            select oid from pg_database where datname = current_database())
        """,
        [WRITER_LOCK],
    ).fetchone()
    return f"{row[0]} (server process {row[1]})" if row else ""


def set_up(settings: Settings) -> None:
    """Create the databases, roles, schemas, tables and grants that are missing. Safe to repeat.

    Raises:
        WarehouseUnavailableError: the server does not start or answer.
    """
    if settings.is_embedded:
        with admin(settings, database="postgres") as connection:
            _create_database(connection, settings.database)
    _create_roles(settings)
    migrate(settings)


def airflow_database_name(settings: Settings) -> str:
    """The name of Airflow's own database in the warehouse's server."""
    return AIRFLOW_DATABASE if settings.database == "customer360" else f"{settings.database}_airflow"


def create_airflow_database(settings: Settings) -> str:
    """Create Airflow's own database in the warehouse's server, owned by role owner; returns its URL."""
    name = airflow_database_name(settings)
    with admin(settings) as connection:
        _create_database(connection, name, owner="owner")
    return url("owner", settings, database=name)


def migrate(settings: Settings) -> None:
    """Bring the schemas raw, ops, quarantine and state to this version (Alembic), and renew the grants."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = _sqlalchemy(url("owner", settings))
    with admin(settings) as lock:
        lock.execute("select pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        command.upgrade(config, "head")
        _grant(lock)


def _sqlalchemy(target: str) -> str:
    return target.replace("postgresql://", "postgresql+psycopg://", 1)


def _admin_url(settings: Settings) -> str:
    if settings.is_embedded:
        return embedded_server.ensure_running(settings).url(settings.database)
    parts = urlsplit(settings.warehouse_url)
    if parts.scheme not in {"postgresql", "postgres"} or not parts.hostname or not parts.path.strip("/"):
        raise ConfigurationError(
            "C360_WAREHOUSE_URL is not a complete PostgreSQL URL.",
            "Write it as postgresql://user:password@host:port/database.",
        )
    return urlunsplit(parts._replace(scheme="postgresql"))


def _passwords(settings: Settings) -> dict[str, str]:
    path = settings.home / "roles.json"
    return cast(dict[str, str], json.loads(path.read_text())) if path.exists() else {}


def _create_database(connection: Connection, name: str, owner: str | None = None) -> None:
    exists = connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone()
    if not exists:
        statement = sql.SQL("create database {} encoding 'UTF8' template template0").format(sql.Identifier(name))
        with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            connection.execute(statement)
    if owner:
        connection.execute(sql.SQL("alter database {} owner to {}").format(sql.Identifier(name), sql.Identifier(owner)))


def _create_roles(settings: Settings) -> None:
    """Real roles with generated passwords, kept in C360_HOME/roles.json (mode 0600)."""
    passwords = _passwords(settings)
    missing = [role for role in ROLES if role not in passwords]
    with admin(settings) as connection:
        connection.execute("select pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        present = {row[0] for row in connection.execute("select rolname from pg_roles").fetchall()}
        for role in ROLES:
            if role in missing or role not in present:
                passwords.setdefault(role, secrets.token_urlsafe(24))
                verb = "alter" if role in present else "create"
                connection.execute(
                    sql.SQL(f"{verb} role {{}} login password {{}}").format(
                        sql.Identifier(role), sql.Literal(passwords[role])
                    )
                )
        for statement in _ROLE_SETTINGS:
            connection.execute(query(statement))
        database = connection.info.dbname
        connection.execute(
            sql.SQL("grant create, connect, temporary on database {} to owner").format(sql.Identifier(database))
        )
        for schema in SCHEMAS:
            connection.execute(query(f"create schema if not exists {schema}"))
        for schema, role in _SCHEMA_OWNERS.items():
            connection.execute(query(f"grant {role} to current_user"))
            connection.execute(query(f"alter schema {schema} owner to {role}"))
        connection.execute(sql.SQL("grant create on database {} to transformer").format(sql.Identifier(database)))
        connection.execute("revoke create on schema public from public")
    path = settings.home / "roles.json"
    if missing:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(passwords, indent=1))
        partial.replace(path)


_SCHEMA_OWNERS: dict[str, Role] = {
    "raw": "owner",
    "quarantine": "owner",
    "state": "owner",
    "ops": "owner",
    "staging": "transformer",
    "identity": "transformer",
    "intermediate": "transformer",
    "candidate": "transformer",
    "marts": "publisher",
    "marts_pii": "publisher",
}

_ROLE_SETTINGS = (
    "grant pg_read_all_stats to owner",
    # A reader sees one publication within a transaction (architecture, principle 9).
    "alter role bi_reader set default_transaction_isolation = 'repeatable read'",
    "alter role pii_reader set default_transaction_isolation = 'repeatable read'",
    "alter role bi_reader set default_transaction_read_only = on",
    "alter role pii_reader set default_transaction_read_only = on",
    "alter role oncall set default_transaction_read_only = on",
    "alter role bi_reader set search_path = marts, ops",
    "alter role pii_reader set search_path = marts, marts_pii, ops",
)

# (role, privileges on tables, schemas). A schema's owner needs no grant. Renewed after each migration.
_GRANTS: tuple[tuple[Role, str, tuple[str, ...]], ...] = (
    ("loader", "select, insert, update, delete", ("raw", "quarantine", "ops")),
    ("transformer", "select", ("raw", "state", "ops", "marts")),
    ("transformer", "insert, update, delete", ("ops",)),
    ("publisher", "select", ("candidate", "state", "ops", "identity", "intermediate", "staging")),
    ("publisher", "insert, update, delete", ("ops",)),
    ("oncall", "select", ("quarantine", "ops", "marts")),
    ("bi_reader", "select", ("marts", "ops")),
    ("pii_reader", "select", ("marts", "marts_pii", "ops")),
    ("owner", "select", ("staging", "identity", "intermediate", "candidate", "marts", "marts_pii")),
)


def _grant(connection: Connection) -> None:
    for role, privileges, schemas in _GRANTS:
        for schema in schemas:
            defaults = f"alter default privileges for role {_SCHEMA_OWNERS[schema]} in schema {schema} grant"
            connection.execute(query(f"grant usage on schema {schema} to {role}"))
            connection.execute(query(f"grant {privileges} on all tables in schema {schema} to {role}"))
            connection.execute(query(f"{defaults} {privileges} on tables to {role}"))
            if "insert" in privileges:
                connection.execute(query(f"grant usage on all sequences in schema {schema} to {role}"))
                connection.execute(query(f"{defaults} usage on sequences to {role}"))


def scalar(connection: Connection, statement: str, parameters: Any = None) -> Any:
    """The single value that a query gives, or None."""
    row = connection.execute(query(statement), parameters).fetchone()
    return row[0] if row else None
