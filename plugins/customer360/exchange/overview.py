"""What a shop sells in, at which rate, and how much money waits for one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from psycopg.rows import class_row

from customer360 import warehouse
from customer360.exchange.rates import newest_reference
from customer360.settings import Settings


@dataclass(frozen=True)
class Currency:
    """A currency other than the reporting one: its rate of today, and the orders that have none for their day."""

    currency: str
    rate: Decimal | None
    source: str | None
    waiting_orders: int
    waiting_amount: Decimal
    first_on: date | None
    last_on: date | None


@dataclass(frozen=True)
class Overview:
    """The currencies that orders came in, and how old the newest reference rates are (days)."""

    reporting_currency: str
    newest_on: date
    age_days: int
    currencies: list[Currency]

    @property
    def is_waiting(self) -> bool:
        """Whether an order waits for a rate."""
        return any(one.waiting_orders for one in self.currencies)


def overview(settings: Settings) -> Overview:
    """The exchange rates as published orders need them."""
    with warehouse.connect("owner", settings) as connection:
        newest_on = newest_reference(connection)
        is_published = warehouse.scalar(connection, "select to_regclass('marts.unconverted_totals') is not null")
        waiting = (
            """
            select currency, sum(order_count) as orders, sum(original_gross_amount) as amount,
                min(ordered_on) as first_on, max(ordered_on) as last_on
            from marts.unconverted_totals group by currency
            """
            if is_published
            else "select '' as currency, 0 as orders, 0 as amount, null as first_on, null as last_on limit 0"
        )
        found = connection.cursor(row_factory=class_row(Currency)).execute(
            warehouse.query(
                f"""
                with waiting as ({waiting}),
                rates as (
                    select from_currency as currency, rate, source from state.exchange_rates
                    where to_currency = %(reporting)s and valid_on = %(today)s
                ),
                known as (select distinct from_currency as currency from state.exchange_rates
                    where to_currency = %(reporting)s)
                select currency, rates.rate, rates.source, coalesce(waiting.orders, 0)::bigint as waiting_orders,
                    coalesce(waiting.amount, 0) as waiting_amount, waiting.first_on, waiting.last_on
                from (select currency from known union select currency from waiting) as currencies
                left join rates using (currency)
                left join waiting using (currency)
                order by currency
                """
            ),
            {"reporting": settings.reporting_currency, "today": settings.today()},
        )
        currencies = found.fetchall()
    return Overview(settings.reporting_currency, newest_on, (settings.today() - newest_on).days, currencies)
