"""Why a customer's score is what it is: the published figures, and what each feature contributes."""

from __future__ import annotations

from typing import Any

import pandas as pd
from psycopg.rows import dict_row

from customer360 import warehouse
from customer360.churn import versions
from customer360.churn.features import FEATURE_COLUMN_NAMES
from customer360.errors import Customer360Error
from customer360.settings import Settings
from customer360.warehouse import Connection, scalar


class NoScoreError(Customer360Error):
    """There is no score for the key."""


def explain(settings: Settings, key: int) -> dict[str, Any]:
    """The customer's row of marts.customer_churn, its reasons in words, and the contribution of each feature.

    A key that was merged away leads to the customer that it stands for now. The contributions of the features add up to
    those of their families, and with `baseline_log_odds` to logit(churn_probability).

    Raises:
        NoScoreError: no customer has the key, or no daily pass has been made.
    """
    with warehouse.connect("transformer", settings) as connection:
        present = _present_key(connection, key)
        churn = _published(connection, present)
        frame = _features(connection, present)
        version = churn["model_version"]
        told = {
            "asked_for_key": key,
            **churn,
            "reasons": _reasons(churn, frame),
            "features": [],
        }
        if churn["model_status"] in ("primary", "last_promoted") and frame is not None:
            told["features"] = _feature_contributions(connection, version, churn["horizon_days"], frame)
    return told


def _present_key(connection: Connection, key: int) -> int:
    present: int | None = scalar(
        connection,
        """
        select present_customer_key from state.customer_key_crosswalk
        where customer_key = %s order by entry_id desc limit 1
        """,
        [key],
    )
    return present or key


def _published(connection: Connection, key: int) -> dict[str, Any]:
    if not scalar(connection, "select to_regclass('marts.customer_churn')"):
        raise NoScoreError("No daily pass has been made yet.", "Run `c360 run` first.")
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("select * from marts.customer_churn where customer_key = %s", [key]).fetchone()
    if row is None:
        raise NoScoreError(
            f"No customer has the key {key}, or it is newer than the last daily pass.",
            "Look the key up in marts.customer_360; `c360 run` makes the daily pass.",
        )
    return row


def _features(connection: Connection, key: int) -> pd.DataFrame | None:
    """The features behind the score; None for a customer without a valid order."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "select * from intermediate.int_customers__featured where customer_key = %s", [key]
        ).fetchone()
    if row is None:
        return None
    return pd.DataFrame([row])[list(FEATURE_COLUMN_NAMES)]


def _feature_contributions(
    connection: Connection, version: int, horizon_days: int, frame: pd.DataFrame
) -> list[dict[str, Any]]:
    model = versions.load_primary(connection, version)
    if model is None:
        return []
    frame = versions.load_order_models(connection, version).with_logits(frame, horizon_days)
    told: list[dict[str, Any]] = [
        {
            "feature": part.column,
            "family": part.family.value,
            "column": part.column,
            "value": _plain(frame[part.column].iloc[0]),
            "contribution": part.contribution,
        }
        for part in model.column_contributions(frame)
    ]
    return sorted(told, key=lambda feature: -abs(feature["contribution"]))


def _plain(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _reasons(churn: dict[str, Any], frame: pd.DataFrame | None) -> list[dict[str, Any]]:
    """The published reason codes, each with the facts behind it."""
    shown = ("reason_1", "reason_2", "reason_3", "protective_1")
    places = [(churn[f"{place}_code"], churn[f"{place}_contribution"]) for place in shown]
    if frame is None:
        return []
    facts = frame.iloc[0]
    return [
        {"code": code, "contribution": contribution, "because": because(code, facts)}
        for code, contribution in places
        if code is not None
    ]


def because(code: str, facts: pd.Series) -> str:
    """The facts behind a reason code, in words. They explain the score, not the cause."""
    days = int(facts["recency_days"])
    match code:
        case "only_one_order":
            return f"has ordered once, {days} days ago"
        case "recency":
            gap = facts["expected_gap_days"]
            rhythm = "" if pd.isna(gap) else f"; usually about {float(gap):.0f} days apart"
            return f"last order {days} days ago{rhythm}"
        case "frequency":
            return (
                f"{int(facts['purchase_day_count'])} purchase days in {int(facts['tenure_days'])} days, "
                f"{int(facts['repeat_day_count_91d'])} of the repeats in the last 91"
            )
        case "value":
            return f"{float(facts['mean_order_amount']):.2f} per purchase day"
        case "order_quality":
            shares = {"cancelled": "cancelled_share", "returned": "returned_share", "discounted": "discounted_share"}
            told = [f"{float(facts[column]):.0%} {name}" for name, column in shares.items()]
            late = facts["late_share"]
            return ", ".join([*told, "lateness unknown" if pd.isna(late) else f"{float(late):.0%} late"])
        case "sessions":
            last = facts["last_session_days"]
            since = "no session known" if pd.isna(last) else f"last session {int(last)} days ago"
            return f"{int(facts['session_count_28d'])} sessions in 28 days, {since}"
        case "tickets":
            answer = facts["last_satisfaction"]
            score = "no answer to a survey" if pd.isna(answer) else f"last satisfaction {float(answer):.2f} of 1"
            return f"{float(facts['tickets_per_order']):.2f} tickets per order, {score}"
    return code
