"""The wheel is whole: what is installed from it has the DAGs, the dbt project, the pages and the sources."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

UV = ROOT / ".venv" / "bin" / "uv"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT], check=False, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_has_every_file_of_the_checkout_that_the_product_reads(wheel: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split(
        "\n"
    )
    moved = ("dags/", "dbt_project/", "docs/", "sources/", "plugins/airflow_")
    wanted = {f"customer360/project/{path}" for path in listed if path.startswith(moved)}
    wanted |= {path.removeprefix("plugins/") for path in listed if path.startswith("plugins/customer360/")}
    wanted |= {path for path in listed if path.startswith("expectations/")}
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert wanted <= packed, sorted(wanted - packed)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's system user may enter; pytest's own ones are closed to others."""
    with tempfile.TemporaryDirectory(prefix="c360-wheel-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.slow
def test_an_empty_environment_takes_a_sample_through_the_main_job(wheel: Path, open_folder: Path) -> None:
    environment = open_folder / "environment"
    constraints = open_folder / "constraints.txt"
    commands: tuple[list[str | Path], ...] = (
        [UV, "export", "--quiet", "--project", ROOT, "--no-default-groups", "--no-emit-project", "--no-hashes",
         "--output-file", constraints],
        [UV, "venv", "--quiet", "--python", sys.executable, environment],
        [UV, "pip", "install", "--quiet", "--python", environment / "bin" / "python", "-r", constraints, wheel],
    )  # fmt: skip
    for command in commands:
        subprocess.run(command, check=True)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("C360_", "AIRFLOW"))}
    own |= {"HOME": str(open_folder), "C360_HOME": str(open_folder / "home")}

    def c360(*words: str | Path) -> str:
        ran = subprocess.run(
            [environment / "bin" / "c360", *words],
            env=own,
            cwd=open_folder,
            check=False,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    folders = json.loads(c360("folders", "--json"))
    assert all(str(environment) in folders[name] for name in ("dags", "airflow_plugins", "dbt_project", "sources"))
    sample = open_folder / "sample"
    c360("sample", "--customers", "30", "--days", "30", "--out", sample)
    try:
        for feed in ("orders", "web_sessions", "support_tickets"):
            c360("land", feed, *sorted((sample / "history" / feed).iterdir()), "--history")
        c360("run")
        assert json.loads(c360("verify", "--json"))["holds"]
        assert json.loads(c360("sql", "--json", "select count(*) as n from marts.customer_360"))[0]["n"] > 0
    finally:
        c360("down")
