"""The set-up of the warehouse: databases, roles, schemas, grants and migrations. Safe to repeat.

It works as a role with CREATEROLE and CREATEDB that owns the database, on PostgreSQL 15 and later. What it makes it
marks with a comment, ``customer360 <id of the installation>``, and it alters nothing without that mark: two
installations, or an installation and a company's own roles, live on one server (docs/decisions/0017).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from customer360.contract.feeds import FEEDS
from customer360.errors import ConfigurationError
from customer360.settings import Settings
from customer360.warehouse.server import (
    READERS,
    ROLES,
    STEPS,
    Connection,
    Reader,
    Role,
    admin,
    credentials,
    known_url,
    login_name,
    query,
    role_name,
    scalar,
)

SCHEMAS = (
    "raw", "quarantine", "state", "staging", "identity", "intermediate", "candidate", "marts", "marts_pii", "ops",
)  # fmt: skip
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
OLDEST_SERVER = 15

# (role, privileges on tables, schemas). A schema's owner needs no grant. Renewed after each migration.
_GRANTS: tuple[tuple[Role, str, tuple[str, ...]], ...] = (
    ("loader", "select, insert, update, delete", ("raw", "quarantine", "ops")),
    ("transformer", "select", ("raw", "state", "ops", "marts")),
    ("transformer", "insert, update, delete", ("ops",)),
    ("publisher", "select", ("candidate", "state", "ops", "identity", "intermediate", "staging")),
    ("publisher", "insert, update, delete", ("ops",)),
    ("oncall", "select", ("ops", "marts")),
    ("bi_reader", "select", ("marts", "ops")),
    ("pii_reader", "select", ("marts", "marts_pii", "ops")),
    ("owner", "select", ("staging", "identity", "intermediate", "candidate", "marts", "marts_pii")),
)

# What is granted more narrowly than by schema, by the schema's owner. A publication locks the lease's row, for which
# the right to change any one column is needed.
_NARROWED = (
    "revoke insert, update, delete on ops.leases from {loader}, {transformer}, {publisher}",
    "grant update (heartbeat_at) on ops.leases to {publisher}",
    # A run works out the exchange rates of the currencies that it meets.
    "grant insert, delete on state.exchange_rates to {transformer}",
    # On-call sees what waits in quarantine masked; records as they came are given out on record (decision 10).
    "revoke select on all tables in schema quarantine from {oncall}",
    "alter default privileges for role {owner} in schema quarantine revoke select on tables from {oncall}",
    "grant usage on schema quarantine to {oncall}",
    "grant select (quarantine_id, batch_id, feed, row_number, reasons, state, quarantined_at, closed_at, closed_by, "
    "closed_because, release_batch_id) on quarantine.rows to {oncall}",
    "grant select on quarantine.masked_rows to {oncall}",
    "grant select (feed, batch_id, row_number) on quarantine.suspended to {oncall}",
    "revoke execute on function quarantine.reveal(bigint[], text, text) from public",
    "grant execute on function quarantine.reveal(bigint[], text, text) to {oncall}",
    # It sees that an erasure or a request for one waits, and not whose.
    "grant usage on schema state to {oncall}",
    "grant select (erasure_id, state, began_at) on state.erasures to {oncall}",
    "grant select (request_id, requested_from, requested_at, state) on state.erasure_requests to {oncall}",
    # On-call counts the rows of each batch, and sees nothing else of raw.
    "grant usage on schema raw to {oncall}",
    *(f"grant select (batch_id) on raw.{feed} to {{oncall}}" for feed in FEEDS),
)

_IS_NARROWED = "table_name = 'ops.leases' and privilege <> 'select'"
"""SQL: what the statements above take back of the grants by schema."""

# A log-in may change these of its own: they are what is good for it, and no promise rests on them.
DEFAULTS: dict[Reader, dict[str, str]] = {
    # A reader sees one publication within a transaction (docs/architecture.md, principle 9).
    "bi_reader": {
        "default_transaction_isolation": "repeatable read",
        "default_transaction_read_only": "on",
        "search_path": "marts, ops",
    },
    "pii_reader": {
        "default_transaction_isolation": "repeatable read",
        "default_transaction_read_only": "on",
        "search_path": "marts, marts_pii, ops",
    },
    "oncall": {"default_transaction_read_only": "on"},
}


def set_up(settings: Settings, *, adopt: bool) -> bool:
    """Databases, roles, schemas, tables and grants; :func:`customer360.warehouse.set_up` says the rest.

    Returns whether this home has set up its warehouse for the first time.
    """
    with _alone(settings):
        with _fit_server(settings) as connection:
            is_first = "installation" not in credentials(settings)
            installation = _make_roles(connection, settings, adopt=adopt)
            _make_schemas(connection, settings)
            if settings.is_embedded:
                _close_to_the_public(connection, settings)
        _migrate(settings, installation)
    return is_first


@contextlib.contextmanager
def _fit_server(settings: Settings) -> Iterator[Connection]:
    """The administrator's connection to the database, which the embedded server is given; the server is fit for us."""
    if settings.is_embedded:
        with admin(settings, database="postgres") as connection:
            _create_database(connection, settings.database)
    with admin(settings) as connection:
        check_version(connection.info.server_version)
        _check_rights(connection)
        yield connection


def begin_restore(settings: Settings, installation: str, *, adopt: bool, is_repeated: bool) -> None:
    """The roles of an installation and an empty database, which none of its readers can connect to yet.

    Args:
        installation: the id of the one that was backed up: what stands on the server under it is ours.
        adopt: give roles of it that are there new passwords.
        is_repeated: a restore into this home was cut off.

    Raises:
        ConfigurationError: the database is not empty; there are such roles, and ``adopt`` is not set; or what
            :func:`set_up` raises.
    """
    with _alone(settings), _fit_server(settings) as connection:
        if not is_repeated:
            _check_empty(connection)
        present = present_roles(connection, settings.role_prefix)
        if any(is_ours(comment, installation) for comment in present.values()) and not (adopt or is_repeated):
            raise ConfigurationError(
                f"The server has the roles of this installation already (prefix {settings.role_prefix}). New "
                "passwords would lock out a C360_HOME that still uses them. Nothing was changed.",
                "If that C360_HOME is lost: the same command with --adopt. To restore beside it: another server.",
            )
        if not is_repeated:
            remember(settings, installation, {})
        _make_roles(connection, settings, adopt=False)
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("revoke connect, temporary on database {} from public").format(database))
        names = {role: sql.Identifier(login_name(role, settings)) for role in ROLES}
        everybody = sql.SQL(", ").join(names.values())
        connection.execute(sql.SQL("grant connect on database {} to {}").format(database, everybody))
        for kind in READERS:  # the group is let in again when the restore is done
            group = sql.Identifier(role_name(kind, settings))
            connection.execute(sql.SQL("revoke connect on database {} from {}").format(database, group))
        _grant_database(connection, names)


def finish_restore(settings: Settings) -> None:
    """Bring restored tables to this version, and renew the steps' grants; readers stay outside."""
    with _alone(settings):
        _migrate(settings, credentials(settings)["installation"])


def _check_empty(connection: Connection) -> None:
    found = scalar(
        connection, "select string_agg(nspname, ', ') from pg_namespace where nspname = any(%s)", [list(SCHEMAS)]
    )
    if found:
        raise ConfigurationError(
            f"The database {connection.info.dbname} is not empty: it has {found}. Nothing was changed.",
            "Restore into another C360_HOME, or into a new database in C360_WAREHOUSE_URL.",
        )


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One set-up at a time of this home. A lock in the server could be taken by any log-in."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (settings.home / "set-up.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


# ---- what the server must give --------------------------------------------------------------------------------------


def check_version(version: int) -> None:
    """Refuse a server, by the number of its version as libpq gives it, that lacks what the set-up uses."""
    if version < OLDEST_SERVER * 10_000:
        raise ConfigurationError(
            f"The server is PostgreSQL {version // 10_000}; customer360 needs {OLDEST_SERVER} or later.",
            "Upgrade the server, or unset C360_WAREHOUSE_URL for the embedded one.",
        )


def _check_rights(connection: Connection) -> None:
    """Name every right that the set-up lacks, with the statement by which an administrator gives it."""
    row = connection.execute(
        """
        select rolsuper, rolcreaterole,
            has_database_privilege(current_database(), 'create with grant option')
            and has_database_privilege(current_database(), 'temporary with grant option')
            and has_database_privilege(current_database(), 'connect with grant option')
        from pg_roles where rolname = current_user
        """
    ).fetchone()
    is_superuser, may_create_roles, owns_database = row or (False, False, False)
    me, database = sql.Identifier(connection.info.user), sql.Identifier(connection.info.dbname)
    missing = []
    if not is_superuser and not may_create_roles:
        missing.append(sql.SQL("alter role {} createrole").format(me))
    if not is_superuser and not owns_database:
        missing.append(sql.SQL("alter database {} owner to {}").format(database, me))
    if missing:
        raise _lacks(connection, missing)


def _lacks(connection: Connection, statements: list[sql.Composed]) -> ConfigurationError:
    return ConfigurationError(
        f"The role {connection.info.user} of C360_WAREHOUSE_URL lacks a right that the set-up needs.",
        "Let the server's administrator run: " + "; ".join(one.as_string(connection) for one in statements) + ";",
    )


# ---- roles ----------------------------------------------------------------------------------------------------------


def mark(installation: str) -> str:
    """The comment by which this installation knows what it has made in a server."""
    return f"customer360 {installation}"


def is_ours(comment: str | None, installation: str) -> bool:
    """Whether a comment is our mark."""
    return comment == mark(installation) or (comment or "").startswith(mark(installation) + " ")


def present_roles(connection: Connection, prefix: str) -> dict[str, str | None]:
    """The roles of the server whose names have the prefix, and the comment of each."""
    return dict(
        connection.execute(
            "select rolname, shobj_description(oid, 'pg_authid') from pg_roles where starts_with(rolname, %s)",
            [prefix],
        ).fetchall()
    )


def _make_roles(connection: Connection, settings: Settings, *, adopt: bool) -> str:
    """Steps, groups of readers and the pipeline's own readers; returns the installation's id."""
    kept = credentials(settings)
    passwords: dict[str, str] = dict(kept.get("passwords", {}))
    installation = kept.get("installation") or secrets.token_hex(8)
    is_new = "installation" not in kept
    present = present_roles(connection, settings.role_prefix)
    if adopt and is_new:
        installation, passwords = _installation_of(connection) or installation, {}
    wanted = [*(role_name(role, settings) for role in ROLES), *(login_name(role, settings) for role in READERS)]
    foreign = [name for name in wanted if name in present and not is_ours(present[name], installation)]
    if foreign:
        raise _foreign(connection, settings, foreign, present)
    if "before_prefix" in kept:
        passwords |= _take_over_old_roles(connection, settings, kept["before_prefix"], installation)
        present = present_roles(connection, settings.role_prefix)
    for name in wanted:
        is_group = name in {role_name(kind, settings) for kind in READERS}
        if name not in present:
            passwords.pop(name, None) if is_group else passwords.setdefault(name, secrets.token_urlsafe(24))
            _create_role(connection, name, mark(installation), None if is_group else passwords[name])
        elif not is_group and name not in passwords:
            passwords[name] = secrets.token_urlsafe(24)
            set_password(connection, name, passwords[name])
    remember(settings, installation, passwords)
    owner = sql.Identifier(role_name("owner", settings))
    for kind in READERS:
        group, login = sql.Identifier(role_name(kind, settings)), sql.Identifier(login_name(kind, settings))
        connection.execute(sql.SQL("grant {} to {}").format(group, login))
        connection.execute(sql.SQL("grant {} to {}").format(login, owner))  # to see its sessions and to end them
        for setting, value in DEFAULTS[kind].items():
            set_default(connection, login_name(kind, settings), setting, value)
    if settings.is_embedded and connection.info.server_version >= 160_000:
        names = [*(role_name(step, settings) for step in STEPS), *(login_name(kind, settings) for kind in READERS)]
        for name in names:
            connection.execute(sql.SQL("grant pg_use_reserved_connections to {}").format(sql.Identifier(name)))
    return installation


def _create_role(connection: Connection, name: str, comment: str, password: str | None) -> None:
    connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(name)))
    connection.execute(sql.SQL("comment on role {} is {}").format(sql.Identifier(name), sql.Literal(comment)))
    if password is not None:
        set_password(connection, name, password)


def set_password(connection: Connection, name: str, password: str) -> None:
    """Let a role log in by this password. The server is sent the verifier alone: statements may be logged."""
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("alter role {} login password {}").format(sql.Identifier(name), sql.Literal(verifier)))


def set_default(connection: Connection, name: str, setting: str, value: str) -> None:
    """What a setting is when a role logs in."""
    words = [sql.Identifier(word.strip()) for word in value.split(",")] if setting == "search_path" else None
    connection.execute(
        sql.SQL("alter role {} set {} = {}").format(
            sql.Identifier(name), sql.Identifier(setting), sql.SQL(", ").join(words) if words else sql.Literal(value)
        )
    )


def _foreign(
    connection: Connection, settings: Settings, names: list[str], present: dict[str, str | None]
) -> ConfigurationError:
    other = any((present[name] or "").startswith("customer360 ") for name in names)
    whose = (
        "belongs to another installation of customer360, or to this one under another C360_HOME"
        if other
        else ("was not made by customer360")
    )
    return ConfigurationError(
        f"The server {connection.info.host}:{connection.info.port} already has the role {names[0]}, which {whose}. "
        "Nothing was changed.",
        "Set C360_ROLE_PREFIX to a prefix of its own, such as shop2_."
        + (" If the C360_HOME of this warehouse is lost: `c360 set-up --adopt`." if other else ""),
    )


def _installation_of(connection: Connection) -> str | None:
    """The installation that this database belongs to, as its migrations have recorded it."""
    if not scalar(connection, "select to_regclass('ops.installation')"):
        return None
    found = scalar(connection, "select value from ops.installation where name = 'installation'")
    return str(found) if found else None


def _take_over_old_roles(
    connection: Connection, settings: Settings, old: dict[str, str], installation: str
) -> dict[str, str]:
    """Rename the roles of an installation of before the prefix; what a reader logged in by goes on as a person's.

    They are ours if they let us in with the passwords that this home has kept; returns the passwords by new name.
    """
    passwords: dict[str, str] = {}
    for role in ROLES:
        known = scalar(connection, "select true from pg_roles where rolname = %s", [role])
        if role not in old or not known or not _lets_in(connection, role, old[role]):
            continue
        name = role_name(role, settings)
        connection.execute(sql.SQL("alter role {} rename to {}").format(sql.Identifier(role), sql.Identifier(name)))
        connection.execute(
            sql.SQL("comment on role {} is {}").format(sql.Identifier(name), sql.Literal(mark(installation)))
        )
        if role in READERS:  # the group keeps the grants; its log-in goes on under a name of its own
            connection.execute(sql.SQL("alter role {} nologin password null").format(sql.Identifier(name)))
            connection.execute(sql.SQL("alter role {} reset all").format(sql.Identifier(name)))
            passwords[f"{settings.role_prefix}default_{role}"] = old[role]
        else:
            passwords[name] = old[role]
    return passwords


def _lets_in(connection: Connection, name: str, password: str) -> bool:
    try:
        psycopg.connect(
            host=connection.info.host, port=connection.info.port, dbname=connection.info.dbname, user=name,
            password=password, connect_timeout=10,
        ).close()  # fmt: skip
    except psycopg.OperationalError:
        return False
    return True


def remember(settings: Settings, installation: str, passwords: dict[str, str]) -> None:
    """Keep the installation's id and its passwords in C360_HOME/roles.json (mode 0600)."""
    path = settings.home / "roles.json"
    kept: dict[str, Any] = {"installation": installation, "passwords": passwords}
    if credentials(settings) == kept:
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(".tmp")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(kept, indent=1))
    partial.replace(path)


# ---- databases and schemas ------------------------------------------------------------------------------------------


def airflow_database_name(settings: Settings) -> str:
    """The name of Airflow's own database in the warehouse's server."""
    return f"{settings.role_prefix}airflow" if settings.database == "customer360" else f"{settings.database}_airflow"


def create_airflow_database(settings: Settings) -> str:
    """Create Airflow's own database in the warehouse's server, owned by role owner; returns its URL.

    Raises:
        ConfigurationError: the set-up may create no database, or one of that name is not ours.
    """
    name = airflow_database_name(settings)
    owner = role_name("owner", settings)
    with admin(settings) as connection:
        present = {
            row[0]: row[1] for row in connection.execute("select datname, pg_get_userbyid(datdba) from pg_database")
        }
        before = "airflow"  # its name before the prefix; renamed if it is ours
        if name not in present and present.get(before) == owner and settings.database == "customer360":
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s and usename = %s",
                [before, owner],
            )
            connection.execute(
                sql.SQL("alter database {} rename to {}").format(sql.Identifier(before), sql.Identifier(name))
            )
        elif name not in present:
            _create_database(connection, name, owner=owner)
        elif present[name] != owner:
            raise ConfigurationError(
                f"The server has a database {name} that belongs to {present[name]} and not to customer360. "
                "Nothing was changed.",
                "Set C360_ROLE_PREFIX to a prefix of its own, such as shop2_.",
            )
    return known_url("owner", settings, database=name)


def _create_database(connection: Connection, name: str, owner: str | None = None) -> None:
    if connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
        return
    statement = sql.SQL("create database {} encoding 'UTF8' template template0").format(sql.Identifier(name))
    if owner:
        statement += sql.SQL(" owner {}").format(sql.Identifier(owner))
    try:
        with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        me = sql.Identifier(connection.info.user)
        raise _lacks(connection, [sql.SQL("alter role {} createdb").format(me)]) from None


def _make_schemas(connection: Connection, settings: Settings) -> None:
    database = sql.Identifier(connection.info.dbname)
    names = {role: sql.Identifier(role_name(role, settings)) for role in ROLES}
    owners = {
        row[0]: row[1]
        for row in connection.execute(
            "select nspname, pg_get_userbyid(nspowner) from pg_namespace where nspname = any(%s)", [list(SCHEMAS)]
        )
    }
    for schema, owner in owners.items():
        if owner != role_name(_SCHEMA_OWNERS[schema], settings):
            raise ConfigurationError(
                f"The database {connection.info.dbname} has a schema {schema} that belongs to {owner} and not to "
                "customer360. Nothing in it was changed.",
                "Give customer360 a database of its own in C360_WAREHOUSE_URL.",
            )
    everybody = sql.SQL(", ").join(names.values())
    connection.execute(sql.SQL("grant connect on database {} to {}").format(database, everybody))
    _grant_database(connection, names)
    for schema in SCHEMAS:
        if schema not in owners:
            connection.execute(
                sql.SQL("create schema {} authorization {}").format(
                    sql.Identifier(schema), names[_SCHEMA_OWNERS[schema]]
                )
            )


def _grant_database(connection: Connection, names: dict[Role, sql.Identifier]) -> None:
    """What the steps may do in the database, and the set-up for them."""
    database = sql.Identifier(connection.info.dbname)
    steps = sql.SQL(", ").join(names[step] for step in STEPS)
    connection.execute(sql.SQL("grant temporary on database {} to {}").format(database, steps))
    # pg_restore gives each schema to its owner, who must be able to make one.
    makers = sql.SQL("{}, {}").format(names["owner"], names["transformer"])
    connection.execute(sql.SQL("grant create on database {} to {}").format(database, makers))
    if not scalar(connection, "select rolsuper from pg_roles where rolname = current_user"):
        for role in sorted(set(_SCHEMA_OWNERS.values())):  # who grants for a role must be a member of it
            connection.execute(sql.SQL("grant {} to current_user").format(names[role]))


def _close_to_the_public(connection: Connection, settings: Settings) -> None:
    """Take from PUBLIC what nobody needs, in the embedded server, which is ours alone (docs/deployment.md: others)."""
    database = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("revoke connect, temporary on database {} from public").format(database))
    connection.execute("revoke connect on database postgres, template1 from public")
    connection.execute("revoke create on schema public from public")
    # A large object is a table that every log-in may fill.
    for function in ("lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid, bytea)"):
        connection.execute(query(f"revoke execute on function {function} from public"))


# ---- tables and grants ----------------------------------------------------------------------------------------------


def _migrate(settings: Settings, installation: str) -> None:
    """Bring the schemas raw, ops, quarantine and state to this version (Alembic), and renew the grants."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = known_url("owner", settings).replace("postgresql://", "postgresql+psycopg://", 1)
    config.attributes["roles"] = {role: role_name(role, settings) for role in ROLES}
    with admin(settings) as connection:
        # A change of keys takes the built and the published tables along, which have owners of their own.
        names = {str(role): sql.Identifier(role_name(role, settings)) for role in ROLES}
        connection.execute(sql.SQL("grant {transformer}, {publisher} to {owner}").format(**names))
        try:
            command.upgrade(config, "head")
        finally:
            connection.execute(sql.SQL("revoke {transformer}, {publisher} from {owner}").format(**names))
        _grant(connection, settings)
        connection.execute(
            """
            insert into ops.installation (name, value) values ('installation', %s)
            on conflict (name) do update set value = excluded.value where ops.installation.value <> excluded.value
            """,
            [installation],
        )


def _grant(connection: Connection, settings: Settings) -> None:
    names = {role: sql.Identifier(role_name(role, settings)) for role in ROLES}

    def run(statement: str, schema: str, role: Role) -> None:
        connection.execute(
            sql.SQL(query(statement)).format(
                schema=sql.Identifier(schema), role=names[role], owner=names[_SCHEMA_OWNERS[schema]]
            )
        )

    defaults = "alter default privileges for role {owner} in schema {schema} grant"
    for role, privileges, schemas in _GRANTS:
        for schema in schemas:
            run("grant usage on schema {schema} to {role}", schema, role)
            run(f"grant {privileges} on all tables in schema {{schema}} to {{role}}", schema, role)
            run(f"{defaults} {privileges} on tables to {{role}}", schema, role)
            if "insert" in privileges:
                run("grant usage on all sequences in schema {schema} to {role}", schema, role)
                run(f"{defaults} usage on sequences to {{role}}", schema, role)
    for statement in _NARROWED:
        connection.execute(sql.SQL(query(statement)).format(**{str(role): name for role, name in names.items()}))


def missing_grants(connection: Connection, settings: Settings) -> list[str]:
    """The rights on tables that set-up gave to the roles and that somebody has taken away, one line each.

    ``c360 set-up`` grants them again.
    """
    wanted = [
        (role_name(role, settings), str(role), privilege, schema)
        for role, privileges, schemas in _GRANTS
        for privilege in privileges.split(", ")
        for schema in schemas
    ]
    rows = connection.execute(
        query(
            f"""
            with granted as (
                select wanted.*, relation.oid, wanted.schema || '.' || relation.relname as table_name
                from unnest(%s::text[], %s::text[], %s::text[], %s::text[])
                    as wanted (role_name, role, privilege, schema)
                inner join pg_class as relation
                    on relation.relnamespace = to_regnamespace(wanted.schema) and relation.relkind in ('r', 'v')
                where exists (select from pg_roles where rolname = wanted.role_name)
            )
            select role || ' may not ' || string_agg(privilege, ', ' order by privilege) || ' ' || table_name
            from granted
            where not ({_IS_NARROWED})
                and not (
                    has_schema_privilege(role_name, schema, 'usage') and has_table_privilege(role_name, oid, privilege)
                )
            group by role, table_name order by 1
            """
        ),
        [[row[place] for row in wanted] for place in range(4)],
    ).fetchall()
    return [line for (line,) in rows]
