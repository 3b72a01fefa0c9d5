"""What every command of ``c360`` has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from customer360.cli import registry

# They print no facts of their own: an airflow command's words, a stack's progress, a draft for a person to edit.
_WITHOUT_FACTS = {"airflow", "demo", "source new"}


def _commands() -> Iterator[tuple[str, Any]]:
    app = typer.Typer(name="c360")
    registry.register(app)
    waiting: list[tuple[list[str], Any]] = [([], typer.main.get_command(app))]
    while waiting:
        path, command = waiting.pop()
        if inner := getattr(command, "commands", None):
            waiting += [([*path, name], one) for name, one in inner.items()]
        else:
            yield " ".join(path), command


_COMMANDS: list[tuple[str, Any]] = sorted(_commands(), key=str)


@pytest.mark.parametrize(("name", "command"), _COMMANDS)
def test_what_a_command_says_can_be_read_by_a_program(name: str, command: Any) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--json" in options) != (name in _WITHOUT_FACTS)


@pytest.mark.parametrize(("name", "command"), _COMMANDS)
def test_each_command_and_each_option_says_what_it_is_for(name: str, command: Any) -> None:
    assert (command.help or "").rstrip().endswith((".", "`")), name
    assert command.help[0].isupper(), name
    assert not [p.name for p in command.params if not (getattr(p, "help", None) or p.name in {"ctx", "context"})]
