"""Who may read the warehouse: one log-in per person or tool, a member of one group of readers.

A log-in can always change its own password and its own defaults, and nothing of another's. So each has its own, and
the limits that must hold do not rest on its defaults: the number of connections is the server's to keep, and what runs
or idles for too long is ended by the monitor (:func:`end_what_is_too_long`).
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import cast

import psycopg
from psycopg import sql

from customer360.errors import ConfigurationError, Customer360Error
from customer360.settings import Settings
from customer360.warehouse import roles
from customer360.warehouse.server import (
    READERS,
    ROLES,
    Connection,
    Reader,
    Role,
    admin,
    credentials,
    known_url,
    open_url,
    query,
    role_name,
    scalar,
    url_of,
)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class LoginError(Customer360Error):
    """A log-in cannot be made, or is not there."""


@dataclass(frozen=True)
class Login:
    """A person's or tool's log-in to the warehouse. ``role`` is its name in the server."""

    name: str
    kind: Reader
    role: str
    connection_limit: int
    open_sessions: int


def default_name(kind: Role) -> str:
    """The log-in that every installation begins with, for its first reader of a kind."""
    return f"default_{kind}"


def add(settings: Settings, name: str, kind: Reader) -> str:
    """Make a log-in; returns its connection URL with the password, which is kept nowhere.

    Raises:
        LoginError: the name does not fit, or there is such a log-in.
    """
    if not _NAME.fullmatch(name) or name in ROLES or name.startswith("pipeline_"):
        raise LoginError(
            f"{name!r} cannot be the name of a log-in.",
            "Use small letters, digits and _, beginning with a letter, such as ann or dashboard_finance.",
        )
    password = secrets.token_urlsafe(24)
    with admin(settings) as connection:
        installation = _installation(settings)
        role = f"{settings.role_prefix}{name}"
        if role in roles.present_roles(connection, settings.role_prefix):
            raise LoginError(f"The server already has a role {role}.", "Choose another name: `c360 access list`.")
        _make(connection, settings, name, kind, password, installation)
    return url_of(role, password, settings)


def listed(settings: Settings) -> list[Login]:
    """Every log-in of this installation, by name."""
    with _owner(settings) as connection:
        return _logins(connection, settings)


def revoke(settings: Settings, name: str) -> int:
    """Remove a log-in and end its sessions; returns how many those were.

    Raises:
        LoginError: there is no such log-in.
    """
    login = _one(settings, name)
    with _owner(settings) as owner, admin(settings) as connection:
        role = sql.Identifier(login.role)
        connection.execute(sql.SQL("alter role {} nologin").format(role))
        ended = owner.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = %s", [login.role]
        ).fetchall()
        connection.execute(sql.SQL("drop role {}").format(role))
    kept = credentials(settings)
    kept["passwords"].pop(login.role, None)
    roles.remember(settings, kept["installation"], kept["passwords"])
    return len(ended)


def rotate(settings: Settings, name: str) -> str:
    """Give a log-in another password; returns its connection URL. Open sessions go on.

    Raises:
        LoginError: there is no such log-in.
    """
    login = _one(settings, name)
    password = secrets.token_urlsafe(24)
    with admin(settings) as connection:
        roles.set_password(connection, login.role, password)
    kept = credentials(settings)
    if login.role in kept["passwords"]:
        roles.remember(settings, kept["installation"], kept["passwords"] | {login.role: password})
    return url_of(login.role, password, settings)


def default_url(settings: Settings, kind: Role) -> str:
    """The connection URL of the log-in that the installation began with.

    Raises:
        LoginError: it was revoked.
    """
    role = f"{settings.role_prefix}{default_name(kind)}"
    password = credentials(settings)["passwords"].get(role)
    if password is None:
        raise LoginError(
            f"The log-in {default_name(kind)} was revoked.", f"Make one of its own: `c360 access add NAME --as {kind}`."
        )
    return url_of(role, password, settings)


def renew(settings: Settings, *, with_defaults: bool) -> None:
    """Bring every log-in to the limits of the settings; with the log-ins that an installation begins with."""
    with admin(settings) as connection:
        kept = credentials(settings)
        passwords = dict(kept["passwords"])
        known = {login.name: login for login in _logins(connection, settings)}
        for kind in READERS if with_defaults else ():
            name = default_name(kind)
            if name not in known:
                password = passwords.setdefault(f"{settings.role_prefix}{name}", secrets.token_urlsafe(24))
                _make(connection, settings, name, kind, password, kept["installation"])
        roles.remember(settings, kept["installation"], passwords)
        for login in known.values():
            _limit(connection, settings, login.role, login.kind)


def end_what_is_too_long(connection: Connection, settings: Settings) -> int:
    """End the sessions of readers that run or idle for longer than the settings allow; returns how many.

    ``connection`` is of role owner, which is a member of each log-in.
    """
    ended = connection.execute(
        """
        select pg_terminate_backend(pid, 1000) from pg_stat_activity
        where usesysid in (select oid from pg_roles where starts_with(shobj_description(oid, 'pg_authid'), %s))
            and case
                when state = 'active' then query_start < clock_timestamp() - make_interval(secs => %s)
                when state like 'idle in transaction%%' then
                    state_change < clock_timestamp() - make_interval(secs => %s)
                when state = 'idle' then state_change < clock_timestamp() - make_interval(secs => %s)
            end
        """,
        [
            f"{roles.mark(_installation(settings))} login ",
            settings.reader_statement_seconds,
            settings.reader_idle_transaction_seconds,
            settings.reader_idle_seconds,
        ],
    ).fetchall()
    return len(ended)


def _owner(settings: Settings) -> Connection:
    return open_url(
        known_url("owner", settings),
        autocommit=True,
        application_name="customer360 access",
        is_embedded=settings.is_embedded,
    )


def _installation(settings: Settings) -> str:
    installation = credentials(settings).get("installation")
    if not installation:
        raise ConfigurationError(
            "The warehouse has not been set up from this C360_HOME.", "Run `c360 up --no-airflow`."
        )
    return str(installation)


def _logins(connection: Connection, settings: Settings) -> list[Login]:
    rows = connection.execute(
        """
        select rolname, rolconnlimit, split_part(shobj_description(oid, 'pg_authid'), ' ', 4),
            (select count(*) from pg_stat_activity as a where a.usesysid = r.oid)
        from pg_roles as r where starts_with(shobj_description(oid, 'pg_authid'), %s) order by rolname
        """,
        [f"{roles.mark(_installation(settings))} login "],
    ).fetchall()
    prefix = len(settings.role_prefix)
    return [Login(row[0][prefix:], cast(Reader, row[2]), row[0], row[1], row[3]) for row in rows]


def _one(settings: Settings, name: str) -> Login:
    found = {login.name: login for login in listed(settings)}
    if name not in found:
        raise LoginError(f"There is no log-in {name!r}.", "Run `c360 access list`.")
    return found[name]


def _make(
    connection: Connection, settings: Settings, name: str, kind: Reader, password: str, installation: str
) -> None:
    role = f"{settings.role_prefix}{name}"
    identifier = sql.Identifier(role)
    with connection.transaction():
        connection.execute(sql.SQL("create role {} nologin").format(identifier))
        connection.execute(
            sql.SQL("comment on role {} is {}").format(
                identifier, sql.Literal(f"{roles.mark(installation)} login {kind}")
            )
        )
        connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role_name(kind, settings)), identifier))
        connection.execute(  # owner sees its sessions and can end them
            sql.SQL("grant {} to {}").format(identifier, sql.Identifier(role_name("owner", settings)))
        )
        roles.set_password(connection, role, password)
    _limit(connection, settings, role, kind)


def _limit(connection: Connection, settings: Settings, role: str, kind: Reader) -> None:
    connection.execute(
        sql.SQL(query(f"alter role {{}} connection limit {int(settings.reader_connections)}")).format(
            sql.Identifier(role)
        )
    )
    defaults = roles.DEFAULTS[kind] | {
        "statement_timeout": f"{settings.reader_statement_seconds}s",
        "idle_in_transaction_session_timeout": f"{settings.reader_idle_transaction_seconds}s",
        "idle_session_timeout": f"{settings.reader_idle_seconds}s",
    }
    for setting, value in defaults.items():
        roles.set_default(connection, role, setting, value)
    # Only who may set this parameter for others can: a superuser, or who was granted it. The log-in itself cannot.
    if scalar(connection, "select has_parameter_privilege('temp_file_limit', 'set')"):
        try:
            roles.set_default(connection, role, "temp_file_limit", f"{settings.reader_temp_file_mb}MB")
        except psycopg.errors.InsufficientPrivilege:
            return
