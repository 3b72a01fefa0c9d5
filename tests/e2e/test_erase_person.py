"""A request to erase a person, decided on in Airflow: nobody is erased before somebody else has approved."""

from __future__ import annotations

import json

import pytest

from customer360 import warehouse
from customer360.erasure import erase as erasing
from customer360.erasure import requests
from tests.e2e.conftest import Shop, until

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_request_is_planned_approved_and_done(shop: Shop) -> None:
    until(lambda: somebody(shop), 300, "a customer is published")
    email = somebody(shop)
    number = requests.enter(shop.settings, requested_from="c360", identifiers={"email": email})
    run_id = shop.api.trigger("erase_person", {"request_id": number, "because": "the request is theirs"})
    run = f"/dags/erase_person/dagRuns/{run_id}"

    def waits() -> list[dict[str, object]]:
        found: list[dict[str, object]] = shop.api.get(f"{run}/hitlDetails")["hitl_details"]
        return found

    until(lambda: waits(), 300, "the approval is asked for")
    (asked,) = waits()
    assert f"request {number}" in str(asked["subject"])
    assert "raw rows of" in str(asked["body"])
    assert email not in json.dumps(asked)
    assert erasing.certificates(shop.settings) == []
    shop.api.patch(f"{run}/taskInstances/approve_erasure/-1/hitlDetails", {"chosen_options": ["Approve"]})
    assert shop.api.wait_for_run("erase_person", run_id, 600) == "success"
    (certificate,) = erasing.certificates(shop.settings)
    assert certificate.is_finished
    assert "approved by" in certificate.acted_by
    assert [one.state for one in requests.listed(shop.settings, number)] == ["erased"]
    values = [
        shop.api.get(f"{run}/taskInstances/{task}/xcomEntries/return_value")["value"]
        for task in ("plan_erasure", "approve_erasure", "remove_person")
    ]
    assert email not in json.dumps(values)


def somebody(shop: Shop) -> str:
    """An e-mail address of a published customer; empty while there is none."""
    with warehouse.connect("pii_reader", shop.settings) as connection:
        if not warehouse.scalar(connection, "select to_regclass('marts_pii.customer_contacts') is not null"):
            return ""
        row = connection.execute(
            "select min(identifier) from marts_pii.customer_contacts where identifier_type = 'email'"
        ).fetchone()
    return str(row[0] or "") if row else ""
