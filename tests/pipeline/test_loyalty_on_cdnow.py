"""Loyalty on the CDNOW order log, held against the same figures computed from the raw file in pandas."""

from __future__ import annotations

import importlib.util
import math
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from customer360.front_door import landing
from customer360.front_door.load import ingest
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.sample import convert_cdnow
from customer360.settings import Settings
from tests.pipeline.shop import rows

pytestmark = pytest.mark.builds

DAY = date(1998, 6, 30)
LOG = Path(importlib.util.find_spec("lifetimes").submodule_search_locations[0]) / "datasets" / "CDNOW_master.txt"  # type: ignore[union-attr,index]


def purchases() -> pd.DataFrame:
    """The log's lines with an amount: customer, day, cents."""
    log = pd.read_csv(LOG, sep=r"\s+", skiprows=1, names=["customer", "day", "discs", "amount"], dtype=str)
    log["day"] = pd.to_datetime(log["day"], format="%Y%m%d")
    log["cents"] = (log["amount"].astype(float) * 100).round().astype(int)
    return log[log["cents"] > 0]


def cohorts(log: pd.DataFrame) -> set[tuple[str, int, int, int, int]]:
    """Month of first purchase, months since, customers, active customers, cents."""
    month = log["day"].dt.to_period("M")
    first = month.groupby(log["customer"]).transform("min")
    since = (month - first).map(lambda offset: offset.n)
    sizes = log["customer"].groupby(first).nunique()
    cells = log.groupby([first, since]).agg(active=("customer", "nunique"), cents=("cents", "sum"))
    return {
        (str(cohort), int(number), int(sizes[cohort]), int(cell["active"]), int(cell["cents"]))
        for (cohort, number), cell in cells.iterrows()
    }


def test_the_top_fifth_the_repeat_rate_and_the_cohorts_are_those_of_the_raw_file(
    settings: Settings, tmp_path: Path
) -> None:
    made = convert_cdnow(tmp_path / "cdnow")
    for file in made.files:
        landing.put(settings, file.feed, made.path(file), history=True)
    ingest(settings)
    build(settings, "test")
    refresh_daily(settings, DAY, trigger="test")

    log = purchases()
    year = log[log["day"] > pd.Timestamp(DAY) - pd.Timedelta(days=365)]
    value = year.groupby("customer")["cents"].sum().sort_values(ascending=False)
    place = math.ceil(0.2 * len(value))
    top = value[value >= value.iloc[place - 1]]
    concentration = rows(
        settings,
        "select customer_count, top20_customer_count, top20_value_share, positive_value_amount * 100"
        " from asof_19980630.customer_concentration",
    )[0]
    assert concentration[:2] == (len(value), len(top))
    assert abs(float(concentration[2]) - top.sum() / value.sum()) < 1e-6
    assert int(concentration[3]) == value.sum()
    needed = int((value.cumsum().shift(fill_value=0) < 0.8 * value.sum()).sum())
    share = rows(settings, "select customer_share_of_80_value from asof_19980630.customer_concentration")[0][0]
    assert abs(float(share) - needed / len(value)) < 1e-6

    days = log.drop_duplicates(["customer", "day"])
    days_of_year = days[days["day"] > pd.Timestamp(DAY) - pd.Timedelta(days=365)].groupby("customer").size()
    assert rows(
        settings,
        """
        select count(*) filter (where purchase_day_count > 0), count(*) filter (where is_repeat_buyer),
            sum(purchase_day_count), sum(order_count), sum(monetary_amount * 100)::bigint
        from asof_19980630.customer_loyalty
        """,
    ) == [(log["customer"].nunique(), int((days_of_year >= 2).sum()), len(days), len(log), int(log["cents"].sum()))]

    measured = rows(
        settings,
        """
        select to_char(cohort_month, 'YYYY-MM'), month_number, customer_count, active_customer_count,
            (net_amount * 100)::bigint
        from asof_19980630.retention_cohorts where active_customer_count > 0
        """,
    )
    assert len(measured) > 40
    assert set(measured) == cohorts(log)
