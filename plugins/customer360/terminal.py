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


def counted(count: int, thing: str, plural: str = "") -> str:
    """A count with its noun in the right number: "1 batch", "2,000 batches"."""
    if count == 1:
        return f"1 {thing}"
    ending = "es" if thing.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{count:,} {plural or thing + ending}"
