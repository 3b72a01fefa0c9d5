"""The churn model is fitted by its DAG, scored by the daily pass that it wakes, and shown behind Airflow's login."""

from __future__ import annotations

import httpx
import pytest

from customer360 import warehouse
from customer360.stack.airflow_api import AirflowUnavailableError
from tests.e2e.conftest import Shop, until

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


def published_versions(shop: Shop) -> list[tuple[int, int]]:
    """Number and horizon of each version that BI sees."""
    with warehouse.connect("bi_reader", shop.settings) as connection:
        return connection.execute(
            "select model_version, horizon_days from marts.churn_model_versions order by 1"
        ).fetchall()


def test_a_fit_is_published_with_its_evaluation_and_its_picture(shop: Shop) -> None:
    before = published_versions(shop)
    run_id = shop.api.trigger("fit_churn_model", {"horizon_days": 14})
    assert shop.api.wait_for_run("fit_churn_model", run_id, 240) == "success"
    until(lambda: len(published_versions(shop)) == len(before) + 1, 240, "the pass that it wakes publishes it")
    version, horizon = published_versions(shop)[-1]
    assert horizon == 14

    picture = f"{shop.api.address}/customer360/churn/{version}"
    assert httpx.get(picture).status_code == httpx.codes.UNAUTHORIZED
    shown = httpx.get(picture, cookies={"_token": shop.api.token()})
    assert shown.status_code == httpx.codes.OK
    assert shown.headers["content-type"].startswith("image/svg")
    assert "<svg" in shown.text


@pytest.mark.parametrize("parameters", [{"horizon_days": 0}, {"horizon_days": "all"}, {"as_of_on": "yesterday"}])
def test_a_parameter_that_means_nothing_is_refused_before_anything_runs(shop: Shop, parameters: dict) -> None:
    with pytest.raises(AirflowUnavailableError, match=r": 4\d\d "):
        shop.api.trigger("fit_churn_model", parameters)
