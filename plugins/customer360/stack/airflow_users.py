"""Who may log in to Airflow's interface as what, where Airflow keeps its users itself (its simple auth manager).

The users are a file of C360_HOME with mode 0600. Airflow reads the passwords at each log-in and the roles when it
starts. A team with a directory of its own configures FAB or Keycloak instead (docs/deployment.md).
"""

from __future__ import annotations

import json
import re
import secrets
from typing import cast

from customer360.errors import ConfigurationError, Customer360Error
from customer360.settings import Settings
from customer360.stack.airflow_environment import ADMIN, airflow_home, airflow_secrets, end_sessions, write_private

ROLES = {"viewer": "viewer", "operator": "op", "admin": "admin"}
"""What a user may do -> Airflow's own name of it. A viewer looks, an operator also runs and repairs."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class AirflowUserError(Customer360Error):
    """A user of Airflow cannot be made, or is not there."""


def check_role(role: str) -> None:
    """Nothing, if ``role`` is empty or one of :data:`ROLES`.

    Raises:
        ConfigurationError: it is not.
    """
    if role and role not in ROLES:
        raise ConfigurationError(f"Airflow has no role {role!r} here.", f"Choose one of: {', '.join(ROLES)}.")


def users(settings: Settings) -> dict[str, str]:
    """The users and their roles; the first, admin, is there from the start."""
    path = airflow_home(settings) / "users.json"
    stored = cast(dict[str, str], json.loads(path.read_text())) if path.exists() else {}
    return {ADMIN: "admin"} | stored


def add(settings: Settings, name: str, role: str) -> str:
    """Add a user; returns the password, which Airflow's file of passwords keeps and nothing shows again.

    Raises:
        AirflowUserError: the name does not fit or is taken.
    """
    if not _NAME.fullmatch(name):
        raise AirflowUserError(f"{name!r} cannot be a user's name.", "Use small letters, digits and _, such as ann.")
    known = users(settings)
    if name in known:
        raise AirflowUserError(f"Airflow already has a user {name}.", "Run `c360 access list`.")
    _write_users(settings, known | {name: role})
    return rotate(settings, name)


def revoke(settings: Settings, name: str) -> bool:
    """Remove a user; returns whether there was one. Open sessions end when Airflow restarts.

    Raises:
        AirflowUserError: the product itself logs in as admin.
    """
    known = users(settings)
    if name not in known:
        return False
    if name == ADMIN:
        raise AirflowUserError(
            "The product itself logs in as admin.", "Give it another password: c360 access rotate admin"
        )
    known.pop(name)
    _write_users(settings, known)
    kept = passwords(settings)
    kept.pop(name, None)
    _write_passwords(settings, kept)
    end_sessions(settings)
    return True


def rotate(settings: Settings, name: str) -> str:
    """Give a user another password and return it."""
    password = secrets.token_urlsafe(12)
    if name == ADMIN:
        password = end_sessions(settings, new_password=password).admin_password
    _write_passwords(settings, passwords(settings) | {name: password})
    return password


def passwords(settings: Settings) -> dict[str, str]:
    """Airflow's own file of passwords; admin's stands in it from the start."""
    path = airflow_home(settings) / "passwords.json"
    stored = cast(dict[str, str], json.loads(path.read_text())) if path.exists() else {}
    return {ADMIN: airflow_secrets(settings).admin_password} | stored


def prepare(settings: Settings) -> None:
    """Write the file of passwords before Airflow would make some up and print them."""
    if not (airflow_home(settings) / "passwords.json").exists():
        _write_passwords(settings, passwords(settings))


def _write_users(settings: Settings, known: dict[str, str]) -> None:
    write_private(airflow_home(settings) / "users.json", json.dumps(known, indent=1))


def _write_passwords(settings: Settings, kept: dict[str, str]) -> None:
    write_private(airflow_home(settings) / "passwords.json", json.dumps(kept))
