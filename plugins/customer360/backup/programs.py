"""PostgreSQL's own programs (pg_dump, pg_restore, psql) that fit the warehouse's server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from customer360.errors import Customer360Error
from customer360.warehouse import embedded_server

_INSTALLED = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")


class ProgramsError(Customer360Error):
    """A program of PostgreSQL is missing, too old, or failed."""


@dataclass(frozen=True)
class Programs:
    """A folder with the programs of one version."""

    folder: Path
    version: int

    def command(self, name: str, *arguments: str) -> list[str]:
        """A command line."""
        return [str(self.folder / name), *arguments]


def for_server(version: int, *, archive_version: int = 0) -> Programs:
    """The programs for a server of a version: of the same one if there are such, otherwise of the next higher.

    Args:
        version: the server's major version.
        archive_version: of the pg_dump that wrote an archive, which an older pg_restore cannot read.

    Raises:
        ProgramsError: there are only older ones; the message says what to install.
    """
    wanted = max(version, archive_version)
    fitting = sorted((one for one in _found() if one.version >= wanted), key=lambda one: one.version)
    if not fitting:
        raise ProgramsError(
            f"pg_dump, pg_restore and psql of PostgreSQL {wanted} or later are needed, and none are installed here.",
            f"Install the client programs (Debian: postgresql-client-{wanted}) and run the same command again.",
        )
    return fitting[0]


def _found() -> list[Programs]:
    folders = [embedded_server.binaries()]
    if on_path := shutil.which("pg_dump"):
        folders.append(Path(on_path).resolve().parent)
    folders += [folder for pattern in _INSTALLED for folder in sorted(Path("/").glob(pattern.lstrip("/")))]
    found = {}
    for folder in folders:
        if all(os.access(folder / name, os.X_OK) for name in ("pg_dump", "pg_restore", "psql")):
            said = subprocess.run([folder / "pg_dump", "--version"], capture_output=True, text=True, check=False).stdout
            if number := re.search(r"\b(\d+)(\.\d+|beta|rc|devel)", said):
                found[folder] = Programs(folder, int(number[1]))
    return list(found.values())


def environment(url: str) -> dict[str, str]:
    """The variables by which the programs connect to a URL. On their command line everybody would see the password."""
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    names = {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY"}
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": os.environ.get("HOME", "/"),
        "LC_ALL": "C.UTF-8",
        "PGHOST": parts.hostname or "127.0.0.1",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.strip("/")),
        "PGAPPNAME": "customer360 backup",
        "PGCONNECT_TIMEOUT": "10",
    } | {variable: given[name] for name, variable in names.items() if name in given}
