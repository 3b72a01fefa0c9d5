"""What is known of a customer on a day: the columns of `int_customers__featured`, and what the models make of them.

`FEATURE_COLUMNS` is the contract between the dbt model `int_customers__featured`, which computes the columns in SQL as
of any day, and the models here, which know nothing else of the shop. `features_as_of` is the same definition in
pandas: the reference that the SQL is tested against.

A row exists for every customer with a valid order on or before the day. Nothing that happened, or became known, after
the day may change a value (docs/churn.md, The protocol).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOWS_DAYS = (14, 28, 56, 91, 182, 365)
"""Rolling windows (as_of - N, as_of]: whole weeks, so that weekdays weigh alike, and the year."""

YEAR_AGO_DAYS = 91
"""Length of the window that began a year ago: who buys once a year bought in it."""

ONLINE_CHANNELS = ("web", "app")


@dataclass(frozen=True)
class FeatureColumn:
    """One column of `int_customers__featured`."""

    name: str
    sql_type: str
    is_nullable: bool
    description: str


FEATURE_COLUMNS: tuple[FeatureColumn, ...] = (
    FeatureColumn("customer_key", "bigint", False, "The customer, by the identity links known on the day."),
    FeatureColumn("as_of_on", "date", False, "The day."),
    FeatureColumn("order_count", "bigint", False, "Valid orders."),
    FeatureColumn("purchase_day_count", "bigint", False, "Distinct days with a valid order; at least 1."),
    FeatureColumn("repeat_day_count", "bigint", False, "purchase_day_count - 1: the x of BG/NBD."),
    FeatureColumn("is_one_time", "double precision", False, "1 if purchase_day_count is 1, else 0."),
    FeatureColumn("first_ordered_on", "date", False, "First purchase day."),
    FeatureColumn("last_ordered_on", "date", False, "Last purchase day."),
    FeatureColumn("recency_days", "bigint", False, "Days from the last purchase day to the day: hiatus."),
    FeatureColumn("tenure_days", "bigint", False, "Days from the first purchase day to the day: T of BG/NBD, times 7."),
    FeatureColumn("repeat_span_days", "bigint", False, "Days from first to last purchase day: t_x of BG/NBD, times 7."),
    FeatureColumn(
        "expected_gap_days",
        "double precision",
        True,
        "(repeat_span_days + the median gap of all customers) / purchase_day_count; null where nobody came back.",
    ),
    FeatureColumn(
        "overdue_ratio", "double precision", True, "recency_days / expected_gap_days; null where that is null."
    ),
    FeatureColumn(
        "one_time_recency_days",
        "double precision",
        False,
        "recency_days of one-time buyers, else 0: silence after a first order is not silence after a habit.",
    ),
    FeatureColumn(
        "mean_gap_days", "double precision", True, "Mean days between purchase days; null for one-time buyers."
    ),
    FeatureColumn(
        "gap_deviation_days",
        "double precision",
        True,
        "Population standard deviation of the days between purchase days; null with fewer than two gaps.",
    ),
    FeatureColumn(
        "last_gap_days",
        "double precision",
        True,
        "Days between the last two purchase days; null for one-time buyers.",
    ),
    FeatureColumn(
        "longest_gap_days",
        "double precision",
        True,
        "Most days between two consecutive purchase days; null for one-time buyers.",
    ),
    FeatureColumn(
        "gap_variation",
        "double precision",
        True,
        "gap_deviation_days / mean_gap_days: near 0 for a clockwork, 1 for purchases at random.",
    ),
    FeatureColumn("last_gap_ratio", "double precision", True, "last_gap_days / mean_gap_days: above 1 while slowing."),
    FeatureColumn("recency_gap_ratio", "double precision", True, "recency_days / mean_gap_days."),
    FeatureColumn("recency_longest_ratio", "double precision", True, "recency_days / longest_gap_days."),
    FeatureColumn("repeat_day_count_14d", "bigint", False, "Repeat purchase days (not the first) in 14 days."),
    FeatureColumn("repeat_day_count_28d", "bigint", False, "Repeat purchase days (not the first) in 28 days."),
    FeatureColumn("repeat_day_count_56d", "bigint", False, "Repeat purchase days (not the first) in 56 days."),
    FeatureColumn("repeat_day_count_91d", "bigint", False, "Repeat purchase days (not the first) in 91 days."),
    FeatureColumn("repeat_day_count_182d", "bigint", False, "Repeat purchase days (not the first) in 182 days."),
    FeatureColumn("repeat_day_count_365d", "bigint", False, "Repeat purchase days (not the first) in 365 days."),
    FeatureColumn(
        "year_ago_day_count",
        "bigint",
        False,
        "Purchase days in the 91 days that began 365 days before the day: the same season of last year.",
    ),
    FeatureColumn(
        "mean_order_amount",
        "double precision",
        False,
        "Net revenue of valid orders per purchase day, refunds of the day or earlier taken off; never below 0.",
    ),
    FeatureColumn(
        "repeat_mean_order_amount",
        "double precision",
        True,
        "The same over repeat purchase days: the m of Gamma-Gamma; null for one-time buyers.",
    ),
    FeatureColumn(
        "last_amount_ratio",
        "double precision",
        True,
        "Net revenue of the last purchase day (not below 0) / mean_order_amount; null where that is 0.",
    ),
    FeatureColumn(
        "first_order_amount", "double precision", False, "Net revenue of the first purchase day, never below 0."
    ),
    FeatureColumn(
        "first_item_count",
        "double precision",
        True,
        "Lines of the orders of the first purchase day; null if not known.",
    ),
    FeatureColumn(
        "is_first_discounted", "double precision", False, "1 if an order of the first purchase day had a discount."
    ),
    FeatureColumn(
        "is_first_online", "double precision", False, "1 if an order of the first purchase day came by web or app."
    ),
    FeatureColumn("cancelled_share", "double precision", False, "Cancelled orders / (valid + cancelled orders)."),
    FeatureColumn("discounted_share", "double precision", False, "Valid orders with a discount / valid orders."),
    FeatureColumn(
        "returned_share", "double precision", False, "Valid orders returned or with a refund / valid orders."
    ),
    FeatureColumn(
        "late_share",
        "double precision",
        True,
        "Late valid orders / valid orders whose lateness is known; null where none is.",
    ),
    FeatureColumn(
        "is_last_order_troubled",
        "double precision",
        False,
        "1 if any valid order of the last purchase day came late, was returned or has a refund, else 0.",
    ),
    FeatureColumn("session_count_28d", "bigint", False, "Sessions started in 28 days."),
    FeatureColumn("session_count_91d", "bigint", False, "Sessions started in 91 days."),
    FeatureColumn("product_view_count_28d", "bigint", False, "Product views in sessions started in 28 days."),
    FeatureColumn(
        "abandoned_cart_count_28d", "bigint", False, "Sessions of 28 days with something put in the cart and no order."
    ),
    FeatureColumn("last_session_days", "double precision", True, "Days since the last session; null where none."),
    FeatureColumn("tickets_per_order", "double precision", False, "Tickets created / valid orders."),
    FeatureColumn("complaints_per_order", "double precision", False, "Complaints created / valid orders."),
    FeatureColumn(
        "recent_complaints_per_order", "double precision", False, "Complaints created in 91 days / valid orders."
    ),
    FeatureColumn("has_open_ticket", "double precision", False, "1 if a ticket is open on the day, else 0."),
    FeatureColumn(
        "last_satisfaction", "double precision", True, "Satisfaction (0 to 1) of the latest answer; null where none."
    ),
)

FEATURE_COLUMN_NAMES: tuple[str, ...] = tuple(column.name for column in FEATURE_COLUMNS)


class Family(StrEnum):
    """Correlated features are told as one reason: the family's contribution is the sum of its features'."""

    RECENCY = "recency"
    FREQUENCY = "frequency"
    VALUE = "value"
    ORDER_QUALITY = "order_quality"
    SESSIONS = "sessions"
    TICKETS = "tickets"


FROM_ORDERS = (Family.RECENCY, Family.FREQUENCY, Family.VALUE, Family.ORDER_QUALITY)

ABLATION: tuple[tuple[str, tuple[Family, ...]], ...] = (
    ("orders", FROM_ORDERS),
    ("orders_sessions", (*FROM_ORDERS, Family.SESSIONS)),
    ("orders_sessions_tickets", (*FROM_ORDERS, Family.SESSIONS, Family.TICKETS)),
)
"""Growing sets of families, smallest first: sessions and tickets must earn their place."""


class Transform(StrEnum):
    """How a column becomes a number; each exists once here and once in SQL, and a test holds the two together."""

    AS_IT_IS = "as_it_is"
    SQUARE_ROOT = "square_root"
    """The root of the value, negative values and nulls taken as 0."""
    LOG1P = "log1p"
    """ln(1 + the value), negative values and nulls taken as 0."""
    SQUARED_LOG1P = "squared_log1p"
    """The square of that: lets a log-odds bend where a straight line over the logarithm is too stiff."""
    IS_NULL = "is_null"
    """1 where the value is unknown: lets the model tell "unknown" from 0."""


BGNBD_LOGIT = "bgnbd_logit"
"""logit(1 - P(order in H)) of the version's BG/NBD: no column of the table but of its parameters."""

MBGNBD_LOGIT = "mbgnbd_logit"
"""The same of its MBG/NBD."""


@dataclass(frozen=True)
class ModelFeature:
    """One input of the logistic regression: a column, transformed."""

    name: str
    family: Family
    column: str
    transform: Transform

    def values(self, frame: pd.DataFrame) -> Floats:
        """The feature of each row of `frame`, which has the columns of `int_customers__featured` and both logits."""
        column = frame[self.column].to_numpy(dtype=np.float64, na_value=np.nan)
        if self.transform is Transform.IS_NULL:
            return np.isnan(column).astype(np.float64)
        known = np.where(np.isnan(column), 0.0, column)
        if self.transform is Transform.SQUARE_ROOT:
            return np.sqrt(np.maximum(known, 0.0))
        if self.transform is Transform.LOG1P:
            return np.log(1.0 + np.maximum(known, 0.0))
        if self.transform is Transform.SQUARED_LOG1P:
            return np.log(1.0 + np.maximum(known, 0.0)) ** 2
        return known


MODEL_FEATURES: tuple[ModelFeature, ...] = (
    ModelFeature("recency", Family.RECENCY, "recency_days", Transform.LOG1P),
    ModelFeature("overdue", Family.RECENCY, "overdue_ratio", Transform.LOG1P),
    ModelFeature("one_time_recency", Family.RECENCY, "one_time_recency_days", Transform.LOG1P),
    ModelFeature("recency_root", Family.RECENCY, "recency_days", Transform.SQUARE_ROOT),
    ModelFeature("recency_squared", Family.RECENCY, "recency_days", Transform.SQUARED_LOG1P),
    ModelFeature("recency_gap", Family.RECENCY, "recency_gap_ratio", Transform.LOG1P),
    ModelFeature("recency_longest", Family.RECENCY, "recency_longest_ratio", Transform.LOG1P),
    ModelFeature("bgnbd", Family.RECENCY, BGNBD_LOGIT, Transform.AS_IT_IS),
    ModelFeature("frequency", Family.FREQUENCY, "repeat_day_count", Transform.LOG1P),
    ModelFeature("one_time", Family.FREQUENCY, "is_one_time", Transform.AS_IT_IS),
    ModelFeature("tenure", Family.FREQUENCY, "tenure_days", Transform.LOG1P),
    ModelFeature("mean_gap", Family.FREQUENCY, "mean_gap_days", Transform.LOG1P),
    ModelFeature("gap_deviation", Family.FREQUENCY, "gap_deviation_days", Transform.LOG1P),
    ModelFeature("gap_variation", Family.FREQUENCY, "gap_variation", Transform.AS_IT_IS),
    ModelFeature("gap_variation_unknown", Family.FREQUENCY, "gap_variation", Transform.IS_NULL),
    ModelFeature("last_gap", Family.FREQUENCY, "last_gap_days", Transform.LOG1P),
    ModelFeature("last_gap_ratio", Family.FREQUENCY, "last_gap_ratio", Transform.LOG1P),
    ModelFeature("longest_gap", Family.FREQUENCY, "longest_gap_days", Transform.LOG1P),
    ModelFeature("frequency_14d", Family.FREQUENCY, "repeat_day_count_14d", Transform.LOG1P),
    ModelFeature("frequency_28d", Family.FREQUENCY, "repeat_day_count_28d", Transform.LOG1P),
    ModelFeature("frequency_91d", Family.FREQUENCY, "repeat_day_count_91d", Transform.LOG1P),
    ModelFeature("frequency_182d", Family.FREQUENCY, "repeat_day_count_182d", Transform.LOG1P),
    ModelFeature("frequency_365d", Family.FREQUENCY, "repeat_day_count_365d", Transform.LOG1P),
    ModelFeature("year_ago", Family.FREQUENCY, "year_ago_day_count", Transform.LOG1P),
    ModelFeature("order_value", Family.VALUE, "mean_order_amount", Transform.LOG1P),
    ModelFeature("last_amount", Family.VALUE, "last_amount_ratio", Transform.LOG1P),
    ModelFeature("first_amount", Family.VALUE, "first_order_amount", Transform.LOG1P),
    ModelFeature("first_items", Family.VALUE, "first_item_count", Transform.LOG1P),
    ModelFeature("first_discounted", Family.VALUE, "is_first_discounted", Transform.AS_IT_IS),
    ModelFeature("first_online", Family.VALUE, "is_first_online", Transform.AS_IT_IS),
    ModelFeature("cancelled_share", Family.ORDER_QUALITY, "cancelled_share", Transform.AS_IT_IS),
    ModelFeature("discounted_share", Family.ORDER_QUALITY, "discounted_share", Transform.AS_IT_IS),
    ModelFeature("returned_share", Family.ORDER_QUALITY, "returned_share", Transform.AS_IT_IS),
    ModelFeature("late_share", Family.ORDER_QUALITY, "late_share", Transform.AS_IT_IS),
    ModelFeature("late_share_unknown", Family.ORDER_QUALITY, "late_share", Transform.IS_NULL),
    ModelFeature("last_order_troubled", Family.ORDER_QUALITY, "is_last_order_troubled", Transform.AS_IT_IS),
    ModelFeature("sessions_28d", Family.SESSIONS, "session_count_28d", Transform.LOG1P),
    ModelFeature("sessions_91d", Family.SESSIONS, "session_count_91d", Transform.LOG1P),
    ModelFeature("product_views_28d", Family.SESSIONS, "product_view_count_28d", Transform.LOG1P),
    ModelFeature("abandoned_carts_28d", Family.SESSIONS, "abandoned_cart_count_28d", Transform.LOG1P),
    ModelFeature("last_session", Family.SESSIONS, "last_session_days", Transform.LOG1P),
    ModelFeature("last_session_unknown", Family.SESSIONS, "last_session_days", Transform.IS_NULL),
    ModelFeature("tickets_per_order", Family.TICKETS, "tickets_per_order", Transform.LOG1P),
    ModelFeature("complaints_per_order", Family.TICKETS, "complaints_per_order", Transform.LOG1P),
    ModelFeature("recent_complaints", Family.TICKETS, "recent_complaints_per_order", Transform.LOG1P),
    ModelFeature("open_ticket", Family.TICKETS, "has_open_ticket", Transform.AS_IT_IS),
    ModelFeature("last_satisfaction", Family.TICKETS, "last_satisfaction", Transform.AS_IT_IS),
    ModelFeature("last_satisfaction_unknown", Family.TICKETS, "last_satisfaction", Transform.IS_NULL),
)

MBGNBD_FEATURE = ModelFeature("mbgnbd", Family.RECENCY, MBGNBD_LOGIT, Transform.AS_IT_IS)
"""A candidate of its own and no feature of the others: beside `bgnbd` it tells them nothing new (decision 22)."""

FEATURE_BY_NAME: dict[str, ModelFeature] = {feature.name: feature for feature in (*MODEL_FEATURES, MBGNBD_FEATURE)}


def features_of(families: Sequence[Family]) -> tuple[ModelFeature, ...]:
    """The model features of some families, in their fixed order."""
    return tuple(feature for feature in MODEL_FEATURES if feature.family in families)


SPLIT_COLUMNS: tuple[tuple[str, Family], ...] = (
    *dict.fromkeys((feature.column, feature.family) for feature in MODEL_FEATURES),
    ("repeat_span_days", Family.FREQUENCY),
    ("repeat_day_count_56d", Family.FREQUENCY),
)
"""What trees may split on: the same columns, untransformed, for a split only asks which of two values is greater."""

UNKNOWN = -1.0
"""What a null counts as in a split: below every value that a column can have (the logit of BG/NBD is never null)."""


def split_values(frame: pd.DataFrame, columns: Sequence[str]) -> Floats:
    """A row per customer, a column per name, nulls as `UNKNOWN`."""
    values = np.column_stack([frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in columns])
    return np.where(np.isnan(values), UNKNOWN, values)


@dataclass(frozen=True)
class ShopHistory:
    """Every version of every record with the day it became known: what `features_as_of` looks back into.

    All dates are pandas datetimes at midnight of the business day.

    - orders, one row per version: order_id, customer_key, ordered_on, known_on, total_amount, net_amount (before
      refunds), discount_amount, is_cancelled, is_returned, is_late (null: not known), item_count (null: not known),
      sales_channel;
    - refunds: order_id, refunded_on, known_on, net_amount;
    - sessions, one row per version: session_id, customer_key, started_on, known_on, product_views, add_to_carts,
      order_id (null: none);
    - tickets, one row per version: ticket_id, customer_key, created_on, known_on, is_open, is_complaint, satisfaction
      (null: none), satisfaction_on.

    Of the versions known on a day the last row counts.
    """

    orders: pd.DataFrame
    refunds: pd.DataFrame
    sessions: pd.DataFrame
    tickets: pd.DataFrame


def features_as_of(history: ShopHistory, as_of_on: date) -> pd.DataFrame:
    """One row per customer with a valid order on or before `as_of_on`, with exactly `FEATURE_COLUMNS`, by key."""
    day = pd.Timestamp(as_of_on)
    orders = _orders_as_known(history, day)
    valid = orders[~orders["is_cancelled"].astype(bool) & (orders["total_amount"] > 0)]
    if valid.empty:
        return pd.DataFrame({name: [] for name in FEATURE_COLUMN_NAMES})
    frame = _purchase_columns(valid, day)
    keys = frame.index
    frame = frame.join(_first_basket_columns(valid))
    frame = frame.join(_order_quality_columns(orders, valid, keys))
    frame = frame.join(_session_columns(history.sessions, day, keys))
    frame = frame.join(_ticket_columns(history.tickets, day, frame["order_count"]))
    frame["as_of_on"] = day
    return frame.reset_index()[list(FEATURE_COLUMN_NAMES)]


def _as_known(frame: pd.DataFrame, record_id: str, happened_on: str, day: pd.Timestamp) -> pd.DataFrame:
    """The last version of each record that had happened and was known by the end of `day`."""
    known = frame[(frame[happened_on] <= day) & (frame["known_on"] <= day)]
    return known.drop_duplicates(record_id, keep="last")


def _orders_as_known(history: ShopHistory, day: pd.Timestamp) -> pd.DataFrame:
    orders = _as_known(history.orders, "order_id", "ordered_on", day)
    refunds = history.refunds[(history.refunds["refunded_on"] <= day) & (history.refunds["known_on"] <= day)]
    refunded = refunds.groupby("order_id")["net_amount"].sum()
    given_back = orders["order_id"].map(refunded)
    return orders.assign(
        is_returned=orders["is_returned"].astype(bool) | given_back.notna(),
        net_amount=orders["net_amount"] - given_back.fillna(0.0),
        is_late=orders["is_late"].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan),
    )


def _purchase_columns(valid: pd.DataFrame, day: pd.Timestamp) -> pd.DataFrame:
    days = valid.groupby(["customer_key", "ordered_on"], as_index=False)["net_amount"].sum()
    days = days.sort_values(["customer_key", "ordered_on"])
    by_customer = days.groupby("customer_key")
    first, last = by_customer["ordered_on"].min(), by_customer["ordered_on"].max()
    frame = pd.DataFrame(
        {
            "order_count": valid.groupby("customer_key").size(),
            "purchase_day_count": by_customer.size(),
            "first_ordered_on": first,
            "last_ordered_on": last,
            "recency_days": (day - last).dt.days,
            "tenure_days": (day - first).dt.days,
            "repeat_span_days": (last - first).dt.days,
            "mean_order_amount": by_customer["net_amount"].mean().clip(lower=0.0),
        }
    )
    frame["repeat_day_count"] = frame["purchase_day_count"] - 1
    is_one_time = frame["repeat_day_count"] == 0
    frame["is_one_time"] = is_one_time.astype(float)
    frame["one_time_recency_days"] = frame["recency_days"].where(is_one_time, 0).astype(float)

    days["gap_days"] = by_customer["ordered_on"].diff().dt.days
    gaps = days.dropna(subset=["gap_days"]).groupby("customer_key")["gap_days"]
    frame["mean_gap_days"] = gaps.mean()
    frame["gap_deviation_days"] = gaps.std(ddof=0).where(gaps.size() > 1)
    frame["last_gap_days"] = gaps.last()
    frame["longest_gap_days"] = gaps.max()
    frame["gap_variation"] = frame["gap_deviation_days"] / frame["mean_gap_days"]
    frame["last_gap_ratio"] = frame["last_gap_days"] / frame["mean_gap_days"]
    frame["recency_gap_ratio"] = frame["recency_days"] / frame["mean_gap_days"]
    frame["recency_longest_ratio"] = frame["recency_days"] / frame["longest_gap_days"]

    median_gap = days["gap_days"].median()
    frame["expected_gap_days"] = (frame["repeat_span_days"] + median_gap) / frame["purchase_day_count"]
    frame["overdue_ratio"] = frame["recency_days"] / frame["expected_gap_days"]

    repeats = days[days["ordered_on"] > days["customer_key"].map(first)]
    frame["repeat_mean_order_amount"] = repeats.groupby("customer_key")["net_amount"].mean().clip(lower=0.0)
    for window in WINDOWS_DAYS:
        recent = repeats[repeats["ordered_on"] > day - timedelta(days=window)]
        frame[f"repeat_day_count_{window}d"] = _count(recent, frame.index)
    began = day - timedelta(days=365)
    year_ago = days[(days["ordered_on"] > began) & (days["ordered_on"] <= began + timedelta(days=YEAR_AGO_DAYS))]
    frame["year_ago_day_count"] = _count(year_ago, frame.index)
    mean = frame["mean_order_amount"]
    frame["last_amount_ratio"] = by_customer["net_amount"].last().clip(lower=0.0) / mean.where(mean > 0)
    frame["first_order_amount"] = by_customer["net_amount"].first().clip(lower=0.0)
    return frame


def _first_basket_columns(valid: pd.DataFrame) -> pd.DataFrame:
    first = valid[valid["ordered_on"] == valid.groupby("customer_key")["ordered_on"].transform("min")]
    by_customer = first.groupby("customer_key")
    return pd.DataFrame(
        {
            "first_item_count": by_customer["item_count"].sum(min_count=1),
            "is_first_discounted": (first["discount_amount"] > 0).groupby(first["customer_key"]).max().astype(float),
            "is_first_online": first["sales_channel"]
            .isin(ONLINE_CHANNELS)
            .groupby(first["customer_key"])
            .max()
            .astype(float),
        }
    )


def _order_quality_columns(orders: pd.DataFrame, valid: pd.DataFrame, keys: pd.Index) -> pd.DataFrame:
    cancelled = _count(orders[orders["is_cancelled"].astype(bool)], keys)
    by_customer = valid.groupby("customer_key")
    last_day = valid[valid["ordered_on"] == by_customer["ordered_on"].transform("max")]
    troubled = last_day["is_returned"] | (last_day["is_late"] == 1.0)
    return pd.DataFrame(
        {
            "cancelled_share": cancelled / (cancelled + by_customer.size()),
            "discounted_share": (valid["discount_amount"] > 0).groupby(valid["customer_key"]).mean(),
            "returned_share": valid["is_returned"].groupby(valid["customer_key"]).mean(),
            "late_share": by_customer["is_late"].mean(),
            "is_last_order_troubled": troubled.groupby(last_day["customer_key"]).max().astype(float),
        }
    )


def _session_columns(sessions: pd.DataFrame, day: pd.Timestamp, keys: pd.Index) -> pd.DataFrame:
    known = _as_known(sessions, "session_id", "started_on", day)
    recent = known[known["started_on"] > day - timedelta(days=28)]
    abandoned = recent[(recent["add_to_carts"] > 0) & recent["order_id"].isna()]
    last = known.groupby("customer_key")["started_on"].max()
    return pd.DataFrame(
        {
            "session_count_28d": _count(recent, keys),
            "session_count_91d": _count(known[known["started_on"] > day - timedelta(days=91)], keys),
            "product_view_count_28d": recent.groupby("customer_key")["product_views"].sum().reindex(keys).fillna(0),
            "abandoned_cart_count_28d": _count(abandoned, keys),
            "last_session_days": (day - last).dt.days.reindex(keys).astype(float),
        }
    )


def _ticket_columns(tickets: pd.DataFrame, day: pd.Timestamp, order_count: pd.Series) -> pd.DataFrame:
    keys = order_count.index
    known = _as_known(tickets, "ticket_id", "created_on", day)
    complaints = known[known["is_complaint"].astype(bool)]
    recent = complaints[complaints["created_on"] > day - timedelta(days=91)]
    answered = known[known["satisfaction"].notna()].sort_values(["satisfaction_on", "ticket_id"])
    return pd.DataFrame(
        {
            "tickets_per_order": _count(known, keys) / order_count,
            "complaints_per_order": _count(complaints, keys) / order_count,
            "recent_complaints_per_order": _count(recent, keys) / order_count,
            "has_open_ticket": (_count(known[known["is_open"].astype(bool)], keys) > 0).astype(float),
            "last_satisfaction": answered.groupby("customer_key")["satisfaction"].last().reindex(keys).astype(float),
        }
    )


def _count(rows: pd.DataFrame, keys: pd.Index) -> pd.Series:
    """Rows per customer, 0 for those without."""
    return rows.groupby("customer_key").size().reindex(keys).fillna(0).astype(np.int64)
