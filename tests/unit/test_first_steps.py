"""What a newcomer meets at the terminal, without a warehouse."""

from __future__ import annotations

import getpass
import os
import pwd
import sys
from datetime import date

import pytest

from customer360.cli import app, completion
from customer360.errors import Customer360Error
from customer360.front_door import ledger
from customer360.front_door.formats import UnreadableFileError, format_of
from customer360.oncall.conditions import label_of
from customer360.oncall.drills import DRILLS, STACK_DRILLS
from customer360.publication.copies import insist_on_parameters
from customer360.terminal import counted


def test_a_spreadsheet_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnreadableFileError, match="save it as CSV UTF-8"):
        format_of("Orders.XLSX")


def test_the_actor_is_the_system_user_where_no_variable_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("C360_ACTOR", "SUDO_USER", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert ledger.me() == getpass.getuser() == pwd.getpwuid(os.getuid()).pw_name


def test_a_day_before_the_parameters_of_loyalty_is_refused() -> None:
    insist_on_parameters(date(2020, 1, 1))
    with pytest.raises(Customer360Error, match="loyalty parameters begin") as refused:
        insist_on_parameters(date(1900, 1, 1))
    assert "Name a day from" in refused.value.next_step


def test_a_count_has_its_noun_in_the_right_number() -> None:
    assert [counted(1, "batch"), counted(2000, "batch"), counted(0, "row")] == ["1 batch", "2,000 batches", "0 rows"]


def test_what_only_shows_something_is_no_fix() -> None:
    assert label_of("c360 why batch 3") == "read first"
    assert label_of("c360 replay --batch 3 --because 'x'") == "fix"


def test_drills_are_completed_without_importing_them() -> None:
    assert set(completion.drills_of("")) == {"list", *DRILLS, *STACK_DRILLS}
    assert completion.feeds_of("or") == ["orders"]
    assert "raw_differs" in completion.runbooks_of("raw")


def test_a_runbook_is_read_from_anywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["c360", "runbook", "raw_differs"])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("# raw_differs")
