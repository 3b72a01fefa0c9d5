"""Where a command prints to people: as wide as the terminal; names and paths are never broken in two."""

from __future__ import annotations

import os

from rich.console import Console

# A log or a pipe has no width, and a name that was cut helps nobody.
_WIDTH_OF_A_LOG = 132


def out() -> Console:
    """Standard output, for results."""
    return _console(stderr=False)


def errors() -> Console:
    """Standard error, for progress and for what went wrong."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, soft_wrap=True, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_A_LOG
    return console
