"""A real Airflow carries files from the landing zone to marts, and nothing waits for a later event."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from datetime import timedelta

import httpx
import psutil
import pytest

from customer360 import wake, warehouse
from customer360.stack import processes
from tests.e2e.conftest import Shop, until

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

FEEDS = ("orders", "web_sessions", "support_tickets")


@pytest.fixture
def without_sweep(shop: Shop) -> Iterator[None]:
    """Nobody but the events carries files."""
    shop.pause("sweep_landing")
    # A run that was queued when the DAG was paused stays queued until it goes on.
    until(lambda: ("sweep_landing", "running") not in shop.runs(), 120, "the sweep ends")
    yield
    shop.pause("sweep_landing", paused=False)


def marts_count(shop: Shop, table: str) -> int:
    with warehouse.connect("bi_reader", shop.settings) as connection:
        return int(warehouse.scalar(connection, f"select count(*) from marts.{table}"))


def test_a_landed_history_is_published_with_its_daily_tables(shop: Shop) -> None:
    customers = marts_count(shop, "customer_360")
    assert customers > 100
    assert marts_count(shop, "fct_orders") >= sum(file.rows for file in shop.sample.history("orders"))
    until(lambda: not wake.is_daily_due(shop.settings), 240, "the first publication wakes the daily pass")
    assert 0 < marts_count(shop, "customer_loyalty") <= customers


def test_an_arriving_file_of_each_feed_is_published_by_its_event(shop: Shop, without_sweep: None) -> None:
    for feed in FEEDS:
        shop.until_done([shop.land(feed)], 240)


def test_bursts_of_files_leave_none_behind(shop: Shop, without_sweep: None) -> None:
    # Airflow 3.3.2 hands some events of a burst to no run. With the sweep away, a run must take what waits whatever
    # its own event says.
    dice = random.Random(3)
    names = []
    for _ in range(3):
        for _ in range(8):
            names.append(shop.land(dice.choice(FEEDS)))
            time.sleep(dice.random() * 0.4)  # the burst's rhythm, not a wait for anything
    shop.until_done(names, 300)
    assert set(shop.states(names).values()) == {"published"}


def test_files_that_land_while_the_triggerer_is_dead_are_found_by_the_sweep(shop: Shop) -> None:
    os.killpg(processes.running(shop.settings)["triggerer"], signal.SIGKILL)
    until(lambda: "triggerer" not in processes.running(shop.settings), 10, "the triggerer dies")
    names = [shop.land(feed) for feed in FEEDS]
    shop.until_done(names, 300)
    processes.up(shop.settings)
    assert set(processes.running(shop.settings)) == set(processes.COMPONENTS)


def test_files_that_land_while_the_triggerer_hangs_are_found_by_the_sweep(shop: Shop) -> None:
    triggerer = psutil.Process(processes.running(shop.settings)["triggerer"])
    family = [triggerer, *triggerer.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        names = [shop.land("orders")]
        shop.api.trigger("sweep_landing")  # the clock would do it within a minute
        shop.until_done(names, 240)
    finally:
        for process in family:
            process.resume()


def test_a_scheduler_that_is_killed_leaves_no_worker_and_doubles_nothing(shop: Shop) -> None:
    scheduler = processes.running(shop.settings)["scheduler"]
    names = [shop.land("orders")]
    until(lambda: shop.states(names), 60, "the file is known")
    os.kill(scheduler, signal.SIGKILL)
    names.append(shop.land("orders"))
    processes.up(shop.settings)
    shop.until_done(names, 300)
    assert set(shop.states(names).values()) == {"published"}
    orphans = [p.pid for p in psutil.process_iter() if _session(p.pid) == scheduler and p.status() != "zombie"]
    assert orphans == []
    with warehouse.connect("owner", shop.settings) as connection:
        doubled = warehouse.scalar(
            connection,
            "select count(*) from (select from raw.orders group by batch_id, row_number having count(*) > 1) as d",
        )
    assert doubled == 0


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return -1


def test_an_idle_wake_up_is_skipped_and_wakes_nobody(shop: Shop, without_sweep: None) -> None:
    run_id = shop.api.trigger("ingest_orders")
    assert shop.api.wait_for_run("ingest_orders", run_id, 120) == "success"
    tasks = shop.api.get(f"/dags/ingest_orders/dagRuns/{run_id}/taskInstances")["task_instances"]
    assert [task["state"] for task in tasks] == ["skipped"]
    events = shop.api.get("/assets/events", source_dag_id="ingest_orders", source_run_id=run_id)
    assert events["total_entries"] == 0
    others = shop.api.get("/assets/events", source_dag_id="ingest_orders")
    assert others["total_entries"] > 0, "this would be seen if it were there"


def test_a_build_may_be_cleared_run_again_and_run_twice_at_once(shop: Shop, without_sweep: None) -> None:
    name = shop.land("orders")
    shop.until_done([name], 240)
    publications = marts_publications(shop)
    twice = [shop.api.trigger("build_customer_360") for _ in range(2)]
    assert [shop.api.wait_for_run("build_customer_360", run_id, 240) for run_id in twice] == ["success", "success"]
    shop.api.post(
        "/dags/build_customer_360/clearTaskInstances",
        {"dry_run": False, "dag_run_id": twice[0], "only_failed": False},
    )
    assert shop.api.wait_for_run("build_customer_360", twice[0], 240) == "success"
    assert marts_publications(shop) == publications, "there was nothing to publish"


def marts_publications(shop: Shop) -> int:
    with warehouse.connect("oncall", shop.settings) as connection:
        counted = "select count(*) from ops.publications where kind = 'live'"
        return int(warehouse.scalar(connection, counted))


def test_a_second_up_changes_nothing(shop: Shop) -> None:
    before = processes.running(shop.settings)
    assert set(before) == set(processes.COMPONENTS)
    found = processes.up(shop.settings)
    assert processes.running(shop.settings) == before
    assert found.airflow == shop.api.address


def test_pages_are_for_those_who_are_logged_in(shop: Shop) -> None:
    for page in ("data-docs/", "report/", "runbooks/", "runbooks/ingest_orders"):
        assert httpx.get(f"{shop.api.address}/customer360/{page}").status_code == httpx.codes.UNAUTHORIZED


def test_runbooks_and_data_docs_are_shown_inside_airflow(shop: Shop) -> None:
    token = shop.api.token()
    client = httpx.Client(base_url=shop.api.address, cookies={"_token": token}, follow_redirects=True)
    listed = client.get("/customer360/runbooks/")
    assert listed.status_code == httpx.codes.OK
    assert "build_customer_360" in listed.text
    shown = client.get("/customer360/runbooks/build_customer_360")
    assert "<h1>build_customer_360</h1>" in shown.text
    assert "<table>" in shown.text
    assert client.get("/customer360/runbooks/..%2f..%2fREADME").status_code == httpx.codes.NOT_FOUND
    docs = client.get("/customer360/data-docs/")
    assert docs.status_code == httpx.codes.OK
    assert "default-src 'none'" in docs.headers["content-security-policy"]
    assert client.get("/customer360/data-docs/..%2f..%2froles.json").status_code == httpx.codes.NOT_FOUND


def test_the_report_is_shown_inside_airflow(shop: Shop) -> None:
    client = httpx.Client(base_url=shop.api.address, cookies={"_token": shop.api.token()}, timeout=60)
    shown = client.get("/customer360/report/")
    assert shown.status_code == httpx.codes.OK
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert '<section id="value_concentration">' in shown.text
    with warehouse.connect("bi_reader", shop.settings) as connection:
        key = warehouse.scalar(connection, "select min(customer_key) from marts.customer_360")
    assert f"<h1>Customer {key}</h1>" in client.get(f"/customer360/report/customer/{key}").text
    assert "No published customer has the key 0" in client.get("/customer360/report/customer/0").text


def test_a_past_day_asked_for_in_the_form_gets_a_schema_of_its_own(shop: Shop) -> None:
    day = shop.settings.today() - timedelta(days=10)
    run_id = shop.api.trigger("refresh_daily", {"as_of_on": day.isoformat()})
    assert shop.api.wait_for_run("refresh_daily", run_id, 240) == "success"
    with warehouse.connect("bi_reader", shop.settings) as connection:
        past = f"select distinct as_of_on from asof_{day:%Y%m%d}.customer_loyalty"
        assert connection.execute(warehouse.query(past)).fetchall() == [(day,)]
        published = connection.execute("select as_of_on from ops.publications where as_of_on is not null").fetchall()
    assert (day,) not in published


def test_old_runs_and_their_logs_are_removed_at_night(shop: Shop) -> None:
    name = warehouse.airflow_database_name(shop.settings)
    old = "from dag_run where dag_id = 'build_customer_360' and start_date < now() - interval '31 days'"
    with warehouse.connect("owner", shop.settings, autocommit=True, database=name) as connection:
        connection.execute(
            """
            update dag_run set start_date = start_date - interval '40 days' where id in (
                select id from dag_run where dag_id = 'build_customer_360' and state = 'success' order by id limit 2)
            """
        )
        assert warehouse.scalar(connection, f"select count(*) {old}") == 2
    log = shop.settings.logs / "tasks" / "dag_id=gone" / "run_id=gone" / "attempt=1.log"
    log.parent.mkdir(parents=True)
    log.write_text("old")
    os.utime(log, (0, 0))
    run_id = shop.api.trigger("tidy_airflow", {})
    assert shop.api.wait_for_run("tidy_airflow", run_id, 240) == "success"
    with warehouse.connect("owner", shop.settings, autocommit=True, database=name) as connection:
        assert warehouse.scalar(connection, f"select count(*) {old}") == 0
    assert not log.parent.parent.exists()


def test_every_task_links_its_runbook(shop: Shop) -> None:
    plugins = shop.api.get("/plugins", limit=100)["plugins"]
    ours = next(plugin for plugin in plugins if plugin["name"] == "customer360")
    assert {view["name"] for view in ours["external_views"]} == {
        "On call",
        "Data Docs",
        "Models and metrics",
        "Report",
        "Runbooks",
        "Runbook",
    }
    run = shop.api.get("/dags/ingest_orders/dagRuns", limit=1)["dag_runs"][0]
    links = shop.api.get(f"/dags/ingest_orders/dagRuns/{run['dag_run_id']}/taskInstances/load_orders/links")
    assert links["extra_links"] == {"Runbook": "/customer360/runbooks/ingest_orders"}


def test_nothing_of_the_stack_listens_beyond_this_machine(shop: Shop) -> None:
    sessions = set(processes.running(shop.settings).values())
    listening = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):  # a task that has just ended
            if _session(process.pid) in sessions:
                listening += [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


@pytest.mark.parametrize("component", ["api-server", "scheduler", "triggerer", "dag-processor"])
def test_each_component_tells_that_it_lives(shop: Shop, component: str) -> None:
    silent = processes.silent_seconds(shop.settings, component)
    assert silent is not None
    assert silent < 30
