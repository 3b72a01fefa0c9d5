"""One version, a changelog, a licence, dated decisions, and a hook that runs what CI runs."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from datetime import date
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml

from customer360 import __version__

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
RELEASE = re.compile(r"^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$", re.M)
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_there_is_one_version() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    images = {service["image"] for service in services.values() if "customer360:" in service["image"]}
    assert images == {f"${{C360_IMAGE:-customer360:{__version__}}}"}
    assert yaml.safe_load((ROOT / "dbt_project" / "dbt_project.yml").read_text())["version"] == __version__
    assert metadata("customer360")["Version"] == __version__, "run `make setup`"


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    releases = RELEASE.findall(text)
    assert releases[0] == ("Unreleased", "")
    assert __version__ in {version for version, _ in releases}
    days = [date.fromisoformat(day) for _, day in releases[1:]]
    assert days == sorted(days, reverse=True)
    assert len(re.findall(r"^## ", text, re.M)) == len(releases), "a heading is not `## [version] - date`"
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= KINDS


def test_the_licence_is_apache_2_0_word_for_word() -> None:
    # The SHA-256 of https://www.apache.org/licenses/LICENSE-2.0.txt.
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # pragma: allowlist secret
    assert metadata("customer360")["License-Expression"] == "Apache-2.0"


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_its_number_a_status_and_a_date(page: Path) -> None:
    title, _, status = page.read_text().splitlines()[:3]
    assert title.startswith(f"# {int(page.name[:4])}. ")
    found = re.match(r"Status: (?:proposed|accepted|superseded by (\d{4})), (\d{4}-\d{2}-\d{2})\.", status)
    assert found, "the third line is `Status: accepted, 2026-11-22.`, or proposed, or superseded by NNNN"
    assert date.fromisoformat(found[2])
    if found[1]:
        assert list(page.parent.glob(f"{found[1]}-*.md")), f"there is no decision {found[1]}"


def test_no_two_decisions_have_one_number() -> None:
    numbers = [page.name[:4] for page in DECISIONS]
    assert len(numbers) == len(set(numbers)) > 10


def test_the_hook_before_a_commit_runs_make_lint_and_loads_nothing() -> None:
    path = ROOT / ".pre-commit-config.yaml"
    subprocess.run([Path(sys.executable).with_name("pre-commit"), "validate-config", path], check=True)
    (repository,) = yaml.safe_load(path.read_text())["repos"]
    assert repository["repo"] == "local"
    assert [(hook["entry"], hook["language"]) for hook in repository["hooks"]] == [("make lint", "system")]


def test_contributing_names_only_targets_and_paths_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"`make ([a-z-]+)`", text))
    assert targets >= {"lint", "test", "test-fast", "test-slow", "bench"}
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    paths = re.findall(r"`((?:plugins|dags|expectations|dbt_project|tests)/[\w/.]*)`|\]\(([\w/.-]+)\)", text)
    assert paths
    for shown, linked in paths:
        assert (ROOT / (shown or linked)).exists(), shown or linked
