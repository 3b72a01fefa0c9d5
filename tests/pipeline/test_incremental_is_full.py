"""Principle 2: any split of the same records into batches, in any order, ends where one whole build of them ends.

Histories are random: versions, corrections, duplicates, two contents of one version, late records, customers merged
by a shared address and taken apart by a correction. One warehouse gets them batch by batch, with a build after each;
another all at once. After one daily pass in both, every published table is compared row by row, customers by what they
did, since which key a customer has depends on who came first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from customer360 import transform, warehouse
from customer360.build import build, published_tables
from customer360.daily import refresh_daily
from customer360.publish import PublishedTable
from customer360.settings import Settings
from customer360.verify import verify
from tests.pipeline.conftest import copy_of
from tests.pipeline.shop import Record, load_all, order, session, ticket

pytestmark = pytest.mark.builds

# What depends on when and in which batch a record arrived, by definition.
_OF_THE_ARRIVAL = {"batch_id", "known_at", "refreshed_at", "recorded_at"}
# Journals record what was known when; they are equal only for equal known times.
_JOURNALS = {"customer_key_crosswalk", "customer_churn_history"}

Row = tuple[Any, ...]

_days = st.integers(0, 12)
_versions = st.sampled_from([0, 0.5, 1, 2])
_accounts = st.sampled_from([None, None, "c1", "c2", "c3"])
_emails = st.sampled_from([None, "a@example.org", "b@example.org", "c@example.org", "A@Example.org "])
_devices = st.sampled_from([None, "d1", "d2"])
_money = st.sampled_from(["0", "10.00", "19.99", "250.5"])


@st.composite
def _refunds(draw: st.DrawFn) -> list[dict[str, Any]] | None:
    count = draw(st.integers(0, 2))
    made = [
        {"refund_id": f"r{n}", "refunded_at": f"2026-03-{draw(st.integers(10, 25))}T09:30:00+00:00", "amount": "1.50"}
        for n in range(count)
    ]
    return made or None


@st.composite
def _items(draw: st.DrawFn) -> list[dict[str, Any]] | None:
    made = [
        {
            "sku": f"sku{draw(st.integers(1, 3))}",
            "category": draw(st.sampled_from(["shoes", "hats"])),
            "brand": draw(st.sampled_from(["x", "y", None])),
            "quantity": draw(st.integers(1, 3)),
            "unit_price": 5,
        }
        for _ in range(draw(st.integers(0, 2)))
    ]
    return made or None


@st.composite
def _orders(draw: st.DrawFn) -> Record:
    number = draw(st.integers(1, 5))
    total = draw(_money)
    return order(
        f"o{number}",
        day=draw(st.sampled_from([number, number - 150])) if draw(st.booleans()) else number,
        version=draw(_versions),
        total=total,
        status=draw(st.sampled_from(["placed", "paid", "delivered", "cancelled", "returned"])),
        currency=draw(st.sampled_from(["USD", "USD", "EUR", "XAU"])),
        customer_id=draw(_accounts),
        email=draw(_emails),
        anonymous_id=draw(_devices),
        refunds=draw(_refunds()) if float(total) > 5 else None,
        items=draw(_items()),
    )


@st.composite
def _sessions(draw: st.DrawFn) -> Record:
    number = draw(st.integers(1, 4))
    return session(
        f"s{number}",
        day=number,
        device=draw(st.sampled_from(["d1", "d2"])),
        updated_at=f"2026-03-{20 + draw(st.integers(0, 2))}T00:00:00+00:00",
        customer_id=draw(_accounts),
        email=draw(_emails),
        order_id=draw(st.sampled_from([None, "o1", "o2"])),
        page_views=draw(st.integers(1, 9)),
    )


@st.composite
def _tickets(draw: st.DrawFn) -> Record:
    number = draw(st.integers(1, 3))
    scored = draw(st.booleans())
    return ticket(
        f"t{number}",
        day=number,
        version=draw(_versions),
        email=draw(_emails.filter(bool)),
        customer_id=draw(_accounts),
        status=draw(st.sampled_from(["open", "solved", "closed"])),
        resolved_at=draw(st.sampled_from([None, "2026-03-20T00:00:00+00:00", "2026-03-22T00:00:00+00:00"])),
        satisfaction_score=draw(st.sampled_from([1, 4])) if scored else None,
        satisfaction_scale_max=5 if scored else None,
    )


@st.composite
def histories(draw: st.DrawFn) -> list[list[Record]]:
    """Records in the batches in which they arrive: two to four, in any order, some of them twice."""
    records = draw(st.lists(st.one_of(_orders(), _orders(), _sessions(), _tickets()), min_size=4, max_size=24))
    again = draw(st.lists(st.sampled_from(records), max_size=4))
    arriving = draw(st.permutations([*records, *again]))
    count = draw(st.integers(2, 4))
    return [batch for batch in (arriving[n::count] for n in range(count)) if batch]


@pytest.fixture(scope="session")
def seeded(embedded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An empty warehouse whose seeds are loaded, to be copied."""
    with copy_of(embedded, tmp_path_factory.mktemp("landing")) as settings:
        transform.run_models(settings, "tag:staging", run_id=None)
        yield settings


@pytest.mark.slow
@hypothesis_settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(batches=histories())
def test_any_split_into_batches_in_any_order_ends_where_one_build_ends(
    seeded: Settings, tmp_path_factory: pytest.TempPathFactory, batches: list[list[Record]]
) -> None:
    compare(seeded, tmp_path_factory.mktemp("case"), batches)


@pytest.mark.slow
@pytest.mark.timeout(0)
@hypothesis_settings(
    max_examples=200,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(batches=histories())
def test_two_hundred_histories_end_where_one_build_ends(
    seeded: Settings, tmp_path_factory: pytest.TempPathFactory, batches: list[list[Record]]
) -> None:
    compare(seeded, tmp_path_factory.mktemp("case"), batches, recounts=True)


def compare(seeded: Settings, folder: Path, batches: list[list[Record]], *, recounts: bool = False) -> None:
    """Publish the batches one by one, and all at once in another warehouse; assert that the tables are the same."""
    with copy_of(seeded, folder / "by_parts") as by_parts, copy_of(seeded, folder / "at_once") as at_once:
        for batch in batches:
            load_all(by_parts, batch)
            build(by_parts, "test")
        load_all(at_once, [record for batch in batches for record in batch])
        build(at_once, "test")
        for settings in (by_parts, at_once):
            refresh_daily(settings, trigger="test")
        for table in published_tables(by_parts):
            if table.name not in _JOURNALS:
                assert content(by_parts, table) == content(at_once, table), f"{table} differs"
        if recounts:
            report = verify(by_parts, full=True)
            assert [check for check in report.checks if not check.holds] == []


def content(settings: Settings, table: PublishedTable) -> list[Row]:
    """A published table's rows, sorted, with each customer's key replaced by what the customer did."""
    with warehouse.connect("owner", settings) as connection:
        names: dict[int, str] = dict(
            connection.execute(
                """
                select customer_key, string_agg(id, ' ' order by id) from (
                    select customer_key, order_id as id from marts.fct_orders
                    union all select customer_key, session_id from marts.fct_sessions
                    union all select customer_key, ticket_id from marts.fct_tickets) as facts
                where customer_key is not null group by customer_key
                """
            ).fetchall()
        )
        cursor = connection.execute(warehouse.query(f"select * from {table}"))
        columns = [column.name for column in cursor.description or ()]
        kept = [n for n, name in enumerate(columns) if name not in _OF_THE_ARRIVAL]
        keys = {n for n, name in enumerate(columns) if name == "customer_key"}
        return sorted(
            (tuple(names.get(row[n], row[n]) if n in keys else row[n] for n in kept) for row in cursor), key=repr
        )
