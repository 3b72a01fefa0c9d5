"""What holds whatever the records, their order and their batches are."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customer360 import warehouse
from customer360.identity import decisions
from customer360.settings import Settings
from customer360.warehouse import query
from tests.pipeline.identity_shop import Record, Shop, open_shop

# Some of them are placeholders; the first of each kind comes so often that it exceeds its limits like a marker.
_CUSTOMER_IDS = ["c1", "c1", "c1", "c2", "c3", "c4", "(none)"]
_EMAILS = [
    "ann@inbox.example", "ann@inbox.example", "bob@inbox.example", "cid@inbox.example", "dan@inbox.example",
    "test@test.com",
]  # fmt: skip
_PHONES = ["+14158675301", "+14158675301", "(415) 867-5302", "+14158675303", "+14158675304", "0000000000"]
_SOURCES = ["", "", "desk", "tracker"]
_DEVICES = ["d1", "d2"]
_ORDERS = ["o0", "o1", "o2"]


# Often the same day, and its very last moment.
_DAYS = st.one_of(st.integers(0, 60), st.sampled_from([7, 7.25, 7.999999]))


def _shown(record_type: str) -> st.SearchStrategy[dict[str, str]]:
    fields = {
        "customer_id": st.sampled_from(_CUSTOMER_IDS),
        "email": st.sampled_from(_EMAILS),
        "source": st.sampled_from(_SOURCES),
    }
    if record_type != "session":
        fields["phone"] = st.sampled_from(_PHONES)
    if record_type != "ticket":
        fields["anonymous_id"] = st.sampled_from(_DEVICES)
    if record_type != "order":
        fields["order_key"] = st.sampled_from(_ORDERS)
    return st.fixed_dictionaries({}, optional=fields)


@st.composite
def _record(draw: st.DrawFn) -> Record:
    record_type = draw(st.sampled_from(["order", "session", "ticket"]))
    number = draw(st.integers(0, 9))
    return Record(
        record_type,
        f"{record_type[0]}{number}",
        draw(_DAYS),
        draw(_shown(record_type)),
    )


Batches = list[list[tuple[str, Record]]]
Ruled = tuple[str, list[int], list[int]]
_CHANGE = st.tuples(st.sampled_from(["stage", "stage", "stage", "withdraw"]), _record())
_BATCHES = st.lists(st.lists(_CHANGE, max_size=6), min_size=1, max_size=6)


@st.composite
def _decision(draw: st.DrawFn) -> Ruled:
    kind = draw(st.sampled_from(["join", "split", "block", "allow", "undo"]))
    members = draw(st.lists(st.integers(0, 20), min_size=2, max_size=5, unique=True))
    cut = 1 if kind == "split" else len(members)
    return kind, members[:cut], members[cut:]


@pytest.fixture(scope="module")
def shop(embedded: Settings) -> Iterator[Shop]:
    """One warehouse for all examples of the module: each empties it first."""
    with warehouse.admin(embedded, database="postgres") as connection:
        connection.execute(query("create database identity_properties template c360_template strategy file_copy"))
        connection.execute(
            query(
                "grant create, connect, temporary on database identity_properties to "
                + warehouse.role_name("transformer", embedded)
            )
        )
    scratch = embedded.with_(database="identity_properties")
    with open_shop(scratch) as opened:
        yield opened
    with warehouse.admin(embedded, database="postgres") as connection:
        connection.execute(query("drop database identity_properties with (force)"))


def _empty(shop: Shop) -> None:
    shop.connection.rollback()
    with warehouse.connect("owner", shop.settings) as owner:
        owner.execute(
            "truncate state.identity_decisions, state.identity_decision_members, state.customer_key_map, "
            "state.customer_key_crosswalk restart identity cascade"  # frozen records name keys of the map
        )
    tables = ("stg_orders", "stg_web_sessions", "stg_support_tickets")
    shop.connection.execute(query(f"truncate {', '.join(f'staging.{table}' for table in tables)}"))
    shop.connection.execute("delete from ops.dirty")
    if shop.rows("select from information_schema.tables where table_schema = 'identity'"):
        shop.connection.execute(
            "truncate identity.records, identity.identifiers, identity.customers, identity.resolution"
        )
    shop.connection.commit()


def _apply(shop: Shop, changes: list[tuple[str, Record]]) -> None:
    for verb, record in changes:
        shop.stage(record) if verb == "stage" else shop.withdraw(record)


def _decide(shop: Shop, decision: Ruled) -> None:
    """Decide about identifiers seen so far; what points beyond them is left out."""
    kind, one, other = decision
    keys = [row[0] for row in shop.rows("select customer_key from state.customer_key_map order by 1")]
    sides = [sorted({keys[i % len(keys)] for i in side}) if keys else [] for side in (one, other)]
    sides[1] = [key for key in sides[1] if key not in sides[0]]
    undone = None
    if kind == "undo":
        held = decisions.in_force(shop.connection)
        if not held:
            return
        undone, sides = held[one[0] % len(held)].decision_id, [[], []]
    elif not sides[0] or (kind == "split" and not sides[1]):
        return
    decisions.record(
        shop.connection, kind, (sides[0], sides[1]), decided_by="a test", because="to try it", undoes=undone
    )


def _examples(count: int) -> settings:
    slow = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=count, deadline=None, suppress_health_check=slow, print_blob=True)


FEW, MANY = _examples(12), _examples(250)
_LIMITS = st.fixed_dictionaries(
    {
        "identity_max_customer_ids": st.integers(1, 2),
        "identity_max_phone_people": st.integers(1, 2),
        "identity_max_emails": st.integers(1, 3),
        "identity_max_phones": st.integers(1, 3),
        "identity_max_a_day": st.integers(1, 3),
        "identity_max_device_people": st.integers(1, 2),
    }
)
_any_history = given(batches=_BATCHES, ruled=st.lists(_decision(), max_size=4), limits=_LIMITS)
_any_order = given(batches=_BATCHES, seed=st.integers(0, 1000))
_any_merge = given(batches=_BATCHES, later=st.lists(_record(), max_size=5))


@FEW
@_any_history
def test_increments_end_where_a_full_resolution_ends(
    shop: Shop, batches: Batches, ruled: list[Ruled], limits: dict[str, int]
) -> None:
    _check_increments(shop, batches, ruled, limits)


@pytest.mark.slow
@MANY
@_any_history
def test_increments_end_where_a_full_resolution_ends_in_many_histories(
    shop: Shop, batches: Batches, ruled: list[Ruled], limits: dict[str, int]
) -> None:
    _check_increments(shop, batches, ruled, limits)


def _check_increments(shop: Shop, batches: Batches, ruled: list[Ruled], limits: dict[str, int]) -> None:
    _empty(shop)
    shop.settings = shop.settings.with_(**limits)
    for number, batch in enumerate(batches):
        _apply(shop, batch)
        if number < len(ruled):
            _decide(shop, ruled[number])
        delta = shop.resolve()
        assert number == 0 or not delta.was_full
    increments = shop.state()
    shop.resolve(full=True)
    assert shop.state() == increments
    assert shop.last_delta == set()


@FEW
@_any_order
def test_any_order_and_batching_gives_the_same_people(shop: Shop, batches: Batches, seed: int) -> None:
    _check_order(shop, batches, seed)


@pytest.mark.slow
@MANY
@_any_order
def test_any_order_and_batching_gives_the_same_people_in_many_histories(
    shop: Shop, batches: Batches, seed: int
) -> None:
    _check_order(shop, batches, seed)


def _check_order(shop: Shop, batches: Batches, seed: int) -> None:
    records = {(r.record_type, r.record_id): r for batch in batches for _, r in batch}
    _empty(shop)
    shop.resolve(*records.values())
    at_once = shop.partition()
    _empty(shop)
    shop.resolve()
    shuffled = list(records.values())
    chance = random.Random(seed)
    chance.shuffle(shuffled)
    while shuffled:
        size = chance.randint(1, 4)
        shop.resolve(*shuffled[:size])
        shuffled = shuffled[size:]
    assert shop.partition() == at_once


@FEW
@_any_merge
def test_a_merge_undone_restores_the_old_keys(shop: Shop, batches: Batches, later: list[Record]) -> None:
    _check_undone_merge(shop, batches, later)


@pytest.mark.slow
@MANY
@_any_merge
def test_a_merge_undone_restores_the_old_keys_in_many_histories(
    shop: Shop, batches: Batches, later: list[Record]
) -> None:
    _check_undone_merge(shop, batches, later)


def _check_undone_merge(shop: Shop, batches: Batches, later: list[Record]) -> None:
    _empty(shop)
    for batch in batches:
        _apply(shop, batch)
        shop.resolve()
    before = shop.state()
    news = [r for r in later if (r.record_type, r.record_id) not in shop.whose()]
    shop.resolve(*news)
    shop.withdraw(*news)
    shop.resolve()
    assert shop.state() == before
    published = {row[0] for row in shop.rows("select distinct customer_key from state.customer_key_crosswalk")}
    present = {row[0] for row in shop.rows("select customer_key from identity.customers")}
    assert present <= published
    for key in published:
        assert shop.present(key) in present | {None}
        assert key not in present or shop.present(key) == key
