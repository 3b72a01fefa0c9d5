"""The warehouse's server: where it is, the names of our roles in it, their passwords, and opening a session.

Role names in the server carry the installation's prefix (``C360_ROLE_PREFIX``); code and documentation name a role
without it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, LiteralString, cast
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

import psycopg
from psycopg.rows import TupleRow

from customer360.errors import ConfigurationError, WarehouseUnavailableError
from customer360.settings import Settings
from customer360.warehouse import embedded_server

Step = Literal["owner", "loader", "transformer", "publisher"]
Reader = Literal["oncall", "bi_reader", "pii_reader"]
Role = Literal["owner", "loader", "transformer", "publisher", "oncall", "bi_reader", "pii_reader"]
STEPS: tuple[Step, ...] = ("owner", "loader", "transformer", "publisher")
"""Roles that the pipeline's steps log in as."""
READERS: tuple[Reader, ...] = ("oncall", "bi_reader", "pii_reader")
"""Kinds of reader: a group without a log-in each; people and tools log in as members of it."""
ROLES: tuple[Role, ...] = (*STEPS, *READERS)
Connection = psycopg.Connection[TupleRow]

NO_MERGE_JOIN = "enable_mergejoin=off"
"""A setting for gates and for work on few keys. By its histogram, which ends before the newest keys, the planner
expects a merge join to stop early; it walks the whole index (docs/decisions/0014)."""


def query(text: str) -> LiteralString:
    """Mark SQL that this project composed (never from input) as safe for psycopg's type checker."""
    return cast(LiteralString, text)


def scalar(connection: Connection, statement: str, parameters: Any = None) -> Any:
    """The single value that a query gives, or None."""
    row = connection.execute(query(statement), parameters).fetchone()
    return row[0] if row else None


# ---- names ----------------------------------------------------------------------------------------------------------


def role_name(role: Role, settings: Settings) -> str:
    """The name in the server of a step's role, or of the group of a kind of reader."""
    return f"{settings.role_prefix}{role}"


def login_name(role: Role, settings: Settings) -> str:
    """The name that the pipeline itself logs in with, as a step or as a reader of that kind."""
    return f"{settings.role_prefix}pipeline_{role}" if role in READERS else role_name(role, settings)


def credentials(settings: Settings) -> dict[str, Any]:
    """What C360_HOME/roles.json (mode 0600) keeps: the installation's id, and passwords by name in the server.

    An installation of before the prefix has no id, and passwords by the bare name of the role.
    """
    path = settings.home / "roles.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    return stored if "passwords" in stored or not stored else {"before_prefix": stored, "passwords": {}}


def known_url(role: Role, settings: Settings, *, database: str | None = None) -> str:
    """The URL that the pipeline itself connects with as ``role``, with its password.

    Raises:
        ConfigurationError: the warehouse has not been set up from this C360_HOME.
    """
    name = login_name(role, settings)
    password = credentials(settings).get("passwords", {}).get(name)
    if password is None:
        raise ConfigurationError(
            f"The role {name} has no password in {settings.home / 'roles.json'}.", "Run `c360 up --no-airflow`."
        )
    return url_of(name, password, settings, database=database)


def url_of(name: str, password: str, settings: Settings, *, database: str | None = None) -> str:
    """The URL of a log-in to the warehouse's database, or to another of its server."""
    parts = _server(settings)
    netloc = f"{quote(name, safe='')}:{quote(password, safe='')}@{_host(parts)}:{parts.port or 5432}"
    return urlunsplit((parts.scheme, netloc, f"/{database}" if database else parts.path, parts.query, ""))


# ---- sessions -------------------------------------------------------------------------------------------------------


def admin(settings: Settings, *, database: str | None = None) -> Connection:
    """An autocommit connection of the server's administrator, for the set-up and for tests.

    Raises:
        ConfigurationError: the URL of the warehouse names no user: only the set-up is given the administrator's.
    """
    parts = _server(settings)
    if not parts.username:
        raise ConfigurationError(
            "C360_WAREHOUSE_URL names no user, and this command needs the administrator of the warehouse.",
            "Run it where the URL is complete: postgresql://user:password@host:port/database.",
        )
    target = urlunsplit(parts._replace(path=f"/{database}")) if database else urlunsplit(parts)
    return open_url(target, autocommit=True, application_name="customer360 set-up", is_embedded=settings.is_embedded)


def open_url(target: str, *, autocommit: bool, application_name: str, is_embedded: bool = False) -> Connection:
    """Open a connection to a URL that :func:`url` gave. Raises what :func:`connect` does."""
    try:
        return psycopg.connect(
            target,
            autocommit=autocommit,
            application_name=application_name,
            connect_timeout=10,
            keepalives_idle=30,
        )
    except psycopg.OperationalError as error:
        raise _unavailable(target, str(error), is_embedded) from None  # its text may hold what was meant as a password


# ---- the server -----------------------------------------------------------------------------------------------------

_QUOTING = (
    "Write it as postgresql://user:password@host:port/database, and in user and password each of the characters "
    ":/?#[]@%% and spaces as %%XX. This prints a password so: python3 -c 'import getpass, urllib.parse; "
    'print(urllib.parse.quote(getpass.getpass(), safe=""))\''
).replace("%%", "%")


def _server(settings: Settings) -> SplitResult:
    """The URL of the warehouse's server, with its administrator if that is known here."""
    if settings.is_embedded:
        return urlsplit(embedded_server.ensure_running(settings).url(settings.database))
    return server_of(settings.warehouse_url)


def server_of(text: str) -> SplitResult:
    """The parts of a URL of a warehouse.

    Raises:
        ConfigurationError: it cannot be read. The message quotes none of it: it may be a part of a password.
    """
    shape = re.fullmatch(
        r"postgres(?:ql)?://(?:(?P<user>[^:/?#\[\]@\s]+)(?::(?P<password>[^:/?#\[\]@\s]*))?@)?"
        r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?/(?P<database>[^/?#\s]+)(?:\?[^#\s]*)?",
        text,
    )
    if shape is None:
        raise ConfigurationError("C360_WAREHOUSE_URL is not a complete PostgreSQL URL.", _QUOTING)
    for part in ("user", "password"):
        if "%" in re.sub(r"%[0-9A-Fa-f]{2}", "", shape[part] or ""):
            raise ConfigurationError(f"The {part} in C360_WAREHOUSE_URL has a % that quotes nothing.", _QUOTING)
    if shape["port"] and not 0 < int(shape["port"]) < 65536:
        raise ConfigurationError("The port in C360_WAREHOUSE_URL is not between 1 and 65535.", _QUOTING)
    return urlsplit(text)._replace(scheme="postgresql")


def _host(parts: SplitResult) -> str:
    host = parts.hostname or "127.0.0.1"
    return f"[{host}]" if ":" in host else host


_REASONS = (
    # what the server or the client library says; what it means; what to do on a server of one's own
    (r"password authentication failed|no password supplied", "the password of {user} is not right", "password"),
    (r'role "[^"]*" does not exist', "the server has no role {user}", "role"),
    (r'database "[^"]*" does not exist', "the server has no database {database}", "database"),
    (r"permission denied for database", "{user} may not connect to the database {database}", "database"),
    (r"no pg_hba\.conf entry[^\n]*(no encryption|SSL off)", "the server lets in only connections with SSL", "ssl"),
    (r"no pg_hba\.conf entry", "the server's pg_hba.conf lets {user} in from no such address", "hba"),
    (r"server does not support SSL", "the URL asks for SSL, which the server does not have", "no_ssl"),
    (r"certificate|root\.crt|SSL error|ssl", "the server's SSL certificate cannot be verified", "certificate"),
    (r"too many (clients|connections)|remaining connection slots", "all of the server's connections are taken", "full"),
    (r"starting up|shutting down|recovery", "the server is starting or stopping", "wait"),
    (r"could not translate host name|Name or service|resolve", "its host name is not known", "host"),
    (r"refused|timeout|timed out|unreachable|No route|closed the connection|No such file", "nothing answers", "away"),
)
_ADVICE = {
    "password": "Correct the password in C360_WAREHOUSE_URL. " + _QUOTING,  # pragma: allowlist secret
    "role": "Correct the user in C360_WAREHOUSE_URL, or run `c360 set-up`, which makes the pipeline's roles.",
    "database": "Correct the database in C360_WAREHOUSE_URL, or let its administrator create it: create database …",
    "ssl": "Add ?sslmode=require (or verify-full with sslrootcert=…) to C360_WAREHOUSE_URL.",
    "hba": "Let the server's administrator add this machine to its pg_hba.conf.",
    "no_ssl": "Take sslmode out of C360_WAREHOUSE_URL, or let the server's administrator turn SSL on.",
    "certificate": "Name the server's certificate authority: ?sslmode=verify-full&sslrootcert=/path/to/ca.pem.",
    "full": "Run it again; `c360 status` names readers that keep connections. Raise max_connections if it repeats.",
    "wait": "Run the same command again in a minute.",
    "host": "Correct the host in C360_WAREHOUSE_URL, or this machine's name service.",
    "away": "Check that the server runs, and host and port in C360_WAREHOUSE_URL; docs/runbooks/warehouse_away.md.",
    "": "Run it again; check C360_WAREHOUSE_URL and the server's log.",
}


def _unavailable(target: str, said: str, is_embedded: bool) -> WarehouseUnavailableError:
    where = urlsplit(target)
    names = {"user": unquote(where.username or "?"), "database": unquote(where.path.strip("/"))}
    reason, advice = next(
        ((meaning.format(**names), advice) for found, meaning, advice in _REASONS if re.search(found, said, re.I)),
        ("; ".join(line.strip() for line in said.splitlines() if line.strip()), ""),
    )
    if where.password and len(where.password) > 2:
        reason = reason.replace(unquote(where.password), "***")
    return WarehouseUnavailableError(
        f"The warehouse at {where.hostname}:{where.port or 5432}/{names['database']} does not let {names['user']} in: "
        f"{reason}.",
        "Run `c360 up --no-airflow`, then the same command again." if is_embedded else _ADVICE[advice],
    )
