"""What the front door lets in, every stage can hold: the extreme values of the contract travel to publication.

The values are generated from the contract itself, so that a field is covered on the day it is added.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from customer360.contract.feeds import FEEDS, LINE_AMOUNT, Feed, Field
from customer360.front_door import load
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline.front_door import MAKERS, Record, drop, jsonl
from tests.pipeline.shop import rows

pytestmark = pytest.mark.builds

_LANDED = "2026-11-28T12:00:00Z"


def extremes(of: Field) -> list[Any]:
    """The extreme legal values of a field, and their neighbours on either side."""
    if of.choices:
        return [of.choices[0], of.choices[-1], of.choices[0].swapcase(), "none of them"]
    if of.kind == "time":
        return [
            "1995-01-01T00:00:00Z", "1994-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
            "2026-11-28T23:59:60Z",
        ]  # fmt: skip
    if of.kind == "text":
        longest = of.max_length or 10_000
        return ["x", "\U0001f6d2" * longest, "y" * (longest + 1), " ", "a\x00b", "é\n\"\\'"]
    if of.kind == "array":
        return [[], None, "no array", [None]]
    found = [Decimal(0), Decimal(-1), Decimal(2) ** 63, Decimal(10) ** 16, Decimal("1e-18"), Decimal("1e40")]
    limits = of.limits
    if limits is not None:
        step = Decimal(1).scaleb(-(limits.decimals or 0))
        for bound in (limits.least, limits.most, limits.below):
            if bound is not None:
                found += [bound - step, bound, bound + step, bound - step / 10]
    return [format(value, "f") for value in dict.fromkeys(found)]


def variants(feed: Feed) -> Iterator[Record]:
    """A record for each extreme value of each field, all else being good."""
    make = MAKERS[feed.name]
    for of in feed.fields:
        for value in extremes(of):
            yield make(0, **{of.name: value})
        for inner in of.elements:
            for value in extremes(inner):
                yield make(0, **{of.name: [_element(of, **{inner.name: value})]})


def _element(of: Field, **fields: Any) -> Record:
    if of.name == "items":
        return {"sku": "tea", "quantity": 2, "unit_price": "6.25"} | fields
    return {"refund_id": "r", "refunded_at": _LANDED, "amount": "1.00"} | fields


def together(feed: Feed, randomness: random.Random) -> Record:
    """A record in which many fields have an extreme value at once."""
    record = MAKERS[feed.name](0)
    for of in feed.fields:
        if of.name != feed.id_field and randomness.random() < 0.4:
            record[of.name] = randomness.choice(extremes(of))
        if of.elements and randomness.random() < 0.7:
            record[of.name] = [
                _element(
                    of, **{e.name: randomness.choice(extremes(e)) for e in of.elements if randomness.random() < 0.4}
                )
                for _ in range(randomness.randint(1, 3))
            ]
    return record


def worst(count: int, currency: str) -> list[Record]:
    """Orders of one customer, each as large as the limits allow in every amount."""
    most = str(LINE_AMOUNT - Decimal("0.0001"))
    line = {"sku": "a", "quantity": 1000000, "unit_price": "9999.999999", "list_price": "9999.999999",
            "unit_cost": "9999.999999", "discount_amount": most}  # fmt: skip
    return [
        MAKERS["orders"](
            0, order_id=f"worst{number}", customer_id="whale", email=None, status="delivered", total_amount=most,
            discount_amount=most, currency=currency, items=[line] * 3,
            refunds=[{"refund_id": "r", "refunded_at": _LANDED, "amount": "9999999998"}] if number % 2 else None,
        )
        for number in range(count)
    ]  # fmt: skip


def _numbered(feed: Feed, records: list[Record]) -> list[Record]:
    """The records under ids of their own, but for those whose id is the extreme value."""
    plain = MAKERS[feed.name](0)[feed.id_field]
    return [
        record | {feed.id_field: f"{feed.name}-{number}"} if record.get(feed.id_field) == plain else record
        for number, record in enumerate(records)
    ]


def _travels(settings: Settings, seed: int, mixed: int) -> None:
    randomness = random.Random(seed)
    for feed in FEEDS.values():
        found = [*variants(feed), *(together(feed, randomness) for _ in range(mixed))]
        if feed.name == "orders":
            found += worst(50, "EUR" if settings.reporting_currency == "USD" else settings.reporting_currency)
        drop(settings, feed.name, f"{feed.name}.jsonl", jsonl(_numbered(feed, found)))
        drop(settings, feed.name, f"good-{feed.name}.jsonl", jsonl([MAKERS[feed.name](1)]))
    summary = load.ingest(settings)
    assert not summary.failed, summary.failed
    assert not summary.refused, summary.refused
    build(settings, "test")
    refresh_daily(settings, trigger="test")
    landed, aside = (
        sum(one.rows + one.quarantined + one.duplicates for one in summary.batches),
        summary.quarantined_count,
    )
    assert landed > 100
    assert 0.1 * landed < aside < 0.9 * landed
    published = rows(
        settings,
        """
        select (select count(*) from marts.fct_orders) + (select count(*) from marts.fct_sessions)
            + (select count(*) from marts.fct_tickets)
        """,
    )
    # Every version but the newest of an id is behind it; nothing that was loaded is lost.
    assert published[0][0] > 0.7 * summary.row_count
    for table, key, good in (("fct_orders", "order_id", "o1"), ("fct_sessions", "session_id", "s1"),
                             ("fct_tickets", "ticket_id", "t1")):  # fmt: skip
        assert rows(settings, f"select count(*) from marts.{table} where {key} = '{good}'") == [(1,)]
    whale = rows(settings, "select gross_amount > 4e11 from marts.customer_360 order by gross_amount desc limit 1")
    assert whale == [(True,)]
    assert verify(settings).holds


@pytest.mark.parametrize("currency", ["USD", "IDR"])
def test_the_extreme_values_of_every_field_reach_publication_or_quarantine(settings: Settings, currency: str) -> None:
    _travels(settings.with_(reporting_currency=currency), seed=1, mixed=60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 112))
def test_the_extreme_values_of_every_field_reach_publication_or_quarantine_at_length(
    settings: Settings, seed: int
) -> None:
    _travels(settings, seed=seed, mixed=2000)
