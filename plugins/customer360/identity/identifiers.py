"""Identifiers: how a text that somebody typed becomes a typed, normalised identifier, or none.

A record's texts are noisy; two texts are the same identifier exactly when their normal forms are equal. A customer_id
counts in the namespace of its record's source: its form is that of a record key
(:mod:`customer360.contract.record_keys`). What cannot be normalised (no ``@``, too few digits) and what is a
placeholder (:mod:`customer360.identity.placeholders`) identifies nobody: the record is kept, the text joins no one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import phonenumbers

from customer360.contract.record_keys import key_of, parts_of
from customer360.errors import ConfigurationError
from customer360.identity.placeholders import Placeholders, Words
from customer360.settings import Settings

StrongType = Literal["customer_id", "email", "phone"]
STRONG_TYPES: tuple[StrongType, ...] = ("customer_id", "email", "phone")
"""Strongest first: where an operator has set a record's identifiers apart, the first names the record's customer."""

JUNK_LIST = Path(__file__).with_name("junk_identifiers.csv")

# Format characters (zero-width space, byte-order mark, direction marks) are pasted along and seen by nobody.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_SPACE = re.compile(r"\s+")
_POSSIBLE = phonenumbers.ValidationResult.IS_POSSIBLE


def read_junk_list(path: Path = JUNK_LIST) -> Placeholders:
    """Read the list of placeholders: columns identifier_type (several with spaces between them), kind, value, why.

    Kinds: ``exact``, a whole normal form; ``pattern``, a regular expression that the whole normal form must match;
    ``word``, which marks nobody by itself; ``filler``, which does so beside a word; ``keep``, a normal form that is
    somebody's although a rule takes it for a placeholder. Normal forms are compared in lower case. The words of what
    stands behind the @ have the type ``email_domain``.

    Raises:
        ConfigurationError: the file is missing, or a line does not fit.
    """
    listed: dict[str, dict[str, set[str]]] = {kind: {} for kind in ("exact", "pattern", "word", "filler", "keep")}
    try:
        content = path.read_bytes()
        with io.StringIO(content.decode("utf-8"), newline="") as lines:
            for row in csv.DictReader(lines):
                value = re.compile(row["value"]).pattern if row["kind"] == "pattern" else row["value"].lower()
                for identifier_type in row["identifier_type"].split():
                    listed[row["kind"]].setdefault(identifier_type, set()).add(value)
    except (OSError, UnicodeDecodeError, KeyError, re.error) as error:
        raise ConfigurationError(
            f"The junk list {path} cannot be read: {error}.",
            "Correct the file, or unset C360_IDENTITY_JUNK_LIST for the list that comes with the product.",
        ) from error
    return Placeholders(
        exact={kind: frozenset(values) for kind, values in listed["exact"].items()},
        patterns={kind: tuple(map(re.compile, sorted(parts))) for kind, parts in listed["pattern"].items()},
        words={
            kind: Words(frozenset(words), frozenset(listed["filler"].get(kind, ())))
            for kind, words in listed["word"].items()
        },
        kept={kind: frozenset(values) for kind, values in listed["keep"].items()},
        fingerprint=hashlib.sha256(content).hexdigest()[:12],
    )


def clean_text(raw: str) -> str:
    """The text as it was meant: one Unicode form (NFKC: full-width letters become plain ones), trimmed."""
    if raw.isascii():
        return raw.strip()
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", raw)).strip()


def normalise_customer_id(raw: str) -> str | None:
    """The shop's own account id: trimmed, in one Unicode form, its case kept; None if nothing is left."""
    return clean_text(raw) or None


def normalise_email(
    raw: str, *, drop_plus_tags: bool = False, dotless_domains: frozenset[str] = frozenset()
) -> str | None:
    """The address trimmed, in one Unicode form, in lower case, its domain as DNS sees it; None if it is no address.

    Plus-tags and dots are kept unless asked for: most providers deliver ``a.b@`` and ``ab@`` to two people.
    """
    text = clean_text(raw).lower()
    local, at, domain = text.rpartition("@")
    domain = domain.strip(".")
    if not at or not local or not domain or "@" in local or _SPACE.search(text):
        return None
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    if drop_plus_tags:
        local = local.split("+", 1)[0] or local
    if domain in dotless_domains:
        local = local.replace(".", "")
    return f"{local}@{domain}" if local else None


def normalise_phone(raw: str, region: str) -> str | None:
    """The number in E.164 (with ``;ext=`` where it has an extension); None if no such number can exist.

    "Possible" (length and country code) is asked for, not "valid": number ranges open faster than a library's
    tables. A number without its area code is refused, since it is a different line in every town.
    """
    try:
        number = phonenumbers.parse(clean_text(raw), region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(number) != _POSSIBLE:
        return None
    normal: str = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return f"{normal};ext={number.extension}" if number.extension else normal


@dataclass
class Normaliser:
    """Normalises texts of every type as the settings say; each distinct text is worked out once."""

    phone_region: str
    drop_plus_tags: bool
    dotless_domains: frozenset[str]
    junk: Placeholders
    _known: dict[str, dict[str, str | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Normaliser:
        """The normaliser of an installation."""
        domains = settings.email_dotless_domains.lower().split(",")
        return cls(
            phone_region=settings.phone_region,
            drop_plus_tags=settings.email_drop_plus_tags,
            dotless_domains=frozenset(domain.strip() for domain in domains if domain.strip()),
            junk=_junk_list(settings.identity_junk_list or str(JUNK_LIST)),
        )

    def normalise(self, identifier_type: str, raw: str | None) -> str | None:
        """The identifier behind a text, or None where it identifies nobody (unusable or junk)."""
        if raw is None:
            return None
        known = self._known.setdefault(identifier_type, {})
        if raw not in known:
            known[raw] = self._work_out(identifier_type, raw)
        return known[raw]

    def normalise_all(self, identifier_type: str, texts: Iterable[str]) -> list[str | None]:
        """The same for many distinct texts, without remembering them."""
        rule, holds = self._rule(identifier_type), self.junk.test_of(identifier_type)
        if identifier_type == "customer_id":
            return [_in_its_source(text, rule, holds) for text in texts]
        normal = (rule(text) for text in texts)
        return [None if text is None or holds(text.lower()) else text for text in normal]

    def _work_out(self, identifier_type: str, raw: str) -> str | None:
        return self.normalise_all(identifier_type, [raw])[0]

    def _rule(self, identifier_type: str) -> Callable[[str], str | None]:
        if identifier_type == "email":
            return self._email
        return self._phone if identifier_type == "phone" else normalise_customer_id

    def _email(self, raw: str) -> str | None:
        return normalise_email(raw, drop_plus_tags=self.drop_plus_tags, dotless_domains=self.dotless_domains)

    def _phone(self, raw: str) -> str | None:
        return normalise_phone(raw, self.phone_region)


def _in_its_source(key: str, rule: Callable[[str], str | None], is_junk: Callable[[str], bool]) -> str | None:
    """The normal form of a customer_id that stands in the namespace of its source, as record keys do."""
    source, text = parts_of(key.strip())
    normal = rule(text)
    return None if normal is None or is_junk(normal.lower()) else key_of(source, normal)


@cache
def _junk_list(path: str) -> Placeholders:
    return read_junk_list(Path(path))
