"""Process records: what is found again after a crash, and what is never touched."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from customer360.settings import Settings
from customer360.stack import airflow_environment, processes
from customer360.stack.airflow_environment import airflow_home, airflow_secrets, environment

# A leader that forks one worker, as the scheduler does, and tells both process ids.
FAMILY = """
import os, signal, time
child = os.fork()
if child == 0:
    os.setpgid(0, 0)   # Airflow gives each task a process group of its own
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    print(child, flush=True)
time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def family(home: Settings) -> Iterator[tuple[int, int]]:
    leader = subprocess.Popen(
        [sys.executable, "-c", FAMILY], start_new_session=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert leader.stdout
    worker = int(leader.stdout.readline())
    record(home, "scheduler", leader.pid, psutil.Process(leader.pid).create_time())
    yield leader.pid, worker
    for pid in (leader.pid, worker):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    leader.wait()


def record(settings: Settings, name: str, pid: int, started: float) -> None:
    airflow_environment.write_private(
        airflow_home(settings) / "processes" / f"{name}.json", json.dumps({"pid": pid, "started": started})
    )


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_recorded_process_is_found_again(home: Settings, family: tuple[int, int]) -> None:
    assert processes.running(home) == {"scheduler": family[0]}


def test_a_process_that_was_given_the_same_id_later_is_a_stranger(home: Settings, family: tuple[int, int]) -> None:
    record(home, "scheduler", family[0], psutil.Process(family[0]).create_time() - 3600)
    assert processes.running(home) == {}
    processes._end_session(home, "scheduler")
    assert lives(family[0])
    assert lives(family[1])


def test_workers_that_outlive_a_killed_scheduler_are_ended(home: Settings, family: tuple[int, int]) -> None:
    leader, worker = family
    os.kill(leader, signal.SIGKILL)
    until(lambda: not lives(leader))
    assert lives(worker)
    assert processes.running(home) == {}
    processes._end_session(home, "scheduler")
    until(lambda: not lives(worker))


def test_down_ends_what_ignores_a_polite_request(
    home: Settings, family: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_STOP_SECONDS", 0.2)
    assert processes.down(home) == ["scheduler"]
    until(lambda: not any(lives(pid) for pid in family))
    assert processes.running(home) == {}
    assert processes.down(home) == []


def test_a_damaged_record_counts_as_none(home: Settings) -> None:
    airflow_environment.write_private(airflow_home(home) / "processes" / "scheduler.json", '{"pid": ')
    assert processes.running(home) == {}
    assert processes.down(home) == []


def test_secrets_are_made_once_and_readable_by_their_owner_alone(home: Settings) -> None:
    first = airflow_secrets(home)
    assert airflow_secrets(home) == first
    for path in (airflow_home(home)).glob("*.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert airflow_secrets(Settings(home=home.home / "other")) != first


def test_two_installations_share_no_secret(home: Settings) -> None:
    other = Settings(home=home.home / "other")
    ours, theirs = airflow_secrets(home), airflow_secrets(other)
    assert not set(vars(ours).values()) & set(vars(theirs).values())


def test_nothing_listens_beyond_this_machine_unless_it_is_told_to(home: Settings) -> None:
    variables = environment(home, "postgresql://u:p@127.0.0.1:1/airflow", 4711)
    assert variables["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert variables["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:4711/execution/"
    for component in ("scheduler", "triggerer"):
        assert "--skip-serve-logs" in processes.COMPONENTS[component]


def test_the_environment_has_a_login_and_compiles_bytecode(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("AIRFLOW__SMTP__SMTP_HOST", "mail.example")
    variables = environment(home, "postgresql://u:p@127.0.0.1:1/airflow", 4711)
    assert variables["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] == "False"
    assert "PYTHONDONTWRITEBYTECODE" not in variables
    assert variables["AIRFLOW__SMTP__SMTP_HOST"] == "mail.example", "a person's own settings reach Airflow"


def test_every_airflow_setting_exists_in_this_version_of_airflow(home: Settings) -> None:
    from airflow.configuration import conf

    known = set(conf.configuration_description) | {"cosmos"}
    variables = {k: v for k, v in environment(home, "postgresql://u:p@h:1/a", 1).items() if k not in os.environ}
    ours = [name.split("__")[1:] for name in variables if name.startswith("AIRFLOW__")]
    assert len(ours) > 20
    for section, key in ((s.lower(), k.lower()) for s, k in ours):
        assert section in known, section
        if section != "cosmos":
            assert key in conf.configuration_description[section]["options"], f"{section}.{key}"


def test_asking_for_a_stack_that_does_not_run_says_what_to_do(home: Settings) -> None:
    with pytest.raises(processes.StackError) as refusal:
        processes.api(home)
    assert "c360 up" in refusal.value.next_step
