"""The watcher: a file that arrives in the landing zone becomes an asset event within about a second.

Events only wake. What is to be loaded is decided by looking into the landing zone and the ledger, so an event may be
lost, doubled or merged with another: the sweep finds what no event announced (architecture, principle 4).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from watchfiles import Change, awatch

from customer360.front_door import landing
from customer360.settings import Settings, get_settings

# Airflow hands events on once a second, so files that arrive closer together may as well share one event.
_SECONDS_BETWEEN_EVENTS = 0.5
# How often a landing zone that cannot be watched (object storage) is listed.
_POLL_SECONDS = 2.0
# How often a quiet watch looks whether its folder is still the same: one that was replaced by another (a restored
# disk, a new mount) tells nothing more.
_LOOK_AGAIN_MILLISECONDS = 1_000
# After a failure of the watch itself (no inotify watches left, object storage away).
_REST_SECONDS = 5.0

_log = logging.getLogger(__name__)


Reason = Literal["started", "arrived"]


class LandingTrigger(BaseEventTrigger):
    """Fires when files of one feed wait in the landing zone: at once after a start if some do, then as they arrive.

    The payload is ``{feed, detected_at}`` and never a file's name: what a name holds is the producer's to say, and
    Airflow's database is not the place for it.
    """

    def __init__(self, feed: str) -> None:
        super().__init__()
        self.feed = feed

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments, as Airflow stores them."""
        return ("customer360.airflow.landing_trigger.LandingTrigger", {"feed": self.feed})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event per burst of arriving files, for as long as the triggerer lives, whatever goes wrong."""
        last = 0.0
        while True:
            try:
                async for reason in self._arrivals():
                    if reason == "started" and not await asyncio.to_thread(has_waiting_files, self.feed):
                        continue
                    await asyncio.sleep(max(0.0, last + _SECONDS_BETWEEN_EVENTS - time.monotonic()))
                    last = time.monotonic()
                    yield self._event()
            except Exception:
                _log.exception("Watching %s failed; the sweep finds its files until the watch is back", self.feed)
            await asyncio.sleep(_REST_SECONDS)

    def _arrivals(self) -> AsyncIterator[Reason]:
        settings = get_settings()
        if landing.is_remote(settings):
            return poll_landing(settings, self.feed)
        return watch_landing(Path(settings.landing_url), self.feed)

    def _event(self) -> TriggerEvent:
        return TriggerEvent({"feed": self.feed, "detected_at": datetime.now(UTC).isoformat()})


def has_waiting_files(feed: str) -> bool:
    """Whether the landing zone holds a file of the feed that the ledger does not know.

    True when the question cannot be answered: an event too many costs one idle run, an event too few costs a minute
    until the sweep.
    """
    from customer360 import wake  # DAG files import this module, and the warehouse's client is slow to import

    try:
        return bool(wake.waiting_files(get_settings(), feed))
    except Exception:
        return True


async def watch_landing(zone: Path, feed: str) -> AsyncIterator[Reason]:
    """Yield "arrived" whenever the kernel (inotify) tells of a new file of the feed, without reading anything.

    "started" comes once the watch is at work, and again when the folder was replaced: what came before is not told.
    """
    settings = get_settings().with_(landing=str(zone))
    while True:
        landing.prepare(settings)
        folders = [zone / folder.path for folder in landing.folders(settings, feed)]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        identity = _identity(folders)
        changes = awatch(
            *folders,
            watch_filter=is_arrival,
            step=20,
            debounce=200,
            recursive=False,  # a link to a folder elsewhere must not be followed
            rust_timeout=_LOOK_AGAIN_MILLISECONDS,
            yield_on_timeout=True,
        )
        is_started = False
        async with contextlib.aclosing(changes):
            async for change in changes:
                if change:
                    yield "arrived"
                elif not is_started:
                    yield "started"
                is_started = True
                present = [zone / folder.path for folder in landing.folders(settings, feed)]
                if present != folders or _identity(folders) != identity:
                    break


def _identity(folders: list[Path]) -> list[int]:
    """Which folders these are: one that was made anew under the same name is another."""
    return [folder.stat().st_ino if folder.exists() else 0 for folder in folders]


def is_arrival(change: Change, path: str) -> bool:
    """Whether a change means that a complete file may be there: a rename into place or a write under its own name."""
    name = Path(path).name
    return (
        change != Change.deleted and not name.startswith(".") and not name.endswith(".part") and name != landing.HISTORY
    )


async def poll_landing(settings: Settings, feed: str) -> AsyncIterator[Reason]:
    """Yield "started", then "arrived" whenever the listing of a feed in object storage has grown or changed."""
    known: set[tuple[str, int, int]] | None = None
    while True:
        found = {
            (file.location, file.bytes, file.modified_ns)
            for file in await asyncio.to_thread(landing.files, settings, feed)
        }
        if known is None:
            yield "started"
        elif found - known:
            yield "arrived"
        known = found
        await asyncio.sleep(_POLL_SECONDS)
