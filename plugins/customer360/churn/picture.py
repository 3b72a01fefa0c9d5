"""A picture of an evaluation: is the probability right, and how much better than the baseline does it rank."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

_WIDTH, _HEIGHT = 920, 460
_BLUE, _ORANGE, _GREY = "#2563eb", "#d97706", "#6b7280"
_LEFT, _TOP, _SIDE = 70, 90, 300
_MODELS = (("primary", _BLUE), ("bgnbd", _GREY), ("frequency", _GREY), ("hiatus", _ORANGE))


def draw(report: Mapping[str, Any]) -> str:
    """An evaluation as SVG: reliability of primary and hiatus on the left, AUC with 95 % intervals on the right."""
    primary = report["primary"]
    title = f"Churn model: {report['decision'].replace('_', ' ')}"
    facts = (
        f"No order within {report['horizon_days']} days of {report['test_on'] or 'any day: too little history'}; "
        f"{primary['n']:,} customers"
    )
    if primary["churn_rate"] is not None:
        facts += f", {primary['churn_rate']:.1%} churned, {primary['mean_predicted']:.1%} predicted"
    parts = [
        _text(20, 34, title, size=20, weight="bold"),
        _text(20, 58, facts),
        *_reliability(report),
        *_ranking(report),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
        ' font-family="system-ui, sans-serif" role="img">'
        f"<title>{html.escape(title)}</title>"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _reliability(report: Mapping[str, Any]) -> list[str]:
    """Ten bins of customers: predicted against realised. On the diagonal the probability is right."""

    def x(share: float) -> float:
        return _LEFT + _SIDE * share

    def y(share: float) -> float:
        return _TOP + _SIDE * (1.0 - share)

    parts = [
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="{_GREY}"/>',
        f'<line x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}" stroke="{_GREY}" stroke-dasharray="4"/>',
        _text(_LEFT + _SIDE / 2, _TOP + _SIDE + 44, "predicted", anchor="middle"),
        _text(24, _TOP + _SIDE / 2, "realised", anchor="middle", turned=True),
    ]
    for share in (0.0, 0.5, 1.0):
        parts.append(_text(x(share), _TOP + _SIDE + 20, f"{share:.0%}", anchor="middle"))
        parts.append(_text(_LEFT - 8, y(share) + 5, f"{share:.0%}", anchor="end"))
    for model, colour in (("hiatus", _ORANGE), ("primary", _BLUE)):
        for part in report[model].get("bins", []):
            centre = f'cx="{x(part["mean_predicted"]):.1f}" cy="{y(part["realised"]):.1f}"'
            filled = colour if model == "primary" else "none"
            parts.append(f'<circle {centre} r="5" fill="{filled}" stroke="{colour}" stroke-width="2"/>')
    return parts


def _ranking(report: Mapping[str, Any]) -> list[str]:
    """AUC of each model with its interval, on a scale from a coin (0.5) to perfect (1)."""
    start, width = 520, 340

    def x(area: float) -> float:
        return start + width * (min(max(area, 0.5), 1.0) - 0.5) / 0.5

    parts = [_text(start - 90, _TOP + 16, "How well it ranks (AUC, 95 % interval)")]
    for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        parts.append(
            f'<line x1="{x(tick):.1f}" y1="{_TOP + 34}" x2="{x(tick):.1f}" y2="{_TOP + 230}" stroke="#e5e7eb"/>'
        )
        parts.append(_text(x(tick), _TOP + 250, f"{tick:.1f}", anchor="middle"))
    for row, (model, colour) in enumerate(_MODELS):
        figures, height = report.get(model), _TOP + 60 + 48 * row
        parts.append(_text(start - 10, height + 5, model, anchor="end"))
        if not figures or figures["auc"] is None:
            parts.append(_text(start + 8, height + 5, "cannot be told"))
            continue
        if figures.get("auc_low") is not None:
            parts.append(
                f'<line x1="{x(figures["auc_low"]):.1f}" y1="{height}" x2="{x(figures["auc_high"]):.1f}" y2="{height}"'
                f' stroke="{colour}" stroke-width="3"/>'
            )
        parts.append(f'<circle cx="{x(figures["auc"]):.1f}" cy="{height}" r="6" fill="{colour}"/>')
        told = f"{figures['auc']:.3f}, Brier {figures['brier']:.3f}"
        parts.append(_text(x(figures["auc"]), height - 11, told, anchor="middle", size=12))
    parts.append(
        _text(start - 90, _TOP + 290, "● primary   ○ hiatus: predicted against realised, ten bins of customers")
    )
    return parts


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 14,
    weight: str = "normal",
    turned: bool = False,
) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"{turn}'
        f' fill="#111827">{html.escape(text)}</text>'
    )
