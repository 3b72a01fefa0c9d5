"""How many webhooks one core takes, each on disk before it is answered, beside a bare handler that only appends.

``python -m bench.receive [EVENTS]``. The receiver runs on one core, whatever sends on the others. Peers, on the same
uvicorn: a handler that appends the body to a file and answers (it checks nothing, and a power cut empties it), and one
that flushes each body to the disk before it answers, which is what an acknowledgement promises. Reported: events per
second, events per second of processor time (which other work on the machine disturbs less), and the 99th percentile of
the time to the answer, with 64 senders at once.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import uvicorn
import uvloop

from customer360.receiver import hooks, marks, spool
from customer360.settings import Settings
from customer360.stack.airflow_environment import product_environment

SENDERS = 64
TARGET = 0.15
"""Of the events per second of processor time of the handler that only appends."""
SECRET = "bench-bench-bench"  # noqa: S105  # pragma: allowlist secret


def main(events: int = 20_000) -> int:
    """Print the figures; 1 if the receiver takes fewer events than it must."""
    print(f"{events:,} orders of {len(_order(1)):,} bytes, one per request, {SENDERS} senders at once")
    print(f"{'':>34} events/s  per CPU s   p50 ms   p99 ms")
    bare = _shown("a handler that appends", *_measure(_peer("append"), events))
    _shown("a handler that flushes each", *_measure(_peer("flush"), events // 4))
    own = _shown("c360 receive", *_measure(_receiver, events))
    print(f"c360 receive takes {own / bare:.2f} of what the bare handler takes (target {TARGET})")
    return int(own / bare < TARGET)


def _shown(name: str, rate: float, cpu_rate: float, latencies: list[float]) -> float:
    middle, last = (latencies[int(len(latencies) * share)] * 1_000 for share in (0.5, 0.99))
    print(f"{name:>34} {rate:8,.0f} {cpu_rate:10,.0f} {middle:8.1f} {last:8.1f}", flush=True)
    return cpu_rate


def _order(number: int) -> bytes:
    line = {"id": 1, "sku": "tea", "name": "Tea", "quantity": 2, "price": "6.25", "vendor": "", "title": "Tea"}
    address = {"country_code": "DE", "province_code": None, "phone": None, "city": "Town", "address1": "Street 1"}
    order: dict[str, Any] = {
        "id": 450_789_469 + number, "name": f"#{number}", "created_at": "2026-05-01T10:00:00+02:00",
        "updated_at": "2026-05-01T10:00:00+02:00", "financial_status": "paid", "fulfillment_status": None,
        "currency": "EUR", "total_price": "12.50", "total_tax": "2.00", "total_discounts": "0.00",
        "email": f"ann{number}@example.org", "customer": {"id": number, "email": f"ann{number}@example.org"},
        "shipping_address": address, "billing_address": address, "refunds": [], "fulfillments": [],
        "line_items": [line | {"id": n} for n in range(4)], "shipping_lines": [], "discount_codes": [],
    }  # fmt: skip
    return json.dumps(order).encode()


def _request(number: int) -> bytes:
    body = _order(number)
    sign = base64.b64encode(hmac.new(SECRET.encode(), body, hashlib.sha256).digest()).decode()
    head = (
        f"POST /hooks/shopify_rest HTTP/1.1\r\nHost: receiver\r\nContent-Type: application/json\r\n"
        f"X-Shopify-Topic: orders/updated\r\nX-Shopify-Webhook-Id: {number}\r\nX-Shopify-Hmac-Sha256: {sign}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _measure(
    start: Callable[[Path], tuple[subprocess.Popen[bytes], str]], events: int
) -> tuple[float, float, list[float]]:
    """Events per second, per second of processor time, and the times to the answer, in seconds and in order."""
    requests = [_request(number) for number in range(events)]
    with tempfile.TemporaryDirectory(prefix="c360-receive-") as folder:
        server, address = start(Path(folder))
        try:
            if len(cores := sorted(os.sched_getaffinity(0))) > 1:
                os.sched_setaffinity(server.pid, cores[:1])
                os.sched_setaffinity(0, cores[1:])
            process = psutil.Process(server.pid)
            before = sum(process.cpu_times()[:2])
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    seconds, latencies = runner.run(_send(address, requests))
            finally:
                os.sched_setaffinity(0, cores)
            cpu = sum(process.cpu_times()[:2]) - before
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    return events / seconds, events / cpu, sorted(latencies)


async def _send(address: str, requests: list[bytes]) -> tuple[float, list[float]]:
    host, _, port = address.removeprefix("http://").partition(":")
    left = list(reversed(requests))
    latencies: list[float] = []

    async def sender() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while left:
            request = left.pop()
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(size.split(b":")[1]))
            latencies.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return time.perf_counter() - began, latencies


def _receiver(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    settings = Settings(home=folder / "home")
    secrets = hooks.secrets_folder(settings)
    secrets.mkdir(parents=True)
    (secrets / "shopify_rest").write_text(SECRET)
    server = subprocess.Popen(
        [sys.executable, "-c", "from customer360.cli.app import main; main()", "receive"],
        env=product_environment(settings), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    _wait(server, lambda: bool(marks.address(settings)) and spool.exists(settings))
    return server, marks.address(settings)


def _peer(mode: str) -> Callable[[Path], tuple[subprocess.Popen[bytes], str]]:
    def start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
        mark = folder / "address"
        server = subprocess.Popen([sys.executable, "-m", "bench.receive", mode, str(folder)])
        _wait(server, mark.exists)
        return server, mark.read_text()

    return start


def _wait(server: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> None:
    while not is_ready():
        assert server.poll() is None
        time.sleep(0.05)
    time.sleep(1)  # both listen before they say so, and look around once


def serve_peer(mode: str, folder: Path) -> None:
    """A handler that appends each body to a file; with the mode ``flush`` it is on disk before the answer."""
    import socket

    target = os.open(folder / "bodies", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        os.write(target, body + b"\n")
        if mode == "flush":
            os.fsync(target)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        (folder / "address.part").write_text(f"http://127.0.0.1:{listener.getsockname()[1]}")
        shutil.move(folder / "address.part", folder / "address")
        config = uvicorn.Config(application, log_config=None, access_log=False, lifespan="off")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve_peer(sys.argv[1], Path(sys.argv[2]))
    else:
        sys.exit(main(*map(int, sys.argv[1:])))
