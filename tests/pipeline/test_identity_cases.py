"""Who is who, in cases small enough to check on paper."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from customer360.settings import Settings
from tests.pipeline.identity_shop import Record, Shop, open_shop, order, session, ticket


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with open_shop(settings) as opened:
        yield opened


def test_a_guest_who_logs_in_later_keeps_the_first_key(shop: Shop) -> None:
    guest = order("o1", 1, email="Ann@Inbox.example ")
    shop.resolve(guest)
    first_key = shop.customer(guest)
    login = session("s1", 9, customer_id="C1", email="ann@inbox.example", anonymous_id="d1")
    later = order("o2", 10, customer_id="C1")
    shop.resolve(login, later)
    assert first_key is not None
    assert {shop.customer(guest), shop.customer(login), shop.customer(later)} == {first_key}


def test_another_phone_and_a_changed_address_stay_one_person(shop: Shop) -> None:
    records = [
        order("o1", 1, customer_id="C1", email="ann@inbox.example", phone="(415) 867-5309"),
        order("o2", 2, customer_id="C1", email="ann@post.example"),
        ticket("t1", 3, phone="+1 415 867 5309"),
        ticket("t2", 4, customer_id="C1", phone="+1 212 867 5309"),
        ticket("t3", 5, email="ANN@post.example"),
    ]
    shop.resolve(*records)
    assert len({shop.customer(record) for record in records}) == 1


def test_a_shared_tablet_serves_two_people(shop: Shop) -> None:
    records = {
        "ann": session("s1", 1, anonymous_id="tablet", customer_id="ann"),
        "after ann": session("s2", 2, anonymous_id="tablet"),
        "bob": session("s3", 3, anonymous_id="tablet", customer_id="bob"),
        "after bob": order("o1", 4, anonymous_id="tablet"),
    }
    shop.resolve(*records.values())
    whose = {name: shop.customer(record) for name, record in records.items()}
    assert whose["ann"] == whose["after ann"] != whose["bob"] == whose["after bob"]
    assert shop.rule(records["after bob"]) == "device_before"
    assert len(shop.rows("select from identity.customers")) == 2


def test_before_a_person_is_known_a_device_is_theirs_for_some_days_only(shop: Shop) -> None:
    days = shop.settings.identity_device_days
    long_before, just_before = session("s1", 0, anonymous_id="d"), session("s2", 1, anonymous_id="d")
    login = session("s3", 1 + days, anonymous_id="d", customer_id="ann")
    shop.resolve(long_before, just_before, login)
    assert shop.customer(long_before) is None
    assert shop.rule(long_before) == "unattributed"
    assert shop.customer(just_before) == shop.customer(login)
    assert shop.rule(just_before) == "device_after"


def test_a_family_s_phone_joins_nobody(shop: Shop) -> None:
    ann = order("o1", 1, customer_id="ann", email="ann@inbox.example", phone="415 867 5309")
    bob = order("o2", 2, customer_id="bob", email="bob@inbox.example", phone="415-867-5309")
    call = ticket("t1", 3, phone="+14158675309")
    shop.resolve(ann)
    shop.resolve(call)
    assert shop.customer(call) == shop.customer(ann)
    shop.resolve(bob)
    assert shop.customer(ann) != shop.customer(bob)
    assert shop.customer(call) is None
    assert shop.blocked() == {("+14158675309", "shared")}


def test_a_family_is_kept_apart_even_where_no_account_was_seen_with_the_phone(shop: Shop) -> None:
    records = [
        order("o1", 1, email="ann@inbox.example", phone="4158675309"),
        order("o2", 2, email="bob@inbox.example", phone="4158675309"),
        order("o3", 3, customer_id="ann", email="ann@inbox.example"),
        order("o4", 4, customer_id="bob", email="bob@inbox.example"),
    ]
    shop.resolve(*records)
    ann, bob, ann_too, bob_too = (shop.customer(record) for record in records)
    assert ann == ann_too != bob == bob_too


def test_a_phone_that_was_passed_on_joins_nobody(shop: Shop) -> None:
    shop.resolve(
        first := order("o1", 1, customer_id="ann", phone="4158675309"),
        second := order("o2", 400, customer_id="bob", phone="4158675309"),
    )
    assert shop.customer(first) != shop.customer(second)


def test_an_address_of_more_than_k_accounts_is_shared(shop: Shop) -> None:
    shop.settings = shop.settings.with_(identity_max_customer_ids=2)
    two = [order(f"o{n}", n, customer_id=f"c{n}", email="family@inbox.example") for n in (1, 2)]
    shop.resolve(*two)
    assert len({shop.customer(record) for record in two}) == 1
    third = order("o3", 3, customer_id="c3", email="family@inbox.example")
    shop.resolve(third)
    assert len({shop.customer(record) for record in [*two, third]}) == 3
    assert shop.blocked() == {("family@inbox.example", "shared")}


@pytest.mark.parametrize(
    "junk",
    [
        {"email": "test@test.com"},
        {"email": "n/a"},
        {"phone": "000-000-0000"},
        {"phone": "1234567890"},
        {"customer_id": "0"},
        {"customer_id": "guest"},
    ],
)
def test_junk_joins_nobody(shop: Shop, junk: dict[str, str]) -> None:
    key = "customer_id" if "customer_id" not in junk else "email"
    values = {"customer_id": ("c1", "c2"), "email": ("ann@inbox.example", "bob@inbox.example")}[key]
    one, other = order("o1", 1, **junk, **{key: values[0]}), order("o2", 2, **junk, **{key: values[1]})
    alone = order("o3", 3, **junk)
    shop.resolve(one, other, alone)
    assert shop.customer(one) != shop.customer(other)
    assert shop.customer(alone) is None
    assert len(shop.rows("select from identity.identifiers")) == 2


def test_a_session_is_whose_the_order_is_that_was_placed_in_it(shop: Shop) -> None:
    shop.resolve(
        session("s0", 0, anonymous_id="tablet", customer_id="bob"),
        placed := session("s1", 1, anonymous_id="tablet", order_key="o1"),
        bought := order("o1", 1.01, email="ann@inbox.example"),
    )
    assert shop.customer(placed) == shop.customer(bought)
    assert shop.rule(placed) == "linked_order"


def test_a_session_belongs_to_its_order_s_customer_even_where_it_shows_another(shop: Shop) -> None:
    shop.resolve(
        placed := session("s1", 1, customer_id="bob", email="bob@inbox.example", anonymous_id="tablet", order_key="o1"),
        bought := order("o1", 1.01, customer_id="ann"),
        later := session("s2", 2, anonymous_id="tablet"),
        bob := order("o2", 3, customer_id="bob"),
    )
    assert shop.customer(placed) == shop.customer(bought) == shop.customer(later) != shop.customer(bob)
    assert shop.rule(placed) == "linked_order"
    links = shop.rows("select identifier_type, rule from identity.links where record_id = 's1' order by 1")
    assert links == [("anonymous_id", "weak"), ("customer_id", "overruled"), ("email", "overruled")]
    shop.withdraw(bought)
    shop.resolve()
    assert shop.customer(placed) == shop.customer(bob)
    assert shop.rule(placed) == "customer_id"


def test_an_order_that_names_nobody_leaves_its_session_to_the_session_s_own_identifiers(shop: Shop) -> None:
    shop.resolve(
        placed := session("s1", 1, customer_id="bob", order_key="o1"), order("o1", 1.01, anonymous_id="tablet")
    )
    assert shop.rule(placed) == "customer_id"


def test_a_ticket_belongs_to_whom_it_names_whoever_ordered(shop: Shop) -> None:
    shop.resolve(
        order("o1", 1, customer_id="ann"),
        about := ticket("t1", 2, customer_id="bob", order_key="o1"),
        silent := ticket("t2", 2, order_key="o1"),
    )
    assert shop.rule(about) == "customer_id"
    assert shop.rule(silent) == "linked_order"
    assert shop.customer(about) != shop.customer(silent)


def test_a_session_follows_the_order_of_its_own_source(shop: Shop) -> None:
    shop.resolve(
        order("1001", 1, customer_id="ann"),
        theirs := order("shop-b/1001", 1, customer_id="17", source="shop-b"),
        placed := session("shop-b/s1", 1, source="shop-b", order_key="shop-b/1001", email="ann@inbox.example"),
    )
    assert shop.customer(placed) == shop.customer(theirs)


def test_the_numbers_of_three_systems_for_one_address_are_one_person(shop: Shop) -> None:
    records = [
        order("o1", 1, customer_id="17", email="ann@inbox.example", phone="4158675309"),
        ticket("desk/t1", 2, source="desk", customer_id="401", email="ann@inbox.example"),
        session("tracker/s1", 3, source="tracker", customer_id="u-9", email="ann@inbox.example"),
        ticket("desk/t2", 4, source="desk", customer_id="401", phone="4158675309"),
    ]
    shop.resolve(*records)
    assert len({shop.customer(record) for record in records}) == 1
    assert not shop.blocked()
    other = order("o2", 5, customer_id="18", email="ann@inbox.example")
    shop.resolve(other)
    assert shop.customer(other) != shop.customer(records[0])
    assert ("ann@inbox.example", "shared") in shop.blocked()


def test_the_same_number_in_two_sources_is_two_people(shop: Shop) -> None:
    ours, theirs = order("o1", 1, customer_id="17"), order("b/o1", 1, source="b", customer_id="17")
    shop.resolve(ours, theirs)
    assert shop.customer(ours) != shop.customer(theirs)


def test_a_phone_joins_the_numbers_of_two_systems_but_no_two_addresses(shop: Shop) -> None:
    shop.resolve(
        bought := order("o1", 1, customer_id="17", email="ann@inbox.example", phone="4158675309"),
        called := ticket("desk/t1", 2, source="desk", customer_id="401", phone="4158675309"),
    )
    assert shop.customer(bought) == shop.customer(called)
    shop.resolve(wrote := ticket("desk/t2", 3, source="desk", customer_id="402", email="bob@inbox.example",
                                 phone="4158675309"))  # fmt: skip
    assert len({shop.customer(record) for record in (bought, called, wrote)}) == 3


_STRANGERS = ["ann", "bob", "cid", "dan", "eve", "fay"]


def _strangers(kind: str, *, days: float, sources: tuple[str, ...] = ("",)) -> list[Record]:
    """Orders of strangers who show one marker that no list knows, and nothing else that they share."""
    markers = {"customer_id": "KDNR-UNBEK", "email": "sammel@shop-a.example", "phone": "4158675309"}
    own = {
        "email": [f"{name}@inbox.example" for name in _STRANGERS],
        "phone": [f"415867510{n}" for n in range(len(_STRANGERS))],
    }
    del own["email" if kind == "email" else "phone"]
    other, values = next(iter(own.items()))
    return [
        order(f"o{n}", days * n, **{kind: markers[kind], other: value}, source=sources[n % len(sources)])
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize("kind", ["customer_id", "email", "phone"])
def test_a_marker_that_no_list_knows_stops_joining_at_the_third_stranger_of_a_day(shop: Shop, kind: str) -> None:
    strangers = _strangers(kind, days=0.1)
    for number, stranger in enumerate(strangers, 1):
        shop.resolve(stranger)
        people = {shop.customer(record) for record in strangers[:number]}
        assert len(people) == (1 if number == 2 and kind != "phone" else number)
    seen = shop.rows("select blocked_by, records, customer_ids, emails, phones, customers, first_record "
                     "from identity.blocked_identifiers")  # fmt: skip
    counts = {"customer_id": (1, 6, 0), "email": (0, 1, 6), "phone": (0, 6, 1)}[kind]
    assert seen == [("shared", 6, *counts, 6, "order:o0")]


@pytest.mark.parametrize("kind", ["customer_id", "email"])
def test_a_marker_stops_joining_at_the_fifth_stranger_whenever_they_come(shop: Shop, kind: str) -> None:
    strangers = _strangers(kind, days=100, sources=("",) if kind == "customer_id" else ("", "b", "c"))
    shop.resolve(*strangers[:4])
    assert len({shop.customer(record) for record in strangers[:4]}) == 1
    shop.resolve(*strangers[4:])
    assert len({shop.customer(record) for record in strangers}) == 6
    shop.withdraw(*strangers[4:])
    shop.resolve()
    assert len({shop.customer(record) for record in strangers[:4]}) == 1


def test_a_person_with_four_addresses_over_the_years_stays_one(shop: Shop) -> None:
    records = [order(f"o{n}", 200 * n, customer_id="c1", email=f"ann{n}@inbox.example") for n in range(4)]
    shop.resolve(*records)
    assert len({shop.customer(record) for record in records}) == 1


def test_a_marker_is_no_customer_id_of_those_who_show_it(shop: Shop) -> None:
    """An address seen with its own account and with a till's number is nobody's but its owner's."""
    till = [order(f"t{n}", 0.1, customer_id="K7", email=f"{name}@inbox.example") for n, name in enumerate(_STRANGERS)]
    own = order("o1", 1, customer_id="c1", email="ann@inbox.example")
    shop.resolve(*till, own)
    assert shop.customer(till[0]) == shop.customer(own)
    assert shop.blocked() == {("K7", "shared")}


def test_a_device_of_more_people_than_a_family_attributes_nothing(shop: Shop) -> None:
    people = [session(f"s{n}", n, anonymous_id="kiosk", customer_id=name) for n, name in enumerate(_STRANGERS[:4])]
    visit = session("visit", 10, anonymous_id="kiosk")
    shop.resolve(*people[:3], visit)
    assert shop.customer(visit) == shop.customer(people[2])
    shop.resolve(people[3])
    assert shop.rule(visit) == "unattributed"
    assert shop.rows("select anonymous_id, people, records from identity.crowded_devices") == [("kiosk", 4, 5)]


def test_each_link_keeps_its_rule_and_its_record(shop: Shop) -> None:
    shop.resolve(
        order("o1", 1, customer_id="ann", phone="4158675309", anonymous_id="d"),
        order("o2", 2, customer_id="bob", phone="4158675309"),
    )
    links = shop.rows("select record_id, identifier_type, rule from identity.links order by 1, 2")
    assert links == [
        ("o1", "anonymous_id", "weak"),
        ("o1", "customer_id", "strong"),
        ("o1", "phone", "shared"),
        ("o2", "customer_id", "strong"),
        ("o2", "phone", "shared"),
    ]


def test_a_full_refresh_re_keys_nobody(shop: Shop) -> None:
    shop.resolve(order("o2", 5, email="ann@inbox.example"))
    shop.resolve(order("o1", 1, customer_id="C1"), order("o3", 7, customer_id="C1", email="ann@inbox.example"))
    before, journal = shop.state(), shop.rows("select * from state.customer_key_crosswalk")
    shop.resolve(full=True)
    assert shop.state() == before
    assert shop.rows("select * from state.customer_key_crosswalk") == journal
    assert shop.last_delta == set()


def test_the_crosswalk_leads_an_old_key_to_the_present_customer(shop: Shop) -> None:
    guest, account = order("o1", 1, email="ann@inbox.example"), order("o2", 2, customer_id="C1")
    shop.resolve(guest, account)
    old, merged_away = shop.customer(guest), shop.customer(account)
    assert old is not None
    assert merged_away is not None
    bridge = order("o3", 3, customer_id="C1", email="ann@inbox.example")
    shop.resolve(bridge)
    assert shop.present(merged_away) == old == shop.customer(account)
    assert ("customer", str(merged_away)) in shop.last_delta
    assert ("order", "o2") in shop.last_delta
    shop.withdraw(bridge)
    shop.resolve()
    assert shop.customer(account) == merged_away == shop.present(merged_away)
    reasons = shop.rows(
        f"select reason, evidence->>'rule', evidence->>'record_id' from state.customer_key_crosswalk "
        f"where customer_key = {merged_away} order by entry_id"
    )
    assert reasons == [("first_seen", None, None), ("merged", "strong", "o3"), ("split", "link_gone", None)]
