"""JSON whose numbers stay the text that they were written in, and JSON that PostgreSQL can store."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

# RapidJSON (in Arrow) descends recursively: a text with more brackets than this goes to Python's reader, which
# answers depth with an exception and not with the end of the process.
MAX_BRACKETS = 500
LONG_TEXT = 8_192  # a shorter text cannot nest deep enough to matter


class NumberText(str):
    """A JSON number, kept as the text it was written in."""

    __slots__ = ()


class Unfit:
    """A value that could not be read at all."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


_LOADS = json.JSONDecoder(parse_float=NumberText, parse_int=NumberText, parse_constant=NumberText).decode


def loads(text: str) -> Any:
    """Parse JSON with numbers kept as text. Raises ValueError or RecursionError."""
    return _LOADS(text)


def loads_or_unfit(text: str) -> Any:
    """The same; what cannot be parsed is :class:`Unfit`."""
    try:
        return loads(text)
    except (ValueError, RecursionError):
        return Unfit("is not valid JSON")


def dumps(value: Any) -> bytes:
    """JSON of what :func:`loads` gave, with each number as it was written."""
    if isinstance(value, NumberText):
        return value.encode() if value not in {"NaN", "Infinity", "-Infinity"} else json.dumps(str(value)).encode()
    if isinstance(value, dict):
        return b"{" + b",".join(dumps_text(key) + b":" + dumps(v) for key, v in value.items()) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(dumps, value)) + b"]"
    return dumps_text(value)


def dumps_text(value: Any) -> bytes:
    """JSON of a text, a boolean or null."""
    # A lone surrogate is no text; PostgreSQL's jsonb would refuse its escape.
    text = json.dumps(value, ensure_ascii=False)
    return text.encode(errors="replace")


def dumps_plain(value: Any) -> bytes:
    """JSON of what Arrow's ``as_py`` gave, of :func:`loads`' values too: times as ISO 8601, bytes as their text."""
    if isinstance(value, dict):
        return b"{" + b",".join(dumps_text(key) + b":" + dumps_plain(v) for key, v in value.items()) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(dumps_plain, value)) + b"]"
    if isinstance(value, NumberText):
        return dumps(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return dumps_text(str(value))
    return json.dumps(value, ensure_ascii=False, default=_as_text).encode(errors="replace")


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


# What JSON may say and PostgreSQL's jsonb cannot hold: NUL, lone surrogates, numbers beyond numeric's range.
_BEYOND_JSONB = re.compile(
    rb"\\u0000|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
    rb"|[eE][+-]?0*[1-9][0-9]{3}|[0-9]{1000}"
)


def storable(raw: bytes) -> str:
    """JSON as jsonb can hold it; what it cannot is kept as the text that it was."""
    text = raw.decode(errors="replace")
    if _BEYOND_JSONB.search(raw) or text.count("[") + text.count("{") > MAX_BRACKETS:
        return json.dumps({"(as text)": text}, ensure_ascii=False)
    return text
