"""The warehouse's set-up, as each role meets it."""

from __future__ import annotations

import psycopg
import pytest

from customer360 import warehouse
from customer360.settings import Settings


def test_set_up_is_safe_to_repeat(settings: Settings) -> None:
    warehouse.set_up(settings)
    warehouse.set_up(settings)
    with warehouse.connect("owner", settings) as connection:
        assert warehouse.scalar(connection, "select count(*) from ops.batches") == 0


@pytest.mark.parametrize(
    ("role", "forbidden"),
    [
        ("bi_reader", "select * from raw.orders"),
        ("bi_reader", "select * from quarantine.rows"),
        ("bi_reader", "select * from state.customer_key_map"),
        ("bi_reader", "set transaction read write; create table marts.mine (a int)"),
        ("bi_reader", "set transaction read write; delete from ops.batches"),
        ("pii_reader", "select * from raw.orders"),
        ("oncall", "select * from raw.support_tickets"),
        ("oncall", "set transaction read write; update ops.batches set state = 'held'"),
        ("loader", "create table raw.mine (a int)"),
        ("loader", "drop table raw.orders"),
        ("loader", "select * from state.customer_key_map"),
        ("transformer", "delete from raw.orders"),
        ("transformer", "drop table ops.batches"),
        ("transformer", "insert into quarantine.rows default values"),
        ("publisher", "select * from raw.orders"),
        ("publisher", "drop table raw.orders"),
    ],
)
def test_a_role_cannot_do_what_is_not_its_own(settings: Settings, role: warehouse.Role, forbidden: str) -> None:
    with warehouse.connect(role, settings) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(warehouse.query(forbidden))
