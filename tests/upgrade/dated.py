"""The command line of an installation on a chosen business day: ``python dated.py 2026-03-01 run`` is ``c360 run``.

The product has no setting for its clock, because nobody should write yesterday's figures over today's. Here only
``Settings.today`` is replaced: the moments that the server writes down stay true.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from datetime import date
from pathlib import Path

from customer360.cli import app
from customer360.settings import Settings

# Nothing is kept after a power cut: several times faster.
_POSTGRES = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"


def c360(home: Path, day: date, *words: object, codes: Collection[int] = (0,), **variables: str) -> str:
    """Run a command of the installation at ``home`` on ``day`` and return what it prints.

    AssertionError, with all that it said, if it ends with none of the exit ``codes``. No setting of the caller's
    environment reaches it but the ``variables`` given.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("C360_")}
    own = {"C360_HOME": str(home), "C360_POSTGRES_OPTIONS": _POSTGRES, "C360_ACTOR": "operator", "COLUMNS": "160"}
    ended = subprocess.run(
        [sys.executable, __file__, day.isoformat(), *map(str, words)],
        env=inherited | own | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode in codes, f"c360 {' '.join(map(str, words))}: {ended.stdout}\n{ended.stderr}"
    return ended.stdout


def main() -> None:
    """Run the command that follows the day."""
    day = date.fromisoformat(sys.argv.pop(1))

    def today(self: Settings) -> date:
        return day

    Settings.today = today  # type: ignore[method-assign]
    sys.argv[0] = "c360"
    app.main()


if __name__ == "__main__":
    main()
