"""The report: every picture in one file that loads nothing, without personal data, and safe against hostile text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.report import NothingToReportError, write_customer_page, write_report
from customer360.settings import Settings
from tests.pipeline.shop import at, load_all, order, rows, session, ticket

pytestmark = pytest.mark.builds

PICTURES = (
    "revenue_and_refunds", "cohort_retention", "value_concentration", "rfm_map", "lifecycle_flow", "tier_movement",
    "satisfaction_against_churn", "complaint_recovery", "churn_calibration", "valuable_customers_at_risk",
    "open_warnings", "waiting_for_a_rate", "data_quality_and_freshness",
)  # fmt: skip
HOSTILE = "</script><script>document.title='taken over'</script>"
TEA = {"sku": "t", "category": HOSTILE, "brand": "A", "quantity": 1, "unit_price": "50.00", "unit_cost": "20.00"}
SHOP = [
    *(
        order(
            f"o{customer}-{number}", day=-120 + 30 * number + customer, total=f"{40 + 10 * customer}.00",
            customer_id=f"c{customer}", email=f"person{customer}@example.org", status="delivered",
            items=[TEA], delivered_at=at(-120 + 30 * number + customer + 2),
            promised_delivery_at=at(-120 + 30 * number + customer + 3),
            refunds=[{"refund_id": "r", "refunded_at": at(0), "amount": "10.00"}] if number == 1 else None,
        )
        for customer in range(1, 8)
        for number in range(1, 1 + customer % 4 + 1)
    ),
    session("s1", day=1, customer_id="c1"),
    ticket("t1", day=-100, version=3, customer_id="c1", category="complaint", status="solved", resolved_at=at(-99),
           satisfaction_score=1, satisfaction_scale_max=5, subject=HOSTILE),
]  # fmt: skip


@pytest.fixture
def shop(settings: Settings) -> Settings:
    """A published shop with its daily tables."""
    load_all(settings, SHOP)
    build(settings, "test")
    refresh_daily(settings, trigger="test")
    return settings


def sections(html: str) -> dict[str, str]:
    """The sections of the report by the names of their pictures."""
    found = re.findall(r'<section id="(\w+)">(.*?)</section>', html, re.DOTALL)
    assert found
    return dict(found)


def key_of(settings: Settings, order_id: str) -> int:
    """The customer of an order."""
    return int(rows(settings, f"select customer_key from marts.fct_orders where order_id = '{order_id}'")[0][0])


def test_the_report_shows_every_picture_and_loads_nothing(shop: Settings, tmp_path: Path) -> None:
    html = write_report(shop, tmp_path / "report.html").read_text()
    shown = sections(html)
    assert tuple(shown) == PICTURES
    drawn = {name for name, section in shown.items() if "Plotly.newPlot" in section}
    lists = {"valuable_customers_at_risk", "open_warnings", "waiting_for_a_rate"}
    assert drawn >= set(PICTURES) - {"churn_calibration", "satisfaction_against_churn"} - lists
    assert "No churn model has been judged yet" in shown["churn_calibration"]
    assert all(re.search(r'<p class="answer">[^<]{20,}', section) for section in shown.values())
    assert '<a href="#valuable_customers_at_risk">' in html, "the number leads to its list"
    assert "value of last active year" in shown["valuable_customers_at_risk"]
    assert "default-src 'none'" in html
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=", html)

    page = write_customer_page(shop, key_of(shop, "o3-1"), tmp_path / "customer.html").read_text()
    assert "Plotly.newPlot" in page
    assert all(f"<td>{kind}</td>" in page for kind in ("order", "refund"))
    assert "points_balance" in page
    for text in (html, page):
        assert "example.org" not in text
        assert HOSTILE not in text

    with pytest.raises(NothingToReportError, match="No published customer has the key 999"):
        write_customer_page(shop, 999)


def tiles(html: str) -> dict[str, tuple[str, str]]:
    """The figures at the top: name -> value and the section that it leads to."""
    found = re.findall(r'<div><span>(?:<a href="#(\w+)">)?([^<]+)(?:</a>)?</span><b>([^<]*)</b></div>', html)
    return {name: (value, section) for section, name, value in found}


def test_a_figure_is_the_same_wherever_it_is_shown_with_its_currency_and_leads_to_what_is_behind_it(
    shop: Settings, tmp_path: Path
) -> None:
    load_all(shop, [order("nobodys", day=0, total="1000.00"), order("abroad", customer_id="c1", currency="AED")])
    build(shop, "test")
    html = write_report(shop, tmp_path / "report.html").read_text()
    shown = tiles(html)
    ((orders, net),) = rows(shop, "select sum(order_count), sum(net_amount) from marts.fct_daily_revenue")
    assert shown["orders"] == (f"{orders:,}", "revenue_and_refunds")
    assert shown["net revenue"] == (f"{net:,.0f} USD", "revenue_and_refunds")
    ((of_customers,),) = rows(shop, "select sum(net_amount) from marts.customer_360")
    assert net - of_customers == 1000
    assert "1 order, 1,000 USD of net revenue, belong to no known customer" in html
    assert shown["currencies without a rate"] == ("1", "waiting_for_a_rate")
    assert "AED" in sections(html)["waiting_for_a_rate"]
    assert {section for _, section in shown.values()} <= set(sections(html))
    assert " USD net before refunds" in sections(html)["revenue_and_refunds"]

    page = write_customer_page(shop, key_of(shop, "o3-1"), tmp_path / "customer.html").read_text()
    assert tiles(page)["net revenue"][0].endswith(" USD")
    assert "<th>amount (USD)</th>" in page


def test_a_month_of_which_days_are_missing_is_marked(settings: Settings, tmp_path: Path) -> None:
    days = ("2026-01-10", "2026-02-01", "2026-02-28", "2026-03-05")
    load_all(
        settings,
        [
            order(f"o{day}", customer_id="c1") | {"ordered_at": f"{day}T12:00:00Z", "updated_at": f"{day}T12:00:00Z"}
            for day in days
        ],
    )
    build(settings, "test")
    section = sections(write_report(settings, tmp_path / "report.html").read_text())["revenue_and_refunds"]
    assert "January 2026 is not whole: from 10 January." in section
    assert "March 2026 is not whole: up to 5 March." in section
    assert "February 2026 is not whole" not in section
    assert '"opacity":[0.45,1,0.45]' in section


def test_an_empty_warehouse_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(NothingToReportError) as empty:
        write_report(settings)
    assert "c360 run" in empty.value.next_step


# The colours of every plot's text and ground, and of the page's, as rgb triples.
COLOURS = """
    const triple = colour => {
        const probe = document.createElement('i');
        probe.style.color = colour;
        document.body.append(probe);
        const rgb = getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3).map(Number);
        probe.remove();
        return rgb;
    };
    const body = getComputedStyle(document.body);
    const plots = [...document.querySelectorAll('.js-plotly-plot')].map(
        plot => [plot._fullLayout.font.color, plot._fullLayout.paper_bgcolor]);
    return [[body.color, body.backgroundColor], ...plots].map(pair => pair.map(triple));
"""


def until_drawn(browser: Any, plots: int) -> None:
    """Await that so many plots have their picture."""
    from selenium.webdriver.support.wait import WebDriverWait

    assert plots > 0
    pictures = ".js-plotly-plot .main-svg:first-child"
    WebDriverWait(browser, 60).until(lambda page: len(page.find_elements("css selector", pictures)) == plots)


def contrast(one: list[float], other: list[float]) -> float:
    """The contrast ratio of two colours (WCAG 2.2): 4.5 is readable, 21 is black on white."""

    def luminance(rgb: list[float]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.slow
def test_a_browser_without_a_network_draws_both_pages_in_light_and_dark(
    shop: Settings, browser: Any, tmp_path: Path
) -> None:
    browser.set_window_size(1200, 6000)
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    pages = {
        "report": write_report(shop, tmp_path / "report.html"),
        "customer": write_customer_page(shop, key_of(shop, "o3-1"), tmp_path / "customer.html"),
    }
    for path in pages.values():
        expected = path.read_text().count("Plotly.newPlot(")
        library = path.read_text().split("</script>", 1)[0].count("Plotly.newPlot(")
        grounds = set()
        for scheme in ("light", "dark"):
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            browser.get(path.as_uri())
            until_drawn(browser, expected - library)
            pairs = browser.execute_script(COLOURS)
            assert len(pairs) == expected - library + 1
            assert all(contrast(text, ground) > 7 for text, ground in pairs)
            grounds.add(tuple(pairs[-1][1]))
            assert browser.title != "taken over"
            assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
            assert len(browser.get_screenshot_as_png()) > 20_000
        assert len(grounds) == 2, "the plots do not follow the reader's scheme"
    assert "Customer" in browser.find_element("tag name", "h1").text
