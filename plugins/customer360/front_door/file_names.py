"""Names of landed files: which are refused and why, and how any name can be shown."""

from __future__ import annotations

import os
import re
import unicodedata

from customer360.contract.personal_patterns import masked_text

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


_SUFFIX = re.compile(r"(?:\.(?:jsonl|ndjson|json|csv|tsv|txt|parquet|xlsx?|ods|numbers))?(?:\.gz)?$", re.IGNORECASE)


def without_personal(name: str) -> str:
    """A file's name with the e-mail addresses, phone and card numbers in it replaced; its suffix stays."""
    suffix = _SUFFIX.search(name)
    stem = name[: suffix.start()] if suffix else name
    masked = masked_text(stem)
    if masked == stem:
        return name
    return re.sub(r"\[([a-z-]+) ?([a-z]*)\]", r"\1\2", masked) + name[len(stem) :]


def printable(name: str) -> str:
    """A name that can be shown and stored, whatever it was."""
    text = "".join(c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in name)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(name)} characters)"


def is_in_progress(name: str) -> bool:
    """Whether a producer is still writing the file: a dot-file or ``.part`` is never read."""
    return name.startswith(".") or name.endswith(".part")
