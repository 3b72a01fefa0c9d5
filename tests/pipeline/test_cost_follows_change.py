"""Every statement of a run looks at rows in proportion to what arrived: not to its square, and not to the shop.

Seconds of a shared machine say little, so that rows are counted: those that the nodes of each statement's plan took up.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.at_rest import let_rest
from bench.increment_data import land_increment, make_base
from customer360.publication.build import build
from customer360.settings import Settings
from tests.pipeline.plans import Watch, watched

CUSTOMERS = 1_500
SIZES = (100, 300, 900)
# Rows that a statement may take up per record that arrived: all orders, items and sessions of its customer (60 rows)
# pass through several nodes of a plan. Measured: 140; 800 before each temporary table had its key, at a tenth the size.
PER_RECORD = 250
PER_RECORD_OF = {"dbt order_attribution": 500}
"""Each order of its customer with each visit of the 30 days before it: 75 rows are written per record that arrived."""
ALWAYS = 2_000
"""Rows of the catalog, of the days, of small lists: read by every run."""


@pytest.fixture(scope="module")
def runs(module_settings: Settings) -> Iterator[dict[int, Watch]]:
    """By size, what an increment of so many records did."""
    with watched() as watch:
        make_base(module_settings, CUSTOMERS)
        build(module_settings, "test")
        let_rest(module_settings)
        found: dict[int, Watch] = {}
        for number, size in enumerate(SIZES):
            watch.statements.clear()
            land_increment(module_settings, CUSTOMERS, size, number)
            watch.statements.clear()
            build(module_settings, "test")
            found[size] = Watch(list(watch.statements))
        yield found


@pytest.mark.parametrize("size", SIZES)
def test_the_statements_of_the_models_of_the_gates_and_of_the_steps_are_seen(runs: dict[int, Watch], size: int) -> None:
    senders = {one.sender for one in runs[size].statements}
    assert {"gate", "dbt stg_orders", "dbt customer_360", "publication.publish.compare"} <= senders
    assert any(sender.startswith("identity.attribution") for sender in senders)


@pytest.mark.parametrize("size", SIZES)
def test_no_statement_looks_at_more_than_its_share(runs: dict[int, Watch], size: int) -> None:
    most = sorted(runs[size].statements, key=lambda one: -one.rows)
    beyond = [one for one in most if one.rows > PER_RECORD_OF.get(one.sender, PER_RECORD) * size + ALWAYS]
    assert not beyond, "\n".join(map(str, most[:10]))


def test_a_larger_increment_costs_no_more_per_record(runs: dict[int, Watch]) -> None:
    per_record = {size: sum(one.rows for one in watch.statements) / size for size, watch in runs.items()}
    small, *larger = (per_record[size] for size in SIZES)
    assert max(larger) <= 1.5 * small, per_record
