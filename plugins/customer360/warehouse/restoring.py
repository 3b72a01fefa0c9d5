"""A warehouse that is being restored: nobody but the restore works with it until it is complete."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from customer360.errors import ConfigurationError
from customer360.settings import Settings

_working: list[Path] = []


def _marker(settings: Settings) -> Path:
    return settings.home / "restore.json"


def begun(settings: Settings) -> dict[str, str]:
    """The backup of a restore into this home that has not ended; empty if there is none."""
    try:
        found: dict[str, str] = json.loads(_marker(settings).read_text())
    except FileNotFoundError:
        return {}
    return found


def mark(settings: Settings, backup: str) -> None:
    """Record that a restore has begun."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = _marker(settings).with_suffix(".tmp")
    partial.write_text(json.dumps({"backup": backup}))
    partial.replace(_marker(settings))


def end(settings: Settings) -> None:
    """The restore is complete."""
    _marker(settings).unlink(missing_ok=True)


@contextlib.contextmanager
def working(settings: Settings) -> Iterator[None]:
    """While the block runs, this process is the restore."""
    _working.append(settings.home)
    try:
        yield
    finally:
        _working.remove(settings.home)


def check(settings: Settings) -> None:
    """Nothing, unless a restore into this home has not ended.

    Raises:
        ConfigurationError: it has not; personal data that was erased since the backup may still be there.
    """
    if settings.home not in _working and (found := begun(settings)):
        raise ConfigurationError(
            f"The backup {found['backup']} is being restored into {settings.home}, or its restore was cut off.",
            f"Wait for it, or run it again: `c360 restore {found['backup']}`.",
        )
