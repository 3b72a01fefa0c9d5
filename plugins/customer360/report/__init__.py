"""The report: pictures of what is published, in one file that opens without a network.

Everything is read as role ``bi_reader``, from marts and ops, in one REPEATABLE READ transaction: one published version.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from customer360 import __version__, warehouse
from customer360.errors import Customer360Error
from customer360.settings import Settings


class NothingToReportError(Customer360Error):
    """Nothing is published yet."""


class UnknownCustomerError(NothingToReportError):
    """Nobody among the published customers has the key."""


def write_report(settings: Settings, target: Path | None = None) -> Path:
    """Write the shop's report; returns the file (default: ``C360_HOME/report/index.html``).

    Raises:
        NothingToReportError: nothing is published yet.
    """
    return _write(draw_report(settings, customers_at=None)[1], target or settings.home / "report" / "index.html")


def draw_report(settings: Settings, *, customers_at: str | None) -> tuple[str, str]:
    """The shop's report as HTML, after the edition that it is (see :func:`edition`).

    Args:
        customers_at: what a customer's key is put after, to lead to the customer's page; None where there are none.

    Raises:
        NothingToReportError: nothing is published yet.
    """
    from customer360.report import page, pictures

    with _reader(settings) as connection:
        return _edition(connection), page.report(
            pictures.all_pictures(connection),
            pictures.state_of_the_shop(connection),
            pictures.currency_of(connection),
            customers_at,
        )


def write_customer_page(settings: Settings, customer_key: int, target: Path | None = None) -> Path:
    """Write the page of one customer; returns the file (default: ``C360_HOME/report/customer-KEY.html``).

    A key that was merged into another leads to the present customer.

    Raises:
        NothingToReportError: nothing is published yet.
        UnknownCustomerError: nobody has this key.
    """
    key, html = draw_customer_page(settings, customer_key)
    return _write(html, target or settings.home / "report" / f"customer-{key}.html")


def draw_customer_page(settings: Settings, customer_key: int) -> tuple[int, str]:
    """The page of one customer as HTML, after the customer's present key.

    Raises:
        NothingToReportError: nothing is published yet.
        UnknownCustomerError: nobody has this key.
    """
    from customer360.report import customer, page, pictures

    with _reader(settings) as connection:
        told = customer.tell(connection, customer_key) if abs(customer_key) < _KEYS_END else None
        if told is None:
            raise UnknownCustomerError(
                f"No published customer has the key {customer_key}.",
                "See which there are: select customer_key from marts.customer_360 (c360 url).",
            )
        return told.customer_key, page.customer(told, pictures.currency_of(connection))


def edition(settings: Settings) -> str:
    """What a page is of: two pages of one edition show the same, so that one need not be drawn again.

    The publication, the last result of a gate, the last batch, and the hour: the report shows ages.

    Raises:
        NothingToReportError: nothing is published yet.
    """
    with _reader(settings) as connection:
        return _edition(connection)


def _edition(connection: warehouse.Connection) -> str:
    parts = warehouse.scalar(
        connection,
        """
        select concat_ws(' ', (select max(publication_id) from ops.publications),
            (select max(checked_at) from ops.gate_results), (select max(batch_id) from ops.batches),
            date_trunc('hour', now()))
        """,
    )
    return hashlib.sha256(f"{__version__} {parts}".encode()).hexdigest()[:32]


_KEYS_END = 2**63
"""A bigint ends before it."""


@contextlib.contextmanager
def _reader(settings: Settings) -> Iterator[warehouse.Connection]:
    """One published version, for as long as the block runs."""
    with warehouse.connect("bi_reader", settings, application_name="customer360 report") as connection:
        if not warehouse.scalar(connection, "select to_regclass('marts.customer_360')"):
            raise NothingToReportError("Nothing is published yet.", "Land some files, then run `c360 run`.")
        yield connection


def _write(html: str, target: Path) -> Path:
    """Put the file in its place whole: somebody may be reading the one before."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    partial.write_text(html, encoding="utf-8")
    partial.replace(target)
    return target
