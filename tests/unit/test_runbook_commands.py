"""Every command that a runbook tells people to paste exists, with the options that it is given."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.exceptions import TyperException

from customer360.cli import registry

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = sorted(path for path in (ROOT / "docs" / "runbooks").glob("*.md") if path.stem != "README")


def commands(runbook: Path) -> list[str]:
    """The lines of its shell blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", runbook.read_text(), re.S | re.M)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def c360() -> Any:
    app = typer.Typer()
    registry.register(app)
    return typer.main.get_command(app)


def refusal(command: Any, words: list[str]) -> str:
    """Parse words as the command line would, without doing anything; what it says against them, or nothing."""
    try:
        context = command.make_context(command.name, list(words))
        left = [*context._protected_args, *context.args]
        if hasattr(command, "resolve_command") and (left or not command.invoke_without_command):
            _, chosen, rest = command.resolve_command(context, left)
            return refusal(chosen, rest)
    except typer.Exit:
        pass
    except TyperException as wrong:
        return str(wrong.format_message())
    return ""


def test_there_are_runbooks_with_commands() -> None:
    assert len(RUNBOOKS) > 10
    assert all(commands(runbook) for runbook in RUNBOOKS)


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_every_command_of_a_runbook_can_be_pasted(runbook: Path, c360: Any) -> None:
    for line in commands(runbook):
        words = shlex.split(line)
        if words[0] != "c360":
            continue
        # Upper case stands for what the reader puts in: a number nearly everywhere.
        words = ["1" if re.fullmatch(r"[A-Z]{2,}", word) else word for word in words[1:]]
        assert not refusal(c360, words), f"{runbook.name}: `{line}`: {refusal(c360, words)}"


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_every_dag_that_a_runbook_names_exists(runbook: Path) -> None:
    for line in commands(runbook):
        words = shlex.split(line)
        if words[:3] in (["c360", "airflow", "dags"], ["c360", "airflow", "tasks"]) and len(words) > 4:
            dag_id = words[-1].replace("FEED", "orders")
            assert dag_id == "DAG" or (ROOT / "dags" / f"{dag_id}.py").is_file(), line


def test_a_wrong_command_would_be_seen(c360: Any) -> None:
    assert "because" in refusal(c360, ["hold", "1", "--becuase", "typo"])
    assert "relaese" in refusal(c360, ["quarantine", "relaese"])
    assert not refusal(c360, ["hold", "1", "--because", "a reason"])
