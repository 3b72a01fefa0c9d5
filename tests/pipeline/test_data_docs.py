"""The Data Docs site shows what the gates found, nothing personal, and asks for nothing from anywhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from customer360 import warehouse
from customer360.gates import data_docs
from customer360.settings import Settings
from tests.pipeline.front_door import ingest_one, jsonl, order

HOSTILE = "a<script>document.title='taken over'</script>.jsonl"


@pytest.fixture
def made(settings: Settings) -> Path:
    """The first page of the site after two batches, one of them with bad rows."""
    rows = [order(1), order(2, status="lost", email="ann.secret@example.com"), order(3, total_amount="mail@secret.org")]
    ingest_one(settings, "orders", "a.jsonl", jsonl(rows))
    ingest_one(settings, "orders", "b.jsonl", jsonl([order(4)]))
    return data_docs.build_data_docs(settings)


def pages(first: Path) -> dict[str, str]:
    """The site: path -> HTML."""
    found = {path.relative_to(first.parent).as_posix(): path.read_text() for path in first.parent.rglob("*.html")}
    assert len(found) >= 4
    return found


def words(html: str) -> str:
    """What a reader sees."""
    return re.sub(r"<[^>]+>|\s+", " ", html)


class Addresses(HTMLParser):
    """Every address that a page names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"href", "src", "srcset", "data", "action", "poster", "formaction"} and value:
                self.found.append(value)
                if tag != "a":
                    self.loaded.append(value)


def test_the_site_shows_every_gate_without_personal_values(settings: Settings, made: Path) -> None:
    site = pages(made)
    validations = [words(text) for name, text in site.items() if name.startswith("validations/")]
    assert {name.split("/")[1] for name in site if name.startswith("validations/")} >= {"landing", "raw"}
    assert any("status is one of placed" in text for text in validations)
    assert not any("secret" in text for text in site.values())
    assert any("Data asset: batch 1, orders/a.jsonl." in text for text in validations)
    assert any("Data asset: raw.orders, batch 1." in text for text in validations)
    suite = words(site["expectations/landing.orders.html"])
    assert "A new field is kept in extra" in suite, "a suite's page says why"
    made_at = made.stat().st_mtime_ns
    assert data_docs.build_data_docs(settings).stat().st_mtime_ns == made_at, "nothing new was found"


def test_the_site_names_no_host_and_every_link_leads_to_a_page(made: Path) -> None:
    for name, text in pages(made).items():
        assert not re.search(r"(?:https?:)?//[\w.-]+\.\w", text), name
        assert "default-src 'none'" in text, name
        addresses = Addresses()
        addresses.feed(text)
        assert addresses.found, name
        assert addresses.loaded == [], name
        for address in addresses.found:
            assert (made.parent / name).parent.joinpath(address).is_file(), (name, address)


def test_a_files_name_is_shown_and_not_obeyed(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1)]))
    with warehouse.connect("owner", settings) as connection:
        connection.execute("update ops.batches set file_name = %s", [HOSTILE])
    first = data_docs.build_data_docs(settings)
    for text in pages(first).values():
        assert "<script>document.title" not in text
    assert "&lt;script&gt;document.title" in first.read_text()


def test_a_site_with_nothing_in_it_says_so(settings: Settings) -> None:
    assert "No gate has written its results yet" in data_docs.build_data_docs(settings).read_text()


@pytest.mark.slow
def test_the_results_show_and_filter_in_a_browser_without_a_network(made: Path, browser: Any) -> None:
    from selenium.webdriver.support.ui import Select

    def shown() -> list[str]:
        rows = browser.find_elements("css selector", "#rows tbody tr")
        return [row.text for row in rows if row.is_displayed()]

    def choose(name: str, value: str) -> None:
        Select(browser.find_element("name", name)).select_by_visible_text(value)

    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    browser.get(made.as_uri())
    everything = shown()
    assert len(everything) >= 4
    choose("gate", "landing")
    assert 0 < len(shown()) < len(everything)
    assert all("landing" in row for row in shown())
    browser.find_element("css selector", "input[name=text]").send_keys("b.jsonl")
    assert len(shown()) == 1
    assert browser.find_element("id", "shown").text == "1"
    choose("gate", "all")
    browser.find_element("css selector", "input[name=text]").clear()
    browser.find_element("css selector", "input[name=text]").send_keys("A.JSONL")
    browser.find_element("css selector", "#rows tbody tr[data-gate=landing]:not([hidden]) a").click()
    assert "batch 1, orders/a.jsonl" in browser.find_element("tag name", "h1").text
    choose("outcome", "failed")
    assert any("status is one of placed" in row for row in shown())
    assert not any("passed" in row.split() for row in shown())
    browser.find_element("link text", "landing.orders").click()
    assert "Suite landing.orders" in browser.find_element("tag name", "h1").text
    choose("severity", "warning")
    assert any("every field is known" in row for row in shown())
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.execute_script("return getComputedStyle(document.querySelector('.filters')).display") == "flex"
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
