"""The commands of the runbooks, as a person would paste them, by the section that they stand in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNBOOKS = ROOT / "docs" / "runbooks"


@dataclass(frozen=True)
class Command:
    """A line to paste: of which runbook, in which section (Look, Fix, Prove), and for Fix under which number."""

    runbook: str
    section: str
    number: int
    text: str

    @property
    def needs_airflow(self) -> bool:
        """Whether it starts, stops or asks Airflow."""
        return bool(re.match(r"c360 (airflow|down|up(?! --no-airflow))", self.text))


def commands(runbook: str) -> list[Command]:
    """Every command of a runbook in the order of the page: fenced lines, and `c360 …` within the text."""
    found: list[Command] = []
    section, number, fenced = "", 0, False
    for line in (RUNBOOKS / f"{runbook}.md").read_text().splitlines():
        if line.startswith("```"):
            fenced = line == "```sh" and not fenced
            continue
        if line.startswith("## "):
            section, number = line[3:], 0
        if numbered := re.match(r"(\d+)\. ", line):
            number = int(numbered[1])
        texts = [line.strip()] if fenced else re.findall(r"`(c360 [^`]+)`", line)
        found += [Command(runbook, section, number, text) for text in texts if text]
    return found


def filled(text: str, values: dict[str, str]) -> str:
    """A command with the placeholders of its situation filled in."""
    for placeholder, value in values.items():
        text = re.sub(rf"(?<![\w/.]){re.escape(placeholder)}(?!\w)", value, text)
    return text
