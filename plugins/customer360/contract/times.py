"""Every way to write a moment that leaves no doubt which one is meant, and what is wrong with the others.

Arrow reads the common forms of ISO 8601 by the column. :func:`normalized` brings further forms into those by the
column too, :func:`parse` reads what is left one by one. A time without an offset or Z is never read: it could be any
of 24 hours.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.compute as pc

from customer360.contract.masking import shown

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = "|".join(_MONTHS)
_CLOCK = r"(?P<hour>\d\d)(?:(?P<_t>:?)(?P<minute>\d\d)(?:(?P=_t)(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?)?"
_OFFSET = r"(?P<offset>z|(?:utc|gmt|ut)?[+\-\u2212]\d\d(?::?\d\d)?|utc|gmt|ut)"
_FORMS = tuple(
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        # 2026-11-20T10:00:00+01:00[Europe/Berlin], 20261120T100000Z, 2026/11/20 10:00 -0500
        rf"(?P<year>\d{{4}})(?P<_d>[-/]?)(?P<month>\d\d)(?P=_d)(?P<day>\d\d)(?:t|\s)\s*{_CLOCK}\s*{_OFFSET}?"
        r"(?:\[[\w+\-/]+\])?",
        # 2026-W47-5T10:00Z and 2026-324T10:00Z
        rf"(?P<year>\d{{4}})-?w(?P<week>\d\d)-?(?P<weekday>[1-7])(?:t|\s)\s*{_CLOCK}\s*{_OFFSET}?",
        rf"(?P<year>\d{{4}})-(?P<ordinal>\d{{3}})(?:t|\s)\s*{_CLOCK}\s*{_OFFSET}?",
        # Fri, 20 Nov 2026 10:00:00 GMT
        rf"(?:[a-z]{{3,9}},?\s+)?(?P<day>\d\d?)[\s-](?P<name>{_MONTH})[\s-](?P<year>\d{{4}})\s+{_CLOCK}\s*{_OFFSET}?",
        # Fri Nov 20 10:00:00 UTC 2026 and Fri Nov 20 2026 10:00:00 GMT+0000 (Coordinated Universal Time)
        rf"(?:[a-z]{{3}}\s+)(?P<name>{_MONTH})\s+(?P<day>\d\d?)\s+{_CLOCK}\s*{_OFFSET}?\s+(?P<year>\d{{4}})",
        rf"(?:[a-z]{{3}}\s+)(?P<name>{_MONTH})\s+(?P<day>\d\d?)\s+(?P<year>\d{{4}})\s+{_CLOCK}\s*{_OFFSET}?"
        r"(?:\s*\([\w ]+\))?",
    )
)
_NAMED_ZONE = re.compile(r"(?P<time>.*\d)\s*(?P<zone>[A-Za-z][A-Za-z_/]+)", re.ASCII)
_DATE = re.compile(r"\d{4}([-/]?)\d\d\1\d\d", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


def normalized(texts: pa.Array) -> pa.Array:
    """Texts with the frequent variations brought into the form that Arrow reads; what is no time stays no time."""
    texts = pc.utf8_trim_whitespace(texts)
    # Nanoseconds are common (pandas writes them) and PostgreSQL keeps microseconds.
    texts = pc.replace_substring_regex(texts, r"([.]\d{6})\d+", r"\1")
    texts = pc.replace_substring_regex(texts, r"^(\d{4}-\d\d-\d\d)(?:t|T| +)(\d\d:)", r"\1T\2")
    texts = pc.replace_substring_regex(texts, r"(\d) *(?:z|UTC|utc|GMT)$", r"\1Z")
    return pc.replace_substring_regex(texts, r"(:\d\d(?:[.]\d+)?) +([+-]\d\d(?::?\d\d)?)$", r"\1\2")


def parse(text: str) -> str | None:
    """A moment as Arrow reads it (UTC, microseconds; what is finer is cut off), or None if the text is none."""
    found = _found(text.strip())
    if found is None or found["offset"] is None:
        return None
    try:
        return _moment(found).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)
    except (ValueError, OverflowError):
        return None


def why_not(text: str) -> str:
    """Why a text is not read as a moment; true of this text."""
    stripped = text.strip()
    said = shown(stripped)
    if _DATE.fullmatch(stripped):
        return f"is a date without a time of day and an offset: {said}"
    if _NUMBER.fullmatch(stripped):
        return (
            f"is a bare number, of which nothing says what it counts (seconds, milliseconds, days?): {said}; "
            "an ISO 8601 time with an offset was expected"
        )
    found = _found(stripped)
    if found is None:
        named = _NAMED_ZONE.fullmatch(stripped)
        if named and (inner := _found(named["time"])) and inner["offset"] is None:
            return f"names a time zone ({shown(named['zone'])}) where an offset such as +01:00 was expected: {said}"
        return f"is not an ISO 8601 time with an offset: {said}"
    if found["offset"] is None:
        return f"has no time zone offset: {said}"
    for part, what in ((_day, "a day"), (_clock, "a time of day"), (_zone, "an offset")):
        try:
            part(found)
        except (ValueError, OverflowError):
            return f"names {what} that does not exist: {said}"
    return f"is out of range: {said}"


def _found(text: str) -> dict[str, str | None] | None:
    for form in _FORMS:
        if match := form.fullmatch(text):
            return match.groupdict()
    return None


def _moment(found: dict[str, str | None]) -> datetime:
    midnight = datetime.combine(_day(found), datetime.min.time(), _zone(found))
    return midnight + _clock(found)


def _day(found: dict[str, str | None]) -> date:
    year = int(found["year"] or 0)
    if found.get("week"):
        return date.fromisocalendar(year, int(found["week"] or 0), int(found["weekday"] or 0))
    if found.get("ordinal"):
        day = date(year, 1, 1) + timedelta(days=int(found["ordinal"] or 0) - 1)
        if day.year != year:
            raise ValueError("the year has fewer days")
        return day
    month = _MONTHS.index(str(found["name"]).lower()) + 1 if found.get("name") else int(found["month"] or 0)
    return date(year, month, int(found["day"] or 0))


def _clock(found: dict[str, str | None]) -> timedelta:
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    micros = int(((found["fraction"] or "") + "000000")[:6])
    # 24:00 is the midnight that ends the day, and a leap second is taken as the one after it, as PostgreSQL does.
    is_end = hour == 24 and minute == second == micros == 0
    if (hour > 23 and not is_end) or minute > 59 or second > 60:
        raise ValueError("no such time of day")
    return timedelta(hours=hour, minutes=minute, seconds=second, microseconds=micros)


def _zone(found: dict[str, str | None]) -> timezone:
    digits = re.sub(r"[^0-9]", "", found["offset"] or "")
    if not digits:
        return UTC
    hours, minutes = int(digits[:2]), int(digits[2:] or 0)
    if minutes > 59:
        raise ValueError("no such offset")
    sign = 1 if "+" in str(found["offset"]) else -1
    return timezone(sign * timedelta(hours=hours, minutes=minutes))
