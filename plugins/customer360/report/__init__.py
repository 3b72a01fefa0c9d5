"""The report: pictures of what is published, in one file that opens without a network.

Everything is read as role ``bi_reader``, from marts and ops, in one REPEATABLE READ transaction: one published version.
"""

from __future__ import annotations

from pathlib import Path

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.settings import Settings


class NothingToReportError(Customer360Error):
    """Nothing is published yet, or the customer is not among the published ones."""


def write_report(settings: Settings, target: Path | None = None) -> Path:
    """Write the shop's report; returns the file (default: ``C360_HOME/report/index.html``).

    Raises:
        NothingToReportError: nothing is published yet.
    """
    from customer360.report import page, pictures

    with warehouse.connect("bi_reader", settings, application_name="customer360 report") as connection:
        _require_publication(connection)
        html = page.report(pictures.all_pictures(connection), pictures.state_of_the_shop(connection))
    return _write(html, target or settings.home / "report" / "index.html")


def write_customer_page(settings: Settings, customer_key: int, target: Path | None = None) -> Path:
    """Write the page of one customer; returns the file (default: ``C360_HOME/report/customer-KEY.html``).

    A key that was merged into another leads to the present customer.

    Raises:
        NothingToReportError: nothing is published yet, or nobody has this key.
    """
    from customer360.report import customer, page

    with warehouse.connect("bi_reader", settings, application_name="customer360 report") as connection:
        _require_publication(connection)
        told = customer.tell(connection, customer_key)
        if told is None:
            raise NothingToReportError(
                f"No published customer has the key {customer_key}.",
                "See which there are: select customer_key from marts.customer_360 (c360 url).",
            )
        html = page.customer(told)
    return _write(html, target or settings.home / "report" / f"customer-{told.customer_key}.html")


def _require_publication(connection: warehouse.Connection) -> None:
    if not warehouse.scalar(connection, "select to_regclass('marts.customer_360')"):
        raise NothingToReportError("Nothing is published yet.", "Land some files, then run `c360 run`.")


def _write(html: str, target: Path) -> Path:
    """Put the file in its place whole: somebody may be reading the one before."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    partial.write_text(html, encoding="utf-8")
    partial.replace(target)
    return target
