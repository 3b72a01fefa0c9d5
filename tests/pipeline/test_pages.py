"""The pages below /customer360: hostile paths are not found, a page is drawn once, a failure is an incident.

Who may see them is tested on a real Airflow by tests/e2e.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from customer360 import warehouse
from customer360.airflow import pages
from customer360.gates import suites
from customer360.reference_pages import model_site
from customer360.settings import PROJECT_ROOT, Settings, get_settings
from customer360.warehouse.side_products import failing

OK, NOT_MODIFIED, NOT_FOUND, UNAVAILABLE = 200, 304, 404, 503


@pytest.fixture
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The pages of the installation that a test asked for, with an error of theirs as status 500."""
    installation: Settings = request.getfixturevalue("shop" if "shop" in request.fixturenames else "settings")
    for name in ("home", "database", "landing"):
        monkeypatch.setenv(f"C360_{name.upper()}", str(getattr(installation, name)))
    get_settings.cache_clear()
    app = FastAPI()
    app.get("/data-docs/{path:path}")(pages.data_docs)
    app.get("/models/")(pages.models)
    app.get("/runbooks/")(pages.runbook_list)
    app.get("/runbooks/{name}")(pages.runbook)
    app.get("/churn/{model_version}")(pages.churn_picture)
    app.get("/report/")(pages.report)
    app.get("/report/customer/{customer_key}")(pages.customer_report)
    yield TestClient(app, raise_server_exceptions=False)
    get_settings.cache_clear()


HOSTILE = (
    "%00",
    "a%00.html",
    "..%2f..%2froles.json",
    "%2e%2e/%2e%2e/roles.json",
    "/etc/passwd",
    "x" * 5000,
    "a/" * 2000,
)


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path[:24])
@pytest.mark.usefixtures("settings")
def test_a_hostile_path_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(f"/data-docs/{path}").status_code == NOT_FOUND
    assert client.get(f"/runbooks/{path}").status_code == NOT_FOUND


@examples(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1))
def test_whatever_the_path_is_no_page_breaks(settings: Settings, text: str) -> None:
    found = pages._file_below(settings.home, text)
    assert found is None or found.is_relative_to(settings.home.resolve())


def test_the_models_are_shown_as_they_were_written_last(client: TestClient, settings: Settings) -> None:
    missing = client.get("/models/")
    assert (missing.status_code, "c360 docs" in missing.text) == (OK, True)
    path = model_site.path_of(settings)
    path.parent.mkdir(exist_ok=True)
    path.write_text("<p>the models</p>")
    shown = client.get("/models/")
    path.unlink()
    assert (shown.status_code, shown.text) == (OK, "<p>the models</p>")
    assert "font-src data:" in shown.headers["Content-Security-Policy"]


@pytest.mark.usefixtures("settings")
def test_numbers_of_any_size_are_not_found(client: TestClient) -> None:
    for number in (0, -1, 2**63, int("9" * 400)):
        assert client.get(f"/churn/{number}").status_code == NOT_FOUND
    assert client.get("/report/").status_code == OK, "nothing is published: it says what to do"


@pytest.mark.usefixtures("settings")
def test_every_runbook_is_a_page_without_scripts(client: TestClient) -> None:
    listed = client.get("/runbooks/").text
    for path in (PROJECT_ROOT / "docs" / "runbooks").glob("*.md"):
        if path.stem != "README":
            assert f'href="{path.stem}"' in listed
            answer = client.get(f"/runbooks/{path.stem}")
            assert (answer.status_code, "<h2>" in answer.text, "<script" in answer.text) == (OK, True, False), path.stem


def test_a_report_is_drawn_once_per_edition_and_sent_once_to_each_reader(shop: Settings, client: TestClient) -> None:
    written = shop.home / "report"
    before = sorted(written.glob("*")) if written.exists() else []
    first = client.get("/report/")
    assert first.status_code == OK
    assert "default-src 'none'" in first.headers["content-security-policy"]
    assert first.headers["cache-control"] == "private, no-cache"
    tag = first.headers["etag"]
    again = client.get("/report/", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (NOT_MODIFIED, b"")
    drawn = pages._last_report
    assert client.get("/report/").text == first.text
    assert pages._last_report is drawn, "it was not drawn again"
    with warehouse.connect("loader", shop) as connection:
        result = suites.ExpectationOutcome("raw", "raw.orders", "e", None, "critical", "failed", 1, 1, "it is there")
        suites.record(connection, [result])
    renewed = client.get("/report/", headers={"If-None-Match": tag})
    assert renewed.status_code == OK
    assert renewed.headers["etag"] != tag
    with warehouse.connect("bi_reader", shop) as connection:
        key = warehouse.scalar(connection, "select min(customer_key) from marts.customer_360")
    one = client.get(f"/report/customer/{key}")
    assert one.status_code == OK
    headers = {"If-None-Match": one.headers["etag"]}
    assert client.get(f"/report/customer/{key}", headers=headers).status_code == NOT_MODIFIED
    for unknown in (0, -1, key + 10_000, 2**63, int("9" * 400)):
        assert client.get(f"/report/customer/{unknown}").status_code == NOT_FOUND, unknown
    assert (sorted(written.glob("*")) if written.exists() else []) == before, "a GET writes nothing"
    assert failing(shop) == {}


def test_a_report_that_cannot_be_drawn_is_an_incident_until_it_can(shop: Settings, client: TestClient) -> None:
    def rename(old: str, new: str) -> None:
        with warehouse.connect("publisher", shop) as connection:
            connection.execute(warehouse.query(f"alter table marts.fct_daily_revenue rename column {old} to {new}"))

    rename("net_amount", "gone")
    answer = client.get("/report/")
    assert answer.status_code == UNAVAILABLE
    assert "side_product_failed" in answer.text
    assert failing(shop) == {"report": "PostgreSQL: UndefinedColumn (42703)"}
    rename("gone", "net_amount")
    assert client.get("/report/").status_code == OK
    assert failing(shop) == {}
