"""The receiver's marks on disk: that it lives, and where it listens."""

from __future__ import annotations

import os
import time
from pathlib import Path

from customer360.receiver import spool
from customer360.settings import Settings

BEAT_SECONDS = 5
"""How often a living receiver says so."""
LIVING_SECONDS = 30
"""One that has said nothing for longer is taken to be dead."""


def _heartbeat(settings: Settings) -> Path:
    return spool.folder(settings) / "heartbeat"


def _address(settings: Settings) -> Path:
    return spool.folder(settings) / "receiver.url"


def beat(settings: Settings) -> None:
    """Show that the receiver lives."""
    path = _heartbeat(settings)
    path.touch(mode=0o600)
    os.utime(path)


def silent_seconds(settings: Settings) -> float | None:
    """How long ago the receiver last showed that it lives; None for never, or where it was stopped on purpose."""
    try:
        return max(0.0, time.time() - _heartbeat(settings).stat().st_mtime)
    except FileNotFoundError:
        return None


def note_address(settings: Settings, address: str) -> None:
    """Write down where the receiver listens."""
    _address(settings).write_text(address)


def address(settings: Settings) -> str:
    """Where the receiver listens, such as http://127.0.0.1:8765; empty while it does not."""
    try:
        return _address(settings).read_text()
    except FileNotFoundError:
        return ""


def remove(settings: Settings) -> None:
    """The receiver ends on purpose."""
    _heartbeat(settings).unlink(missing_ok=True)
    _address(settings).unlink(missing_ok=True)
