"""E-mail addresses, phone numbers and card numbers in text that people and systems write freely.

Free text is published with these masked (``raw.masked_text`` in the warehouse, the same patterns in SQL). Names of
files and of unknown fields are masked before anybody stores them. Names of people have no pattern: docs/privacy.md
says what that means. Ids are never masked, for an EAN-13 looks like a phone number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TEXT = r"\s@,;:<>()\[\]\"/?#&=|%\\"
_LABEL = _TEXT + r".'"
_NUMBER_BEFORE = r"0-9A-Za-z/._+-"


@dataclass(frozen=True)
class Pattern:
    """What a kind of personal value looks like, in the words that PostgreSQL, Python and RE2 share."""

    mask: str
    core: str
    before: str = ""
    """Characters that must not stand before it: an order number is no phone number."""
    after: str = ""
    """Characters that must not follow it."""

    @property
    def whole(self) -> str:
        """The pattern for engines that look around (Python, PostgreSQL)."""
        before = f"(?<![{self.before}])" if self.before else ""
        after = f"(?![{self.after}])" if self.after else ""
        return f"{before}(?:{self.core}){after}"

    @property
    def linear(self) -> str:
        """The pattern for RE2, which takes linear time: whether a text has it, not where it ends."""
        before = f"(?:^|[^{self.before}])" if self.before else ""
        after = f"(?:$|[^{self.after}])" if self.after else ""
        return f"{before}(?:{self.core}){after}"


EMAIL = Pattern(
    "[e-mail]",
    rf"(?:[^{_TEXT}]|%[0-9A-Fa-f][0-9A-Fa-f])+(?:@|%40)(?:[^{_LABEL}]+\.)+[^{_LABEL}0-9_-][^{_LABEL}0-9_-]+",
)
CARD = Pattern(
    "[card number]",
    r"[0-9]{14,19}"
    r"|[0-9]{4}[ .-][0-9]{4}[ .-][0-9]{4}[ .-][0-9]{4}(?:[ .-][0-9]{3})?"
    r"|[0-9]{4}[ .-][0-9]{6}[ .-][0-9]{4,5}",
    "0-9A-Za-z",
    "0-9A-Za-z",
)
"""What may be a card number: :func:`is_card_number` decides."""
PHONES = (
    # With the country, as +49 30 7654321 or 0049307654321.
    Pattern("[phone number]", r"(?:\+|%2B)(?:[ ()./-]{0,2}[0-9]){8,15}", "0-9A-Za-z+", "0-9"),
    Pattern("[phone number]", r"00[1-9](?: ?[0-9]){8,13}", _NUMBER_BEFORE, "0-9A-Za-z"),
    # With the area, as (030) 7654321, 030/7654321 or 07911 123 456.
    Pattern(
        "[phone number]",
        r"\(?0[1-9][0-9]{1,4}\)?[ /-]{1,3}(?:[0-9]{5,9}|[0-9]{2,4}(?:[ -][0-9]{2,5}){1,4})",
        _NUMBER_BEFORE,
        "0-9A-Za-z",
    ),
    # As North America writes it: (415) 555-2671, 415.555.2671.
    Pattern(
        "[phone number]",
        r"(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}",
        _NUMBER_BEFORE,
        "0-9A-Za-z",
    ),
    Pattern("[phone number]", r"0[1-9][0-9]{8,9}", _NUMBER_BEFORE, "0-9A-Za-z"),
)

ISSUERS = (
    r"4[0-9]{15}(?:[0-9]{3})?|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9][0-9]|7[01][0-9]|720)[0-9]{12}"
    r"|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|6(?:011|5[0-9][0-9]|4[4-9][0-9])[0-9]{12}"
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12}|62[0-9]{14,17}"
)
"""First digits and lengths of the numbers of Visa, Mastercard, American Express, Diners, Discover, JCB and UnionPay."""

PERSONAL = "|".join(pattern.linear for pattern in (EMAIL, *PHONES))
"""For RE2: a text has an e-mail address or a phone number."""
MAYBE_CARD = CARD.linear
"""For RE2: a text may have a card number."""

_COMPILED = {pattern: re.compile(pattern.whole) for pattern in (EMAIL, CARD, *PHONES)}
_ISSUED = re.compile(ISSUERS)
_LONGEST_NAME = 1_000  # a name is short, and what is longer costs time that grows with the square


def is_card_number(text: str) -> bool:
    """Whether digits, with whatever stands between them, are a card number: an issuer's, with the right check digit."""
    digits = re.sub("[^0-9]", "", text)
    if not _ISSUED.fullmatch(digits):
        return False
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def has_card_number(text: str) -> bool:
    """Whether there is a card number in a text."""
    return any(is_card_number(found[0]) for found in _COMPILED[CARD].finditer(text))


def masked_text(text: str) -> str:
    """A short text, a name for instance, with the values in it masked; as ``raw.masked_text`` does in the warehouse."""
    if len(text) > _LONGEST_NAME:
        text = text[:_LONGEST_NAME]
    text = _COMPILED[EMAIL].sub(EMAIL.mask, text)
    text = _COMPILED[CARD].sub(lambda found: CARD.mask if is_card_number(found[0]) else found[0], text)
    for pattern in PHONES:
        text = _COMPILED[pattern].sub(pattern.mask, text)
    return text
