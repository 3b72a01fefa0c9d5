"""The pages say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from customer360.reference_pages import documentation
from customer360.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", sorted(documentation.PAGES))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == documentation.PAGES[name](), "run `make docs`"


def test_every_make_target_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.M)[0].split())
    explained = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.M))
    assert targets, "no targets found: this test looks in the wrong place"
    assert targets == explained


def test_every_environment_variable_that_the_code_reads_is_documented() -> None:
    documented = (ROOT / "docs" / "settings.md").read_text()
    sources = [path for folder in ("plugins", "dags") for path in (ROOT / folder).rglob("*.py")]
    assert sources
    read = {name for path in sources for name in re.findall(r"\bC360_[A-Z0-9_]+\b", path.read_text())}
    # Not settings of an installation: the tests' servers, fault drills, and who acts through the page.
    internal = {"C360_POSTGRES_OPTIONS", "C360_KILL_AT", "C360_PAUSE_AT", "C360_PAUSE_FILE", "C360_ACTOR"}
    assert sorted(name for name in read - internal if f"`{name}`" not in documented) == []


def test_a_wrong_setting_says_which_and_what_to_do() -> None:
    from customer360.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="C360_BUSINESS_TIMEZONE") as caught:
        load_settings({"C360_BUSINESS_TIMEZONE": "Mars/Olympus"})
    assert "Europe/Berlin" in caught.value.next_step
