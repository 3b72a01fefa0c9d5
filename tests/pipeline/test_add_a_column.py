"""docs/add-a-column.md is followed to the letter, on a copy of the product that has published a shop before."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.pipeline.shop import order

pytestmark = pytest.mark.builds

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "add-a-column.md").read_text()
COPIED = ("plugins", "dbt_project", "expectations", "docs")
UNIT_TESTS = """
from customer360 import transform
from customer360.settings import get_settings

print(len(transform.run_model_tests(get_settings(), "fct_orders,test_type:unit", run_id=None)), "unit tests")
"""


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in the order of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.S | re.M)


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

    def land(self, name: str, record: dict[str, object]) -> None:
        (self.folder / name).write_text(json.dumps(record) + "\n")


@pytest.fixture
def copy() -> Iterator[Copy]:
    # Not below pytest's own folder: the server's user must reach it (tests/conftest.py).
    with tempfile.TemporaryDirectory(prefix="c360-column-") as folder:
        made = Copy(Path(folder))
        yield made
        made.run("c360 down")


def test_a_field_of_a_feed_becomes_a_published_documented_column(copy: Copy) -> None:
    copy.land("before.jsonl", order("o1", customer_id="c1", payment_method="card"))
    copy.run("c360 land orders before.jsonl")
    copy.run("c360 run")
    for difference in blocks("diff"):
        subprocess.run(["git", "apply", "-"], input=difference, text=True, cwd=copy.folder, check=True)
    copy.land("orders.jsonl", order("o2", customer_id="c1", delivery_method="locker"))
    for command in blocks("sh")[0].splitlines():
        copy.run(command)

    (wanted,) = blocks("sql")
    with psycopg.connect(copy.run("c360 url").strip()) as reader:
        assert reader.execute(wanted).fetchall() == [("o2", "locker")]
        assert reader.execute("select order_id, payment_method from marts.fct_orders order by 1").fetchall() == [
            ("o1", "card"),
            ("o2", None),
        ]
        described = "select col_description('marts.fct_orders'::regclass, attnum) from pg_attribute where attname = %s"
        comments = reader.execute(described, ["delivery_method"]).fetchall()
        assert any("home, pickup or locker" in (text or "") for (text,) in comments)
    for page in ("tables.md", "feeds.md"):
        assert "delivery_method" in (copy.folder / "docs" / page).read_text()
    assert copy.run(f"python -c '{UNIT_TESTS}'").split()[0] >= "3"

    copy.land("wrong.jsonl", order("o3", customer_id="c1", delivery_method="drone"))
    copy.run("c360 land orders wrong.jsonl")
    copy.run("c360 run")
    listed = copy.run("c360 quarantine list --json")
    assert "delivery_method" in listed
