"""A copy of the product's code with an installation of its own, on which a page of docs/ is followed to the letter."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("plugins", "dbt_project", "expectations", "docs", "dags")


class Page:
    """A page of docs/ and what is to be done on it."""

    def __init__(self, name: str) -> None:
        self._text = (ROOT / "docs" / name).read_text()

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks of a language, in the order of the page."""
        return re.findall(rf"^```{language}\n(.*?)^```", self._text, re.S | re.M)


class Copy:
    """A copy of the product's code with an installation of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            ignored = shutil.ignore_patterns("__pycache__", "target", "logs")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        self.environment = os.environ | {
            "PYTHONPATH": f"{folder / 'plugins'}{os.pathsep}{folder}",
            "C360_HOME": str(folder / "home"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def run(self, command: str) -> str:
        """A command of the page, in the copy; fails unless it ends well."""
        if command.startswith("c360 "):
            command = f'python -c "from customer360.cli.app import main; main()" {command.removeprefix("c360 ")}'
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def land(self, name: str, *records: dict[str, object]) -> None:
        """Write a file to be landed."""
        (self.folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))

    def apply(self, page: Page) -> None:
        """Every difference of the page, as `git apply` takes it."""
        for difference in page.blocks("diff"):
            subprocess.run(["git", "apply", "-"], input=difference, text=True, cwd=self.folder, check=True)

    def unit_tests(self, model: str) -> int:
        """Run the dbt unit tests of a model; returns how many there are. Fails unless all hold."""
        return int(self.run(f"python -c '{_UNIT_TESTS.format(model=model)}'"))


_UNIT_TESTS = """
from customer360.models import runner
from customer360.settings import get_settings

print(len(runner.run_model_tests(get_settings(), "{model},test_type:unit", run_id=None)))
"""


@contextmanager
def copy_of_the_product() -> Iterator[Copy]:
    """A copy, whose server ends with the block."""
    # Not below pytest's own folder: the server's user must reach it (tests/conftest.py).
    with tempfile.TemporaryDirectory(prefix="c360-copy-") as folder:
        made = Copy(Path(folder))
        yield made
        made.run("c360 down")
