"""The on-call page in a real browser: an incident is made, seen, mended from the page with the keyboard, and closes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from customer360 import warehouse
from customer360.front_door import landing
from customer360.oncall.monitor import look_once
from customer360.stack.airflow_environment import ADMIN, airflow_secrets
from tests.e2e.conftest import Shop, until

pytestmark = [pytest.mark.slow, pytest.mark.airflow, pytest.mark.timeout(900)]

PAGE = "/customer360/on-call/"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go; ``C360_PICTURES=docs/pictures make test-slow`` renews those of the README."""
    folder = Path(os.environ.get("C360_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def log_in(browser: Any, shop: Shop) -> None:
    browser.get(f"{shop.api.address}/auth/login")
    until(lambda: browser.find_elements("name", "username"), 60, "the login form appears")
    browser.find_element("name", "username").send_keys(ADMIN)
    browser.find_element("name", "password").send_keys(airflow_secrets(shop.settings).admin_password)
    browser.find_element("css selector", "button[type=submit]").click()
    until(lambda: "/auth/login" not in browser.current_url, 60, "the login succeeds")


def press_until_focused(browser: Any, text: str, within: str) -> None:
    """Go from link to link with the tab key, as somebody without a mouse does."""
    from selenium.webdriver.common.keys import Keys

    for _ in range(200):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        focused = browser.switch_to.active_element
        if focused.text == text and browser.execute_script(
            "return arguments[0].closest(arguments[1]) !== null", focused, within
        ):
            return
    raise AssertionError(f"{text} cannot be reached with the keyboard")


def land_bad_rows(shop: Shop, folder: Path) -> str:
    """A batch of orders of which 40 have a negative total; returns its name."""
    path = folder / "export_of_tonight.jsonl"
    with path.open("w") as stream:
        for number in range(80):
            record = {
                "order_id": f"on-call-{number}",
                "updated_at": "2026-01-02T00:00:00Z",
                "ordered_at": "2026-01-01T00:00:00Z",
                "status": "paid",
                "currency": "USD",
                "total_amount": "-5.00" if number % 2 else "10.00",
                "customer_id": f"c-{number}",
            }
            stream.write(json.dumps(record) + "\n")
    return landing.put(shop.settings, "orders", path).name


def test_an_incident_is_seen_mended_from_the_page_and_closes(
    shop: Shop, browser: Any, pictures: Path, tmp_path: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    card = "article[data-kind=quarantine_above_threshold]"
    shop.until_done([land_bad_rows(shop, tmp_path)], 120)
    log_in(browser, shop)

    # Inside Airflow's own interface, behind its menu.
    browser.get(f"{shop.api.address}/plugin/customer360-on-call")
    until(lambda: browser.find_elements("tag name", "iframe"), 60, "the page is shown inside Airflow")
    browser.switch_to.frame(browser.find_element("tag name", "iframe"))
    # No reload: the page brings itself up to date.
    until(lambda: browser.find_elements("css selector", card), 60, "the monitor finds it and the page shows it")
    browser.switch_to.default_content()
    browser.save_screenshot(str(pictures / "on-call.png"))

    browser.get(shop.api.address + PAGE)
    row = "tr[data-rule]"
    assert browser.find_elements("css selector", row), "the quarantine is listed by reason"
    press_until_focused(browser, "Discard", row)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    until(lambda: browser.find_elements("id", "because"), 20, "it asks first")
    assert "c360 quarantine discard" in browser.find_element("tag name", "pre").text
    browser.save_screenshot(str(pictures / "on-call-ask.png"))
    # The cursor stands in the field already; the return key answers.
    browser.switch_to.active_element.send_keys("the till exported a test night", Keys.ENTER)
    until(lambda: browser.find_elements("css selector", "main[data-state=ended]"), 60, "it shows the result")
    assert browser.find_element("tag name", "h1").text == "Done"
    browser.save_screenshot(str(pictures / "on-call-done.png"))

    browser.get(shop.api.address + PAGE)
    until(lambda: not browser.find_elements("css selector", card), 60, "the incident closes by itself")
    browser.find_element("css selector", "#closed summary").click()
    assert "rows of orders are in quarantine" in browser.find_element("id", "closed").text
    assert "the till exported a test night" in browser.find_element("id", "actions").text
    with warehouse.connect("oncall", shop.settings, autocommit=True) as connection:
        acted = connection.execute("select acted_by, exit_code from ops.page_actions order by 1 desc").fetchone()
        kept = connection.execute(
            "select distinct acted_by, because from ops.batch_actions where action = 'discard'"
        ).fetchall()
    assert acted == (ADMIN, 0)
    assert kept == [(ADMIN, "the till exported a test night")], "the journal names the person, not the server"


def test_the_page_fits_a_phone_in_the_dark(shop: Shop, browser: Any, pictures: Path) -> None:
    log_in(browser, shop)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    browser.get(shop.api.address + PAGE)
    wide = browser.execute_script(
        "return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".filter(e => !e.closest('.scroll, pre, details')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in background.removeprefix("rgb(").removesuffix(")").split(",")) < 64
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"], "its own policy stops it"
    browser.save_screenshot(str(pictures / "on-call-phone.png"))


def client_of(shop: Shop, role: str) -> httpx.Client:
    """Somebody who is logged in to this Airflow with a role."""
    claims = jwt.decode(shop.api.token(), options={"verify_signature": False})
    header = jwt.get_unverified_header(shop.api.token())
    signed = jwt.encode(
        claims | {"role": role, "sub": f"somebody-{role}"},
        airflow_secrets(shop.settings).jwt_secret,
        algorithm=header["alg"],
        headers={"kid": header["kid"]} if "kid" in header else None,
    )
    return httpx.Client(base_url=shop.api.address, cookies={"_token": signed}, timeout=30)


def test_the_page_is_for_those_who_may_see_and_its_actions_for_those_who_may_act(shop: Shop) -> None:
    look_once(shop.settings)
    assert httpx.get(shop.api.address + PAGE).status_code == httpx.codes.UNAUTHORIZED
    viewer = client_of(shop, "viewer")
    seen = viewer.get(PAGE)
    assert seen.status_code == httpx.codes.OK
    assert "who may look and not act" in seen.text
    assert "act?action=" not in seen.text
    assert viewer.get(PAGE + "act", params={"action": "run"}).status_code == httpx.codes.FORBIDDEN
    assert viewer.post(PAGE + "act", data={"action": "run", "because": "x"}).status_code == httpx.codes.FORBIDDEN


def test_an_action_cannot_be_forged_from_another_site(shop: Shop) -> None:
    user = client_of(shop, "user")
    form = user.get(PAGE + "act", params={"action": "run"}).text
    token = form.split('name="token" value="')[1].split('"')[0]
    sent = {"action": "run", "because": "to see", "token": token}
    refused = [
        user.post(PAGE + "act", data=sent | {"token": "0" * 64}),
        user.post(PAGE + "act", data=sent, headers={"Origin": "https://elsewhere.example"}),
        user.post(PAGE + "act", data=sent, headers={"Sec-Fetch-Site": "cross-site"}),
        client_of(shop, "admin").post(PAGE + "act", data=sent),
    ]
    assert [answer.status_code for answer in refused] == [httpx.codes.FORBIDDEN] * 4
    assert user.post(PAGE + "act", data=sent | {"because": " "}).status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert user.get(PAGE + "act", params={"action": "hold", "batch": "1;ls"}).status_code == 422
    with warehouse.connect("oncall", shop.settings, autocommit=True) as connection:
        assert warehouse.scalar(connection, "select count(*) from ops.page_actions where because = 'to see'") == 0
