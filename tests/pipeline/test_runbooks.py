"""Each runbook's commands are executed in the situation that the runbook is for, and mend it.

Those that start, stop or ask Airflow are executed on a real stack by tests/e2e/test_runbooks_on_airflow.py.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from customer360.cli import registry
from customer360.oncall import drills
from customer360.publication.daily import refresh_daily
from customer360.settings import Settings, get_settings
from customer360.stack import processes
from tests.pipeline.conftest import copy_of
from tests.runbook_commands import RUNBOOKS, Command, commands, filled

# What a person must do to code or data before these could succeed; they are executed all the same.
MAY_FAIL = {
    ("batch_refused", "c360 replay"): "the code is not mended here, so the file is refused again",
    ("*", "c360 monitor"): "ends with 1 while anything is open",
    ("gate_failed", "c360 run"): "the model is not at fault here, so the gate says no again (Fix 2)",
    ("ledger_unbalanced", "c360 verify"): "ends with 1 until it is mended: it is how the fault is seen",
    ("webhooks_unbalanced", "c360 receive status"): "ends with 1 until it is mended: it is how the fault is seen",
    ("batch_refused", "c360 ingest"): "ends with 1 while a refused file is among those it took",
}


CANNOT_MEND = {
    ("batch_refused", 2): "the code is right here: the file stays refused",
    ("gate_failed", 2): "the models are right here: the batch is not",
    ("quarantine_above_threshold", 3): "the rule is right here",
    ("files_waiting", 2): "only Airflow's DAG is let go on: tests/e2e",
    ("currency_without_rate", 1): "a download of the day: tests/pipeline/test_exchange_rates.py",
    ("currency_without_rate", 2): "the rate belongs into the product's own seed: tests/pipeline/test_exchange_rates.py",
    ("source_broken", 2): "the folder is wrong here, no source is",
    ("churn_model_kept", 1): "the next window is as poor as this one",
}


@pytest.fixture(scope="session")
def app() -> typer.Typer:
    made = typer.Typer()
    registry.register(made)
    return made


@pytest.fixture(scope="session")
def todays_shop(built_shop: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The shop after its daily pass, so that a run in a test has no more to do than what the test brought."""
    with copy_of(built_shop, tmp_path_factory.mktemp("landing")) as settings:
        refresh_daily(settings, trigger="test")
        yield settings


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """A shop of this test alone; for the short form, whose commands build nothing, without a daily pass."""
    original = request.getfixturevalue(
        "built_shop" if request.node.get_closest_marker("slow") is None else "todays_shop"
    )
    with copy_of(original, tmp_path / "landing") as settings:
        yield settings


@pytest.fixture
def at_the_terminal(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """This process' settings are those of the test's warehouse, as if its variables were exported."""
    monkeypatch.setenv("C360_HOME", str(shop.home))
    monkeypatch.setenv("C360_DATABASE", shop.database)
    monkeypatch.setenv("C360_LANDING", shop.landing)
    get_settings.cache_clear()
    yield shop
    processes.stop_monitor(shop)
    get_settings.cache_clear()


def execute(app: typer.Typer, command: Command, scene: drills.Scene) -> None:
    """Run one command as pasted; fails unless it ends well, or is known to be unable to."""
    text = filled(command.text, scene.values)
    unfilled = [word for word in ("BATCH", "FEED", "INCIDENT", "FILE", "DAG") if f" {word}" in f" {text} "]
    assert not unfilled, f"{command.runbook}: {text} has no value for {unfilled}"
    if text.startswith("c360 "):
        result = CliRunner().invoke(app, shlex.split(text)[1:], catch_exceptions=True)
        code, output = result.exit_code, f"{result.output}\n{result.exception!r}"
    else:
        ran = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False, cwd=scene.folder)
        code, output = ran.returncode, ran.stdout + ran.stderr
    if code == 0:
        return
    excused = any(text.startswith(start) and runbook in (command.runbook, "*") for runbook, start in MAY_FAIL)
    assert excused, f"{command.runbook}, {command.section} {command.number}: {text}\nended with {code}\n{output}"
    assert code == 1, f"{text} is not a command that this program understands:\n{output}"


def fixes(runbook: str) -> list[int]:
    return sorted({command.number for command in commands(runbook) if command.section == "Fix"}) or [0]


CASES = [(runbook, number) for runbook in drills.DRILLS for number in fixes(runbook)]
# The short form, in `make test`: the kinds that need no build.
SHORT = {
    ("webhooks_unbalanced", 1),
    ("batch_refused", 1),
    ("batch_failed", 3),
    ("quarantine_above_threshold", 1),
    ("condition_blind", 1),
}


def _case(runbook: str, number: int) -> object:
    marks = [] if (runbook, number) in SHORT else [pytest.mark.slow]
    return pytest.param(runbook, number, id=f"{runbook}-{number}", marks=marks)


@pytest.mark.parametrize(("runbook", "number"), [_case(*case) for case in CASES])
def test_every_command_of_a_runbook_is_understood_and_its_fix_mends(
    at_the_terminal: Settings, app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runbook: str,
    number: int,
) -> None:  # fmt: skip
    page = [command for command in commands(runbook) if not command.needs_airflow]
    scene = drills.begin(runbook, at_the_terminal, tmp_path)
    try:
        for name, value in scene.environment.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        for command in page:
            if command.section == "Look":
                execute(app, command, scene)
        chosen = [command for command in page if command.section == "Fix" and command.number == number]
        for place, command in enumerate(chosen):
            # By hand: before the commands, or between them where the first makes what is worked on (an export).
            if scene.by_hand and (place == 0) != (runbook == "quarantine_above_threshold"):
                scene.by_hand()
            execute(app, command, scene)
        for command in page:
            if command.section == "Prove":
                execute(app, command, scene)
        if (runbook, number) not in CANNOT_MEND:
            assert drills.is_over(runbook, scene.settings), f"Fix {number} of {runbook} did not mend it"
    finally:
        scene.end()
        if runbook == "disk_nearly_full" and scene.by_hand:
            scene.by_hand()


def test_every_incident_that_needs_no_airflow_has_a_drill() -> None:
    from customer360.oncall.conditions import CONDITIONS

    assert CONDITIONS
    assert {*CONDITIONS, "condition_blind"} == set(drills.DRILLS)


def test_every_drill_has_a_fix_that_mends_it() -> None:
    for runbook in drills.DRILLS:
        assert [number for number in fixes(runbook) if (runbook, number) not in CANNOT_MEND], runbook


def test_every_runbook_has_commands() -> None:
    pages = sorted(path.stem for path in RUNBOOKS.glob("*.md") if path.stem != "README")
    assert pages
    assert [page for page in pages if not commands(page)] == []
