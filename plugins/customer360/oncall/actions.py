"""What on-call can do from the page: each action is a command of this product, run as a process of its own.

The command on the button is the command of the runbook and of the terminal, so that there is one way to do a thing.
Every start is a row of ops.page_actions: what, who, why, and what came of it. Nothing is passed through a shell, and
each argument is checked against its kind.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.settings import Settings, get_settings
from customer360.stack.airflow_environment import DAGS

DAG_IDS = tuple(sorted(path.stem for path in DAGS.glob("*.py")))

_KINDS = {
    "batch": r"[0-9]{1,18}",
    "incident": r"[0-9]{1,18}",
    "rule": r"[a-z0-9_]{1,60}",
    "field": r"[A-Za-z0-9_, .\[\]]{1,120}",
    "dag": "|".join(DAG_IDS),
}
_OUTPUT_CHARACTERS = 6000
_MAX_SECONDS = 3600


class ActionError(Customer360Error):
    """What was asked for is no action, or its arguments do not fit."""


@dataclass(frozen=True)
class Action:
    """One thing that on-call can do: its button, what it does in words, and its command as words with placeholders."""

    name: str
    label: str
    meaning: str
    words: tuple[str, ...]
    is_harmful: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """The placeholders of its command but the reason."""
        return tuple(word[1:-1] for word in self.words if word.startswith("{") and word != "{because}")

    def command(self, values: Mapping[str, str], because: str) -> list[str]:
        """The words after ``c360``.

        Raises:
            ActionError: a value is missing or is not of its kind, or there is no reason.
        """
        if not because.strip() or len(because) > 500 or because.startswith("-") or not because.isprintable():
            raise ActionError("Every action needs a reason of up to 500 characters.", "Write why you do this.")
        filled = []
        for word in self.words:
            name = word[1:-1] if word.startswith("{") else ""
            value = because.strip() if name == "because" else str(values.get(name, "")) if name else word
            if name in _KINDS and not re.fullmatch(_KINDS[name], value):
                raise ActionError(f"{value!r} is no {name}.", "Go back to the page and choose it there.")
            filled.append(value)
        return filled


ACTIONS = {
    action.name: action
    for action in (
        Action("run", "Run what is pending", "Loads, builds and publishes everything that waits, without Airflow.",
               ("run",)),
        Action("replay", "Replay", "Processes the landed file again from its first byte. Nothing is loaded twice.",
               ("replay", "--batch", "{batch}", "--because", "{because}")),
        Action("hold", "Hold", "Takes the batch out of everything that is built, so that the others' data flows again. "
               "Undone by Unhold.", ("hold", "{batch}", "--because", "{because}"), is_harmful=True),
        Action("unhold", "Unhold", "Puts the batch back; the next run builds with it.",
               ("unhold", "{batch}", "--because", "{because}")),
        Action("release", "Release as they are", "Lets the rows of this reason into raw as they came. Only rules that "
               "may be waived; a row that breaks another stays.",
               ("quarantine", "release", "--batch", "{batch}", "--rule", "{rule}", "--because", "{because}")),
        Action("discard", "Discard", "Gives the rows of this reason up for good. They stay on record and never reach a "
               "table.", ("quarantine", "discard", "--batch", "{batch}", "--rule", "{rule}", "--because", "{because}"),
               is_harmful=True),
        Action("close", "Close incident", "Closes it although its cause lasts. It opens again if the cause comes back.",
               ("incident", "close", "{incident}", "--because", "{because}")),
        Action("trigger", "Run the DAG", "Starts a run of the DAG in Airflow. Safe to repeat.",
               ("airflow", "dags", "trigger", "{dag}")),
        Action("up", "Start what does not run", "Starts the processes of the stack that are missing; the others stay.",
               ("up",)),
        Action("tidy", "Tidy the landing zone", "Removes landed files whose rows are published.", ("tidy",)),
    )
}  # fmt: skip


def start(
    settings: Settings, name: str, values: Mapping[str, str], *, who: str, because: str, incident: int | None = None
) -> int:
    """Start an action as a process of its own; returns its number in ops.page_actions.

    Raises:
        ActionError: there is no such action, or a value does not fit.
    """
    action = ACTIONS.get(name)
    if action is None:
        raise ActionError(f"There is no action {name!r}.", f"Choose one of: {', '.join(ACTIONS)}.")
    words = action.command(values, because)
    with warehouse.connect("owner", settings) as connection:
        action_id: int = warehouse.scalar(
            connection,
            "insert into ops.page_actions (incident_id, command, acted_by, because) values (%s, %s, %s, %s) "
            "returning action_id",
            [incident, shlex.join(["c360", *words]), who, because.strip()],
        )
    subprocess.Popen(
        [sys.executable, "-m", "customer360.oncall.actions", str(action_id), *words],
        env=os.environ | {"C360_ACTOR": who, "C360_HOME": str(settings.home), "NO_COLOR": "1", "COLUMNS": "110"},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd=settings.home,
        start_new_session=True,  # it outlives the API server that started it
    )  # fmt: skip
    return action_id


def recorded(settings: Settings, action_id: int) -> dict[str, Any] | None:
    """One started action, or None."""
    from psycopg.rows import dict_row

    with warehouse.connect("oncall", settings, autocommit=True) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        return cursor.execute("select * from ops.page_actions where action_id = %s", [action_id]).fetchone()


def _perform(action_id: int, words: list[str]) -> int:
    """Run the command to its end and record what came of it."""
    command = [sys.executable, "-c", "from customer360.cli.app import main; main()", *words]
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", check=False, timeout=_MAX_SECONDS,
        )  # fmt: skip
        code, output = ended.returncode, ended.stdout
    except subprocess.TimeoutExpired:
        code, output = 124, f"It was ended after {_MAX_SECONDS} s."
    with warehouse.connect("owner", get_settings()) as connection:
        connection.execute(
            "update ops.page_actions set finished_at = clock_timestamp(), exit_code = %s, output = %s "
            "where action_id = %s",
            [code, output[-_OUTPUT_CHARACTERS:].replace("\x00", ""), action_id],
        )
    return code


if __name__ == "__main__":
    sys.exit(_perform(int(sys.argv[1]), sys.argv[2:]))
