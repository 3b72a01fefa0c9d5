"""An erased person is nowhere: in no table, no file, no restored backup, and comes back with no late file."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customer360 import kill_points, warehouse
from customer360 import restore as restoring
from customer360.backup import take
from customer360.erasure import erase as erasing
from customer360.erasure import requests
from customer360.erasure.person import PersonError
from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.publication.verify import verify
from customer360.run import run_everything
from customer360.settings import Settings
from tests.pipeline.conftest import copy_of
from tests.pipeline.front_door import drop, jsonl
from tests.pipeline.shop import at, order, rows, session, ticket
from tests.pipeline.test_backup import empty_home, killed_at, with_backups

WHO: dict[str, Any] = {"who": "Dana", "why": "a request of the person"}
CANARY = re.compile(rb"canary|7654321", re.IGNORECASE)
EMAIL, PHONE, ACCOUNT, DEVICE = "canary.one@example.org", "+49 30 7654321", "CANARY-77", "device-canary-9"
NAMED: dict[str, Any] = {
    "orders": {
        "customer_id": ACCOUNT, "email": f" {EMAIL.upper()}", "phone": PHONE, "anonymous_id": DEVICE,
        "region": "canary island", "coupon_code": "CANARY10", "note": {"to": "the canary"},
        "refunds": [
            {"refund_id": "r1", "refunded_at": "2026-03-05T12:00:00+00:00", "amount": "30.00", "reason": "canary"}
        ],
        "items": [{"sku": "a", "quantity": 2, "unit_price": 30}, {"sku": "b", "quantity": 1, "unit_price": 40}],
        "contact_preferences": [{"channel": "email", "allowed": True, "stated_at": "2026-03-01T12:00:00+00:00"}],
    },
    "web_sessions": {
        "customer_id": ACCOUNT, "email": EMAIL, "landing_page": "/?user=canary", "referrer": "https://canary.example",
        "utm_source": "canary", "utm_campaign": "canary",
    },
    "support_tickets": {
        "email": EMAIL, "phone": "030 7654321", "subject": "I am the canary", "body": "Canary, 030/7654321",
        "compensation_amount": "5.00", "currency": "USD",
    },
}  # fmt: skip


def history() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Files by feed: the person among others, in old and new versions, by every identifier."""
    return {
        "orders": {
            "first.jsonl": [
                order("o1", **NAMED["orders"]),
                order("o2", customer_id="c2", email="two@example.org", total="50.00"),
                order("o3", day=1, customer_id=ACCOUNT, total="20.00"),
            ],
            "second.jsonl": [
                order("o1", version=2, **NAMED["orders"] | {"email": "other.canary@example.org"}, status="delivered"),
                order("o4", day=3, phone=PHONE, total="7.00"),
                order("bad", status="lost", email=EMAIL),
            ],
            "third.jsonl": [order("o5", day=4, customer_id="c2", total="9.00")],
        },
        "web_sessions": {
            "sessions.jsonl": [
                session("s1", device=DEVICE, **NAMED["web_sessions"]),
                session("s2", day=1, device=DEVICE),
                session("s3", day=2, device="of-two", customer_id="c2"),
            ]
        },
        "support_tickets": {
            "tickets.jsonl.gz": [ticket("t1", **NAMED["support_tickets"]), ticket("t2", email="two@example.org")]
        },
    }


def land(settings: Settings) -> None:
    for feed, files in history().items():
        for name, records in files.items():
            drop(settings, feed, name, jsonl(records))
    drop(settings, "orders", "refused.csv", f"order_id;nothing\n1;{EMAIL}\n".encode())


@pytest.fixture(scope="module")
def original(module_settings: Settings) -> Settings:
    settings = module_settings.with_(phone_region="DE")
    land(settings)
    run_everything(settings, trigger="test")
    return settings


@pytest.fixture
def bare(embedded: Settings, tmp_path: Path) -> Iterator[Settings]:
    """An empty warehouse of this test alone."""
    with copy_of(embedded, tmp_path / "landing") as settings:
        yield settings.with_(phone_region="DE")


@pytest.fixture
def settings(original: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A published shop of this test alone, with its landed files."""
    import shutil

    with copy_of(original, tmp_path / "landing") as settings:
        shutil.copytree(original.landing, settings.landing, dirs_exist_ok=True)
        with warehouse.connect("owner", settings) as connection:
            for table, column in (("batches", "location"), ("landing_seen", "path")):
                connection.execute(
                    warehouse.query(f"update ops.{table} set {column} = replace({column}, %s, %s)"),
                    [original.landing, settings.landing],
                )
        yield settings


def where(settings: Settings) -> list[str]:
    """Every table with a row, and every file with a byte, that shows the canary; the server's own files apart."""
    found = []
    with warehouse.admin(settings) as connection:
        tables = connection.execute(
            "select quote_ident(n.nspname) || '.' || quote_ident(relname) from pg_class as c "
            "join pg_namespace as n on n.oid = c.relnamespace where relkind in ('r', 'm', 'p') "
            "and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') order by 1"
        ).fetchall()
        assert len(tables) > 100
        for (name,) in tables:
            count = warehouse.scalar(
                connection, f"select count(*) from {name} as t where to_jsonb(t)::text ~* 'canary|7654321'"
            )
            if count:
                shows = warehouse.query(
                    f"select to_jsonb(t)::text from {name} as t where to_jsonb(t)::text ~* 'canary|7654321' limit 3"
                )
                found.append(f"{name}: {count} rows, {connection.execute(shows).fetchall()}")
    for folder in (settings.home, Path(settings.landing_url)):
        for path in folder.rglob("*"):
            if path.is_file() and settings.home / "postgres" not in path.parents:
                content = path.read_bytes()
                content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
                if CANARY.search(content) or CANARY.search(path.name.encode()):
                    found.append(str(path))
    return found


def totals(settings: Settings) -> list[tuple[Any, ...]]:
    return rows(
        settings,
        "select ordered_on, count(*), sum(gross_amount), sum(net_amount), sum(refunded_net_amount), "
        "sum(cancelled_amount) "
        "from marts.fct_orders group by 1 order by 1",
    )


def assert_holds(settings: Settings, *, full: bool = True) -> None:
    assert [(check.name, check.broken) for check in verify(settings, full=full).checks if not check.holds] == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("email", "Canary.One@Example.org"),
        pytest.param("phone", "(030) 7654321", marks=pytest.mark.slow),
        pytest.param("customer_id", ACCOUNT, marks=pytest.mark.slow),
        pytest.param("anonymous_id", DEVICE, marks=pytest.mark.slow),
    ],
)
def test_an_erased_person_is_nowhere_and_totals_stay(settings: Settings, kind: str, text: str) -> None:
    before = totals(settings)
    assert len(where(settings)) > 10
    planned = erasing.plan(settings, (kind, text))
    assert planned.removed["raw rows of orders"] == 4
    certificate = erasing.erase(settings, (kind, text), **WHO)
    assert certificate.is_finished
    assert where(settings) == []
    assert totals(settings) == before
    assert {name: count for name, count in certificate.removed.items() if count and name.startswith("raw")} == {
        "raw rows of orders": 4, "raw rows of web_sessions": 2, "raw rows of support_tickets": 1,
    }  # fmt: skip
    assert certificate.removed["landed files"] == 5
    assert not CANARY.search(json.dumps(certificate.removed).encode())
    assert_holds(settings)
    refresh_daily(settings, trigger="test")
    assert_holds(settings)
    assert where(settings) == []
    # The other customer is as before, and the erased orders are nobody's.
    assert rows(settings, "select order_id from marts.fct_orders where customer_key is not null order by 1") == [
        ("o2",), ("o5",)
    ]  # fmt: skip
    assert rows(settings, "select count(*) from marts.customer_360") == [(1,)]


@pytest.mark.slow
@pytest.mark.parametrize("point", [name for name in kill_points.POINTS if name.startswith("erase.")])
def test_an_erasure_that_was_killed_is_finished_by_the_next_command(settings: Settings, point: str) -> None:
    before = totals(settings)
    program = f"from customer360.erasure import erase; erase.erase(s, ('email', {EMAIL!r}), who='Dana', why='asked')"
    killed_at(point, settings, program)
    (certificate,) = erasing.certificates(settings)
    assert not certificate.is_finished
    assert [one.is_finished for one in erasing.finish_pending(settings)] == [True]
    assert where(settings) == []
    assert totals(settings) == before
    assert_holds(settings, full=False)
    assert erasing.finish_pending(settings) == []


def random_history(randomness: random.Random, turn: int) -> dict[str, list[dict[str, Any]]]:
    """Some records of three people and a canary, new ones and new versions of old ones."""
    people = [
        {"customer_id": ACCOUNT, "email": EMAIL, "phone": PHONE},
        *({"customer_id": f"c{number}", "email": f"{number}@example.org"} for number in range(3)),
    ]

    def shown(person: dict[str, str]) -> dict[str, str]:
        kinds = randomness.sample(sorted(person), randomness.randint(1, len(person)))
        return {kind: person[kind] for kind in kinds}

    orders, sessions, tickets = [], [], []
    for _ in range(randomness.randint(2, 8)):
        place = randomness.randrange(len(people))
        person, day, number = people[place], randomness.uniform(0, 20), randomness.randrange(12)
        free = {"region": "canary island", "note": {"to": "the canary"}} if place == 0 else {"region": "north"}
        match randomness.randrange(4):
            case 0 | 1:
                refunds = [{"refund_id": "r", "refunded_at": at(day + 30), "amount": "1.00", "reason": free["region"]}]
                orders.append(
                    order(f"o{place}-{number}", day=number, version=turn + randomness.random(), **shown(person), **free,
                          total=f"{randomness.randint(1, 90)}.00", refunds=randomness.choice([None, refunds]),
                          status=randomness.choice(["paid", "lost", "cancelled", "delivered"]))
                )  # fmt: skip
            case 2:
                device = DEVICE if place == 0 else f"d{place}"
                who = {"customer_id": person["customer_id"]} if randomness.random() < 0.5 else {}
                sessions.append(session(f"s{place}-{number}", day=day, device=device, **who))
            case _:
                tickets.append(ticket(f"t{place}-{number}", day=number, version=turn, email=person["email"]))
    return {"orders": orders, "web_sessions": sessions, "support_tickets": tickets}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_history_an_erased_person_is_nowhere_and_all_adds_up(bare: Settings, seed: int) -> None:
    """Random histories, erasures (some of them killed) at random moments, and files that come late."""
    randomness = random.Random(seed)
    points = [name for name in kill_points.POINTS if name.startswith("erase.")]
    kinds = [("email", EMAIL), ("phone", PHONE), ("customer_id", ACCOUNT)]
    drop(bare, "orders", "known.jsonl", jsonl([order("o0", customer_id=ACCOUNT, email=EMAIL, phone=PHONE)]))
    drop(bare, "web_sessions", "known.jsonl", jsonl([session("s0", device=DEVICE, customer_id=ACCOUNT)]))
    run_everything(bare, trigger="test")
    erase_at = randomness.randrange(3)
    for turn in range(4):
        for feed, records in random_history(randomness, turn).items():
            if records:
                drop(bare, feed, f"{turn}.jsonl", jsonl(records))
        if randomness.random() < 0.7 or turn == erase_at:
            run_everything(bare, trigger="test", full_refresh=randomness.random() < 0.2)
        if turn == erase_at:
            before = totals(bare)
            named = randomness.choice(kinds)
            if randomness.random() < 0.5:
                program = f"from customer360.erasure import erase; erase.erase(s, {named!r}, who='Dana', why='asked')"
                killed_at(randomness.choice(points), bare, program)
                erasing.finish_pending(bare)
            else:
                erasing.erase(bare, named, **WHO)
            assert where(bare) == []
            assert totals(bare) == before
    run_everything(bare, trigger="test")
    assert where(bare) == []
    assert_holds(bare)
    build(bare, "test", full_refresh=True)
    assert where(bare) == []


def test_a_request_waits_until_somebody_decides(settings: Settings, terminal_of: Callable[..., Any]) -> None:
    payload = {"shop_id": 1, "customer": {"id": ACCOUNT, "email": EMAIL, "phone": PHONE}, "orders_to_redact": [1]}
    asked: dict[str, Any] = {
        "requested_from": "shopify_rest",
        "identifiers": requests.of_shopify(payload),
        "reference": "event 4711",
    }
    number = requests.enter(settings, **asked)
    assert requests.enter(settings, **asked) == number
    with pytest.raises(requests.RequestError, match="must name a person"):
        requests.enter(settings, requested_from="shopify_rest", identifiers={"email": " "})
    other = requests.enter(settings, requested_from="c360", identifiers={"email": "two@example.org"})
    c360 = terminal_of(settings, 160)
    code, told, _ = c360("erase", "requests")
    assert (code, "event 4711" in told, "canary" in told.lower(), "2 requests" in told) == (0, True, False, True)
    assert c360("erase", "dismiss", other, "--because", "not ours", "--by", "Dana")[0] == 0
    assert c360("erase", "dismiss", other, "--because", "again")[0] == 1
    code, told, _ = c360("erase", "--request", number)
    assert (code, "raw rows of orders" in told, "Nothing was changed" in told) == (0, True, True)
    code, told, said = c360("erase", "--request", number, "--yes", "--because", "the shop's webhook", "--json")
    assert (code, json.loads(told)["is_finished"]) == (0, True), said
    assert where(settings) == []
    states = {one.request_id: (one.state, one.identifiers) for one in requests.listed(settings)}
    assert states == {number: ("erased", {}), other: ("dismissed", {})}
    assert c360("erase", "--request", number)[0] == 1


@pytest.mark.slow
def test_late_files_copies_and_a_full_build_do_not_bring_the_person_back(settings: Settings) -> None:
    erasing.erase(settings, ("email", EMAIL), **WHO)
    land(settings)  # the same files once more
    late = [
        order("o9", day=5, email=EMAIL, total="11.00"),
        order("o1", version=9, **NAMED["orders"], status="returned"),
        order("o10", customer_id="c2", total="1.00"),
        order("bad2", status="lost", phone=PHONE),
    ]
    drop(settings, "orders", "late.jsonl", jsonl(late))
    drop(settings, "web_sessions", "late.jsonl", jsonl([session("s9", day=6, device=DEVICE)]))
    run_everything(settings, trigger="test")
    assert where(settings) == []
    facts = rows(settings, "select order_id, status, customer_key is null from marts.fct_orders order by 1")
    assert ("o9", "paid", True) in facts
    assert ("o1", "returned", True) in facts
    assert ("o10", "paid", False) in facts
    assert_holds(settings)
    build(settings, "test", full_refresh=True)
    assert where(settings) == []


@pytest.mark.slow
def test_a_person_who_comes_back_is_a_new_customer_and_keeps_what_is_new(settings: Settings) -> None:
    erasing.erase(settings, ("email", EMAIL), **WHO)
    now = datetime.now(UTC).isoformat()
    drop(settings, "orders", "new.jsonl", jsonl([order("o20", email=EMAIL) | {"ordered_at": now, "updated_at": now}]))
    run_everything(settings, trigger="test")
    ((key,),) = rows(settings, "select customer_key from marts.fct_orders where order_id = 'o20'")
    assert key is not None
    assert rows(settings, f"select order_count from marts.customer_360 where customer_key = {key}") == [(1,)]
    assert_holds(settings)


def test_a_restored_backup_leaves_out_whoever_was_erased_since(settings: Settings, tmp_path: Path) -> None:
    settings = with_backups(settings, tmp_path)
    take.take(settings, trigger="test")
    before = totals(settings)
    erasing.erase(settings, ("phone", PHONE), **WHO)
    with empty_home(settings) as fresh:
        restored = restoring.restore(fresh)
        assert (restored.erased, restored.broken) == (1, [])
        assert where(fresh) == []
        assert totals(fresh) == before
        assert_holds(fresh)
        drop(fresh, "orders", "late.jsonl", jsonl([order("o9", day=5, email=EMAIL)]))
        run_everything(fresh, trigger="test")
        assert where(fresh) == []


@pytest.mark.slow
def test_a_device_of_several_people_erases_nobody(settings: Settings) -> None:
    drop(settings, "web_sessions", "kiosk.jsonl", jsonl([
        session("k1", day=1, device="kiosk", customer_id="c2"), session("k2", day=2, device="kiosk", email=EMAIL),
    ]))  # fmt: skip
    run_everything(settings, trigger="test")
    with pytest.raises(PersonError, match="2 people were seen on that device"):
        erasing.erase(settings, ("anonymous_id", "kiosk"), **WHO)
    erasing.erase(settings, ("email", EMAIL), **WHO)
    assert where(settings) == []
    assert rows(settings, "select count(*) from marts.fct_sessions where customer_key is not null") == [(2,)]


def test_the_commands_ask_say_and_do(settings: Settings, tmp_path: Path, terminal_of: Callable[..., Any]) -> None:
    c360 = terminal_of(settings)
    code, _, said = c360("erase")
    assert (code, "exactly one identifier" in said.replace("\n", " ")) == (2, True)
    page, data = tmp_path / "person.html", tmp_path / "person.json"
    assert c360("person", "export", page, "--email", EMAIL)[0] == 0
    assert c360("person", "export", data, "--email", EMAIL)[0] == 0
    assert data.stat().st_mode & 0o777 == 0o600
    exported = json.loads(data.read_text())["tables"]
    assert {one["order_id"] for one in exported["raw.orders"]} == {"o1", "o3", "o4"}
    assert "two@example.org" not in data.read_text()
    assert "I am the canary" in page.read_text()
    assert c360("person", "export", data, "--email", EMAIL)[0] == 1  # never overwritten
    code, told, _ = c360("erase", "--email", EMAIL)
    assert (code, "Nothing was changed" in told, "raw rows of orders" in told) == (0, True, True)
    code, _, said = c360("erase", "--email", EMAIL, "--yes")
    assert (code, "Give --because" in said) == (1, True)
    code, told, _ = c360("erase", "--email", EMAIL, "--yes", "--because", "asked", "--json")
    made = json.loads(told)
    assert (code, made["is_finished"], "canary" in told.lower()) == (0, True, False)
    code, told, _ = c360("erasures", made["erasure_id"])
    assert (code, "finished" in told, "canary" in told.lower()) == (0, True, False)
    code, told, _ = c360("erase", "--resume")
    assert (code, told.strip()) == (0, "0 erasures finished.")
    for path in (page, data):
        path.unlink()
    assert where(settings) == []
