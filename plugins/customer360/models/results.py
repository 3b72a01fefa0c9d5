"""What became of one model in one call."""

from __future__ import annotations

import re
from dataclasses import dataclass

FAILED = {"error", "fail", "runtime error"}


@dataclass(frozen=True)
class ModelResult:
    """What one dbt node did in one call."""

    model: str
    status: str
    seconds: float
    rows_affected: int | None
    message: str
    sqlstate: str = ""
    """PostgreSQL's code of the error, if the server refused it."""


def masked(message: str) -> str:
    """A database's error message without the values it quotes: they may be personal data."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    told = [line for line in lines if not re.match(r"(DETAIL|CONTEXT|LINE \d+|compiled code at|HINT)", line)]
    text = " ".join(line for line in told if line != "^")
    return re.sub(r'((?:syntax|value)[^:]*: )".*?"', r'\1"…"', text)
