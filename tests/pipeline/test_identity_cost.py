"""The cost of an increment follows what is new; where it would not, everything is resolved anew, with the same end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from customer360.identity import neighbourhood, resolution
from customer360.settings import Settings
from tests.pipeline.identity_shop import Shop, open_shop, order, session

PEOPLE = 4_000


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with open_shop(settings) as opened:
        yield opened


def _stage_many(shop: Shop) -> None:
    """Two orders each of many people, half of whom ring from one call box."""
    shop.connection.execute(
        f"""
        insert into staging.stg_orders (order_key, ordered_at, customer_id, email, phone, anonymous_id)
        select 'o' || n, timestamptz '2025-01-01' + n * interval '1 minute', 'c' || p, 'p' || p || '@inbox.example',
            case when p % 2 = 0 then '+14158675309' end, 'd' || p
        from (select n, n % {PEOPLE} as p from generate_series(1, {2 * PEOPLE}) as n) as orders
        """
    )


def _rows_read(shop: Shop) -> int:
    """Rows of the base that this transaction has read so far."""
    return int(
        shop.rows(
            "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) from pg_stat_xact_user_tables "
            "where schemaname in ('staging', 'identity', 'state')"
        )[0][0]
    )


def test_an_increment_reads_the_neighbourhood_and_not_the_base(shop: Shop) -> None:
    _stage_many(shop)
    assert shop.resolve().was_full
    records = [
        order("new1", 900, customer_id="c1", phone="+14158675309"),
        order("new2", 901, email="p2@inbox.example", phone="4158675309"),
        order("new3", 902, customer_id="c3", email="p4@inbox.example"),
        session("new4", 903, anonymous_id="d5"),
    ]
    shop.stage(*records)
    before = _rows_read(shop)
    assert not resolution.resolve(shop.connection, settings=shop.settings).was_full
    assert _rows_read(shop) - before < 400
    shop.connection.commit()
    increment = shop.state()
    shop.resolve(full=True)
    assert shop.state() == increment


MARKERS = {"customer_id": "K7", "email": "sammel@shop-a.example", "phone": "+13128675309"}


@pytest.mark.parametrize("kind", sorted(MARKERS))
def test_what_a_marker_costs_does_not_follow_the_number_of_its_records(shop: Shop, kind: str) -> None:
    """Among ordinary people. Half of a marker's records show nothing else, the other half shows a stranger each."""
    _stage_many(shop)
    other = "phone" if kind == "email" else "email"
    stranger = "'+1' || (2120000000 + n)" if other == "phone" else "'m' || n || '@inbox.example'"
    shop.connection.execute(
        f"insert into staging.stg_orders (order_key, ordered_at, {kind}, {other}) "
        f"select 'm' || n, timestamptz '2025-01-01' + n * interval '1 hour', '{MARKERS[kind]}', "
        f"case when n % 2 = 0 then {stranger} end from generate_series(1, {2 * PEOPLE}) as n"
    )
    assert shop.resolve().was_full
    assert shop.blocked() == {(MARKERS[kind], "shared"), ("+14158675309", "shared")}
    news = {"phone": "+13105550147"} if other == "phone" else {"email": "new@inbox.example"}
    shop.stage(order("new1", 900, **{kind: MARKERS[kind]}), order("new2", 901, **{kind: MARKERS[kind]}, **news))
    before = _rows_read(shop)
    assert not resolution.resolve(shop.connection, settings=shop.settings).was_full
    assert _rows_read(shop) - before < 400
    shop.connection.commit()
    increment = shop.state()
    shop.resolve(full=True)
    assert shop.state() == increment


def test_a_neighbourhood_that_grows_too_wide_is_resolved_as_a_whole(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.resolve(*(order(f"o{n}", n, customer_id="c1", email=f"p{n}@inbox.example") for n in range(4)))
    monkeypatch.setattr(neighbourhood, "WIDEST", 3)
    delta = shop.resolve(new := order("o9", 9, email="p0@inbox.example", phone="4158675309"))
    assert delta.was_full
    assert shop.customer(new) == shop.customer(order("o1"))
    assert shop.last_delta == {("customer", "1")}


def test_a_batch_as_large_as_the_base_is_resolved_as_a_whole(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "_FEW_RECORDS", 3)
    shop.resolve(order("o1", 1, customer_id="c1"))
    delta = shop.resolve(*(order(f"o{n}", n, customer_id="c1", email="ann@inbox.example") for n in range(1, 6)))
    assert delta.was_full
    assert shop.last_delta == {("customer", "1")}


def test_other_rules_move_what_they_move_and_say_so(shop: Shop) -> None:
    both = [order(f"o{n}", n, customer_id=f"c{n}", email="ann@inbox.example") for n in (1, 2)]
    shop.resolve(*both, order("o3", 3, customer_id="c3"))
    first, second = (shop.customer(record) for record in both)
    shop.settings = shop.settings.with_(identity_max_customer_ids=2)
    assert resolution.has_work(shop.connection, settings=shop.settings)
    assert shop.resolve().was_full
    assert [shop.customer(record) for record in both] == [first, first]
    assert shop.last_delta == {("customer", str(first)), ("customer", str(second)), ("order", "o2")}
    assert not shop.resolve().was_full
