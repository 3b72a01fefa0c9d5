"""`c360 docs`: dbt's documentation as one file that asks for nothing from anywhere."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from customer360.reference_pages import model_site
from customer360.settings import Settings

pytestmark = [pytest.mark.builds, pytest.mark.slow]


@pytest.fixture
def site(year_shop: Settings, tmp_path: Path, terminal_of: Callable[..., Callable[..., tuple[int, str, str]]]) -> Path:
    """The file, written by the command."""
    code, out, errors = terminal_of(year_shop)("docs", "--out", tmp_path / "site" / "models.html", "--json")
    assert code == 0, errors
    return Path(json.loads(out)["path"])


def test_the_documentation_is_one_file_that_names_no_other_host(site: Path) -> None:
    text = site.read_text()
    assert re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]*"', text) == []
    assert "cloudfront" not in text
    for name in ("customer_360", "net_revenue", "shop_report", "weekly_questions"):
        assert f'"{name}"' in text
    assert sorted(path.name for path in site.parent.iterdir()) == [model_site.FILE_NAME]


def test_a_browser_shows_it_from_the_disk_and_asks_for_nothing_else(site: Path, browser: Any) -> None:
    browser.get(f"{site.as_uri()}#!/model/model.customer360.customer_360")
    until = time.monotonic() + 30
    while "identifier_count" not in browser.page_source and time.monotonic() < until:
        time.sleep(0.2)
    assert "identifier_count" in browser.page_source
    # A page from the disk may not rewrite its own address, and says so; a request that failed would be of the network.
    assert [entry for entry in browser.get_log("browser") if entry["source"] == "network"] == []
