"""Shops for the tests of churn: the real CDNOW log, simulated ones of every odd kind, and a source that reads them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from customer360.churn.features import ShopHistory, features_as_of


def _lifetimes_datasets() -> Path:
    # The package itself is imported only where it is the oracle: it warns at import under pandas 3.
    spec = importlib.util.find_spec("lifetimes")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets"


@cache
def cdnow_lines() -> pd.DataFrame:
    """All of CDNOW (69,659 lines): customer_key, ordered_on, amount. The line number is the order's id."""
    names = ["customer_key", "day", "quantity", "amount"]
    path = _lifetimes_datasets() / "CDNOW_master.txt"
    return _dated(pd.read_csv(path, sep=r"\s+", header=0, names=names))


@cache
def cdnow_sample_lines() -> pd.DataFrame:
    """The 2,357 customers of the literature, all lines, also the 8 with amount 0."""
    names = ["master_key", "customer_key", "day", "quantity", "amount"]
    path = _lifetimes_datasets() / "CDNOW_sample.txt"
    return _dated(pd.read_csv(path, sep=r"\s+", header=None, names=names))


def _dated(lines: pd.DataFrame) -> pd.DataFrame:
    ordered_on = pd.to_datetime(lines["day"].astype(str), format="%Y%m%d").astype("datetime64[ns]")
    return lines.assign(ordered_on=ordered_on)[["customer_key", "ordered_on", "amount"]]


def purchase_summaries(lines: pd.DataFrame, until: str) -> pd.DataFrame:
    """x, t_x, T in weeks and the mean value m of repeat days, per customer, of all lines (also amount 0) to a day."""
    day = pd.Timestamp(until)
    days = lines[lines["ordered_on"] <= day].groupby(["customer_key", "ordered_on"], as_index=False)["amount"].sum()
    by_customer = days.groupby("customer_key")["ordered_on"]
    first, last = by_customer.min(), by_customer.max()
    repeats = days[days["ordered_on"] > days["customer_key"].map(first)]
    return pd.DataFrame(
        {
            "x": by_customer.size() - 1,
            "t_x": (last - first).dt.days / 7.0,
            "T": (day - first).dt.days / 7.0,
            "m": repeats.groupby("customer_key")["amount"].mean(),
        }
    )


def no_events() -> ShopHistory:
    """A history without a single record, with every column."""
    day = pd.Series([], dtype="datetime64[ns]")

    def table(**columns: str) -> pd.DataFrame:
        return pd.DataFrame(
            {name: day if kind == "day" else pd.Series([], dtype=kind) for name, kind in columns.items()}
        )

    return ShopHistory(
        orders=table(
            order_id="object",
            customer_key="int64",
            ordered_on="day",
            known_on="day",
            total_amount="float64",
            net_amount="float64",
            discount_amount="float64",
            is_cancelled="bool",
            is_returned="bool",
            is_late="object",
            item_count="float64",
            sales_channel="object",
        ),
        refunds=table(order_id="object", refunded_on="day", known_on="day", net_amount="float64"),
        sessions=table(
            session_id="object",
            customer_key="int64",
            started_on="day",
            known_on="day",
            product_views="int64",
            add_to_carts="int64",
            order_id="object",
        ),
        tickets=table(
            ticket_id="object",
            customer_key="int64",
            created_on="day",
            known_on="day",
            is_open="bool",
            is_complaint="bool",
            satisfaction="float64",
            satisfaction_on="day",
        ),
    )


def orders_only(lines: pd.DataFrame) -> ShopHistory:
    """A history of plain orders (customer_key, ordered_on, amount), each known on its own day."""
    orders = pd.DataFrame(
        {
            "order_id": [f"o{number}" for number in range(len(lines))],
            "customer_key": lines["customer_key"].to_numpy(),
            "ordered_on": lines["ordered_on"].to_numpy(),
            "known_on": lines["ordered_on"].to_numpy(),
            "total_amount": lines["amount"].to_numpy(dtype=np.float64),
            "net_amount": lines["amount"].to_numpy(dtype=np.float64),
            "discount_amount": 0.0,
            "is_cancelled": False,
            "is_returned": False,
            "is_late": None,
            "item_count": np.nan,
            "sales_channel": "web",
        }
    )
    return replace(no_events(), orders=orders)


@dataclass
class HistorySource:
    """A protocol.FeatureSource over a history in memory."""

    history: ShopHistory
    last_complete_on: date
    _taken: dict[date, pd.DataFrame] = field(default_factory=dict)

    @property
    def first_ordered_on(self) -> date | None:
        orders = self._counting_orders()
        return orders["ordered_on"].min().date() if len(orders) else None

    def features(self, as_of_on: date) -> pd.DataFrame:
        if as_of_on not in self._taken:
            self._taken[as_of_on] = features_as_of(self.history, as_of_on)
        return self._taken[as_of_on]

    def ordering_customers(self, after: date, until: date) -> frozenset[int]:
        orders = self._counting_orders()
        inside = (orders["ordered_on"] > pd.Timestamp(after)) & (orders["ordered_on"] <= pd.Timestamp(until))
        return frozenset(orders.loc[inside, "customer_key"].tolist())

    def amounts(self, after: date, until: date) -> pd.Series:
        orders = self.history.orders
        inside = (orders["ordered_on"] > pd.Timestamp(after)) & (orders["ordered_on"] <= pd.Timestamp(until))
        valid = orders[inside & ~orders["is_cancelled"].astype(bool) & (orders["total_amount"] > 0)]
        return valid.groupby("customer_key")["net_amount"].sum()

    def _counting_orders(self) -> pd.DataFrame:
        return self.history.orders[self.history.orders["total_amount"] > 0]


def source_of(lines: pd.DataFrame) -> HistorySource:
    """A source over plain orders whose last complete day is the day of the last order."""
    return HistorySource(orders_only(lines), lines["ordered_on"].max().date())


@cache
def cdnow_source() -> HistorySource:
    """A source over all of CDNOW; one for all tests, which remembers the snapshots it has taken."""
    return source_of(cdnow_lines())


def simulated_lines(
    *,
    customers: int,
    days: int,
    orders_per_day: float,
    rate_shape: float,
    dropout: float,
    first_dropout: float = 0.0,
    acquisition_days: int = 1,
    value_deviation: float = 0.5,
    seed: int = 0,
) -> pd.DataFrame:
    """A shop as BG/NBD imagines it: gamma rates with the given mean and shape, a chance to leave after each repeat.

    `first_dropout` is the chance to leave after the first order, which BG/NBD does not know.
    First orders fall on the first `acquisition_days`; order values are log-normal around each customer's own mean,
    whose logarithm deviates by `value_deviation`.
    """
    random = np.random.default_rng(seed)
    keys, when = [], []
    for key in range(1, customers + 1):
        rate = random.gamma(rate_shape, orders_per_day / rate_shape)
        moment, is_first = random.uniform(0, acquisition_days), True
        while moment < days:
            keys.append(key)
            when.append(int(moment))
            if random.random() < (first_dropout if is_first else dropout):
                break
            moment, is_first = moment + random.exponential(1.0 / max(rate, 1e-9)), False
    mean_value = np.exp(random.normal(4.0, value_deviation, customers + 1))
    amount = np.round(mean_value[keys] * np.exp(random.normal(0.0, 0.3, len(keys))), 2) + 0.01
    ordered_on = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.array(when), unit="D")
    return pd.DataFrame({"customer_key": keys, "ordered_on": ordered_on.astype("datetime64[ns]"), "amount": amount})
