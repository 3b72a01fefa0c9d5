"""Running the models: what a call records, how it fails, and what every model must declare."""

from __future__ import annotations

import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from customer360 import warehouse
from customer360.models import runner
from customer360.models.runner import ModelResult, ModelsFailedError
from customer360.settings import Settings
from customer360.warehouse import agreement
from tests.pipeline.models_shop import build, claim, finish, rows, run_live
from tests.pipeline.shop import at, load_all, order, session, ticket

pytestmark = pytest.mark.builds

SHOP = [
    order("o1", customer_id="c1", refunds=[{"refund_id": "r1", "refunded_at": at(3), "amount": "10.00"}]),
    order("o2", status="cancelled"),
    session("s1", customer_id="c1"),
    ticket("t1", customer_id="c1"),
]


def new_run(settings: Settings) -> int:
    with warehouse.connect("transformer", settings) as connection:
        run_id: int = warehouse.scalar(
            connection, "insert into ops.runs (kind, trigger) values ('build', 'test') returning run_id"
        )
    return run_id


def test_the_models_own_tests_pass_and_see_what_is_broken(settings: Settings) -> None:
    build(settings, SHOP)
    unit = runner.run_model_tests(settings, "test_type:unit", run_id=None)
    data = runner.run_model_tests(settings, "assert_*", run_id=None)
    assert len(unit) >= 7
    assert len(data) >= 4
    loyal = "insert into candidate.customer_loyalty"
    breakages = {
        "assert_raw_and_staging_have_the_same_ids": "delete from staging.stg_web_sessions",
        "assert_every_staged_record_is_a_fact": "delete from candidate.fct_tickets",
        "assert_customers_and_unattributed_add_up_to_facts": "update candidate.customer_360 set net_amount = 1",
        "assert_daily_revenue_adds_up_to_orders": "delete from candidate.fct_daily_revenue where refund_count > 0",
        "assert_points_ledger_explains_every_balance": f"{loyal} (customer_key, points_balance) values (1, 7)",
        "assert_lifecycle_stages_are_exhaustive_and_exclusive": f"{loyal} (customer_key) values (2)",
        "assert_figures_of_a_customer_agree": "update candidate.customer_360 set product_view_to_cart_rate = 2;"
        " insert into candidate.customer_loyalty (customer_key) select customer_key from candidate.customer_360;"
        " insert into candidate.customer_churn (customer_key) select customer_key from candidate.customer_360",
        "assert_tiers_are_monotone_in_points": f"{loyal} (tier, points_365d) values ('base', 9), ('gold', 8)",
        "assert_loyalty_sums_over_customers_are_totals": f"{loyal} (order_count, as_of_on) values (99, now())",
    }
    assert set(breakages) == {result.model for result in data}
    for name, breakage in breakages.items():
        with warehouse.connect("transformer", settings) as connection:
            connection.execute(warehouse.query(breakage))
        with pytest.raises(ModelsFailedError, match=name):
            runner.run_model_tests(settings, name, run_id=None)


def test_a_call_records_each_model_and_tells_its_progress(settings: Settings) -> None:
    load_all(settings, SHOP)
    claim(settings)
    run_id = new_run(settings)
    told: list[ModelResult] = []
    results = runner.run_models(settings, "tag:staging", run_id=run_id, progress=told.append)
    assert told == results
    recorded = rows(settings, f"select model, status, rows_affected from ops.model_runs where run_id = {run_id}")
    assert sorted(recorded) == [
        ("int_sessions__built", "success", 0),
        ("stg_orders", "success", 2),
        ("stg_support_tickets", "success", 1),
        ("stg_web_events", "success", 0),
        ("stg_web_sessions", "success", 1),
    ]
    load_all(settings, [order("o3")])
    claim(settings)
    again = {result.model: result.rows_affected for result in runner.run_models(settings, "tag:staging", run_id=run_id)}
    assert again["stg_orders"] == 3  # finish() has not emptied ops.dirty: two orders of before, and the new one


def test_a_failed_model_is_named_with_its_sql_and_the_next_run_does_the_work(settings: Settings) -> None:
    build(settings, SHOP)
    load_all(
        settings, [order("o1", version=9, customer_id="c1", total="500"), order("o9", customer_id="c2", total="7")]
    )
    claim(settings)
    with warehouse.connect("transformer", settings) as connection:
        connection.execute("alter table candidate.fct_orders add constraint small check (total_amount < 400)")
    run_id = new_run(settings)
    with pytest.raises(ModelsFailedError) as failed:
        run_live(settings, run_id=run_id)
    assert "fct_orders" in str(failed.value)
    assert "were skipped" in str(failed.value)
    assert "500" not in str(failed.value)  # the row that broke the rule may be personal data
    compiled = Path(failed.value.next_step.split(" in ")[1].split(";")[0])
    assert "insert into" in compiled.read_text()
    statuses = dict(rows(settings, f"select model, status from ops.model_runs where run_id = {run_id}"))
    assert (statuses["fct_orders"], statuses["customer_360"], statuses["fct_sessions"]) == (
        "error",
        "skipped",
        "success",
    )
    with warehouse.connect("transformer", settings) as connection:
        connection.execute("alter table candidate.fct_orders drop constraint small")
    run_live(settings)
    finish(settings)
    assert rows(settings, "select customer_key, gross_amount::int from candidate.customer_360 order by 1") == [
        (1, 500),
        (2, 7),
    ]


def test_an_increment_runs_what_dbt_compiled_until_something_it_depends_on_changes(settings: Settings) -> None:
    build(settings, SHOP)
    kept = runner.target_path(settings) / "increment-tag-live.json"
    kept.unlink(missing_ok=True)

    def increment(order_id: str, given: Settings) -> set[str]:
        load_all(given, [order(order_id, customer_id="c1", total="5.00")])
        claim(given)
        ran = {result.model for result in run_live(given) if result.status == "success"}
        finish(given)
        return ran

    ran = increment("n1", settings)
    first = kept.stat().st_mtime_ns
    assert increment("n2", settings) == ran  # without dbt: it would have written the file again
    assert kept.stat().st_mtime_ns == first
    with warehouse.connect("transformer", settings) as connection:
        connection.execute("comment on table staging.rfm_segments is 'of another file'")
    increment("n3", settings)
    said = rows(settings, "select obj_description('staging.rfm_segments'::regclass)")
    assert "of another file" not in said[0][0]  # dbt was asked, and loaded it again
    elsewhere = settings.with_(business_timezone="Pacific/Kiritimati")
    with warehouse.connect("owner", settings) as connection:
        agreement.adopt(connection, elsewhere)
    increment("n4", elsewhere)
    assert kept.stat().st_mtime_ns > first
    assert rows(settings, "select order_count from candidate.customer_360 where order_count >= 5") == [(5,)]


def test_a_selection_without_a_model_is_an_error_and_not_a_success(settings: Settings) -> None:
    with pytest.raises(ModelsFailedError, match="tag:nothing"):
        runner.run_models(settings, "tag:nothing", run_id=None)


def test_values_of_a_run_are_read_when_it_runs(settings: Settings) -> None:
    build(settings.with_(business_timezone="Pacific/Kiritimati"), [order("o1", customer_id="c1")])
    assert rows(settings, "select ordered_on::text from candidate.fct_orders") == [("2026-03-02",)]
    run_live(settings.with_(reporting_currency="EUR"), full=True)
    assert rows(settings, "select ordered_on::text, exchange_rate from candidate.fct_orders") == [
        ("2026-03-01", Decimal("0.8470986870"))
    ]


def test_the_hundredth_call_of_a_process_costs_what_the_second_did(settings: Settings) -> None:
    """dbt-adapters adds to this list at each call, and walks the stack for each of its flags."""
    from dbt.adapters.base.impl import DEFAULT_BASE_BEHAVIOR_FLAGS as FLAGS

    counts = set()
    for _ in range(4):
        runner.run_models(settings, "rfm_cut_points", run_id=None)
        counts.add(len(FLAGS))
    assert len(counts) == 1, counts


def test_errors_keep_the_databases_reason_and_hide_its_values() -> None:
    message = (
        "Database Error in model m (models/m.sql)\n"
        '  invalid input syntax for type numeric: "jane@example.org"\n'
        "  LINE 3: select 'jane@example.org'\n"
        "                 ^\n"
        "  DETAIL:  Key (email)=(jane@example.org) already exists.\n"
        "  compiled code at target/run/m.sql"
    )
    assert runner.masked(message) == (
        'Database Error in model m (models/m.sql) invalid input syntax for type numeric: "…"'
    )


def test_every_table_declares_its_grain_its_key_its_scope_and_each_column(settings: Settings) -> None:
    tables = runner.model_tables(settings)
    assert len(tables) >= 18
    for table in tables:
        assert re.match(r"One row( per |:)", table.description), table.name
        assert table.primary_key or not (table.publish_to or table.scope), table.name
        assert set(table.primary_key) <= set(table.columns), table.name
        assert (table.scope is None) == (table.scope_key is None), table.name
        assert table.scope_key is None or table.scope_key in table.columns, table.name
        assert bool({"staging", "live"} & set(table.tags)) == (table.scope is not None), table.name
        assert table.tags, table.name
        for column, kind in table.columns.items():
            assert kind, f"{table.name}.{column} has no type"
            assert table.column_descriptions[column].strip(), f"{table.name}.{column} is not described"
    personal = {"email", "phone", "customer_id", "identifier"}
    for table in tables:
        if table.publish_to == "marts":
            assert not personal & set(table.columns), f"{table.name} would publish personal data"
    assert [table.name for table in tables if table.publish_to == "marts_pii"] == ["customer_contacts"]


def test_tables_of_another_prefix_are_the_same_tables_elsewhere(settings: Settings) -> None:
    live = {table.name: table.schema for table in runner.model_tables(settings)}
    past = {table.name: table.schema for table in runner.model_tables(settings, schema_prefix="asof_20260301")}
    assert live["customer_360"] == "candidate"
    assert past["customer_360"] == "asof_20260301"
    for name, schema in live.items():
        if schema != "candidate":
            assert past[name] == f"asof_20260301_{schema}"


FORKED = """
import os, sys, time
from decimal import Decimal
from pathlib import Path
from customer360.models import runner
from customer360.settings import Settings

settings = Settings(home=Path(sys.argv[1]))
runner._manifest(settings, "")
child = os.fork()
if child == 0:
    runner._manifest(settings, "elsewhere")
    os._exit(0)
deadline = time.monotonic() + 120
while not os.waitpid(child, os.WNOHANG)[0]:
    if time.monotonic() > deadline:
        os.kill(child, 9)
        sys.exit("the child waits for ever")
    time.sleep(0.1)
"""


def test_a_process_forked_from_one_that_has_parsed_can_parse(tmp_path: Path) -> None:
    """Airflow's tasks are forked from a scheduler that has parsed the models; a fit and a past day parse anew."""
    subprocess.run([sys.executable, "-c", FORKED, str(tmp_path)], check=True, timeout=240)
