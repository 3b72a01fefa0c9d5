"""The features by hand on one small history, and the promise that nothing after the day changes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from customer360.churn.features import (
    ABLATION,
    BGNBD_LOGIT,
    FEATURE_BY_NAME,
    FEATURE_COLUMN_NAMES,
    FEATURE_COLUMNS,
    MBGNBD_LOGIT,
    MODEL_FEATURES,
    ShopHistory,
    features_as_of,
)
from tests.unit.churn_shops import no_events, orders_only, simulated_lines

DAY = date(2024, 6, 30)


def on(text: str) -> pd.Timestamp:
    return pd.Timestamp(text)


def order(order_id: str, customer_key: int, ordered_on: str, **changes: object) -> dict[str, object]:
    return {
        "order_id": order_id,
        "customer_key": customer_key,
        "ordered_on": on(ordered_on),
        "known_on": on(ordered_on),
        "total_amount": 100.0,
        "net_amount": 80.0,
        "discount_amount": 0.0,
        "is_cancelled": False,
        "is_returned": False,
        "is_late": None,
        "item_count": 1.0,
        "sales_channel": "web",
        **changes,
    }


def session(session_id: str, customer_key: int, started_on: str, **changes: object) -> dict[str, object]:
    return {
        "session_id": session_id,
        "customer_key": customer_key,
        "started_on": on(started_on),
        "known_on": on(started_on),
        "product_views": 0,
        "add_to_carts": 0,
        "order_id": None,
        **changes,
    }


def ticket(ticket_id: str, customer_key: int, created_on: str, **changes: object) -> dict[str, object]:
    return {
        "ticket_id": ticket_id,
        "customer_key": customer_key,
        "created_on": on(created_on),
        "known_on": on(created_on),
        "is_open": False,
        "is_complaint": False,
        "satisfaction": np.nan,
        "satisfaction_on": pd.NaT,
        **changes,
    }


@pytest.fixture
def history() -> ShopHistory:
    return ShopHistory(
        orders=pd.DataFrame(
            [
                order("a1", 1, "2024-01-01", discount_amount=5.0),
                order("a2", 1, "2024-01-31", is_late=True),
                order("a3", 1, "2024-01-31", is_late=False),  # the same day: one purchase day of 160
                order("a4", 1, "2024-06-20", net_amount=50.0, is_late=False),
                order("a5", 1, "2024-06-25", is_cancelled=True),
                order("a6", 1, "2024-07-02"),  # after the day
                order("b1", 2, "2024-06-10"),
                order("b1", 2, "2024-06-10", known_on=on("2024-07-05"), is_cancelled=True),  # known after the day
                order("c1", 3, "2024-05-01", is_cancelled=True),  # never a valid order: no row
                order("d1", 4, "2024-05-01", total_amount=0.0),  # an amount of 0 is no valid order
                order("e1", 5, "2024-06-28", known_on=on("2024-07-01")),  # arrived after the day
            ]
        ),
        refunds=pd.DataFrame(
            [
                {"order_id": "a4", "refunded_on": on("2024-06-29"), "known_on": on("2024-06-29"), "net_amount": 20.0},
                {"order_id": "a1", "refunded_on": on("2024-07-01"), "known_on": on("2024-07-01"), "net_amount": 80.0},
            ]
        ),
        sessions=pd.DataFrame(
            [
                session("s1", 1, "2024-06-29", product_views=4, add_to_carts=1),
                session("s2", 1, "2024-06-20", product_views=3, add_to_carts=1, order_id="a4"),
                session("s3", 1, "2024-04-15", product_views=9, add_to_carts=2),
                session("s4", 1, "2024-07-01", product_views=9),
            ]
        ),
        tickets=pd.DataFrame(
            [
                ticket("t1", 1, "2024-01-10", is_complaint=True),
                ticket("t2", 1, "2024-06-21", is_complaint=True, is_open=True),
                ticket(
                    "t2", 1, "2024-06-21", known_on=on("2024-07-03"), satisfaction=0.9, satisfaction_on=on("2024-07-03")
                ),
                ticket("t3", 1, "2024-06-01", satisfaction=0.25, satisfaction_on=on("2024-06-03")),
            ]
        ),
    )


def row(history: ShopHistory, customer_key: int, day: date = DAY) -> dict[str, object]:
    frame = features_as_of(history, day).set_index("customer_key")
    return dict(frame.loc[customer_key])


def test_the_frame_has_exactly_the_documented_columns(history: ShopHistory) -> None:
    frame = features_as_of(history, DAY)
    assert tuple(frame.columns) == FEATURE_COLUMN_NAMES
    assert frame["customer_key"].tolist() == [1, 2]
    for column in FEATURE_COLUMNS:
        assert column.description.endswith(".")
        if not column.is_nullable:
            assert frame[column.name].notna().all(), column.name


def test_purchases_by_hand(history: ShopHistory) -> None:
    found = row(history, 1)
    # Gaps of 30 and 141 days; median over the shop 85.5; (171 + 85.5) / 3.
    expected = {
        "order_count": 4,
        "purchase_day_count": 3,
        "repeat_day_count": 2,
        "is_one_time": 0.0,
        "recency_days": 10,
        "tenure_days": 181,
        "repeat_span_days": 171,
        "expected_gap_days": 85.5,
        "overdue_ratio": 10 / 85.5,
        "one_time_recency_days": 0.0,
        "repeat_day_count_28d": 1,
        "repeat_day_count_91d": 1,
        "repeat_day_count_182d": 2,
        "mean_order_amount": (80 + 160 + 30) / 3,
        "repeat_mean_order_amount": (160 + 30) / 2,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert [found["first_ordered_on"], found["last_ordered_on"]] == [on("2024-01-01"), on("2024-06-20")]


def test_order_quality_by_hand(history: ShopHistory) -> None:
    found = row(history, 1)
    expected = {
        "cancelled_share": 1 / 5,
        "discounted_share": 1 / 4,
        "returned_share": 1 / 4,
        "late_share": 1 / 3,
        "is_last_order_troubled": 1.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_sessions_and_tickets_by_hand(history: ShopHistory) -> None:
    found = row(history, 1)
    expected = {
        "session_count_28d": 2,
        "session_count_91d": 3,
        "product_view_count_28d": 7,
        "abandoned_cart_count_28d": 1,
        "last_session_days": 1.0,
        "tickets_per_order": 3 / 4,
        "complaints_per_order": 2 / 4,
        "recent_complaints_per_order": 1 / 4,
        "has_open_ticket": 1.0,
        "last_satisfaction": 0.25,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_a_customer_of_one_order_and_nothing_else_has_nulls_only_where_nothing_can_be_known(
    history: ShopHistory,
) -> None:
    found = row(history, 2)
    assert found["is_one_time"] == 1.0
    assert found["one_time_recency_days"] == 20.0
    assert found["cancelled_share"] == 0.0
    assert found["tickets_per_order"] == 0.0
    unknown = {name for name, value in found.items() if pd.isna(value)}
    of_gaps = {"mean_gap_days", "gap_deviation_days", "last_gap_days", "longest_gap_days", "gap_variation"}
    ratios = {"last_gap_ratio", "recency_gap_ratio", "recency_longest_ratio"}
    others = {"repeat_mean_order_amount", "late_share", "last_session_days", "last_satisfaction"}
    assert unknown == of_gaps | ratios | others


def test_what_became_known_later_changes_the_features_of_later_days_alone(history: ShopHistory) -> None:
    assert row(history, 2)["order_count"] == 1
    later = features_as_of(history, date(2024, 7, 10)).set_index("customer_key")
    assert 2 not in later.index
    assert 5 in later.index
    assert later.loc[1, "has_open_ticket"] == 0.0
    assert later.loc[1, "last_satisfaction"] == 0.9
    assert later.loc[1, "returned_share"] == pytest.approx(2 / 5)


def test_an_order_added_after_the_day_changes_no_feature() -> None:
    lines = simulated_lines(customers=200, days=300, orders_per_day=0.05, rate_shape=1.0, dropout=0.1, seed=2)
    before = features_as_of(orders_only(lines), DAY)
    assert len(before) == 200
    extra = pd.DataFrame({"customer_key": range(1, 201), "ordered_on": pd.Timestamp("2024-07-01"), "amount": 9_999.0})
    after = features_as_of(orders_only(pd.concat([lines, extra], ignore_index=True)), DAY)
    pd.testing.assert_frame_equal(before, after)


def test_a_shop_without_a_record_has_no_rows_and_all_columns() -> None:
    frame = features_as_of(no_events(), DAY)
    assert frame.empty
    assert tuple(frame.columns) == FEATURE_COLUMN_NAMES


def test_a_shop_where_nobody_came_back_has_no_expected_gap(history: ShopHistory) -> None:
    once = replace(no_events(), orders=history.orders[history.orders["order_id"].isin(["a1", "b1"])])
    frame = features_as_of(once, DAY)
    assert frame["expected_gap_days"].isna().all()
    assert frame["overdue_ratio"].isna().all()


def test_every_model_feature_reads_a_column_and_is_finite(history: ShopHistory) -> None:
    frame = features_as_of(history, DAY).assign(**{BGNBD_LOGIT: 0.5, MBGNBD_LOGIT: 0.4})
    assert len({feature.name for feature in MODEL_FEATURES}) == len(MODEL_FEATURES)
    for feature in FEATURE_BY_NAME.values():
        assert np.isfinite(feature.values(frame)).all(), feature.name
    families = {feature.family for feature in MODEL_FEATURES}
    assert families == set(ABLATION[-1][1])
