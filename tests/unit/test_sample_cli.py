"""``c360 sample`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from customer360.cli import sample
from customer360.sample import SampleError, load_manifest


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    sample.register(app)
    return app


def test_the_command_writes_a_sample_and_prints_its_manifest(app: typer.Typer, tmp_path: Path) -> None:
    out = tmp_path / "sample"
    arguments = ["sample", "--customers", "30", "--days", "20", "--until", "2026-03-31", "--seed", "9", "--faults"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.output)
    assert printed["out"] == str(out)
    assert printed["end_at"] == "2026-04-01T00:00:00+00:00"
    assert len(printed["files"]) == len(load_manifest(out).files) > 20


def test_without_json_a_table_and_the_next_step_are_shown(app: typer.Typer, tmp_path: Path) -> None:
    out = tmp_path / "sample"
    result = CliRunner().invoke(
        app, ["sample", "--customers", "30", "--days", "20", "--format", "parquet", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert "web_sessions" in result.output
    assert "c360 land orders" in result.output
    assert all(file.path.endswith(".parquet") for file in load_manifest(out).files)


def test_a_wrong_day_or_a_full_directory_is_an_error_with_advice(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["sample", "--until", "31.3.2026", "--out", str(tmp_path / "new")])
    assert isinstance(result.exception, SampleError)
    assert "--until 2026-01-31" in result.exception.next_step
    (tmp_path / "mine").write_text("kept")
    result = CliRunner().invoke(app, ["sample", "--cdnow", "--out", str(tmp_path)])
    assert isinstance(result.exception, SampleError)
