"""What operators decide is obeyed by every later run and every full refresh, and can be taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from customer360.cli import identity
from customer360.errors import Customer360Error
from customer360.identity import has_work, operators
from customer360.settings import Settings
from tests.pipeline.identity_shop import Record, Shop, open_shop, order, session, ticket

WHO = {"decided_by": "kim", "because": "the customer called"}


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with open_shop(settings) as opened:
        yield opened


def _whose(shop: Shop, *records: Record) -> list[int | None]:
    return [shop.customer(record) for record in records]


def test_a_join_outlives_later_runs_and_full_refreshes(shop: Shop) -> None:
    ann, ann_too = order("o1", 1, customer_id="c1"), order("o2", 2, customer_id="c2", email="ann@inbox.example")
    shop.resolve(ann, ann_too)
    first, second = _whose(shop, ann, ann_too)
    operators.join(shop.settings, "customer_id:c2", str(first), **WHO)
    assert has_work(shop.connection)
    shop.resolve()
    assert not has_work(shop.connection)
    assert _whose(shop, ann, ann_too) == [first, first]
    shop.resolve(full=True)
    shop.resolve(later := ticket("t1", 5, email="ann@inbox.example"))
    assert _whose(shop, ann, ann_too, later) == [first] * 3
    evidence = shop.rows(f"select reason, evidence from state.customer_key_crosswalk where customer_key = {second}")
    assert evidence[-1] == ("merged", {"rule": "operator", "decision_ids": [1]})
    assert shop.rows("select identity_confidence from identity.customers") == [(1,)]


def test_a_join_undone_gives_both_their_keys_back(shop: Shop) -> None:
    ann, bob = order("o1", 1, customer_id="c1"), order("o2", 2, customer_id="c2")
    shop.resolve(ann, bob)
    before = shop.state()
    decision = operators.join(shop.settings, "customer_id:c1", "customer_id:c2", **WHO)
    shop.resolve()
    operators.undo(shop.settings, decision, **WHO)
    shop.resolve()
    assert shop.state() == before
    shop.resolve(full=True)
    assert shop.state() == before


def test_a_split_is_kept_although_new_records_would_join_again(shop: Shop) -> None:
    together = order("o1", 1, customer_id="c1", email="bob@inbox.example")
    shop.resolve(together)
    operators.split(shop.settings, "customer_id:c1", ["email:Bob@inbox.example"], **WHO)
    shop.resolve(by_email := ticket("t1", 2, email="bob@inbox.example"))
    assert shop.customer(by_email) != shop.customer(together)
    assert shop.rule(together) == "customer_id"
    again = order("o2", 3, customer_id="c1", email="bob@inbox.example")
    bridge = [
        order("o3", 4, customer_id="c1", phone="4158675309"),
        ticket("t2", 5, email="bob@inbox.example", phone="4158675309"),
    ]
    shop.resolve(again, *bridge)
    assert shop.customer(again) == shop.customer(together) != shop.customer(by_email)
    assert shop.customer(bridge[1]) == shop.customer(by_email)
    incremental = shop.state()
    shop.resolve(full=True)
    assert shop.state() == incremental


def test_a_split_undone_restores_the_one_customer(shop: Shop) -> None:
    records = [
        order("o1", 1, email="ann@inbox.example", phone="4158675309"),
        ticket("t1", 2, phone="4158675309"),
    ]
    shop.resolve(*records)
    before = shop.state()
    decision = operators.split(shop.settings, "email:ann@inbox.example", ["phone:4158675309"], **WHO)
    shop.resolve()
    one, other = _whose(shop, *records)
    assert one is not None
    assert other is not None
    assert one < other, "the part with the oldest identifier keeps the key, the other gets its own"
    operators.undo(shop.settings, decision, **WHO)
    shop.resolve()
    assert shop.state() == before
    assert shop.present(other) == one


def test_a_blocked_identifier_joins_nobody_until_the_block_is_undone(shop: Shop) -> None:
    records = [
        order("o1", 1, customer_id="c1", email="till@shop.example"),
        order("o2", 2, email="till@shop.example"),
    ]
    shop.resolve(*records)
    before = shop.state()
    decision = operators.block(shop.settings, "email:till@shop.example", **WHO)
    shop.resolve()
    assert shop.blocked() == {("till@shop.example", "operator")}
    assert shop.customer(records[1]) is None
    shop.resolve(full=True)
    assert shop.customer(records[1]) is None
    operators.undo(shop.settings, decision, **WHO)
    shop.resolve()
    assert shop.state() == before


def test_an_identifier_can_be_blocked_before_it_is_ever_seen(shop: Shop) -> None:
    shop.resolve(order("o0", 0, customer_id="c0"))
    operators.block(shop.settings, "phone:+14158675309", **WHO)
    shop.resolve(one := order("o1", 1, phone="4158675309"), order("o2", 2, customer_id="c1", phone="4158675309"))
    assert shop.customer(one) is None


def test_a_block_of_what_was_never_seen_can_be_undone(shop: Shop) -> None:
    shop.resolve(order("o0", 0, customer_id="c0"))
    before = shop.state()
    decision = operators.block(shop.settings, "phone:+14158675309", **WHO)
    operators.undo(shop.settings, decision, **WHO)
    shop.resolve()
    assert shop.state() == before


def test_an_operator_may_allow_what_looks_shared(shop: Shop) -> None:
    records = [order(f"o{n}", n, customer_id=f"c{n}", email="ann@inbox.example") for n in (1, 2)]
    shop.resolve(*records)
    assert len(set(_whose(shop, *records))) == 2
    operators.block(shop.settings, "email:ann@inbox.example", allow=True, **WHO)
    shop.resolve()
    assert len(set(_whose(shop, *records))) == 1
    shop.resolve(full=True)
    assert len(set(_whose(shop, *records))) == 1


def test_decisions_that_cannot_be_are_refused_with_the_next_step(shop: Shop) -> None:
    shop.resolve(order("o1", 1, customer_id="c1", email="ann@inbox.example"), order("o2", 2, customer_id="c2"))
    with pytest.raises(Customer360Error, match="already"):
        operators.join(shop.settings, "customer_id:c1", "email:ann@inbox.example", **WHO)
    with pytest.raises(Customer360Error, match="not customer"):
        operators.split(shop.settings, "customer_id:c1", ["customer_id:c2"], **WHO)
    with pytest.raises(Customer360Error, match="either side"):
        operators.split(shop.settings, "customer_id:c2", ["customer_id:c2"], **WHO)
    with pytest.raises(operators.UnknownSubjectError):
        operators.block(shop.settings, "email:n/a", **WHO)
    with pytest.raises(operators.UnknownSubjectError):
        operators.undo(shop.settings, 99, **WHO)
    operators.split(shop.settings, "customer_id:c1", ["email:ann@inbox.example"], **WHO)
    shop.resolve()
    with pytest.raises(Customer360Error, match="keeps them apart") as refused:
        operators.join(shop.settings, "customer_id:c1", "email:ann@inbox.example", **WHO)
    assert refused.value.next_step.startswith("c360 identity undo 1")


def test_show_explains_a_customer_without_showing_personal_data(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.resolve(order("o1", 1, email="ann@inbox.example"), order("o2", 2, customer_id="c1"))
    shop.resolve(
        order("o3", 3, customer_id="c1", email="ann@inbox.example", phone="4158675309", anonymous_id="d1"),
        order("o4", 4, customer_id="c2", phone="4158675309"),
        session("s1", 5, anonymous_id="d1"),
    )
    monkeypatch.setattr(identity, "get_settings", lambda: shop.settings)
    runner = CliRunner()
    shown = json.loads(runner.invoke(identity.group, ["show", "order:o2", "--json"]).stdout)
    assert shown["customer_key"] == shop.customer(order("o1"))
    assert shown["identifier_count"] == 2
    assert [one["identifier"] for one in shown["identifiers"]] == ["c1", "a…@inbox.example"]
    assert shown["blocked_identifiers"][0]["customers"] == 2
    assert shown["records_by_rule"] == {"customer_id": 2, "device_before": 1, "email": 1}
    assert [one["reason"] for one in shown["keys"]] == ["first_seen", "merged"]
    for arguments in (["show", "email:ANN@inbox.example"], ["decisions"]):
        told = runner.invoke(identity.group, arguments)
        assert told.exit_code == 0
        assert "ann@inbox" not in told.stdout
        assert "8675309" not in told.stdout
    assert "ann@inbox.example" in runner.invoke(identity.group, ["show", "order:o2", "--reveal"]).stdout


def test_decisions_made_on_the_command_line_are_recorded_with_who_and_why(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.resolve(order("o1", 1, customer_id="c1", email="ann@inbox.example"), order("o2", 2, customer_id="c2"))
    monkeypatch.setattr(identity, "get_settings", lambda: shop.settings)
    runner = CliRunner()
    who = ["--by", "kim", "--because", "they called"]
    for arguments in (
        ["join", "customer_id:c1", "customer_id:c2"],
        ["split", "customer_id:c1", "--identifier", "email:ann@inbox.example"],
        ["block", "email:ann@inbox.example"],
        ["undo", "1"],
    ):
        told = runner.invoke(identity.group, [*arguments, *who])
        assert told.exit_code == 0, told.output
        assert "c360 run" in told.stdout
    kept = shop.rows("select kind, decided_by, because from state.identity_decisions order by decision_id")
    assert kept == [(kind, "kim", "they called") for kind in ("join", "split", "block", "undo")]
    held = json.loads(runner.invoke(identity.group, ["decisions", "--json"]).stdout)
    assert [one["kind"] for one in held] == ["split", "block"]
