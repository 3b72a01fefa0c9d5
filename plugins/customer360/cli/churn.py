"""``c360 churn``: fit the model, judge it, explain a score."""

from __future__ import annotations

import json as json_module
from contextlib import AbstractContextManager, nullcontext
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from customer360.cli.options import JsonOption
from customer360.progress import Progress, Silent, Terminal
from customer360.settings import get_settings
from customer360.terminal import out

churn_app = typer.Typer(help="The churn model: fit it, judge it, explain a score.", no_args_is_help=True)

_DATE = ["%Y-%m-%d"]
HorizonOption = Annotated[
    int | None, typer.Option("--horizon-days", min=1, help="Days without an order that count as churn (91 unless set).")
]
TestOption = Annotated[
    datetime | None, typer.Option("--test-at", formats=_DATE, help="Test on this day instead of the latest possible.")
]
AsOfOption = Annotated[datetime | None, typer.Option("--as-of", formats=_DATE, help="Take this day for today.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(churn_app, name="churn")


@churn_app.command("fit")
def fit(
    horizon_days: HorizonOption = None,
    test_at: TestOption = None,
    as_of: AsOfOption = None,
    refresh: Annotated[
        bool, typer.Option(help="Then make the daily pass, which publishes the version and scores with it.")
    ] = True,
    json: JsonOption = False,
) -> None:
    """Fit, calibrate, test, and promote unless a fallback is better. --horizon-days holds from that day on."""
    from customer360.churn import fitting
    from customer360.publication import daily

    settings = get_settings()
    with _watched(json) as progress:
        summary = fitting.fit(
            settings,
            "c360 churn fit",
            as_of_on=_day(as_of),
            horizon_days=horizon_days,
            test_at=_day(test_at),
            progress=progress,
        )
        if refresh and as_of is None:
            daily.refresh_daily(settings, trigger="c360 churn fit", progress=progress)
    if json:
        typer.echo(json_module.dumps(summary.evaluation, allow_nan=False))
        return
    _show(summary.evaluation)
    out().print(f"{summary}. Picture: {summary.picture or 'could not be drawn, see `c360 status`'}")
    if not refresh or as_of is not None:
        out().print("Next: the daily pass publishes it: `c360 run`.")


@churn_app.command("evaluate")
def evaluate(
    horizon_days: HorizonOption = None,
    test_at: TestOption = None,
    as_of: AsOfOption = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the evaluation into this SVG file.")] = None,
    json: JsonOption = False,
) -> None:
    """Judge the model on a window that it has not seen. Changes nothing: no version is kept."""
    from customer360.churn import fitting
    from customer360.churn.picture import draw

    with _watched(json) as progress:
        report = fitting.evaluate(
            get_settings(),
            as_of_on=_day(as_of),
            horizon_days=horizon_days,
            test_at=_day(test_at),
            progress=progress,
        )
    if picture:
        picture.write_text(draw(report))
    if json:
        typer.echo(json_module.dumps(report, allow_nan=False))
    else:
        _show(report)


@churn_app.command("explain")
def explain(
    key: Annotated[int, typer.Argument(help="The customer_key, also one that was merged into another.")],
    json: JsonOption = False,
) -> None:
    """Why a customer's score is what it is."""
    from customer360.churn.explain import explain as explain_key

    told = explain_key(get_settings(), key)
    if json:
        typer.echo(json_module.dumps(told, default=_json_value, allow_nan=False))
        return
    probability = told["churn_probability"]
    score = (
        "no score"
        if probability is None
        else f"{probability:.1%} ({told['churn_band']}) to order nothing for {told['horizon_days']} days"
    )
    why = f", {told['model_status_reason']}" if told["model_status_reason"] else ""
    out().print(
        f"Customer {told['customer_key']} on {told['as_of_on']}: {score}; {told['model_status']}{why}",
    )
    for reason in told["reasons"]:
        out().print(f"  {reason['contribution']:+.2f} {reason['code']}: {reason['because']}")
    if told["features"]:
        table = Table("feature", "family", "value", "contribution", title="What each feature adds to the log-odds")
        for feature in told["features"]:
            value = "unknown" if feature["value"] is None else f"{feature['value']:.2f}"
            table.add_row(feature["feature"], feature["family"], value, f"{feature['contribution']:+.3f}")
        out().print(table)
    late = told["is_late_vs_own_cadence"]
    out().print(
        f"Against the customer's own rhythm: {'not known' if late is None else 'late' if late else 'in time'}. "
        "Reasons explain the score, not the cause."
    )


def _show(report: dict[str, Any]) -> None:
    """An evaluation as a table."""
    tested = f"tested on {report['test_on']}" if report["test_on"] else "not tested"
    table = Table("model", "AUC", "95 %", "Brier", "ECE", "predicted", "churned", "lift", box=None)
    out().print(
        f"No order within {report['horizon_days']} days, {tested}, {report['primary']['n']:,} customers: "
        f"{report['decision']}",
    )
    for model in ("primary", "bgnbd", "hiatus", "frequency"):
        if model in report:
            table.add_row(model, *_cells(report[model]))
    out().print(table)
    for step in report["ablation"]:
        gain = step["auc_gain"]
        told = "" if not gain else f", {gain['difference']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"
        out().print(f"  {step['families']}: AUC {_number(step['auc'])}{told}")
    out().print(report["why"])
    days = report["test_days"]["days"]
    if len(days) > 1:
        figures = report["test_days"]
        out().print(
            f"Over {len(days)} test days: AUC {figures['auc_mean']:.4f} (spread {figures['auc_spread']:.4f}), "
            f"Brier {figures['brier_mean']:.4f} (spread {figures['brier_spread']:.4f})"
        )
    out().print(
        f"Model: {report['status']}; BG/NBD: {report['bgnbd_status']}; Gamma-Gamma: "
        f"{report['gammagamma_status']}; snapshots: {', '.join(report['snapshots']) or 'none'}",
    )


def _cells(figures: dict[str, Any]) -> list[str]:
    interval = f"{_number(figures.get('auc_low'))}-{_number(figures.get('auc_high'))}"
    names = ("brier", "ece", "mean_predicted", "churn_rate", "top_decile_lift")
    return [_number(figures["auc"]), interval, *(_number(figures.get(name)) for name in names)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None


def _watched(quiet: bool) -> AbstractContextManager[Progress]:
    return nullcontext(Silent()) if quiet else Terminal()


def _json_value(value: Any) -> Any:
    return float(value) if hasattr(value, "as_tuple") else str(value)
