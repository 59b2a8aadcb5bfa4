"""A gateway on a real loopback port, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import openai

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.gateway.app import build_app
from cupola.gateway.connection import ConnectionLimits
from cupola.gateway.core.config import GatewayConfig
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.http.served import Finished
from cupola.gateway.server import serve_app
from cupola.scheduler.protocol.endpoint import Endpoint
from cupola.workers.device.discovery import discover

T = TypeVar("T")
WAIT = 60.0  # seconds after which a test gives up; never waited for when all is well
MODEL = "smollm2-135m"
MODEL_ID = "smollm2-135m-instruct-generic-cpu:1"
HELLO: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]}


def config_for(
    endpoint: Endpoint, home: Path, listener: socket.socket, **changes: Any
) -> GatewayConfig:
    values: dict[str, Any] = {
        "scheduler": endpoint.without_secret(),
        "home": home,
        "model": MODEL,
        "max_body_bytes": 100_000,
        "grace_seconds": WAIT,
        "host": "127.0.0.1",
        "port": listener.getsockname()[1],
        "supervisor_pid": os.getpid(),
    }
    return GatewayConfig(**(values | changes))


class RunningGateway:
    def __init__(
        self,
        endpoint: Endpoint,
        home: Path,
        *,
        limits: ConnectionLimits | None = None,
        told: Sequence[Callable[[Finished], None]] = (),
        **changes: Any,
    ) -> None:
        self.limits = limits or ConnectionLimits()
        self._told_of = told
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.config = config_for(endpoint, home, self._listener, **changes)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.told: list[str] = []
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(WAIT)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._stop, self._at_once = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with SchedulerClient.connected(self.config.scheduler) as client:
            self.client = client
            models = ModelCache(Home(self.config.home))
            self.app = build_app(
                client, models, self.config, self.told.append, discover, told=self._told_of
            )
            self._up.set()
            await serve_app(
                self.app,
                client,
                [self._listener],
                self._stop,
                self.config.grace_seconds,
                self.limits,
                at_once=self._at_once,
            )

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)

    def end_at_once(self) -> None:
        """Stop without the grace time."""
        self._loop.call_soon_threadsafe(self._at_once.set)

    def join(self) -> None:
        self._thread.join(WAIT)
        assert not self._thread.is_alive()

    def __enter__(self) -> RunningGateway:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._thread.is_alive():
            self.stop()
        self.join()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the gateway's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT)

    def connections(self) -> int:
        """How many connections hypercorn still has something to do for."""
        tasks = (str(task.get_coro()) for task in asyncio.all_tasks(self._loop))
        return sum("_server_callback" in task for task in tasks)

    def until(self, holds: Callable[[], bool]) -> None:
        """Let the gateway work until a condition holds."""
        deadline = time.monotonic() + WAIT
        while not holds():
            assert time.monotonic() < deadline
            self.send(request("GET", "/health"))

    # -- ways to talk to it ------------------------------------------------------------------------

    def http(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=WAIT)

    def openai(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="any", max_retries=0, timeout=WAIT)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)

    def post(self, body: Any, path: str = "/v1/chat/completions") -> socket.socket:
        """A connection on which a request has been sent and nothing read yet."""
        connection = self.connect()
        connection.sendall(request("POST", path, json.dumps(body).encode()))
        return connection

    def ask(self, body: Any) -> bytes:
        """The whole raw answer to a chat request."""
        with self.post(body) as connection:
            return read_all(connection)

    def send(self, *parts: bytes) -> bytes:
        """The whole raw answer to what is sent as it is."""
        with self.connect() as connection:
            for part in parts:
                connection.sendall(part)
            return read_all(connection)


def request(
    method: str, path: str, body: bytes = b"", *headers: str, host: str = "localhost"
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        data = connection.recv(65536)
        assert data, received
        received += data
    return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def error_of(answer: bytes) -> dict[str, Any]:
    """The error object of a raw answer."""
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)
