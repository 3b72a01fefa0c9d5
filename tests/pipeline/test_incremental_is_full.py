"""Principle 2: any split of the same records into batches, in any order, ends where one whole build of them ends.

Histories are random: versions, corrections, duplicates, two contents of one version, late records, records of two
sources under one id, records that are deleted and landed again, customers merged by a shared address and taken apart
by a correction. One warehouse gets them batch by batch, with a build after each; another all at once. After one daily
pass in both, every published table is compared row by row, customers by what they did, since which key a customer has
depends on who came first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from customer360 import warehouse
from customer360.models import runner
from customer360.publication.build import build, published_tables
from customer360.publication.daily import JOURNALS, refresh_daily
from customer360.publication.publish import PublishedTable
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline.conftest import copy_of
from tests.pipeline.shop import NOON, Record, at, event, load_all, order, session, ticket

pytestmark = pytest.mark.builds

# What depends on when and in which batch a record arrived, by definition; of a journal also when and in which order its
# rows were written.
_OF_THE_ARRIVAL = {"batch_id", "known_at", "refreshed_at", "recorded_at"}
_OF_THE_WRITING = {"posting_id", "period_id", "alert_id", "posted_at", "opened_at", "closed_at"}
# A journal of what each build knew. The journals of the daily pass were written by one pass over the same records, so
# that they are compared like all other tables.
_OF_THE_BUILDS = {"customer_key_crosswalk"}

Row = tuple[Any, ...]

# The shop of these histories opened so that its days end shortly before today, within the windows of the daily pass.
_OPENED = (date.today() - NOON.date()).days - 25

_days = st.integers(0, 12)
_versions = st.sampled_from([0, 0.5, 1, 2])
_accounts = st.sampled_from([None, None, "c1", "c2", "c3"])
_emails = st.sampled_from([None, "a@example.org", "b@example.org", "c@example.org", "A@Example.org "])
_devices = st.sampled_from([None, "d1", "d2"])
_money = st.sampled_from(["0", "10.00", "19.99", "250.5"])


# Another shop with the same numbers, and records that their source takes back and lands again.
_marks = st.fixed_dictionaries(
    {
        "source": st.sampled_from([None, None, None, "a"]),
        "deleted": st.sampled_from([None, None, None, None, False, True]),
    }
)


@st.composite
def _refunds(draw: st.DrawFn) -> list[dict[str, Any]] | None:
    count = draw(st.integers(0, 2))
    made = [
        {"refund_id": f"r{n}", "refunded_at": at(_OPENED + draw(st.integers(10, 24)) - 0.1), "amount": "1.50"}
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
    status = draw(st.sampled_from(["placed", "paid", "delivered", "delivered", "cancelled", "returned"]))
    day = _OPENED + number - draw(st.sampled_from([0, 0, 0, 150, 1095]))
    return order(
        f"o{number}",
        day=day,
        version=draw(_versions),
        total=total,
        tax_amount=draw(st.sampled_from([None, "1.25"])) if float(total) > 5 else None,
        status=status,
        currency=draw(st.sampled_from(["USD", "USD", "EUR", "XAU"])),
        customer_id=draw(_accounts),
        email=draw(_emails),
        anonymous_id=draw(_devices),
        refunds=draw(_refunds()) if float(total) > 5 else None,
        items=draw(_items()),
        coupon_code=draw(st.sampled_from([None, "SAVE"])),
        sales_channel=draw(st.sampled_from([None, "store"])),
        promised_delivery_at=draw(st.sampled_from([None, at(day + 2)])),
        delivered_at=at(day + draw(st.sampled_from([1, 3]))) if status in ("delivered", "returned") else None,
        **draw(_marks),
    )


@st.composite
def _sessions(draw: st.DrawFn) -> Record:
    number = draw(st.integers(1, 4))
    return session(
        f"s{number}",
        day=_OPENED + number,
        device=draw(st.sampled_from(["d1", "d2"])),
        updated_at=at(_OPENED + 20 + draw(st.integers(0, 2))),
        customer_id=draw(_accounts),
        email=draw(_emails),
        order_id=draw(st.sampled_from([None, "o1", "o2"])),
        page_views=draw(st.integers(1, 9)),
        **draw(_marks),
    )


@st.composite
def _tickets(draw: st.DrawFn) -> Record:
    number = draw(st.integers(1, 3))
    scored = draw(st.booleans())
    return ticket(
        f"t{number}",
        day=_OPENED + number,
        version=draw(_versions),
        email=draw(_emails.filter(bool)),
        customer_id=draw(_accounts),
        status=draw(st.sampled_from(["open", "solved", "closed"])),
        resolved_at=draw(st.sampled_from([None, at(_OPENED + 19.5), at(_OPENED + 21.5)])),
        satisfaction_score=draw(st.sampled_from([1, 4])) if scored else None,
        satisfaction_scale_max=5 if scored else None,
        **draw(_marks),
    )


@st.composite
def _events(draw: st.DrawFn) -> Record:
    number = draw(st.integers(1, 9))
    made = event(
        f"e{number}",
        draw(st.sampled_from([0, 20, 29, 30, 31, 50, 90])),
        day=_OPENED + draw(st.integers(1, 2)),
        device=draw(st.sampled_from(["d1", "d2"])),
        name=draw(st.sampled_from(["page_view", "page_view", "search", "add_to_cart", "scroll"])),
        session_id=draw(st.sampled_from([None, None, None, "v1"])),
        page_url=draw(st.sampled_from([None, "https://shop.example/?email=a@example.org", "https://shop.example/b"])),
        referrer=draw(st.sampled_from([None, "https://www.google.com/search?q=x"])),
        utm_source=draw(st.sampled_from([None, None, "news", "ads"])),
        customer_id=draw(_accounts),
        email=draw(_emails),
        order_id=draw(st.sampled_from([None, None, "o1", "o2"])),
        engaged_seconds=draw(st.sampled_from([None, "1.5", 10])),
        is_bot=draw(st.sampled_from([None, None, None, None, True])),
        **draw(_marks),
    )
    return made | {"updated_at": at(_OPENED + 3 + draw(st.integers(0, 2)))}


History = list[list[Record]]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Records in the batches in which they arrive: two to four, in any order, some of them twice."""
    records = draw(
        st.lists(
            st.one_of(_orders(), _orders(), _sessions(), _tickets(), _events(), _events()), min_size=4, max_size=32
        )
    )
    again = draw(st.lists(st.sampled_from(records), max_size=4))
    arriving = draw(st.permutations([*records, *again]))
    count = draw(st.integers(2, 4))
    return [batch for batch in (arriving[n::count] for n in range(count)) if batch]


# What a run costs does not depend on a dozen records: histories of shops that share nothing are told side by side, in
# one warehouse, and each is one case.
_AT_ONCE = 6
MANY = int(os.environ.get("C360_TEST_HISTORIES", "204"))
_IDS = ("order_id", "session_id", "ticket_id", "event_id", "customer_id", "anonymous_id")


def side_by_side(shops: list[History]) -> History:
    """One history of several shops that have no order, session, ticket, person or device in common."""
    told: History = []
    for number, history in enumerate(shops):
        for n, batch in enumerate(history):
            told += [[]] * (n + 1 - len(told))
            told[n] = [*told[n], *(_of_shop(number, record) for record in batch)]
    return told


def _of_shop(number: int, record: Record) -> Record:
    moved = {name: f"{record[name]}-{number}" for name in _IDS if record.get(name) is not None}
    if record.get("email"):
        moved["email"] = f"shop{number}.{record['email']}"
    return record | moved


@pytest.fixture(scope="session")
def seeded(embedded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An empty warehouse whose seeds are loaded, to be copied."""
    with copy_of(embedded, tmp_path_factory.mktemp("landing")) as settings:
        runner.run_models(settings, "tag:staging", run_id=None)
        yield settings


@pytest.mark.timeout(900)
@hypothesis_settings(
    max_examples=12 // _AT_ONCE,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(shops=st.lists(histories(), min_size=_AT_ONCE, max_size=_AT_ONCE))
def test_any_split_into_batches_in_any_order_ends_where_one_build_ends(
    seeded: Settings, tmp_path_factory: pytest.TempPathFactory, shops: list[History]
) -> None:
    compare(seeded, tmp_path_factory.mktemp("case"), side_by_side(shops))


@pytest.mark.slow
@pytest.mark.timeout(0)
@hypothesis_settings(
    max_examples=MANY // _AT_ONCE,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(shops=st.lists(histories(), min_size=_AT_ONCE, max_size=_AT_ONCE))
def test_two_hundred_histories_end_where_one_build_ends(
    seeded: Settings, tmp_path_factory: pytest.TempPathFactory, shops: list[History]
) -> None:
    compare(seeded, tmp_path_factory.mktemp("case"), side_by_side(shops), recounts=True)


def compare(seeded: Settings, folder: Path, batches: History, *, recounts: bool = False) -> None:
    """Publish the batches one by one, and all at once in another warehouse; assert that the tables are the same."""
    with copy_of(seeded, folder / "by_parts") as by_parts, copy_of(seeded, folder / "at_once") as at_once:
        for batch in batches:
            load_all(by_parts, batch)
            build(by_parts, "test")
        load_all(at_once, [record for batch in batches for record in batch])
        build(at_once, "test")
        for settings in (by_parts, at_once):
            refresh_daily(settings, trigger="test")
        for table in (*published_tables(by_parts), *JOURNALS):
            if table.name not in _OF_THE_BUILDS:
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
                    select customer_key, order_key as id from marts.fct_orders
                    union all select customer_key, session_key from marts.fct_sessions
                    union all select customer_key, ticket_key from marts.fct_tickets) as facts
                where customer_key is not null group by customer_key
                """
            ).fetchall()
        )
        cursor = connection.execute(warehouse.query(f"select * from {table}"))
        columns = [column.name for column in cursor.description or ()]
        kept = [n for n, name in enumerate(columns) if name not in _OF_THE_ARRIVAL | _OF_THE_WRITING]
        keys = {n for n, name in enumerate(columns) if name == "customer_key"}
        return sorted(
            (tuple(names.get(row[n], row[n]) if n in keys else row[n] for n in kept) for row in cursor), key=repr
        )
