"""The front door's commands as a person types them: odd input, exit codes, an interrupted load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from customer360.settings import Settings
from tests.pipeline.front_door import assert_balanced, batches, drop, jsonl, order

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    return {"C360_HOME": str(settings.home), "C360_DATABASE": settings.database, "C360_LANDING": settings.landing}


@pytest.fixture
def c360(settings: Settings, terminal_of: Callable[..., Command]) -> Command:
    return terminal_of(settings, columns=200)


@pytest.mark.parametrize(
    "words",
    [
        ["ingest", "order"],
        ["land", "order", __file__],
        ["replay", "--feed", "order", "--because", "drill"],
        ["quarantine", "list", "--feed", "order"],
        ["quarantine", "discard", "--feed", "order", "--because", "drill"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_an_unknown_feed_is_named_with_the_known_ones(c360: Command, words: list[str]) -> None:
    code, _, errors = c360(*words)
    assert code == 2
    assert "There is no feed 'order'." in errors
    assert "orders, web_sessions, support_tickets" in errors


def test_a_state_that_cannot_be_replayed_is_refused(c360: Command) -> None:
    code, _, errors = c360("replay", "--state", "lost", "--because", "drill")
    assert code == 1
    assert "failed, refused, loaded, published, held" in errors


def test_a_file_that_is_refused_makes_the_command_fail_once_and_the_others_are_in(
    settings: Settings, c360: Command
) -> None:
    drop(settings, "orders", "[red]good[bold].jsonl", jsonl([order(1), order(2, status="lost")]))
    drop(settings, "orders", "[blue]a[x].csv", b"nonsense\n1\n")
    code, output, _ = c360("ingest")
    assert code == 1
    assert "[blue]a[x].csv" in output
    assert "required columns" in output
    assert [batch.state for batch in batches(settings)] == ["loaded", "refused"]
    code, output, _ = c360("ingest")
    assert (code, output.strip()) == (0, "Nothing new has landed.")
    drop(settings, "orders", "bad rows.jsonl", jsonl([order(3), order(4, status="lost")]))
    assert c360("ingest")[0] == 0, "rows in quarantine stand aside"


def test_what_landed_before_a_file_was_refused_is_told(settings: Settings, c360: Command, tmp_path: Path) -> None:
    good = tmp_path / "[a].jsonl"
    good.write_bytes(jsonl([order(1)]))
    bad = tmp_path / "b.txt"
    bad.write_text("x")
    code, output, errors = c360("land", "orders", good, bad)
    assert code == 1
    assert "Landed [a].jsonl: " in output
    assert "b.txt: the name does not end in one of .jsonl" in errors
    code, output, errors = c360("land", "orders", good, tmp_path / "gone.csv", "--json")
    assert code == 1
    assert [file["name"] for file in json.loads(output)] == ["[a].jsonl"]
    assert "gone.csv is no readable file" in errors


def test_giving_up_or_releasing_what_is_not_open_fails(settings: Settings, c360: Command) -> None:
    drop(settings, "orders", "a.jsonl", jsonl([order(1, status="lost")]))
    c360("ingest")
    assert c360("quarantine", "discard", 99, "--because", "drill")[0] == 1
    assert c360("quarantine", "release", 99, "--because", "drill")[0] == 1
    assert c360("quarantine", "discard", 1, "--because", "drill")[0] == 0
    code, output, _ = c360("quarantine", "discard", 1, "--because", "drill")
    assert (code, output.strip()) == (1, "No open row is meant by that.")
    assert_balanced(settings)


def test_an_interrupted_load_says_so_and_leaves_nothing_half_done(
    settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    drop(settings, "orders", "a.jsonl", jsonl([order(n) for n in range(200)]))
    paused = tmp_path / "paused"
    process = subprocess.Popen(
        [sys.executable, "-c", "from customer360.cli.app import main; main()", "ingest"],
        env=os.environ | environment | {"C360_PAUSE_AT": "load.copied", "C360_PAUSE_FILE": str(paused)},
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background lets its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 60
        while not paused.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "Nothing is half done: run the same command again" in errors
    assert_balanced(settings)
    assert [batch.state for batch in batches(settings)] == ["landed"]
