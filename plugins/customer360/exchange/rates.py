"""The rates that amounts are converted with: one row per pair of currencies and day, for what a shop sells in.

A shop's own rates come first. Else the day's reference rate holds, or that of the last day
before it on which the bank published one; two currencies are crossed by way of the euro.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

from customer360 import warehouse
from customer360.contract.feeds import FEEDS
from customer360.exchange import reference
from customer360.exchange.reference import JOINED_THE_EURO, Quotes
from customer360.settings import Settings
from customer360.terminal import counted
from customer360.warehouse import Connection, dirty, query

DAYS_BETWEEN_QUOTES = 10
"""How many days a rate holds that the bank followed by none: its longest holidays are shorter, a currency that it has
ceased to quote has no rate from then on."""
DAYS_AFTER_THE_FILE = 400
"""How many days the rates of the newest file hold on, so that amounts are converted while nobody imports newer ones."""
_RENEWED_DAYS_BEFORE_THE_END = 30
_EURO_BEGAN = date(1999, 1, 4)
_FEEDS_WITH_MONEY = [feed for feed in FEEDS.values() if "currency" in feed.by_name]
_DIGITS = Decimal(1).scaleb(-10)


@dataclass(frozen=True)
class Imported:
    """What an import changed: days and rates that were new, rates that differed, and the newest day now known."""

    currencies: int
    new_rates: int
    changed_rates: int
    newest_on: date

    def __str__(self) -> str:
        if not self.new_rates and not self.changed_rates:
            return f"Every rate of the file was known. The newest is of {self.newest_on}."
        return (
            f"{self.new_rates:,} new rates, {self.changed_rates:,} changed, "
            f"of {counted(self.currencies, 'currency', 'currencies')}. The newest is of {self.newest_on}."
        )


def fingerprint(connection: Connection) -> str:
    """A hash of all that rates come from: another one touches the orders of the days that differ, nothing else."""
    kept = connection.execute(
        """
        select (select row(count(*), max(imported_at))::text from state.reference_rates),
            (select row(count(*), max(imported_at))::text from state.own_rates)
        """
    ).fetchone()
    return hashlib.sha256(f"{reference.shipped_version()} {kept}".encode()).hexdigest()


def import_file(settings: Settings, path: Path) -> Imported:
    """Keep what a file of the European Central Bank says beyond what is known, or the rates of a shop's own file.

    The next run converts with it. A file of the shop's own replaces its rates of the pairs that the file names.

    Raises:
        reference.RatesFileError: the file cannot be used; nothing of it was taken.
    """
    given = reference.read(path)
    if not isinstance(given, reference.ReferenceFile):
        return _import_own(settings, given)
    with warehouse.connect("owner", settings, application_name="customer360 rates") as connection:
        known, newest_on = _known(connection, given.quotes)
        differing = [
            (currency, day, rate, known.get(currency, {}).get(day) is not None)
            for currency, days in given.quotes.items()
            for day, rate in days.items()
            if known.get(currency, {}).get(day) != rate
        ]
        if differing:
            connection.execute(
                "create temporary table given (currency text, valid_on date, rate numeric) on commit drop"
            )
            with connection.cursor().copy("copy given from stdin") as copy:
                for currency, day, rate, _ in differing:
                    copy.write_row((currency, day, rate))
            connection.execute(
                """
                insert into state.reference_rates (currency, valid_on, units_per_euro, source)
                select currency, valid_on, rate, %s from given
                on conflict (currency, valid_on) do update
                set units_per_euro = excluded.units_per_euro, source = excluded.source, imported_at = clock_timestamp()
                """,
                [path.name],
            )
    changed = sum(was_there for *_, was_there in differing)
    return Imported(len(given.quotes), len(differing) - changed, changed, max(newest_on, given.newest_on))


def _import_own(settings: Settings, given: reference.OwnFile) -> Imported:
    pairs = sorted({(one.from_currency, one.to_currency) for one in given})
    with warehouse.connect("owner", settings, application_name="customer360 rates") as connection:
        known: set[tuple[Any, ...]] = {
            tuple(row)
            for pair in pairs
            for row in connection.execute(
                "select from_currency, to_currency, valid_from_on, rate, coalesce(source, '') from state.own_rates"
                " where from_currency = %s and to_currency = %s",
                pair,
            )
        }
        wanted: set[tuple[Any, ...]] = {
            (one.from_currency, one.to_currency, one.valid_from_on, one.rate, one.source) for one in given
        }
        if wanted != known:
            for pair in pairs:
                connection.execute("delete from state.own_rates where from_currency = %s and to_currency = %s", pair)
            with connection.cursor() as cursor:
                cursor.executemany(
                    "insert into state.own_rates (from_currency, to_currency, valid_from_on, rate, source)"
                    " values (%s, %s, %s, %s, %s)",
                    list(wanted),
                )
    days = {row[:3] for row in known}
    new = sum(row[:3] not in days for row in wanted)
    changed = len(wanted - known) - new + len(days - {row[:3] for row in wanted})
    return Imported(len({pair[0] for pair in pairs}), new, changed, max(one.valid_from_on for one in given))


def refresh(connection: Connection, settings: Settings, *, whole: bool, sources_changed: bool) -> list[str]:
    """Work out the rates of the currencies that staged orders and tickets have and that have none yet.

    Args:
        whole: look at every staged record, not only at those of dirty keys.
        sources_changed: work out again what was worked out before.

    Returns:
        The currencies whose rates were worked out.
    """
    reporting, today = settings.reporting_currency, settings.today()
    of_dirty = "" if whole or sources_changed else " where {key} in {keys}"
    staged = " union ".join(
        f"select currency from staging.{feed.staged}{of_dirty.format(key=feed.key, keys=dirty.keys(feed.scope))}"
        for feed in _FEEDS_WITH_MONEY
    )
    wanted = [
        row[0]
        for row in connection.execute(
            query(
                f"""
                select currency from ({staged}) as staged where currency <> %(reporting)s
                    and (%(again)s or not exists (
                        select from state.exchange_rates as known
                        where known.from_currency = staged.currency and known.to_currency = %(reporting)s
                            and known.valid_on = %(until)s))
                order by currency
                """
            ),
            {
                "reporting": reporting,
                "again": sources_changed,
                "until": today + timedelta(days=_RENEWED_DAYS_BEFORE_THE_END),
            },
        )
    ]
    if not wanted:
        return []
    known, newest_on = _known(connection, {*wanted, reporting})
    for currency in wanted:
        own = _own(connection, currency, reporting)
        connection.execute(
            "delete from state.exchange_rates where from_currency = %s and to_currency = %s", [currency, reporting]
        )
        statement = "copy state.exchange_rates (from_currency, to_currency, valid_on, rate, source) from stdin"
        with connection.cursor().copy(statement) as copy:
            for day, rate, source in _daily(known, (currency, reporting), own, newest_on, today):
                copy.write_row((currency, reporting, day, rate, source))
    return wanted


def _known(connection: Connection, currencies: Iterable[str]) -> tuple[Quotes, date]:
    """Units per euro of the currencies, as shipped and as imported since; and the newest day that the files know."""
    shipped = reference.shipped().quotes
    quotes = {currency: dict(shipped.get(currency, {})) for currency in currencies}
    for currency, day, rate in connection.execute(
        "select currency, valid_on, units_per_euro from state.reference_rates where currency = any(%s)", [list(quotes)]
    ):
        quotes[currency][day] = rate
    return quotes, newest_reference(connection)


def newest_reference(connection: Connection) -> date:
    """The newest day of which reference rates are known, as shipped or as imported since."""
    shipped_on = reference.shipped().newest_on
    imported_on: date | None = warehouse.scalar(connection, "select max(valid_on) from state.reference_rates")
    return max(shipped_on, imported_on or shipped_on)


def _own(connection: Connection, currency: str, reporting: str) -> list[tuple[date, Decimal | None]]:
    """The shop's own rates of the pair by the day from which each holds; one that is null ends the one before."""
    return connection.execute(
        """
        select valid_from_on, rate from state.own_rates where from_currency = %s and to_currency = %s
        order by valid_from_on
        """,
        [currency, reporting],
    ).fetchall()


def _daily(
    known: Quotes,
    pair: tuple[str, str],
    own: list[tuple[date, Decimal | None]],
    newest_on: date,
    today: date,
) -> Iterator[tuple[date, Decimal, str]]:
    """Each day of the pair that has a rate, with it and with where it comes from."""
    of_currency, of_reporting = (_held(known, currency, newest_on) for currency in pair)
    first = min([*of_currency, *(day for day, _ in own)], default=today)
    position, own_rate = 0, None
    for day in _days(first, max(newest_on, today) + timedelta(days=DAYS_AFTER_THE_FILE)):
        while position < len(own) and own[position][0] <= day:
            own_rate = own[position][1]
            position += 1
        if own_rate is not None:
            yield day, own_rate, "your own"
        elif day in of_currency and day in of_reporting:
            (per_euro, quoted_on), (reporting_per_euro, reporting_on) = of_currency[day], of_reporting[day]
            source = f"ECB {min(quoted_on, reporting_on)}"
            yield day, (reporting_per_euro / per_euro).quantize(_DIGITS), source


def _held(known: Quotes, currency: str, newest_on: date) -> dict[date, tuple[Decimal, date]]:
    """Units per euro for every day on which a rate holds, and the day that the rate was published."""
    last = newest_on + timedelta(days=DAYS_AFTER_THE_FILE)
    if currency == "EUR":
        return {day: (Decimal(1), day) for day in _days(_EURO_BEGAN, last)}
    held: dict[date, tuple[Decimal, date]] = {}
    quotes = known.get(currency, {})
    days = sorted(quotes)
    for day, following in zip_longest(days, days[1:]):
        end = day + timedelta(days=DAYS_BETWEEN_QUOTES)
        if following is not None:
            end = min(end, following - timedelta(days=1))
        elif day == newest_on:
            end = last
        held |= dict.fromkeys(_days(day, end), (quotes[day], day))
    if days and currency in JOINED_THE_EURO:
        held |= {day: (JOINED_THE_EURO[currency], day) for day in _days(days[-1] + timedelta(days=1), last)}
    return held


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))
