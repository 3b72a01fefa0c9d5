"""The acceptance of churn on a real log, by the commands that a person types: land, run, evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from customer360.cli import churn
from customer360.front_door import landing
from customer360.run import run_everything
from customer360.sample.cdnow import convert_cdnow
from customer360.settings import Settings

pytestmark = pytest.mark.slow


def test_all_of_cdnow_is_judged_through_the_pipeline_as_the_reference_says(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(churn, "get_settings", lambda: settings)
    made = convert_cdnow(tmp_path / "cdnow")
    for file in made.files:
        landing.put(settings, file.feed, made.out / file.path, history=True)
    run_everything(settings)
    run = CliRunner().invoke(churn.churn_app, ["evaluate", "--horizon-days", "91", "--test-at", "1997-09-30", "--json"])
    assert run.exit_code == 0, run.output
    report = json.loads(run.stdout)
    for model in ("primary", "bgnbd", "hiatus", "frequency"):
        assert {"auc", "brier", "ece", "n", "churn_rate"} <= set(report[model])
    assert report["snapshots"] == ["1997-04-01", "1997-07-01", "1997-09-30"]
    assert report["primary"]["n"] == 23_500
    assert report["primary"]["auc"] >= 0.770
    assert report["primary"]["brier"] <= 0.118
    assert report["primary"]["auc"] > report["hiatus"]["auc"]
