"""What stands before Airflow's API server: no index of the API for whoever asks, and a throttle of log-ins."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

# Pages that list every endpoint to whoever asks. Airflow can turn off the first two alone.
_INDEXES = ("/docs", "/redoc", "/openapi.json")
_LOG_INS = ("/auth/token", "/auth/token/cli", "/auth/login", "/auth/login/")

FAILURES = 10
"""So many failed log-ins of one address within :data:`SECONDS`, and it waits. A person mistypes less often."""
SECONDS = 60.0


class Door:
    """ASGI middleware. Each process of the API server counts by itself."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app
        self._failed: dict[str, deque[float]] = defaultdict(deque)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what must not pass; hand on the rest."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path.rstrip("/").endswith(_INDEXES):
            await _answer(send, 404, "There is no such page.")
        elif path in _LOG_INS and scope["method"] == "POST":
            await self._log_in(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = (scope.get("client") or ("",))[0]
        failed = self._failed[address]
        now = time.monotonic()
        while failed and failed[0] < now - SECONDS:
            failed.popleft()
        if len(failed) >= FAILURES:
            wait = str(int(failed[0] + SECONDS - now) + 1).encode()
            await _answer(send, 429, "Too many failed log-ins. Wait a minute.", (b"retry-after", wait))
            return

        async def watched(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] in {400, 401, 403}:
                failed.append(now)
            await send(message)

        await self._app(scope, receive, watched)
        if not failed:
            self._failed.pop(address, None)  # what never fails is not remembered


async def _answer(send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"text/plain; charset=utf-8"), *headers],
        }
    )
    await send({"type": "http.response.body", "body": text.encode()})
