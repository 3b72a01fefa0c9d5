"""Side products never stop the pipeline: a failure to make one is recorded, becomes an incident, and the run goes on.

A side product is what tables are published without: Data Docs, lineage, alerts, the report, the counters, the picture
of a churn model. ``ops.side_product_failures`` holds one row for each that is failing now; the next one that is made
removes the row, which closes the incident ``side_product_failed``.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from customer360 import warehouse
from customer360.settings import Settings
from customer360.warehouse.run_log import told

_log = logging.getLogger(__name__)

Product = Literal["data_docs", "lineage", "alerts", "report", "metrics", "churn_picture", "history"]

WHAT: dict[str, str] = {
    "data_docs": "Data Docs",
    "lineage": "lineage",
    "alerts": "alerts",
    "report": "the report",
    "metrics": "the counters for Prometheus",
    "churn_picture": "the picture of the churn model",
    "history": "the past before the first daily pass",
}
"""What a person calls each of them."""


@dataclass
class Attempt:
    """An attempt to make a side product. ``failure`` is empty, or says what went wrong, without values of records."""

    product: Product
    failure: str = ""

    def __str__(self) -> str:
        """One sentence about a failure, with the next step."""
        what = WHAT[self.product]
        return (
            f"{what[0].upper()}{what[1:]} could not be made: {self.failure}. Published tables are not affected. "
            "Next: `c360 side-products`; docs/runbooks/side_product_failed.md"
        )


@contextlib.contextmanager
def aside(settings: Settings, product: Product) -> Iterator[Attempt]:
    """Make a side product in this block: an exception ends the block and is recorded, and nothing is raised.

    Ctrl-C and the end of the process pass through.
    """
    attempt = Attempt(product)
    try:
        yield attempt
    except Exception as error:  # whatever it is, it must not stop what is published
        attempt.failure = _words(error)
        # The frames, and not the message: that of a database or a template may quote a row.
        frames = "".join(traceback.format_tb(error.__traceback__))
        _log.warning("%s\n%s", attempt, frames)
    _keep(settings, attempt)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return told(error)


def _keep(settings: Settings, attempt: Attempt) -> None:
    try:
        with warehouse.connect("loader", settings, autocommit=True) as connection:
            if attempt.failure:
                connection.execute(
                    """
                    insert into ops.side_product_failures as known (product, error) values (%s, %s)
                    on conflict (product) do update
                        set failed_at = now(), failures = known.failures + 1, error = excluded.error
                    """,
                    [attempt.product, attempt.failure],
                )
            else:
                connection.execute("delete from ops.side_product_failures where product = %s", [attempt.product])
    except Exception as error:  # an absent warehouse is an incident of its own: warehouse_away
        _log.warning("Whether %s could be made is not recorded: %s", WHAT[attempt.product], _words(error))


def failing(settings: Settings) -> dict[Product, str]:
    """What fails now, with its error."""
    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        rows = connection.execute("select product, error from ops.side_product_failures order by product").fetchall()
    return dict(rows)
