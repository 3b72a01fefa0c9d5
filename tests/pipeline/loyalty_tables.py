"""The tables that the journal step reads, made by hand: what the daily models would have said, without dbt."""

from __future__ import annotations

from datetime import date
from typing import Any

from customer360 import warehouse
from customer360.settings import Settings
from customer360.warehouse import query

_TABLES = """
    create table identity.customers (customer_key bigint primary key);
    create table candidate.fct_orders (order_key text primary key, customer_key bigint);
    create table staging.alert_rules (rule text, closed_because_otherwise text);
    insert into staging.alert_rules values ('low_csat', 'window_passed'), ('complaint_past_sla', 'complaint_resolved');
    create table intermediate.int_loyalty_lots__earned (
        lot text primary key, customer_key bigint, points bigint, earned_on date, expires_on date);
    create table intermediate.int_loyalty_points__clawed_back (
        lot text, source_id text, effective_on date, expires_on date, customer_key bigint, points bigint);
    create table intermediate.int_loyalty_points__balanced (customer_key bigint primary key, points_balance bigint);
    create table intermediate.int_loyalty_tiers__reached (
        customer_key bigint primary key, tier text, tier_reason text, tier_since_on date);
    create table intermediate.int_lifecycle_stages__assigned (
        customer_key bigint primary key, lifecycle_stage text, lifecycle_stage_5 text, stage_rule text);
    create table intermediate.int_relationship_ladders__climbed (
        customer_key bigint primary key, ladder_rung text, ladder_evidence text);
    create table intermediate.int_vips__named (
        customer_key bigint primary key, vip_status text, vip_since_on date, expected_value_365_amount numeric);
    create table intermediate.int_customer_alerts__raised (
        customer_key bigint, rule text, severity text, evidence text, started_on date, due_days integer,
        cooldown_days integer);
    create table intermediate.int_purchase_cadences__measured (customer_key bigint primary key, last_purchase_on date);
    create table intermediate.int_population_statistics__measured (statistic text, value double precision);
    grant select on all tables in schema identity, candidate, staging, intermediate to {owner}, {publisher};
"""


def create(settings: Settings) -> None:
    """Create the tables, empty."""
    roles = {name: warehouse.role_name(name, settings) for name in warehouse.STEPS}
    execute(settings, _TABLES.replace("{owner}", roles["owner"]).replace("{publisher}", roles["publisher"]))


def execute(settings: Settings, statements: str) -> None:
    """Run statements as the role that builds the tables."""
    with warehouse.connect("transformer", settings) as connection:
        connection.execute(query(statements))


def rows(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a query, as the owner of the journals."""
    with warehouse.connect("owner", settings) as connection:
        return connection.execute(query(statement)).fetchall()


def put_lots(settings: Settings, as_of_on: date, *lots: tuple[str, int, int, str, str]) -> None:
    """Say which lots (order, customer, points, earned on, expires on) there are, instead of those before."""
    values = ", ".join(f"('{lot}', {key}, {points}, date '{on}', date '{to}')" for lot, key, points, on, to in lots)
    execute(
        settings,
        f"""
        truncate intermediate.int_loyalty_lots__earned, candidate.fct_orders, identity.customers;
        insert into intermediate.int_loyalty_lots__earned select * from (values {values}) as v;
        insert into candidate.fct_orders select lot, customer_key from intermediate.int_loyalty_lots__earned;
        insert into identity.customers select distinct customer_key from candidate.fct_orders;
        """,
    )
    balance(settings, as_of_on)


def put_claw_backs(settings: Settings, as_of_on: date, *claw_backs: tuple[str, str, str, int]) -> None:
    """Say which refunds (order, refund, day, points) took points back, instead of those before."""
    values = ", ".join(f"('{lot}', '{refund}', date '{on}', {points})" for lot, refund, on, points in claw_backs)
    execute(
        settings,
        f"""
        truncate intermediate.int_loyalty_points__clawed_back;
        insert into intermediate.int_loyalty_points__clawed_back
        select v.lot, v.lot || ':' || v.refund, v.effective_on, lots.expires_on, lots.customer_key, v.points
        from (values {values}) as v (lot, refund, effective_on, points)
        inner join intermediate.int_loyalty_lots__earned as lots using (lot);
        """,
    )
    balance(settings, as_of_on)


def balance(settings: Settings, as_of_on: date) -> None:
    """Balances that follow from the lots and claw-backs on a day."""
    execute(
        settings,
        f"""
        truncate intermediate.int_loyalty_points__balanced;
        insert into intermediate.int_loyalty_points__balanced
        select customer_key, sum(points) from (
            select customer_key, points, expires_on from intermediate.int_loyalty_lots__earned
            union all
            select lots.customer_key, -clawed.points, lots.expires_on
            from intermediate.int_loyalty_points__clawed_back as clawed
            inner join intermediate.int_loyalty_lots__earned as lots using (lot)
        ) as changes
        where expires_on > date '{as_of_on}'
        group by customer_key
        """,
    )
