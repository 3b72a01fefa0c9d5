"""The rooms of the package: what each may import is checked, and the check has been seen red."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "plugins" / "customer360"


def check_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the import check of ``make lint`` on the copy of the package in ``root``."""
    program = (
        f"import sys; sys.path.insert(0, {str(root)!r});"
        "from importlinter.cli import lint_imports_command as command; command()"
    )
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo", str(ROOT / "pyproject.toml")],
        capture_output=True, text=True, check=False, cwd=root,
    )  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of the package, to plant imports in."""
    shutil.copytree(PACKAGE, tmp_path / "customer360", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_an_import_from_a_room_above_is_refused(copy: Path) -> None:
    assert check_imports(copy).returncode == 0
    with (copy / "customer360" / "warehouse" / "dirty.py").open("a") as module:
        module.write("\nfrom customer360.publication import build as build\n")
    checked = check_imports(copy)
    assert checked.returncode == 1
    assert "customer360.warehouse is not allowed to import customer360.publication" in checked.stdout


def test_an_import_circle_within_a_room_is_refused(copy: Path) -> None:
    with (copy / "customer360" / "front_door" / "file_names.py").open("a") as module:
        module.write("\nfrom customer360.front_door import landing as landing\n")
    checked = check_imports(copy)
    assert checked.returncode == 1
    assert "No import circle, within a room either BROKEN" in checked.stdout


def test_every_room_says_what_it_holds_and_stands_on_the_map() -> None:
    rooms = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    assert len(rooms) > 10
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawn = set(re.findall(r"`([a-z_]+)`", page.partition("## Rooms")[2].partition("## Schemas")[0]))
    for room in rooms:
        assert (PACKAGE / room / "__init__.py").read_text().startswith('"""'), room
        assert room in drawn, f"docs/architecture.md does not name {room}"
