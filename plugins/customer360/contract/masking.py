"""How a value may be shown in messages, logs and reasons for quarantine."""

from __future__ import annotations

import re

_HARMLESS = re.compile(r"(?!\+?\d{9,})[0-9TZtz:+\-. ,eE]{1,40}|[a-z_]{1,20}|[A-Z_]{1,20}", re.ASCII)


def shown(value: object) -> str:
    """A value as a message may show it: times, amounts and single words (no proper nouns) as they are, else masked.

    A column that slipped can put an e-mail into an amount, so the look of the value decides and not its field alone.
    """
    text = str(value)
    return text if _HARMLESS.fullmatch(text) else masked(text)


def masked(value: object) -> str:
    """A personal value, of which nothing but the first character and the length is shown."""
    text = str(value)
    first = text[:1] if text[:1].isprintable() else "?"
    return f"{first}••• ({len(text)} characters)"
