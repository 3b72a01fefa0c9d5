r"""Placeholders: texts that stand in an identifier's field and name nobody, recognised by their form.

A list of known placeholders is never complete, so a text is judged by what it is made of: marker words and nothing
else (``(not set)``, ``null null``, ``deleted-user@…``), a template that was never filled in (``${customerId}``), an
escape sequence (``\N``), a number that is zero (``0.0``), one character over and over, a run along the keyboard, a
domain that never receives mail (``….invalid``). The words stand in ``junk_identifiers.csv``; the forms stand here. A
marker that neither knows is stopped by the limits of :mod:`customer360.identity.grouping`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

Test = Callable[[str], bool]
"""Takes a normal form in lower case: is it a placeholder?"""

_LETTER_OR_DIGIT = re.compile(r"[^\W_]")

# RFC 6761 reserves example, invalid, localhost and test. Samples are made of example and test, which stay addresses;
# the other two say that nothing is delivered. localdomain is what a machine without a name calls itself.
_NO_MAIL = (".invalid", ".localhost", ".localdomain", ".localhost.local")

_ID_FORMS = re.compile(
    "|".join(
        (
            r"[\W_]*[+-]?0x0+[\W_]*",  # zero in hexadecimal
            r"[\W_]*0[0\W_]*(?:e[+-]?0+)?[\W_]*",  # zero, with a point, as a nil UUID, in scientific notation
            r"-[1-9](?:\.0+)?|-9+(?:\.0+)?",  # a code for "missing": no counter counts below zero
            r"(?:0000|0001|1899|1900|1970|9999)-\d\d-\d\d(?:[t ].*)?",  # the day zero of some software
            r"0{1,2}[/.]0?1[/.](?:1900|1970)|0?1[/.]0{1,2}[/.]1900",  # the same, as a spreadsheet writes it
            r"\\+[\W_]*\w{0,4}",  # an escape sequence: \N is what a database's COPY writes for nothing
            r"#(?:n/?[av]|[a-z]+(?:/0)?[!?])",  # a spreadsheet's error
            r"([^\W\d_])[\W_]*(?:\1[\W_]*){2,}",  # one letter over and over
            r"([^\W_])[\W_]*(?:\2[\W_]*){6,}",  # one digit over and over: shorter ones are true numbers
            # A template that was not filled in.
            r"\$\{.*\}|\{\{.*\}\}|#\{.*\}|<%.*%>|<\?.*\?>|\[\[.*\]\]|%%.+%%|%[^\W\d][\w.]*%|@@\w+@?@?|\$[^\W\d]\w*\$?",
            r"%[(\[{]?[a-z_]*[)\]}]?[sdif]|\{\d*\}",  # a format that was not filled in
            # Words in brackets, without a digit: an id that is made of letters alone stands in none.
            r"\([^\d()]*\)|<[^\d<>]*>|\[[^\d\[\]]*\]|\{[^\d{}]*\}|«[^\d]*»",
        )
    )
)
# An id as most are, which no form but a run or a repetition can be: it begins with a letter or digit, holds a digit
# that is not zero, and is no date.
_ORDINARY_ID = re.compile(r"(?!\d+\W)[^\W_](?:.*[1-9])?(?<=[1-9])")
_REPETITION = re.compile(r"([^\W_])(?:\1){6,}")
# A template, an escape, a bracket: no provider has such addresses.
_NO_LOCAL = re.compile(r"[{}<>\[\]()\\]|^%.*%$|^\$")
_LOCAL_FORMS = re.compile(
    r"[\W_]*0[0\W_]*"  # zero
    r"|([^\W\d_])[\W_]*(?:\1[\W_]*){2,}"  # one letter over and over
)
# The number of an erased account or of a test ("deleted-8f3e2a"): it makes nobody of a marker.
_NUMBER = re.compile(r"(?<![^\W_])[0-9a-f]*\d[0-9a-f]*(?![^\W_])")
_DIGIT = re.compile(r"\d")
_MOST_DOMAINS = 100_000
"""Domains that are remembered; most addresses share a few."""
_SHORT_LABEL = 3
_RUN = 4
"""Keys in a row that are no accident."""
_LONGEST_RUN = 40
_DIGIT_RUN = 8
"""The same for digits: shorter ones (123456) are true account numbers."""
_ROWS = (
    "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "yxcvbnm", "azertyuiop", "qsdfghjklm", "wxcvbn",
    "abcdefghijklmnopqrstuvwxyz", "01234567890123456789",
)  # fmt: skip
_ALONG = tuple(row for one in _ROWS for row in (one, one[::-1]))
_BEGINNINGS = frozenset(row[start : start + _RUN] for row in _ALONG for start in range(len(row) - _RUN + 1))


def is_run(text: str) -> bool:
    """Whether a text is typed along a row of the keyboard or along the alphabet, to and fro or repeated."""
    if not _RUN <= len(text) <= _LONGEST_RUN or (text.isdigit() and len(text) < _DIGIT_RUN):
        return False
    return text[:_RUN] in _BEGINNINGS and _is_along(text)


def _is_along(text: str) -> bool:
    return any(text in row for row in _ALONG) or (
        len(text) % 2 == 0 and text[: len(text) // 2] == text[len(text) // 2 :] and _is_along(text[: len(text) // 2])
    )


@dataclass(frozen=True)
class Words:
    """The words of one identifier type.

    ``words`` mark nobody by themselves; ``fillers`` do so beside one of them ("not set", "no e-mail provided").
    """

    words: frozenset[str] = frozenset()
    fillers: frozenset[str] = frozenset()

    def consist(self, *, with_digits: bool) -> Test:
        """A test whether a text is made of these words alone, with at least one that marks by itself.

        Punctuation between them is ignored, and digits too where ``with_digits`` says so.
        """
        if not self.words:
            return lambda text: False
        between = r"[\W\d_]*" if with_digits else r"[\W_]*"
        made = re.compile(f"{between}(?:(?:{_any(self.words | self.fillers)}){between})+")
        holds = re.compile(_any(self.words))
        beginnings = frozenset(word[:1] for word in self.words | self.fillers)
        return lambda text: (
            (text[:1] in beginnings or not text[:1].isalpha())
            and made.fullmatch(text) is not None
            and holds.search(text) is not None
        )


@dataclass(frozen=True)
class Placeholders:
    """What never joins anyone: forms, and the words, texts and patterns of the list, per identifier type."""

    exact: dict[str, frozenset[str]]
    patterns: dict[str, tuple[re.Pattern[str], ...]]
    words: dict[str, Words]
    kept: dict[str, frozenset[str]]
    fingerprint: str
    _tests: dict[str, Test] = field(default_factory=dict, compare=False)

    def test_of(self, identifier_type: str) -> Test:
        """A test for the lower case of a normal form: is it a placeholder rather than somebody's?"""
        if identifier_type not in self._tests:
            self._tests[identifier_type] = self._compose(identifier_type)
        return self._tests[identifier_type]

    def _compose(self, identifier_type: str) -> Test:
        exact = self.exact.get(identifier_type, frozenset())
        kept = self.kept.get(identifier_type, frozenset())
        patterns = self.patterns.get(identifier_type, ())
        has_form = {"email": self._is_no_address, "phone": _is_no_number}.get(identifier_type) or self._is_no_id(
            identifier_type
        )
        return lambda text: (
            (text in exact or has_form(text) or any(pattern.fullmatch(text) for pattern in patterns))
            and text not in kept
        )

    def _is_no_id(self, identifier_type: str) -> Test:
        consists = self.words.get(identifier_type, Words()).consist(with_digits=False)

        def test(text: str) -> bool:
            if _ORDINARY_ID.match(text):
                return text.isdigit() and (is_run(text) or _REPETITION.fullmatch(text) is not None)
            return (
                _LETTER_OR_DIGIT.search(text) is None
                or _ID_FORMS.fullmatch(text) is not None
                or is_run(text)
                or consists(text)
            )

        return test

    @property
    def _is_no_address(self) -> Test:
        consists = self.words.get("email", Words()).consist(with_digits=True)
        domain_words = self.words.get("email_domain", Words())
        in_domain = domain_words.consist(with_digits=True)
        fillers = domain_words.fillers

        @lru_cache(_MOST_DOMAINS)
        def delivers_nothing(domain: str) -> bool:
            labels = domain.split(".")
            return f".{domain}".endswith(_NO_MAIL) or any(in_domain(label) for label in labels[:-1] or labels)

        def test(text: str) -> bool:
            local, _, domain = text.partition("@")
            if _NO_LOCAL.search(local) or _LOCAL_FORMS.fullmatch(local) or _LETTER_OR_DIGIT.search(local) is None:
                return True
            if is_run(local) and not local.isdigit():
                return True
            if consists(_NUMBER.sub("", local) if _DIGIT.search(local) else local) or delivers_nothing(domain):
                return True
            name, _, rest = domain.partition(".")
            if "." in rest:
                return False
            # One word twice, or one made-up word at another: a@a.com, foo@bar.com, user@domain.com.
            return (local == name and (len(name) <= _SHORT_LABEL or name.isdigit())) or (
                (local in fillers or len(local) == 1) and (name in fillers or len(name) == 1)
            )

        return test


def _is_no_number(text: str) -> bool:
    """A phone in E.164 whose line is zero, or two digits by turns (1212121212)."""
    digits = text[1:].partition(";")[0]
    return digits.endswith("0" * 7) or any(
        len(rest) >= 8 and rest == (rest[:2] * len(rest))[: len(rest)] for rest in (digits[1:], digits[2:], digits[3:])
    )


_LONG = 4
_GLUED = frozenset(("no", "not", "do", "id"))
"""Short words that stand in others without a gap ("noid"). Of all other short ones names are made: "anna", "nanna"."""


def _any(words: Iterable[str]) -> str:
    """One pattern for any of these words, the longest first. A hyphen in a word stands for any gap, or none."""
    return "|".join(_pattern(word) for word in sorted(words, key=lambda word: (-len(word), word)))


def _pattern(word: str) -> str:
    pattern = r"[\W_]*".join(re.escape(part) for part in word.split("-"))
    if len(word.replace("-", "")) >= _LONG or word in _GLUED:
        return pattern
    return rf"(?<![^\W\d_]){pattern}(?![^\W\d_])"
