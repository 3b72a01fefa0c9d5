"""Names of landed files: which are refused and why, and how any name can be shown."""

from __future__ import annotations

import os
import unicodedata

MAX_NAME_BYTES = 200  # file systems end at 255, and a suffix for a second file of the same name must fit


def fault_of_name(name: str) -> str:
    """Why a name is refused, or "" when it is fine."""
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        return f"its name is longer than {MAX_NAME_BYTES} bytes"
    if any(unicodedata.category(character)[0] == "C" for character in name):
        return "its name holds control characters"
    if "/" in name or "\\" in name or name in {"", ".", ".."}:
        return "its name holds a path"
    return ""


def printable(name: str) -> str:
    """A name that can be shown and stored, whatever it was."""
    text = "".join(c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in name)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(name)} characters)"


def is_in_progress(name: str) -> bool:
    """Whether a producer is still writing the file: a dot-file or ``.part`` is never read."""
    return name.startswith(".") or name.endswith(".part")
