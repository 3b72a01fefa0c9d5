"""The population's statistics of a day, with which the daily tables compare each customer."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from customer360 import warehouse
from customer360.settings import Settings
from customer360.warehouse import query

if TYPE_CHECKING:
    from customer360.models.runner import ModelTable

STATISTICS = "statistics"
"""The tag of the models that measure them."""


def freeze(settings: Settings, measured: ModelTable, day: date) -> None:
    """Keep the population's statistics of ``day`` as first measured: a second pass compares with the same ones."""
    with warehouse.connect("transformer", settings) as connection:
        connection.execute(
            query(
                f"""
                insert into state.population_statistics (as_of_on, statistic, value)
                select %s, statistic, value from {measured.schema}.{measured.name} on conflict do nothing
                """
            ),
            [day],
        )
