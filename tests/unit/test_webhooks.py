"""Webhooks without a warehouse: signatures, what is refused, the spool's account, group commit, overload."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360 import kill_points
from customer360.front_door import landing
from customer360.receiver import application, hooks, landing_files, spool
from customer360.receiver.application import Receiver
from customer360.receiver.signatures import SCHEMES, Refused
from customer360.receiver.spool import Event, Spool, SpoolError
from customer360.settings import Settings

NOW = datetime(2026, 5, 1, 10, 1, tzinfo=UTC)
SECRET = "shop-secret-1"  # pragma: allowlist secret
BODY = b'{"id":1}'
# Made by `openssl dgst -hmac shop-secret-1`: of the body, and of a time and the body.
SHA256 = "DB6QFFFMmSsrxcVBzpMmvFAPlfKqmbFpe2bvEiupwq0="  # pragma: allowlist secret
SHA256_OF_TIME_AND_BODY = "aNUKQF51gvBIFG+lF5eeOAaHugqs1AuoUjA3+iLkQdo="  # pragma: allowlist secret
SHA1 = "76737901e0394f41d901c2740ba597192380c9ce"  # pragma: allowlist secret
SIGNED = {
    "shopify_rest": {"x-shopify-hmac-sha256": SHA256},
    "woocommerce": {"x-wc-webhook-signature": SHA256},
    "zendesk": {
        "x-zendesk-webhook-signature": SHA256_OF_TIME_AND_BODY,
        "x-zendesk-webhook-signature-timestamp": "2026-05-01T10:00:00Z",
    },
    "segment": {"x-signature": SHA1},
}


def refusal_of(source: str, headers: dict[str, str], body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,)) -> int:
    """The status with which a signature is refused; 200 if it is right."""
    try:
        SCHEMES[source].check(
            headers, body, [secret.encode() for secret in secrets], now=NOW, window_seconds=300
        )  # fmt: skip
    except Refused as refused:
        return refused.status
    return 200


@pytest.mark.parametrize("source", sorted(SCHEMES))
def test_each_vendors_signature_is_checked_over_the_raw_body(source: str) -> None:
    right = SIGNED[source]
    assert refusal_of(source, right) == 200
    assert refusal_of(source, right, secrets=("another-secret", SECRET)) == 200  # while a secret is exchanged
    assert refusal_of(source, right, secrets=("another-secret",)) == 401
    assert refusal_of(source, right, b'{"id": 1}') == 401  # the same JSON in other bytes
    assert refusal_of(source, {}) == 401
    for name in right:
        assert refusal_of(source, right | {name: ""}) == 401
        assert refusal_of(source, right | {name: "ü" + right[name]}) == 401


def test_a_signed_time_outside_the_window_is_refused_on_either_side() -> None:
    def at(time: str) -> int:
        sign = base64.b64encode(hmac.new(SECRET.encode(), time.encode() + BODY, hashlib.sha256).digest()).decode()
        name = "x-zendesk-webhook-signature"
        return refusal_of("zendesk", {name: sign, f"{name}-timestamp": time})

    assert [at(f"2026-05-01T{clock}Z") for clock in ("09:55:59", "09:56:01", "10:05:59", "10:06:01")] == [
        401, 200, 200, 401,
    ]  # fmt: skip
    assert at("yesterday") == 401


def test_segments_second_header_covers_a_batch_and_its_first_one_does_not() -> None:
    batch = b'[{"messageId":"a"},{"messageId":"b"}]'

    def sign(data: bytes) -> str:
        return hmac.new(SECRET.encode(), data, hashlib.sha1).hexdigest()

    assert refusal_of("segment", {"x-segment-signature": sign(batch)}, batch) == 200
    assert refusal_of("segment", {"x-signature": sign(b'{"messageId":"a"}')}, batch) == 401


# ---- over HTTP -------------------------------------------------------------------------------------------------------

ORDER = {
    "order_id": "1", "updated_at": "2026-01-01T00:00:00Z", "ordered_at": "2026-01-01T00:00:00Z", "status": "paid",
    "currency": "USD", "total_amount": "1.00", "email": "ann@example.org",
}  # fmt: skip
TOKEN = "drill-drill-drill"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def installation(tmp_path: Path) -> Settings:
    """Three hooks with a secret, and no warehouse: what waits lands at once, since no file came before it."""
    made = Settings(home=tmp_path / "home", receive_file_seconds=0.0)
    folder = hooks.secrets_folder(made)
    folder.mkdir(parents=True)
    for name in ("orders", "shopify_rest@second", "woocommerce", "segment", "zendesk"):
        (folder / name).write_text(f"{TOKEN if name == 'orders' else SECRET}\n")
    return made


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = Receiver(settings).application()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://receiver") as client,
    ):
        yield client


def run(settings: Settings, work: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]]) -> Any:
    async def whole() -> Any:
        async with served(settings) as client:
            return await work(client)

    return asyncio.run(whole())


def landed_lines(settings: Settings, *place: str) -> list[Any]:
    folder = Path(settings.landing_url).joinpath(*place)
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_what_is_acknowledged_lands_once_and_what_is_refused_says_why(
    installation: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def post(client: httpx.AsyncClient) -> None:
        async def status(hook: str, **request: Any) -> tuple[int, dict[str, Any]]:
            answer = await client.post(f"/hooks/{hook}", **request)
            return answer.status_code, answer.json()

        once = BEARER | {"idempotency-key": "k"}
        assert await status("orders", json=ORDER, headers=once) == (200, {"accepted": 1, "duplicates": 0})
        assert await status("orders", json=ORDER, headers=once) == (200, {"accepted": 0, "duplicates": 1})
        # The same id of another content is another event: WooCommerce calls all of one second the same.
        assert (await status("orders", json=ORDER | {"status": "shipped"}, headers=once))[1]["accepted"] == 1
        both = [ORDER | {"order_id": "2"}, ORDER | {"order_id": "3"}]
        assert (await status("orders", content=json.dumps(both, indent=2), headers=BEARER))[1]["accepted"] == 2
        wrong: list[tuple[int, str, dict[str, Any]]] = [
            (401, "orders", {"json": ORDER}),
            (401, "orders", {"json": ORDER, "headers": {"authorization": f"Basic {TOKEN}"}}),
            (400, "orders", {"content": b"", "headers": BEARER}),
            (400, "orders", {"content": b"[]", "headers": BEARER}),
            (400, "orders", {"content": b'{"order_id": nul}', "headers": BEARER}),
            (400, "orders", {"content": b'{"order_id": "\xff"}', "headers": BEARER}),
            (400, "orders", {"content": b"[" * 100_000, "headers": BEARER}),
            (400, "orders", {"content": b'["order"]', "headers": BEARER}),
            (400, "orders", {"content": json.dumps([ORDER, {}]), "headers": BEARER}),
            (413, "orders", {"content": b"x" * (5 * 2**20 + 1), "headers": BEARER}),
            (415, "orders", {"content": b"x", "headers": BEARER | {"content-encoding": "gzip"}}),
            (404, "no-such-hook", {"json": ORDER, "headers": BEARER}),
            (404, "shopify_csv", {"json": ORDER, "headers": BEARER}),  # it reads no JSON
            (503, "support_tickets", {"json": ORDER, "headers": BEARER}),  # it has no secret
        ]
        for code, hook, request in wrong:
            found, answer = await status(hook, **request)
            assert (found, bool(answer["error"])) == (code, True), (hook, request)
            assert "ann@" not in answer["error"]
        assert (await client.get("/hooks/orders")).status_code == 405
        assert (await client.get("/health")).json() == {"status": "ok"}

    run(installation, post)
    lines = landed_lines(installation, "orders")
    assert sorted((line["order_id"], line["status"]) for line in lines) == [
        ("1", "paid"), ("1", "shipped"), ("2", "paid"), ("3", "paid"),
    ]  # fmt: skip
    states = {state.hook: state for state in spool.states(installation)}
    orders = states["orders"]
    assert (orders.received_events, orders.duplicate_events, orders.landed_events, orders.waiting_events) == (
        5,
        1,
        4,
        0,
    )
    assert orders.unexplained_events == 0
    assert orders.refused == {"400": 7, "401": 2, "413": 1, "415": 1}
    assert states["support_tickets"].refused == {"503": 1}
    assert "no-such-hook" not in states
    assert "ann@" not in caplog.text
    assert TOKEN not in caplog.text


def test_vendors_events_land_as_they_came_in_the_folder_of_their_source(installation: Settings) -> None:
    order = {"id": 12345678901234567890, "financial_status": "paid", "line_items": [], "total_price": "1.10"}

    def shopify(data: Any, **headers: str) -> dict[str, Any]:
        body = json.dumps(data).encode()
        sign = base64.b64encode(hmac.new(SECRET.encode(), body, hashlib.sha256).digest()).decode()
        return {"content": body, "headers": {"x-shopify-hmac-sha256": sign, "x-shopify-webhook-id": "w1"} | headers}

    def zendesk(data: Any) -> dict[str, Any]:
        body, time = json.dumps(data).encode(), datetime.now(UTC).isoformat()
        sign = base64.b64encode(hmac.new(SECRET.encode(), time.encode() + body, hashlib.sha256).digest()).decode()
        name = "x-zendesk-webhook-signature"
        return {"content": body, "headers": {name: sign, f"{name}-timestamp": time}}

    async def post(client: httpx.AsyncClient) -> None:
        async def code(hook: str, **request: Any) -> int:
            return (await client.post(f"/hooks/{hook}", **request)).status_code

        assert await code("shopify_rest@second", **shopify(order)) == 200
        assert await code("shopify_rest@second", **shopify(order, **{"x-shopify-topic": "orders/updated"})) == 200
        assert await code("shopify_rest@second", **shopify(order, **{"x-shopify-topic": "products/update"})) == 400
        assert await code("shopify_rest@second", **shopify({"id": 1})) == 400  # orders/delete
        # WooCommerce asks once, without a signature, whether anybody is there.
        assert await code("woocommerce", data={"webhook_id": "7"}) == 200
        assert await code("woocommerce", data={"webhook_id": "7", "id": "8"}) == 401
        ticket = {"id": "35", "requester_id": "7", "status": "OPEN", "via": {"channel": "web"}}
        event = {"type": "zen:event-type:ticket.created", "id": "e", "detail": ticket, "event": {}}
        assert await code("zendesk", **zendesk(event)) == 200
        assert await code("zendesk", **zendesk({"tickets": [ticket], "users": [{"id": 7}]})) == 200
        assert await code("zendesk", **zendesk({"tickets": [{"id": 1}], "users": []})) == 400
        assert await code("zendesk", **zendesk({"tickets": []})) == 400

    run(installation, post)
    (line,) = (Path(installation.landing_url) / "sources" / "shopify_rest@second").glob("*.jsonl")
    assert line.read_bytes() == json.dumps(order).encode() + b"\n"
    assert landed_lines(installation, "sources", "woocommerce") == []
    first, page = landed_lines(installation, "sources", "zendesk")
    assert first["requester_id"] == "7"
    assert page["users"] == [{"id": 7}]
    landed = [file for file in landing.files(installation) if file.source]
    assert {(file.feed, file.source) for file in landed} == {
        ("orders", "shopify_rest@second"), ("support_tickets", "zendesk"),
    }  # fmt: skip


def test_requests_that_arrive_together_share_a_flush(installation: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes: list[None] = []
    commit = Spool.commit

    def counted(own: Spool) -> None:
        flushes.append(None)
        commit(own)

    monkeypatch.setattr(Spool, "commit", counted)

    async def post(client: httpx.AsyncClient) -> set[int]:
        answers = await asyncio.gather(
            *(client.post("/hooks/orders", json=ORDER | {"order_id": f"{n}"}, headers=BEARER) for n in range(300))
        )
        return {answer.status_code for answer in answers}

    assert run(installation, post) == {200}
    assert 0 < len(flushes) < 100
    assert len(landed_lines(installation, "orders")) == 300


def test_overload_is_answered_with_429_and_nothing_of_it_is_kept(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "PENDING_REQUESTS", 5)

    async def post(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(
            *(client.post("/hooks/orders", json=ORDER | {"order_id": f"{n}"}, headers=BEARER) for n in range(100))
        )

    answers = run(installation, post)
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 429}
    assert {int(answer.headers["retry-after"]) > 0 for answer in answers if answer.status_code == 429} == {True}
    taken = {f"{number}" for number, code in enumerate(codes) if code == 200}
    assert {line["order_id"] for line in landed_lines(installation, "orders")} == taken


def test_a_full_spool_is_answered_with_429_until_there_is_room(installation: Settings) -> None:
    with spool.opened(installation) as own:  # more than it may hold, of a source that is gone and cannot land
        own.add([Event("gone", b"x" * 600_000), Event("gone", b"x" * 600_000)])

    async def post(client: httpx.AsyncClient) -> tuple[int, str]:
        answer = await client.post("/hooks/orders", json=ORDER, headers=BEARER)
        return answer.status_code, (await client.get("/health")).json()["status"]

    assert run(installation.with_(receive_spool_mb=1), post) == (429, "full")
    assert run(installation.with_(receive_spool_mb=2), post) == (200, "ok")
    state = next(state for state in spool.states(installation) if state.hook == "gone")
    assert (state.waiting_events, state.landing_error) == (2, "There is no source 'gone'.")


def test_a_spool_that_cannot_be_written_acknowledges_nothing(
    installation: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = Spool.write

    def with_a_full_disk(own: Spool, events: Any) -> list[bool]:
        own._db.execute("pragma max_page_count = 1")  # as many as it has
        try:
            return write(own, [*events, Event("orders", b"x" * 1_000_000)])
        finally:
            own._db.execute("pragma max_page_count = 4294967294")

    async def post(client: httpx.AsyncClient) -> list[tuple[int, bool]]:
        answers = []
        for broken in (True, False):
            with monkeypatch.context() as patched:
                if broken:
                    patched.setattr(Spool, "write", with_a_full_disk)
                answers.append(
                    await client.post("/hooks/orders", json=ORDER, headers=BEARER | {"idempotency-key": "k"})
                )
        return [(answer.status_code, "retry-after" in answer.headers) for answer in answers]

    assert run(installation, post) == [(503, True), (200, False)]
    assert "database or disk is full" in caplog.text
    assert len(landed_lines(installation, "orders")) == 1


def test_secrets_that_cannot_be_used_are_named_and_never_shown(installation: Settings) -> None:
    folder = hooks.secrets_folder(installation)
    (folder / "zendesk").write_text("\n")
    (folder / "segment").write_text("short")
    (folder / "till").write_text(SECRET)
    (folder / "orders@x").write_text(SECRET)
    (folder / "woocommerce@Not OK").write_text(SECRET)
    found = hooks.find(installation)
    assert sorted(found.ready) == ["orders", "shopify_rest@second", "woocommerce"]
    assert len(found.faults) == 5
    assert not any(SECRET in fault or "short" in fault for fault in found.faults)
    assert {"segment", "support_tickets", "zendesk"} <= set(found.without_secret)
    with pytest.raises(hooks.HookError, match="No hook has a secret"):
        hooks.insist_on_one(installation, hooks.Hooks({}, [], []))


# ---- the spool -------------------------------------------------------------------------------------------------------

ACTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12)), min_size=1, max_size=6)
        ),
        st.tuples(st.just("land"), st.integers(1, 4)),
        st.tuples(st.just("cut off"), st.sampled_from(["before the file", "before the note"])),
        st.tuples(st.just("open again"), st.none()),
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@given(acts=ACTS)
def test_whatever_is_cut_off_each_acknowledged_event_lands_once_and_the_account_holds(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, Any]]
) -> None:
    home = tmp_path_factory.mktemp("spool")
    installation = Settings(home=home, receive_file_events=3)
    own = Spool(spool.path(installation))
    acknowledged: set[tuple[str, bytes]] = set()
    hooks_of = {"a": "orders", "b": "web_events"}
    try:
        for act, what in acts:
            if act == "add":
                events = [
                    Event(hooks_of[hook], b'{"n": %d}' % number, b"%b%d" % (hook.encode(), number))
                    for hook, number in what
                ]
                own.add(events)
                acknowledged |= {(event.hook, event.body) for event in events}
            elif act == "land":
                for one in own.waiting()[:what]:
                    landing_files.land_one(installation, one.hook, own, landing_files.at_once(own))
            elif act == "cut off":
                for one in own.waiting()[:1]:
                    segment = own.cut(one.hook, most_events=3, most_bytes=landing_files.FILE_BYTES)
                    assert segment is not None
                    if what == "before the note":
                        landing_files._put(installation, own, segment)
            else:
                own.close()
                own = Spool(spool.path(installation))
            for state in own.states():
                assert state.unexplained_events == 0
                assert (state.waiting_events, state.waiting_bytes > 0) == (
                    next((one.events for one in own.waiting() if one.hook == state.hook), 0), state.waiting_events > 0,
                )  # fmt: skip
        landing_files.land_all(installation, own, landing_files.at_once(own))
    finally:
        own.close()
    found = [
        (hook, json.dumps(line).encode()) for hook in hooks_of.values() for line in landed_lines(installation, hook)
    ]
    assert sorted(found) == sorted(acknowledged)


@pytest.mark.parametrize("point", [name for name in kill_points.POINTS if name.startswith("receive.")])
def test_a_kill_at_each_point_loses_nothing_and_lands_nothing_twice(installation: Settings, point: str) -> None:
    events = [Event("orders", b'{"n": %d}' % number, b"%d" % number) for number in range(3)]

    def receive_and_land() -> None:
        with spool.opened(installation) as own:
            own.add(events)
        landing_files.land_waiting(installation)

    def be_killed() -> None:
        os.environ["C360_KILL_AT"] = point
        receive_and_land()

    process = multiprocessing.get_context("fork").Process(target=be_killed)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    receive_and_land()  # the sender heard nothing and sends again
    assert landed_lines(installation, "orders") == [{"n": number} for number in range(3)]
    (state,) = spool.states(installation)
    assert (state.landed_events, state.waiting_events, state.unexplained_events) == (3, 0, 0)
    assert state.duplicate_events == (0 if point == "receive.written" else 3)


def test_deliveries_are_forgotten_after_their_hours_and_not_before(installation: Settings) -> None:
    event = Event("orders", b"{}", b"key")
    with spool.opened(installation) as own:
        assert own.add([event]) == [True]
        assert own.forget_deliveries(1) == 0
        assert own.add([event]) == [False]
        own._db.execute("update delivery set received_at = received_at - 3601")
        assert own.forget_deliveries(1) == 1
        assert own.add([event]) == [True]


def test_events_that_somebody_deleted_are_noticed_and_written_off_on_record(installation: Settings) -> None:
    with spool.opened(installation) as own:
        own.add([Event("orders", b'{"n": %d}' % number, b"%d" % number) for number in range(5)])
        own.cut("orders", most_events=4, most_bytes=1_000)
        own._db.execute("delete from event where event_id in (2, 5)")
        assert [state.unexplained_events for state in own.states()] == [2]
        with pytest.raises(SpoolError, match="3 of its 4 events"):
            landing_files.land_all(installation, own, landing_files.at_once(own))
        assert own.write_off("orders", "somebody deleted them") == 2
        assert own.write_off("orders", "again") == 0
        landing_files.land_all(installation, own, landing_files.at_once(own))
        (state,) = own.states()
        assert (state.landed_events, state.lost_events, state.unexplained_events) == (3, 2, 0)
        assert own.add([Event("orders", b'{"n": 1}', b"1")]) == [True]  # what is sent again lands again
        with pytest.raises(SpoolError, match="knows no hook"):
            own.write_off("no such hook", "x")


@pytest.fixture
def full_file(installation: Settings) -> Settings:
    return installation.with_(receive_file_events=10)


def test_a_burst_makes_full_files_and_the_rest_waits_until_the_last_one_was_taken(full_file: Settings) -> None:
    with closing(Spool(spool.path(full_file))) as own:
        schedule = landing_files.Schedule(full_file, own, landing_files.at_once(own))
        own.add([Event("orders", b"{}") for _ in range(25)])
        for _ in range(5):
            schedule.land_what_is_due()
        assert [len(path.read_text().splitlines()) for path in
                sorted(Path(full_file.landing_url, "orders").glob("*.jsonl"))] == [10, 10]  # fmt: skip
        # No warehouse says that they were taken: after a minute the rest lands all the same.
        own._db.execute("update event set received_at = received_at - 61")
        schedule.land_what_is_due()
        assert [state.waiting_events for state in own.states()] == [0]
        schedule.close()
