"""The model's versions in schema state: written once, whole, and never changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from psycopg import Cursor

from customer360.churn import bgnbd, protocol, scoring_sql
from customer360.churn.bgnbd import BgNbdFit
from customer360.churn.features import FEATURE_BY_NAME, Family
from customer360.churn.gammagamma import GammaGammaFit
from customer360.churn.model import LEAF, Forest, ScoreModel, Term, Tree
from customer360.churn.statuses import FitStatus, PromotionDecision
from customer360.churn.value import ValueModel
from customer360.warehouse import Connection, scalar

LARGEST_X = 2_000.0
"""Expected orders can be scored for customers with this many repeats, also those that come after the fit."""

MODELS = ("primary", "bgnbd", "hiatus", "frequency")


@dataclass(frozen=True)
class UnjudgedFit:
    """What can be fitted without knowing what happened next: a history too short for the protocol."""

    requested_horizon_days: int
    bgnbd: BgNbdFit
    mbgnbd: BgNbdFit
    gammagamma: GammaGammaFit
    why: str

    @property
    def fallback(self) -> str | None:
        """What serves: BG/NBD where it is fitted."""
        return "bgnbd" if self.bgnbd.is_usable else None


def horizon_in_force(connection: Connection, on: date) -> int:
    """The horizon that holds on a day; a refit never changes it."""
    days: int | None = scalar(
        connection,
        "select horizon_days from state.churn_horizons where valid_from_on <= %s order by valid_from_on desc limit 1",
        [on],
    )
    return days or protocol.DEFAULT_HORIZON_DAYS


def set_horizon(connection: Connection, days: int, valid_from_on: date) -> None:
    """Let another horizon hold from a day on; saying the one in force again changes nothing."""
    if days != horizon_in_force(connection, valid_from_on):
        connection.execute(
            """
            insert into state.churn_horizons (valid_from_on, horizon_days) values (%s, %s)
            on conflict (valid_from_on) do update set horizon_days = excluded.horizon_days, set_at = now()
            """,
            [valid_from_on, days],
        )


def save(
    connection: Connection, fitted: protocol.FittedVersion | UnjudgedFit, *, as_of_on: date, run_id: int | None
) -> int:
    """Write a version with everything that scoring and reporting need; returns its number."""
    judged = fitted if isinstance(fitted, protocol.FittedVersion) else None
    version: int = scalar(
        connection,
        """
        insert into state.churn_model_versions (
            run_id, as_of_on, requested_horizon_days, horizon_days, snapshots, status, bgnbd_status, gammagamma_status,
            decision, families, model, fallback, why, auc_mean, auc_spread, brier_mean, brier_spread, test_day_count,
            value_status, value_window_days, value_coverage, value_r_squared, value_r_squared_gammagamma,
            value_coverage_one_time
        ) values (
            %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s
        ) returning model_version
        """,
        [
            run_id,
            as_of_on,
            fitted.requested_horizon_days,
            judged.plan.horizon_days if judged else fitted.requested_horizon_days,
            list(judged.plan.snapshots) if judged else [],
            (judged.primary_status if judged else FitStatus.TOO_LITTLE_HISTORY).value,
            fitted.bgnbd.status.value,
            fitted.gammagamma.status.value,
            (judged.decision if judged else PromotionDecision.NOT_FITTED).value,
            [family.value for family in judged.primary_families] if judged else [],
            judged.evaluation["primary"]["model"] if judged and judged.primary else None,
            fitted.fallback,
            fitted.why,
            *_over_test_days(judged),
            *_of_value(judged),
        ],
    )
    rows = [(version, model, name, value) for model, name, value in _parameters(fitted)]
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into state.churn_model_parameters (model_version, model, parameter, value) values (%s, %s, %s, %s)",
            rows,
        )
        if fitted.bgnbd.parameters is not None:
            nodes = bgnbd.dropout_nodes(fitted.bgnbd.parameters, LARGEST_X)
            cursor.executemany(
                """
                insert into state.churn_dropout_nodes (model_version, node, dropout, log_staying, log_weight)
                values (%s, %s, %s, %s, %s)
                """,
                [
                    (version, number, float(dropout), float(staying), float(weight))
                    for number, (dropout, staying, weight) in enumerate(
                        zip(nodes.dropout, nodes.log_staying, nodes.log_weight, strict=True)
                    )
                ],
            )
        if judged and judged.worth.model is not None:
            _save_value(cursor, version, judged.worth.model)
        if judged and judged.primary is not None:
            _save_model(cursor, version, judged.primary)
            cursor.executemany(
                """
                insert into state.churn_model_terms (
                    model_version, feature, family, column_name, transform, mean, scale, beta, population_mean_z
                ) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
                """,
                [_term_row(version, term) for term in judged.primary.terms],
            )
        if judged:
            cursor.executemany(
                """
                insert into state.churn_model_evaluation (
                    model_version, model, segment, customer_count, churn_rate, mean_predicted, auc, auc_low, auc_high,
                    brier, brier_skill, log_loss, ece, top_decile_lift, top_decile_lift_ceiling, auc_difference,
                    auc_difference_low, auc_difference_high, brier_difference, brier_difference_low,
                    brier_difference_high, compared_with, calibration_bins
                ) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
                """,
                [(version, *row) for row in evaluation_rows(judged.evaluation)],
            )
    return version


def _over_test_days(judged: protocol.FittedVersion | None) -> tuple[Any, ...]:
    if judged is None:
        return (None, None, None, None, 0)
    figures = judged.evaluation["test_days"]
    names = ("auc_mean", "auc_spread", "brier_mean", "brier_spread")
    return (*(figures[name] for name in names), len(figures["days"]))


def _of_value(judged: protocol.FittedVersion | None) -> tuple[Any, ...]:
    if judged is None:
        return ("too_little_history", None, None, None, None, None)
    figures = judged.worth.figures
    status = figures["serves"] if figures["status"] == "fitted" else figures["status"]
    names = ("window_days", "coverage", "r_squared", "r_squared_gammagamma")
    return (status, *(figures[name] for name in names), (figures["coverage_by_segment"] or {}).get("1"))


def _save_value(cursor: Cursor[Any], version: int, model: ValueModel) -> None:
    """Both stages as SQL, and what buyers deviate from the second."""
    cursor.executemany(
        "insert into state.churn_model_expressions (model_version, part, expression, split_columns)"
        " values (%s, %s, %s, %s)",
        [
            (version, part, scoring_sql.whole_expression(stage), scoring_sql.split_columns(stage))
            for part, stage in (("value_buys", model.buys), ("value_amount", model.amount))
        ],
    )
    cursor.executemany(
        "insert into state.churn_value_quantiles (model_version, segment, percent, log_ratio) values (%s, %s, %s, %s)",
        [
            (version, segment, percent, float(ratio))
            for segment, ratios in model.quantiles.items()
            for percent, ratio in enumerate(ratios)
        ],
    )


def _save_model(cursor: Cursor[Any], version: int, model: ScoreModel) -> None:
    """The trees as rows, and the whole as the SQL that scores."""
    columns = scoring_sql.split_columns(model)
    cursor.executemany(
        "insert into state.churn_model_expressions (model_version, part, expression, split_columns)"
        " values (%s, %s, %s, %s)",
        [
            (version, family.value, expression, columns)
            for family, expression in scoring_sql.family_expressions(model).items()
        ],
    )
    if model.forest is None:
        return
    cursor.executemany(
        "insert into state.churn_model_split_means (model_version, family, column_name, mean) values (%s, %s, %s, %s)",
        [
            (version, family.value, column, mean)
            for family, column, mean in zip(
                model.forest.families, model.forest.columns, model.forest.means, strict=True
            )
        ],
    )
    cursor.executemany(
        """
        insert into state.churn_model_nodes (
            model_version, tree, node, family, column_name, threshold, left_node, right_node, value
        ) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            (version, number, *row)
            for number, tree in enumerate(model.forest.trees)
            for row in _node_rows(model.forest, tree)
        ],
    )


def _node_rows(forest: Forest, tree: Tree) -> Iterator[tuple[Any, ...]]:
    for node, split in enumerate(tree.split.tolist()):
        inner: tuple[Any, ...] = (None, None, None, None, None)
        if split != LEAF:
            children = int(tree.left[node]), int(tree.right[node])
            inner = (forest.families[split].value, forest.columns[split], float(tree.threshold[node]), *children)
        yield (node, *inner, float(tree.value[node]))


def load_primary(connection: Connection, version: int) -> ScoreModel | None:
    """The model of a version as it was stored, or None if it has none."""
    intercept = _stored(connection, version, "primary").get("intercept")
    if intercept is None:
        return None
    rows = connection.execute(
        "select feature, mean, scale, beta, population_mean_z from state.churn_model_terms where model_version = %s",
        [version],
    ).fetchall()
    terms = tuple(Term(FEATURE_BY_NAME[name], *numbers) for name, *numbers in rows)
    return ScoreModel(terms, intercept, _load_forest(connection, version))


def _load_forest(connection: Connection, version: int) -> Forest | None:
    rows = connection.execute(
        """
        select tree, family, column_name, coalesce(threshold, 0), coalesce(left_node, 0), coalesce(right_node, 0), value
        from state.churn_model_nodes where model_version = %s order by tree, node
        """,
        [version],
    ).fetchall()
    if not rows:
        return None
    splits = connection.execute(
        """
        select column_name, family, mean from state.churn_model_split_means
        where model_version = %s order by column_name, family
        """,
        [version],
    ).fetchall()
    places = {(column, family): place for place, (column, family, _) in enumerate(splits)}
    trees: dict[int, list[tuple[Any, ...]]] = {}
    for number, family, column, *rest in rows:
        trees.setdefault(number, []).append((places.get((column, family), LEAF), *rest))
    return Forest(
        columns=tuple(column for column, _, _ in splits),
        families=tuple(Family(family) for _, family, _ in splits),
        trees=tuple(_tree(nodes) for nodes in trees.values()),
        population_means=tuple(mean for _, _, mean in splits),
    )


def _tree(nodes: list[tuple[Any, ...]]) -> Tree:
    split, threshold, left, right, value = zip(*nodes, strict=True)
    whole, real = np.int64, np.float64
    return Tree(
        np.array(split, whole), np.array(threshold, real), np.array(left, whole), np.array(right, whole),
        np.array(value, real),
    )  # fmt: skip


def load_order_models(connection: Connection, version: int) -> protocol.OrderModels:
    """BG/NBD and MBG/NBD of a version as they were stored; one that it has not is not usable."""

    def stored(model: str, *, is_modified: bool) -> BgNbdFit:
        found = _stored(connection, version, model)
        parameters = bgnbd.BgNbdParameters(**found, is_modified=is_modified) if found else None
        return BgNbdFit(FitStatus.FITTED if found else FitStatus.NOT_CONVERGED, parameters, None, 0, 0)

    return protocol.OrderModels(stored("bgnbd", is_modified=False), stored("mbgnbd", is_modified=True))


def _stored(connection: Connection, version: int, model: str) -> dict[str, float]:
    rows = connection.execute(
        "select parameter, value from state.churn_model_parameters where model_version = %s and model = %s",
        [version, model],
    ).fetchall()
    return dict(rows)


def _parameters(fitted: protocol.FittedVersion | UnjudgedFit) -> Iterator[tuple[str, str, float]]:
    for model, orders in (("bgnbd", fitted.bgnbd), ("mbgnbd", fitted.mbgnbd)):
        if orders.parameters is not None:
            for name in ("r", "alpha", "a", "b"):
                yield model, name, getattr(orders.parameters, name)
    if fitted.gammagamma.parameters is not None:
        for name in ("p", "q", "gamma"):
            yield "gammagamma", name, getattr(fitted.gammagamma.parameters, name)
    if isinstance(fitted, UnjudgedFit):
        return
    for model, baseline in (("hiatus", fitted.hiatus), ("frequency", fitted.frequency)):
        yield model, "intercept", baseline.intercept
        yield model, "slope", baseline.slope
    if fitted.worth.model is not None:
        yield "value", "window_days", float(fitted.worth.model.lifetime.window_days)
        yield "value", "factor", fitted.worth.model.factor
        yield "value", "is_serving", float(fitted.worth.is_serving)
    if fitted.primary is not None:
        yield "primary", "intercept", fitted.primary.intercept
        yield "primary", "centred_intercept", fitted.primary.centred_intercept


def _term_row(version: int, term: Term) -> tuple[Any, ...]:
    feature = term.feature
    return (
        version, feature.name, feature.family.value, feature.column, feature.transform.value,
        term.mean, term.scale, term.beta, term.population_mean_z,
    )  # fmt: skip


_FIGURES = (
    "n", "churn_rate", "mean_predicted", "auc", "auc_low", "auc_high", "brier", "brier_skill", "log_loss", "ece",
    "top_decile_lift", "top_decile_lift_ceiling",
)  # fmt: skip


def evaluation_rows(report: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """A report as rows of state.churn_model_evaluation, without the version."""
    for model in MODELS:
        if model not in report:
            continue
        whole = report[model]
        gains = whole.get("differences", {}).get("hiatus")
        ends = ("difference", "low", "high")
        compared: tuple[Any, ...] = (None,) * 7
        if gains:
            compared = (*(gains["auc"][end] for end in ends), *(gains["brier"][end] for end in ends), "hiatus")
        for segment, figures in {"all": whole, **whole["segments"]}.items():
            yield (
                model,
                segment,
                *(figures[name] for name in _FIGURES),
                *(compared if segment == "all" else (None,) * 7),
                json.dumps(figures["bins"]),
            )
    previous: str | None = None
    for step in report["ablation"]:
        gain = step["auc_gain"] or {}
        figures = {"n": report["primary"]["n"], "churn_rate": report["primary"]["churn_rate"], **step}
        yield (
            f"ablation_{step['families']}",
            "all",
            *(figures.get(name) for name in _FIGURES),
            *(gain.get(end) for end in ("difference", "low", "high")),
            *(None, None, None),
            previous,
            None,
        )
        previous = f"ablation_{step['families']}"
