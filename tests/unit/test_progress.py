"""What a person sees while the pipeline works."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from customer360.progress import Logged, Terminal


def test_the_terminal_shows_every_stage_with_its_result_and_the_failed_one_as_failed() -> None:
    output = io.StringIO()
    with pytest.raises(ValueError, match="stop"), Terminal(Console(file=output, width=100)) as progress:  # noqa: PT012
        progress.stage("load", 2)
        progress.step("a.jsonl")
        progress.step("b.jsonl")
        progress.note("2 batches [all]")
        progress.stage("build")
        raise ValueError("stop")
    lines = [line for line in output.getvalue().splitlines() if line.strip()]
    assert "✓ load" in lines[0]
    assert "2 batches [all]" in lines[0]
    assert "✗ build" in lines[1]


def test_the_terminal_shows_how_far_a_long_step_is() -> None:
    console = Console(file=io.StringIO(), width=100)
    with Terminal(console) as progress:
        progress.stage("load", 2)
        progress.step("a.jsonl")
        progress.note("b.jsonl: 60,000 rows")
        with console.capture() as shown:
            console.print(progress._render())
    assert "1/2 b.jsonl: 60,000 rows" in shown.get()


def test_a_log_gets_one_line_per_stage(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Logged() as progress:
        progress.stage("load")
        progress.note("3 batches")
        progress.stage("build")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["load", "build"]
    assert "3 batches" in caplog.records[0].getMessage()
