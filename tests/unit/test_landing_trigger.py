"""The watcher: what it takes for an arrival, and that it tells of it quickly."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from watchfiles import Change

from customer360.airflow import landing_trigger
from customer360.airflow.landing_trigger import LandingTrigger, is_arrival, poll_landing, watch_landing
from customer360.settings import Settings


@pytest.mark.parametrize(
    ("change", "name", "counts"),
    [
        (Change.added, "orders-1.jsonl", True),
        (Change.modified, "orders-1.csv.gz", True),
        (Change.deleted, "orders-1.jsonl", False),
        (Change.added, "orders-1.jsonl.part", False),
        (Change.added, ".orders-1.jsonl", False),
        (Change.added, "history", False),
    ],
)
def test_only_a_file_that_is_complete_is_an_arrival(change: Change, name: str, counts: bool) -> None:
    assert is_arrival(change, f"/landing/orders/{name}") is counts


def test_the_trigger_survives_being_stored_and_read_again() -> None:
    path, arguments = LandingTrigger(feed="orders").serialize()
    module, name = path.rsplit(".", 1)
    assert getattr(__import__(module, fromlist=[name]), name)(**arguments).feed == "orders"


def land(landing: Path, name: str) -> None:
    partial = landing / "orders" / f"{name}.part"
    partial.write_text("{}\n")
    partial.rename(partial.with_suffix(""))


async def soon(reasons: AsyncIterator[str], seconds: float = 10) -> str:
    return await asyncio.wait_for(anext(reasons), seconds)


def test_a_renamed_file_is_told_within_a_second(tmp_path: Path) -> None:
    async def watch() -> float:
        reasons = watch_landing(tmp_path, "orders")
        assert await soon(reasons) == "started"
        landed = time.monotonic()
        land(tmp_path, "orders-1.jsonl")
        assert await soon(reasons) == "arrived"
        return time.monotonic() - landed

    assert asyncio.run(watch()) < 1


def test_an_export_in_the_folder_of_a_source_is_an_arrival_of_its_feed(tmp_path: Path) -> None:
    async def watch() -> list[str]:
        reasons = watch_landing(tmp_path, "orders")
        heard = [await soon(reasons)]
        (tmp_path / "sources" / "shopify_csv" / "orders.csv").write_text("Name\n")
        heard.append(await soon(reasons))
        (tmp_path / "sources" / "shopify_csv@uk").mkdir()  # a second shop: its folder is watched from now on
        heard.append(await soon(reasons))
        (tmp_path / "sources" / "shopify_csv@uk" / "orders.csv").write_text("Name\n")
        return [*heard, await soon(reasons)]

    assert asyncio.run(watch()) == ["started", "arrived", "started", "arrived"]


def test_a_backfill_in_the_history_folder_is_told_too(tmp_path: Path) -> None:
    async def watch() -> str:
        reasons = watch_landing(tmp_path, "orders")
        assert await soon(reasons) == "started"
        (tmp_path / "orders" / "history" / "old.jsonl").write_text("{}\n")
        return await soon(reasons)

    assert asyncio.run(watch()) == "arrived"


def test_a_replaced_folder_is_watched_again(tmp_path: Path) -> None:
    async def watch() -> list[str]:
        reasons = watch_landing(tmp_path, "orders")
        seen = [await soon(reasons)]
        (tmp_path / "orders").rename(tmp_path / "away")
        seen.append(await soon(reasons))
        land(tmp_path, "orders-1.jsonl")
        while seen[-1] != "arrived":
            seen.append(await soon(reasons))
        return seen

    assert asyncio.run(watch())[:2] == ["started", "started"]


def test_a_landing_zone_in_object_storage_is_listed_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing_trigger, "_POLL_SECONDS", 0.02)
    (tmp_path / "orders").mkdir()
    land(tmp_path, "orders-0.jsonl")
    settings = Settings(landing=f"file://{tmp_path}")

    async def watch() -> str:
        reasons = poll_landing(settings, "orders")
        assert await soon(reasons) == "started"
        land(tmp_path, "orders-1.jsonl")
        return await soon(reasons)

    assert asyncio.run(watch()) == "arrived"


def test_a_watch_that_fails_is_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing_trigger, "_REST_SECONDS", 0.02)
    attempts = []

    async def arrivals(self: LandingTrigger) -> AsyncIterator[str]:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError(28, "inotify watch limit reached")
        yield "arrived"

    monkeypatch.setattr(LandingTrigger, "_arrivals", arrivals)

    async def first() -> dict[str, str]:
        event = await asyncio.wait_for(anext(LandingTrigger(feed="orders").run()), 10)
        return event.payload

    payload = asyncio.run(first())
    assert payload["feed"] == "orders"
    assert set(payload) == {"feed", "detected_at"}, (
        "a file's name may hold anything and stays out of Airflow's database"
    )
    assert len(attempts) == 2


def test_a_linked_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    landing = tmp_path / "landing"

    async def watch() -> str:
        reasons = watch_landing(landing, "orders")
        assert await soon(reasons) == "started"
        os.symlink(elsewhere, landing / "orders" / "linked")
        assert await soon(reasons) == "arrived"  # the link itself; what to do with it is the front door's to say
        (elsewhere / "orders-1.jsonl").write_text("{}\n")
        return await soon(reasons, seconds=1.5)

    with pytest.raises(TimeoutError):
        asyncio.run(watch())
