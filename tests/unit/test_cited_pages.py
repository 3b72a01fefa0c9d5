"""Each page, section, principle and decision that code, SQL, YAML, seeds or docs cite exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CITING = (".py", ".sql", ".yml", ".csv", ".md", ".toml", ".html")


def texts() -> dict[str, str]:
    """Every text file of the repository by its path, but this one."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    return {
        name: (ROOT / name).read_text()
        for name in listed
        if name.endswith(CITING) and name != "tests/unit/test_cited_pages.py" and (ROOT / name).exists()
    }


def sections(page: Path) -> set[str]:
    """The headings of a page, its bold terms, and the numbers of its numbered list or table."""
    text = page.read_text()
    found = {heading.strip() for heading in re.findall(r"^#+ (.*)$", text, re.M)}
    found |= set(re.findall(r"\*\*([^*]+?)[.:]?\*\*", text))
    return found | set(re.findall(r"^(?:\| )?([0-9]+)[. ]", text, re.M))


def test_every_cited_decision_exists() -> None:
    numbers = {path.name[:4] for path in (DOCS / "decisions").glob("[0-9]*.md")}
    cited = {
        (name, number)
        for name, text in texts().items()
        for number in re.findall(r"decisions?[/ ]\(?([0-9]{4})\b", text)
    }
    assert len(cited) > 10
    assert {(name, number) for name, number in cited if number not in numbers} == set()


def test_every_cited_principle_exists() -> None:
    principles = sections(DOCS / "architecture.md")
    cited = {(name, number) for name, text in texts().items() for number in re.findall(r"principles? ([0-9]+)", text)}
    assert len(cited) > 5
    assert {(name, number) for name, number in cited if number not in principles} == set()


def test_every_cited_section_of_a_page_exists() -> None:
    cited = {
        (name, page, section.strip('"'))
        for name, text in texts().items()
        for page, section in re.findall(r"\((architecture|[a-z-]+\.md), (\"[^\"]+\"|[A-Z][A-Za-z ]+)\)", text)
    }
    assert cited
    missing = {
        (name, page, section)
        for name, page, section in cited
        if section not in sections(DOCS / (page if page.endswith(".md") else f"{page}.md"))
    }
    assert missing == set()


def test_every_cited_number_of_the_loyalty_page_exists() -> None:
    numbers = sections(DOCS / "loyalty.md")
    cited = {(name, number) for name, text in texts().items() for number in re.findall(r"loyalty\.md ([0-9]+)", text)}
    assert len(cited) > 10
    assert {(name, number) for name, number in cited if number not in numbers} == set()


def test_every_cited_page_exists() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md")}
    cited = {
        (name, page.rstrip("."))
        for name, text in texts().items()
        for page in re.findall(r"\bdocs/[a-z0-9_/-]+\.md\b", text)
    }
    assert len(cited) > 20
    made_by_the_reader = {"docs/add-a-feed.md", "docs/add-a-column.md", "docs/add-a-mart.md"}
    assert {(name, page) for name, page in cited if page not in pages and name not in made_by_the_reader} == set()


def test_no_text_cites_a_page_that_is_not_in_the_repository() -> None:
    names = {path.name for path in ROOT.rglob("*.md") if ".venv" not in path.parts} | {"tables.md"}
    cited = {
        (name, page)
        for name, text in texts().items()
        for page in re.findall(r"(?<![/\w.-])([a-z][a-z0-9_-]*\.md)\b", text)
    }
    assert cited
    assert {(name, page) for name, page in cited if page not in names} == set()


def test_the_pages_that_add_a_migration_name_the_newest_one_before_it() -> None:
    versions = ROOT / "plugins" / "customer360" / "warehouse" / "migrations" / "versions"
    newest = max(path.name for path in versions.glob("[0-9]*.py"))[:4]
    for name in ("add-a-column.md", "add-a-feed.md"):
        text = (DOCS / name).read_text()
        assert re.findall(r'down_revision = "([0-9]{4})"', text) == [newest], name
        assert all(number > newest for number in re.findall(r'^\+revision = "([0-9]{4})"', text, re.M)), name
