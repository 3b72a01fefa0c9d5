"""The ASGI application: ``POST /hooks/<name>`` answers 200 once its events are on disk, and ``GET /health``.

Events of requests that arrive while the disk is busy are written together: one flush serves them all (group commit).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import traceback
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from customer360.receiver import hooks, landing_files, marks, spool
from customer360.receiver.deliveries import events_of
from customer360.receiver.hooks import Hook
from customer360.receiver.landing_files import Schedule
from customer360.receiver.signatures import Headers, Refused
from customer360.receiver.spool import Event, Spool, SpoolError
from customer360.settings import Settings

GROUP_EVENTS = 1_000
"""So many events share one flush at most."""
PENDING_BYTES = 64 << 20
"""Bodies that are being read or wait for the disk; beyond that requests are answered with 429."""
PENDING_REQUESTS = 2_000
LEAST_FREE_BYTES = 100_000_000
"""With less room on the spool's disk nothing more is taken."""
_BODY_SECONDS = 30
_BUSY_RETRY_SECONDS = 2
_FULL_RETRY_SECONDS = 30

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass
class _Pending:
    events: list[Event]
    answer: asyncio.Future[list[bool]]


class GroupCommit:
    """The one writer of the spool in this process.

    The statements run in the event loop, which is quick and spares them the hand-over between threads; the flush runs
    in a thread, and requests gather meanwhile.
    """

    def __init__(self, own: Spool) -> None:
        self._spool = own
        self._thread = ThreadPoolExecutor(1, "spool")
        self._waiting: deque[_Pending] = deque()
        self._jobs: deque[tuple[Callable[[Spool], Any], asyncio.Future[Any]]] = deque()
        self._something = asyncio.Event()
        self._ends = False
        self.loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run())

    async def add(self, events: list[Event]) -> list[bool]:
        """Make events durable; returns for each whether it is new.

        Raises:
            SpoolError: they are not, and none of them is kept.
        """
        pending = _Pending(events, self.loop.create_future())
        self._waiting.append(pending)
        self._something.set()
        return await pending.answer

    async def call(self, write: Callable[[Spool], _T]) -> _T:
        """Run another function that writes to the spool, between two groups."""
        answer: asyncio.Future[_T] = self.loop.create_future()
        self._jobs.append((write, answer))
        self._something.set()
        return await answer

    async def close(self) -> None:
        """End after what was handed in."""
        self._ends = True
        self._something.set()
        await self._task
        self._thread.shutdown()

    async def _run(self) -> None:
        while not self._ends or self._waiting or self._jobs:
            if not self._waiting and not self._jobs:
                self._something.clear()
                await self._something.wait()
            while self._jobs:
                write, answer = self._jobs.popleft()
                await self._settle(answer, self.loop.run_in_executor(self._thread, write, self._spool))
            if self._waiting:
                await self._commit_group()

    async def _settle(self, answer: asyncio.Future[Any], work: asyncio.Future[Any]) -> None:
        try:
            result = await work
        except Exception as error:
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(result)

    async def _commit_group(self) -> None:
        group: list[_Pending] = []
        events: list[Event] = []
        while self._waiting and len(events) < GROUP_EVENTS:
            one = self._waiting.popleft()
            group.append(one)
            events += one.events
        try:
            is_new = self._spool.write(events)
            await self.loop.run_in_executor(self._thread, self._spool.commit)
        except Exception as error:  # whatever it is, their senders must hear it, and the next group have its turn
            for one in group:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        at = 0
        for one in group:
            if not one.answer.done():  # its sender may have hung up
                one.answer.set_result(is_new[at : at + len(one.events)])
            at += len(one.events)


class Receiver:
    """What the application knows while it runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._most_bytes = settings.receive_body_mb << 20
        self.hooks = hooks.find(settings)
        self._pending_bytes = 0
        self._pending_requests = 0
        self._is_full = False
        self._refused: Counter[tuple[str, int]] = Counter()
        self._landing_wanted = asyncio.Event()

    def application(self) -> Starlette:
        """The ASGI application, which opens the spool when it starts and lands what waits when it ends."""
        return Starlette(
            routes=[
                Route("/hooks/{name}", self._hook, methods=["POST"]),
                Route("/health", self._health, methods=["GET"]),
            ],
            lifespan=self._life,
        )

    # ---- requests --------------------------------------------------------------------------------------------------

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "full" if self._is_full else "ok"})

    async def _hook(self, request: Request) -> Response:
        name = request.path_params["name"]
        try:
            hook = self._hook_named(name)
            is_new = await self._take(request, hook)
        except Refused as refusal:
            self._refused[name if self.hooks.knows(name) else spool.UNKNOWN, refusal.status] += 1
            wait = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
            return JSONResponse({"error": refusal.reason}, refusal.status, wait)
        except Exception as error:
            # Where it happened and of what kind: the message of an error may quote what was sent.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("A request for %s failed with %s\n%s", name, type(error).__name__, where)
            return JSONResponse({"error": "the receiver failed"}, 500)
        accepted = sum(is_new)
        answer = b'{"accepted":%d,"duplicates":%d}' % (accepted, len(is_new) - accepted)
        return Response(answer, media_type="application/json")

    def _hook_named(self, name: str) -> Hook:
        hook = self.hooks.ready.get(name)
        if hook is None and self.hooks.knows(name):
            raise Refused(503, "this hook has no secret yet", _FULL_RETRY_SECONDS)
        if hook is None:
            raise Refused(404, "there is no such hook")
        return hook

    async def _take(self, request: Request, hook: Hook) -> list[bool]:
        headers = dict(request.headers)  # looked up several times, and each look-up there goes through all of them
        size = self._announced_size(headers)
        if self._is_full:
            raise Refused(429, "the spool is full", _FULL_RETRY_SECONDS)
        if self._pending_requests >= PENDING_REQUESTS or self._pending_bytes + size > PENDING_BYTES:
            raise Refused(429, "too many requests at once", _BUSY_RETRY_SECONDS)
        self._pending_bytes += size
        self._pending_requests += 1
        try:
            body = await self._body(request)
            if hook.scheme.ping is not None and hook.scheme.ping.fullmatch(body):
                return []
            hook.scheme.check(
                headers, body, hook.secrets, now=datetime.now(UTC), window_seconds=self._settings.receive_replay_seconds
            )
            is_new = await self._commit.add(events_of(hook, headers, body))
        except SpoolError as error:
            _log.error("%s", error)
            raise Refused(503, "the event could not be stored", _FULL_RETRY_SECONDS) from None
        finally:
            self._pending_bytes -= size
            self._pending_requests -= 1
        self._landing_wanted.set()
        return is_new

    def _announced_size(self, headers: Headers) -> int:
        """Bytes of the body by its header, else the most that is read."""
        if headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
            raise Refused(415, "a compressed body is not read; send it plain")
        stated = headers.get("content-length", "")
        size = int(stated) if stated.isascii() and stated.isdigit() else self._most_bytes
        if size > self._most_bytes:
            raise Refused(413, f"the body is larger than {self._settings.receive_body_mb} MB")
        return size

    async def _body(self, request: Request) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                async for part in request.stream():
                    size += len(part)
                    if size > self._most_bytes:
                        raise Refused(413, f"the body is larger than {self._settings.receive_body_mb} MB")
                    parts.append(part)
        except TimeoutError:
            raise Refused(408, f"the body did not arrive within {_BODY_SECONDS} seconds") from None
        except ClientDisconnect:
            raise Refused(400, "the body was cut off") from None
        return b"".join(parts)

    # ---- beside the requests ---------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _life(self, _: Starlette) -> AsyncIterator[None]:
        own, reader = Spool(spool.path(self._settings)), Spool(spool.path(self._settings))
        self._commit = GroupCommit(own)
        self._is_full = self._has_no_room(reader)
        schedule = Schedule(self._settings, reader, self._write)
        thread = ThreadPoolExecutor(1, "landing")
        tasks = [asyncio.create_task(self._land(schedule, thread)), asyncio.create_task(self._look_after())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._land_the_rest(reader, thread)
            thread.shutdown()
            schedule.close()
            await self._note_refusals()
            await self._commit.close()
            own.close()
            reader.close()
            marks.remove(self._settings)

    def _write(self, write: Callable[[Spool], _T]) -> _T:
        """For the landing thread: run a function that writes in turn with the events that arrive."""
        return asyncio.run_coroutine_threadsafe(self._commit.call(write), self._commit.loop).result()

    async def _land(self, schedule: Schedule, thread: ThreadPoolExecutor) -> None:
        while True:
            something_waits = True
            try:
                something_waits = await self._commit.loop.run_in_executor(thread, schedule.land_what_is_due)
            except Exception:
                _log.exception("Landing failed; the next try is in a second")
            with contextlib.suppress(TimeoutError):
                if something_waits:
                    await asyncio.sleep(0.2)
                else:
                    self._landing_wanted.clear()
                    async with asyncio.timeout(1):  # wait_for may swallow the cancellation that ends this task
                        await self._landing_wanted.wait()

    async def _land_the_rest(self, reader: Spool, thread: ThreadPoolExecutor) -> None:
        try:
            await self._commit.loop.run_in_executor(thread, landing_files.land_all, self._settings, reader, self._write)
        except Exception as error:  # it stays in the spool
            _log.warning("What waits was not landed at the end: %s", error)

    async def _look_after(self) -> None:
        """Every few seconds: show that the process lives, read the secrets again, see how much room there is."""
        reader = Spool(spool.path(self._settings))
        try:
            while True:
                try:
                    marks.beat(self._settings)
                    self.hooks = hooks.find(self._settings)
                    self._is_full = self._has_no_room(reader)
                    await self._note_refusals()
                    await self._commit.call(lambda own: own.forget_deliveries(self._settings.receive_duplicate_hours))
                except Exception:
                    _log.exception("The receiver's look after itself failed; it goes on")
                await asyncio.sleep(marks.BEAT_SECONDS)
        finally:
            reader.close()

    async def _note_refusals(self) -> None:
        if self._refused:
            refused, self._refused = dict(self._refused), Counter()
            await self._commit.call(lambda own: own.note_refusals(refused))

    def _has_no_room(self, reader: Spool) -> bool:
        free = shutil.disk_usage(spool.folder(self._settings)).free
        waiting = spool.total_waiting_bytes(reader.waiting())
        return free < LEAST_FREE_BYTES or waiting >= self._settings.receive_spool_mb * 1_000_000
