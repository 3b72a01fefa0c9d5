"""The process behind ``c360 receive``: one per installation, on one port that stays the same."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
from collections.abc import Callable, Iterator

import uvicorn
import uvloop

from customer360.errors import Customer360Error
from customer360.receiver import hooks, marks, spool
from customer360.receiver.application import Receiver
from customer360.settings import Settings


class ReceiverError(Customer360Error):
    """The receiver does not start."""


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Receive until SIGTERM or Ctrl-C; what was acknowledged lands before the end.

    Raises:
        HookError: no hook has a secret.
        ReceiverError: another receiver runs, or the port is taken.
    """
    found = hooks.find(settings)
    hooks.insist_on_one(settings, found)
    spool.folder(settings).mkdir(parents=True, exist_ok=True)
    with _alone(settings), _listening(settings) as listener:
        address = f"http://{settings.receive_host}:{listener.getsockname()[1]}"
        announce(settings, found, say, address)

        async def serve_application() -> None:
            # A proxy in front of it ends TLS; what it says about the sender is not needed, so none of it is trusted.
            server = uvicorn.Server(
                uvicorn.Config(
                    Receiver(settings).application(), log_config=None, access_log=False, server_header=False,
                    proxy_headers=False, lifespan="on", timeout_keep_alive=30, timeout_graceful_shutdown=10,
                )
            )  # fmt: skip
            marks.note_address(settings, address)
            marks.beat(settings)
            await server.serve(sockets=[listener])

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_application())


def announce(settings: Settings, found: hooks.Hooks, say: Callable[[str], None], address: str) -> None:
    """Say where each hook is and what its sender needs, which have no secret, and which secrets cannot be used."""
    for name, hook in found.ready.items():
        count = f", {len(hook.secrets)} secrets" if len(hook.secrets) > 1 else ""
        say(f"{address}/hooks/{name}: {hook.feed.name}; {hook.scheme.title}{count}")
    if found.without_secret:
        say(f"Without a secret in {hooks.secrets_folder(settings)}: {', '.join(found.without_secret)}")
    for fault in found.faults:
        say(f"Not used: {fault}")


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    with (spool.folder(settings) / "receiver.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReceiverError(
                f"A receiver runs already{' at ' + marks.address(settings) if marks.address(settings) else ''}.",
                "`c360 receive status` shows what it has received.",
            ) from None
        yield


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """A socket on the wanted port; without one, on the port of the last time, so that senders find it again."""
    kept = spool.folder(settings) / "port"
    known = int(kept.read_text()) if kept.exists() else 0
    family = socket.AF_INET6 if ":" in settings.receive_host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wanted = settings.receive_port or known
        try:
            listener.bind((settings.receive_host, wanted))
        except OSError as error:
            raise ReceiverError(
                f"Port {wanted} of {settings.receive_host} cannot be listened on: {error.strerror}.",
                "Set C360_RECEIVE_PORT to another port"
                + ("." if settings.receive_port else f", or remove {kept} for any that is free."),
            ) from None
        listener.listen(2048)
        kept.write_text(str(listener.getsockname()[1]))
        yield listener
