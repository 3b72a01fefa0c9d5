"""Record keys: (source, id) as one text, which carries a record through dirty keys, joins and indexes.

The warehouse has the same two functions in SQL, ``raw.trimmed_id`` and ``raw.record_key``; a generated test holds the
two together. docs/decisions/0015 gives the form and the reasons.
"""

from __future__ import annotations

import unicodedata

SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
"""Every white space of Unicode, as ``str.strip`` sees it; the highest is the ideographic space, U+3000."""


def trimmed_id(text: str | None) -> str | None:
    """An id as it counts: in NFC, without white space around it; None if nothing is left."""
    if text is None:
        return None
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).strip(SPACES) or None


def record_key(source: str | None, record_id: str | None) -> str | None:
    """The key of a record: its id; behind ``<source>/`` if it has a source; behind ``/`` if the id holds one.

    None where the id is missing.
    """
    trimmed = trimmed_id(record_id)
    return None if trimmed is None else key_of(source, trimmed)


def key_of(source: str | None, trimmed: str) -> str:
    """The key of an id that is trimmed already."""
    if source:
        return f"{source}/{trimmed}"
    return f"/{trimmed}" if "/" in trimmed else trimmed


def parts_of(key: str) -> tuple[str, str]:
    """The source (empty: none) and the id that a record key stands for."""
    source, slash, record_id = key.partition("/")
    return (source, record_id) if slash else ("", key)
