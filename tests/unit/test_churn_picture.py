"""The picture of an evaluation."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from customer360.churn import protocol
from customer360.churn.picture import draw
from tests.unit.churn_shops import simulated_lines, source_of

_SVG = "{http://www.w3.org/2000/svg}"


def report_of(**shop: Any) -> dict[str, Any]:
    ordinary = {"customers": 400, "days": 480, "orders_per_day": 0.02, "rate_shape": 0.8, "dropout": 0.15}
    ordinary |= {"acquisition_days": 300}
    source = source_of(simulated_lines(**{**ordinary, **shop}))
    plan = protocol.plan_snapshots(source.first_ordered_on, source.last_complete_on)
    assert plan is not None
    return protocol.fit_version(source, plan).evaluation


def test_it_shows_every_bin_and_the_auc_of_every_model() -> None:
    report = report_of()
    picture = ElementTree.fromstring(draw(report))  # noqa: S314 (our own drawing)
    circles = picture.findall(f"{_SVG}circle")
    assert len(circles) == len(report["primary"]["bins"]) + len(report["hiatus"]["bins"]) + 4
    told = " ".join(text.text or "" for text in picture.iter(f"{_SVG}text"))
    for model in ("primary", "bgnbd", "hiatus", "frequency"):
        assert f"{report[model]['auc']:.3f}" in told


def test_it_says_what_cannot_be_told() -> None:
    report = report_of(first_dropout=1.0)
    assert report["primary"]["auc"] is None
    assert draw(report).count("cannot be told") == 4
    nothing = {
        **{model: {"n": 0, "churn_rate": None, "auc": None} for model in ("primary", "bgnbd", "hiatus", "frequency")},
        "decision": "not_fitted",
        "horizon_days": 91,
        "test_on": None,
    }
    assert "too little history" in draw(nothing)
