"""Sessions of the pipeline, each as the role whose right a step needs (docs/architecture.md).

A mistake in a step is then a permission error and not a lost table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from customer360.settings import Settings
from customer360.warehouse import logins, restoring, roles
from customer360.warehouse.server import Connection, Role, credentials, known_url, login_name, open_url

_NAME_LENGTH = 63  # PostgreSQL cuts longer application names
_tags: list[str] = []


def set_up(settings: Settings, *, adopt: bool = False) -> None:
    """Create the databases, roles, schemas, tables, grants and log-ins that are missing; bring older ones up to date.

    Args:
        adopt: this C360_HOME takes the place of one that was lost: give the roles of this very warehouse new passwords.

    Raises:
        ConfigurationError: the server is too old, a right is missing, or a role or schema of our name is not ours; the
            message says so, and nothing that is not ours was changed.
        WarehouseUnavailableError: the server does not start or answer.
    """
    restoring.check(settings)
    is_first = roles.set_up(settings, adopt=adopt)
    logins.renew(settings, with_defaults=is_first)


def open_restored(settings: Settings) -> None:
    """Let readers into a warehouse that was restored, with the log-ins that an installation begins with."""
    roles.set_up(settings, adopt=False)
    logins.renew(settings, with_defaults=True)


def url(role: Role, settings: Settings, *, database: str | None = None) -> str:
    """The URL that the pipeline itself connects with as ``role``, with its password.

    Raises:
        ConfigurationError: the warehouse has not been set up yet.
        ConfigurationError: a restore into this home has not ended.
        WarehouseUnavailableError: the embedded server does not start.
    """
    restoring.check(settings)
    if settings.is_embedded and login_name(role, settings) not in credentials(settings).get("passwords", {}):
        set_up(settings)  # the first command on a fresh machine needs no other before it
    return known_url(role, settings, database=database)


def reader_url(kind: Role, settings: Settings) -> str:
    """The URL of the log-in that the installation began with for a kind of reader. Raises what :func:`url` does."""
    url(kind, settings)
    return logins.default_url(settings, kind)


def connect(
    role: Role,
    settings: Settings,
    *,
    autocommit: bool = False,
    application_name: str = "customer360",
    database: str | None = None,
) -> Connection:
    """Open a connection as ``role``. The embedded server is started if it does not run.

    Raises:
        WarehouseUnavailableError: nothing answers, or the password is refused.
    """
    tag = session_tag()
    name = f"{application_name[: _NAME_LENGTH - len(tag) - 1]} {tag}" if tag else application_name
    target = url(role, settings, database=database)
    return open_url(target, autocommit=autocommit, application_name=name, is_embedded=settings.is_embedded)


@contextlib.contextmanager
def tagged(tag: str) -> Iterator[None]:
    """While the block runs, sessions that this process opens carry ``tag`` at the end of their application name.

    A process holds one lease at a time: whoever takes that over finds the sessions of the old holder by the tag.
    """
    _tags.append(tag)
    try:
        yield
    finally:
        _tags.remove(tag)


def session_tag() -> str:
    """The tag of the sessions that are opened now; empty without a lease."""
    return _tags[-1] if _tags else ""
