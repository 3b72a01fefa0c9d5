"""The daily pass's candidate gate, seen red: each expectation holds, and sees what breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from customer360 import warehouse
from customer360.models import runner
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.settings import Settings
from expectations.candidate import suite_of
from tests.pipeline.shop import at, load_all, order, rows, ticket

pytestmark = pytest.mark.builds

SHOP = [
    *(
        order(
            f"o{customer}-{number}", day=-30 * number - 2 * customer, customer_id=f"c{customer}", status="delivered",
            total=f"{90 + 40 * customer}.00", delivered_at=at(-30 * number), promised_delivery_at=at(-30 * number),
            items=[{"sku": "t", "category": "tea", "brand": "A", "quantity": 1, "unit_price": "50.00"}],
        )
        for customer in range(1, 7)
        for number in range(1, customer + 1)
    ),
    ticket("t1", day=-100, version=3, customer_id="c6", category="complaint", status="solved", resolved_at=at(-99)),
]  # fmt: skip

LOYALTY = "update candidate.customer_loyalty set"
PLAN = "insert into candidate.service_recovery_plan (customer_key, likely_failure"
WHOLE_PLAN = (
    f"{PLAN}, action, channel, valid_to_on, action_cost_amount, maximum_spend_amount, expected_value_365_amount)"
)
# One way to break each expectation, by the table and the expectation's description.
BREAKAGES = {
    ("customer_loyalty", "one row per customer_key"): "insert into candidate.customer_loyalty"
    " select * from candidate.customer_loyalty limit 1",
    ("customer_loyalty", "are there"): f"{LOYALTY} lifecycle_stage_5 = null",
    ("customer_loyalty", "for each customer, and for nobody else"): "delete from candidate.customer_loyalty"
    " where customer_key = (select max(customer_key) from candidate.customer_loyalty)",
    ("customer_loyalty", "between 0 and 1"): f"{LOYALTY} on_time_rate = 1.1 where on_time_rate is not null",
    ("customer_loyalty", "without its denominator"): f"{LOYALTY} promise_due_count = 0",
    ("customer_loyalty", "a stage is that of its rule"): f"{LOYALTY} lifecycle_stage = 'elsewhere'",
    ("customer_loyalty", "in no lower tier"): f"{LOYALTY} tier = 'base' where points_365d = ("
    " select max(points_365d) from candidate.customer_loyalty)",
    ("customer_loyalty", "no balance is below zero"): f"{LOYALTY} points_expiring_30d = points_balance + 1",
    ("customer_loyalty", "recency agree"): f"{LOYALTY} purchase_day_count = order_count + 1",
    ("customer_loyalty", "all rows are of one date"): f"{LOYALTY} as_of_on = as_of_on - 1 where customer_key = ("
    " select min(customer_key) from candidate.customer_loyalty)",
    ("rfm_cut_points", "one row per"): "update candidate.rfm_cut_points set quintile = 1",
    ("rfm_cut_points", "are there"): "update candidate.rfm_cut_points set upper_bound = null",
    ("rfm_cut_points", "four cuts"): "delete from candidate.rfm_cut_points where quintile = 2",
    ("rfm_cut_points", "cuts rise"): "update candidate.rfm_cut_points set upper_bound = -upper_bound",
    ("retention_cohorts", "one row per"): "update candidate.retention_cohorts set month_number = 0",
    ("retention_cohorts", "a rate is its customers"): "update candidate.retention_cohorts"
    " set active_customer_count = customer_count + 1",
    ("retention_cohorts", "every month since its first"): "delete from candidate.retention_cohorts"
    " where month_number = 1",
    ("retention_cohorts", "in one cohort"): "delete from candidate.retention_cohorts",
    ("customer_concentration", "one row per"): "insert into candidate.customer_concentration"
    " select * from candidate.customer_concentration",
    ("customer_concentration", "at least a fifth"): "update candidate.customer_concentration"
    " set top20_value_share = 0.01",
    ("customer_concentration", "those of customer_loyalty"): f"{LOYALTY} value_amount_365d = value_amount_365d + 1",
    ("complaint_recovery", "one row per"): "update candidate.complaint_recovery set severity = 'major'",
    ("complaint_recovery", "that are decided"): "update candidate.complaint_recovery"
    " set came_back_count = decided_complaint_count + 1",
    ("complaint_recovery", "in its interval"): "update candidate.complaint_recovery"
    " set published_came_back_rate = null",
    ("complaint_recovery", "and no other"): "delete from candidate.complaint_recovery where handling = 'silent'",
    ("retention_value", "one row per"): "insert into candidate.retention_value values ('all'), ('all')",
    ("retention_value", "are worth more"): "insert into candidate.retention_value"
    " (value_segment, customer_count, retained_customer_count) values ('all', 1, 2)",
    ("retention_value", "sum to all"): "insert into candidate.retention_value"
    " (value_segment, customer_count, retained_customer_count) values ('all', 3, 2), ('low', 2, 2)",
    ("relationship_levels", "one row per"): "update candidate.relationship_levels set rfm_segment = null",
    ("relationship_levels", "is there"): "update candidate.relationship_levels set relationship_level = null",
    ("relationship_levels", "those of customer_loyalty"): f"{LOYALTY} rfm_segment = 'lost'",
    ("service_recovery_plan", "one row per"): f"{PLAN}) values (1, 'x'), (1, 'x')",
    ("service_recovery_plan", "are there"): f"{PLAN}) values (1, 'x')",
    ("service_recovery_plan", "expected value carries"): f"{WHOLE_PLAN}"
    " values (1, 'x', 'call', 'email', now() + interval '9 days', 11, 11, 100)",
    ("service_recovery_plan", "not over yet"): f"{WHOLE_PLAN} select min(customer_key), 'x', 'call', 'email',"
    " max(as_of_on), 1, 2, 100 from candidate.customer_loyalty",
    ("ticket_service_levels", "one row per"): "insert into candidate.ticket_service_levels"
    " select * from candidate.ticket_service_levels limit 1",
    ("ticket_service_levels", "are there"): "update candidate.ticket_service_levels set resolution_outcome = null",
    ("ticket_service_levels", "from the hours and their limit"): "update candidate.ticket_service_levels"
    " set resolution_outcome = 'met', resolution_business_hours = resolution_limit_hours + 1",
    ("ticket_service_levels", "and no other"): "delete from candidate.ticket_service_levels where ticket_key = 't1'",
    ("customer_alert_precision", "one row per"): "update candidate.customer_alert_precision set rule = 'low_csat'",
    ("customer_alert_precision", "in its interval"): "update candidate.customer_alert_precision"
    " set came_true_count = decided_alert_count + 1",
    ("customer_alert_precision", "and no other"): "delete from candidate.customer_alert_precision"
    " where rule = 'low_csat'",
    ("customer_360", "one row per"): "insert into candidate.customer_360 select * from candidate.customer_360 limit 1",
    ("customer_360", "are there"): "update candidate.customer_360 set tier = null",
    ("customer_360", "what was published"): "update candidate.customer_360 set net_amount = net_amount + 0.01",
    ("customer_360", "are possible"): "update candidate.customer_360 set on_time_rate = 1.1",
}  # fmt: skip


@pytest.fixture(scope="module")
def refreshed(module_settings: Settings) -> Settings:
    """A published shop with its daily tables, which the gate let through."""
    load_all(module_settings, SHOP)
    build(module_settings, "test")
    refresh_daily(module_settings, trigger="test")
    return module_settings


@pytest.fixture
def changes(refreshed: Settings) -> Iterator[warehouse.Connection]:
    """A connection whose changes are not kept."""
    with warehouse.connect("transformer", refreshed) as connection:
        yield connection
        connection.rollback()


def expectations(settings: Settings) -> dict[tuple[str, str], str]:
    """Every expectation of these tables: (table, description) and the query for the rows that break it."""
    tables = {table.name: table for table in runner.model_tables(settings)}
    names = {table for table, _ in BREAKAGES}
    found = {}
    for name in names:
        suite = suite_of(name, tables[name].primary_key, scope=None, scope_key=None, kind="daily")
        rules: list[Any] = suite.expectations  # of the kind that has a query
        for rule in rules:
            found[name, rule.description] = rule.unexpected_rows_query.replace("{batch}", f"candidate.{name}")
    return found


def broken(connection: warehouse.Connection, statement: str) -> list[tuple[object, ...]]:
    return connection.execute(warehouse.query(statement)).fetchall()


def without_constraints(connection: warehouse.Connection, table: str) -> None:
    """Let a table take whatever a broken model might put there, were it built without its key."""
    columns, indexes = connection.execute(
        """
        select (select array_agg(attname) from pg_attribute where attrelid = %(table)s::regclass and attnotnull
                and attnum > 0),
            (select array_agg(indexrelid::regclass::text) from pg_index where indrelid = %(table)s::regclass)
        """,
        {"table": f"candidate.{table}"},
    ).fetchone() or (None, None)
    for column in columns or ():
        connection.execute(warehouse.query(f"alter table candidate.{table} alter column {column} drop not null"))
    for index in indexes or ():
        connection.execute(warehouse.query(f"drop index {index}"))


def test_each_expectation_holds_and_is_broken_by_a_test(refreshed: Settings) -> None:
    found = expectations(refreshed)
    for name, text in found:
        assert sum(table == name and part in text for table, part in BREAKAGES) == 1, f"{name}: {text}"
    assert len(found) == len(BREAKAGES)
    judged = rows(refreshed, "select count(*) from ops.gate_results where gate = 'candidate' and outcome = 'passed'")
    assert judged[0][0] >= len(found)


def test_the_models_data_tests_hold_of_a_refreshed_shop(refreshed: Settings) -> None:
    held = {result.model for result in runner.run_model_tests(refreshed, "assert_*", run_id=None)}
    assert held >= {
        "assert_points_ledger_explains_every_balance",
        "assert_lifecycle_stages_are_exhaustive_and_exclusive",
        "assert_tiers_are_monotone_in_points",
        "assert_loyalty_sums_over_customers_are_totals",
    }
    assert rows(refreshed, "select count(distinct tier) from marts.customer_loyalty")[0][0] > 1


def test_the_daily_gate_sees_who_went_missing(refreshed: Settings, changes: warehouse.Connection) -> None:
    (query,) = (query for (_, description), query in expectations(refreshed).items() if "came or went" in description)
    changes.execute("delete from candidate.customer_360 where customer_key = 1")
    assert broken(changes, query) == [("1", None)]


@pytest.mark.parametrize(("table", "part"), BREAKAGES, ids=lambda text: text.replace(" ", "-"))
def test_an_expectation_sees_what_breaks_it(
    refreshed: Settings, changes: warehouse.Connection, table: str, part: str
) -> None:
    (query,) = (
        query for (name, description), query in expectations(refreshed).items() if name == table and part in description
    )
    assert broken(changes, query) == []
    without_constraints(changes, table)
    assert changes.execute(warehouse.query(BREAKAGES[table, part])).rowcount > 0, "the breakage found nothing to break"
    assert broken(changes, query) != []
