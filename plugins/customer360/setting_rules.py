"""What a setting may hold: one rule per kind of value, in words for messages and docs/settings.md, and as a check.

A rule stands beside the type of a setting: ``Annotated[int, Whole(1, 3600)]``. Pydantic first brings the text of the
environment to that type and then calls the rule's ``check``.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\.?", re.IGNORECASE)
_DOMAIN = re.compile(r"(\w([\w-]*\w)?\.)+\w([\w-]*\w)?")
_MAIL_ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+|[^@<>,;\r\n]*<[^@\s<>,;]+@[^@\s<>,;]+>")
_OBJECTIVE = re.compile(r"\w+\.(landing|publication|event)\s*=\s*0*[1-9][0-9]{0,6}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# The system's zone folder also holds these; they are no zones that a server elsewhere would know.
_NO_IANA_ZONE = re.compile(r"(posix|right)/.*|posixrules|localtime|Factory")


class Rule(ABC):
    """What a setting may hold.

    ``allowed`` completes the sentence "it must be …"; ``example`` is a value that fits. A rule with ``or_empty``
    accepts the empty text, which stands for "none" or "the default".
    """

    allowed: str
    example: str
    or_empty = False

    @abstractmethod
    def check(self, value: Any) -> Any:
        """The value, brought to its normal form.

        Raises:
            ValueError: it does not fit; the error's text is a hint, or empty where ``allowed`` says everything.
        """

    def shown(self, text: str) -> str:
        """The value as a message may repeat it."""
        return repr(text) if text else "empty"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Pydantic's hook: check after the text was brought to the setting's type."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: Any) -> Any:
        return value if self.or_empty and value == "" else self.check(value)


class Whole(Rule):
    """A whole number of a range, both ends included."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most
        self.allowed = f"a whole number from {least:,} to {most:,}"
        self.example = str(min(most, max(least, 10)))

    def check(self, value: int) -> int:
        """The number."""
        return _within(value, self.least, self.most)


class Number(Rule):
    """A number of a range, both ends included."""

    def __init__(self, least: float, most: float) -> None:
        self.least, self.most = least, most
        self.allowed = f"a number from {least:,} to {most:,}"
        self.example = str((least + most) / 2)

    def check(self, value: float) -> float:
        """The number; neither infinity nor NaN is one."""
        return _within(value, self.least, self.most)


def _within(value: Any, least: float, most: float) -> Any:
    if not least <= value <= most:
        raise ValueError
    return value


class YesNo(Rule):
    """A switch."""

    allowed = "yes or no (true, false, 1 and 0 will do)"
    example = "yes"

    def check(self, value: bool) -> bool:
        """The switch, which pydantic has read."""
        return value


class OneOf(Rule):
    """One of some words, in this very spelling."""

    def __init__(self, choices: Iterable[str], allowed: str = "", example: str = "") -> None:
        self.choices = tuple(choices)
        self.allowed = allowed or f"one of {', '.join(self.choices)}"
        self.example = example or self.choices[0]

    def check(self, value: str) -> str:
        """The word; the hint names the nearest one."""
        if value not in self.choices:
            raise ValueError(nearest(value, self.choices))
        return value


class Zone(Rule):
    """An IANA time zone."""

    allowed = "the name of an IANA time zone, such as Europe/Berlin"
    example = "Europe/Berlin"

    def check(self, value: str) -> str:
        """The zone's name."""
        try:
            if _NO_IANA_ZONE.fullmatch(value):
                raise ValueError
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # a folder such as "Europe" is an OSError
            from zoneinfo import available_timezones

            raise ValueError(nearest(value, sorted(available_timezones()), 0.8)) from error
        return value


class ZoneOrNone(Zone):
    """An IANA time zone, or none."""

    allowed = "empty, or the name of an IANA time zone, such as Europe/Berlin"
    or_empty = True


class Matching(Rule):
    """A text of one form."""

    def __init__(self, pattern: str, allowed: str, example: str) -> None:
        self._pattern = re.compile(pattern)
        self.allowed, self.example = allowed, example

    def check(self, value: str) -> str:
        """The text."""
        if not self._pattern.fullmatch(value):
            raise ValueError
        return value


class Host(Rule):
    """An address that a server can listen on."""

    allowed = "a host name or an IP address, without scheme and port"
    example = "127.0.0.1"

    def check(self, value: str) -> str:
        """The host."""
        try:
            ipaddress.ip_address(value)
        except ValueError:
            last = value.rstrip(".").rpartition(".")[2]
            if not _HOST_NAME.fullmatch(value) or last.isdigit():
                raise ValueError from None
        return value


class Url(Rule):
    """A URL of a server. It may hold a password or a token, so that messages show its scheme and host alone."""

    or_empty = True

    def __init__(self, schemes: tuple[str, ...], example: str, *, with_path: bool = False) -> None:
        self.schemes, self.example, self._with_path = schemes, example, with_path
        self.allowed = f"a URL such as {example} ({' or '.join(f'{scheme}://' for scheme in schemes)})"

    def check(self, value: str) -> str:
        """The URL as it was given."""
        if any(character.isspace() for character in value):
            raise ValueError("It holds a space.")
        parts = urlsplit(value)
        if parts.scheme not in self.schemes:
            raise ValueError
        if not parts.hostname:
            raise ValueError("It names no host.")
        try:
            _ = parts.port
        except ValueError:
            raise ValueError(
                "Its port is no number up to 65,535; a : or @ in a password is written %3A or %40."
            ) from None
        if self._with_path and not parts.path.strip("/"):
            raise ValueError("It names no database.")
        return value

    def shown(self, text: str) -> str:
        """Scheme and host: a password may stand anywhere in a URL that cannot be read."""
        return masked_url(text)


def masked_url(text: str) -> str:
    """Scheme and host of a URL, without user, password, path and query; their mere number of characters otherwise."""
    hidden = f"a value of {len(text)} characters, not shown because it may be a secret"
    if not text:
        return "empty"
    if not _SCHEME.match(text):
        return hidden
    try:
        parts = urlsplit(text)
    except ValueError:
        return hidden
    beside = text.split(parts.netloc, 1)[1] if parts.netloc else ""
    # An @ further back means that a password cut the host off at its /, ? or #.
    if not parts.hostname or "@" in beside or not _HOST_NAME.fullmatch(parts.hostname):
        return hidden
    return f"'{parts.scheme}://{parts.hostname}/…'"


class Folder(Rule):
    """A folder: there already, or one that can be made."""

    def __init__(self, *, must_exist: bool = False, or_empty: bool = False) -> None:
        self._must_exist = must_exist
        self.or_empty = must_exist or or_empty
        self.allowed = "a folder that exists" if must_exist else "a folder, or a path where one can be made"
        self.example = str(Path.home()) if must_exist else "/srv/customer360"

    def check(self, value: str | Path) -> str | Path:
        """The path, with ``~`` filled in."""
        path = Path(os.path.expanduser(value))
        existing = path if self._must_exist else _nearest_existing(path)
        if not existing.is_dir():
            raise ValueError(f"{existing} is no folder." if existing.exists() else f"{existing} does not exist.")
        return type(value)(path)


def _nearest_existing(path: Path) -> Path:
    return next((one for one in (path, *path.absolute().parents) if os.path.lexists(one)), path)


class File(Rule):
    """A file that can be read."""

    or_empty = True
    allowed = "the path of a file that exists"

    def __init__(self, example: str) -> None:
        self.example = example

    def check(self, value: str) -> str:
        """The path, with ``~`` filled in."""
        path = Path(os.path.expanduser(value))
        if not path.is_file():
            raise ValueError(f"{path} is no file." if path.exists() else f"{path} does not exist.")
        return str(path)


class FileToUse(Rule):
    """A file that only some commands read: they say so if it is not there, and every other command works."""

    or_empty = True
    allowed = "the path of a file"
    example = "/etc/customer360/backup.key"

    def check(self, value: str) -> str:
        """The path, with ``~`` filled in."""
        path = Path(os.path.expanduser(value))
        if path.is_dir():
            raise ValueError(f"{path} is a folder.")
        return str(path)


class Landing(Rule):
    """A landing zone: a folder, or a place in an object store."""

    or_empty = True
    allowed = "a folder, or an fsspec URL such as s3://bucket/landing"
    example = "s3://bucket/landing"

    def check(self, value: str) -> str:
        """The folder or URL."""
        if "://" not in value:
            return str(Folder().check(value))
        from fsspec import available_protocols  # only where there is a URL: the import is felt

        scheme, _, rest = value.partition("://")
        if scheme not in available_protocols():
            raise ValueError(f"fsspec knows no {scheme}://. {nearest(scheme, available_protocols())}".strip())
        if not rest.strip("/"):
            raise ValueError("It names no bucket.")
        return value

    def shown(self, text: str) -> str:
        """A URL without what may be a key."""
        return masked_url(text) if "@" in text else super().shown(text)


class Listed(Rule):
    """Several values with commas between them."""

    or_empty = True

    def __init__(self, pattern: re.Pattern[str], allowed: str, example: str, *, is_personal: bool = False) -> None:
        self._pattern, self._is_personal = pattern, is_personal
        self.allowed, self.example = allowed, example

    def check(self, value: str) -> str:
        """The text as it was given; the hint counts the entries, since an address is personal."""
        for number, entry in enumerate(value.split(","), 1):
            if entry.strip() and not self._pattern.fullmatch(entry.strip()):
                raise ValueError(f"Entry {number} does not fit.")
        if not value.replace(",", "").strip():
            raise ValueError
        return value

    def shown(self, text: str) -> str:
        """The text; of addresses only the domains."""
        return super().shown(re.sub(r"[^\s,;<>@]+(\s+[^\s,;<>@]+)*(?=@)", "…", text) if self._is_personal else text)


def domains() -> Listed:
    """Mail domains."""
    return Listed(_DOMAIN, "mail domains with commas between them", "gmail.com, googlemail.com")


def hosts_and_mail_domains() -> Listed:
    """Hosts of pages, and mail domains behind an @."""
    return Listed(
        re.compile(f"@{_DOMAIN.pattern}|{_HOST_NAME.pattern}", re.IGNORECASE),
        "hosts and @mail-domains with commas between them",
        "staging.shop.example, @shop.example",
    )


def mail_addresses() -> Listed:
    """Mail addresses, with or without a name."""
    return Listed(_MAIL_ADDRESS, "mail addresses with commas between them", "oncall@example.org", is_personal=True)


def objectives() -> Listed:
    """Freshness objectives. Which subjects there are only the warehouse knows: the monitor compares them."""
    allowed = "subject.measure=minutes, with commas between them; a measure is landing, publication or event"
    return Listed(_OBJECTIVE, allowed, "orders.landing=240")


def nearest(word: str, known: Iterable[str], likeness: float = 0.7) -> str:
    """A question for the known word most like this one, whatever its case, or "" if none is like it."""
    by_form = {one.casefold(): one for one in known}
    found = difflib.get_close_matches(word.casefold(), by_form, n=1, cutoff=likeness)
    return f"Did you mean {by_form[found[0]]}?" if found else ""
