"""hypercorn around the application, and an orderly end.

stop ──> new connections get 503 ──> running answers finish ──> end
                                          └─ grace is over, or there is no time: each gets an
                                             error ──> end
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

import hypercorn.asyncio.run
import hypercorn.protocol
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from starlette.applications import Starlette

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.gateway.app import build_app
from cupola.gateway.connection import Connection, ConnectionLimits
from cupola.gateway.core.config import GatewayConfig
from cupola.gateway.core.remote_models import RemoteModels
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.http.served import Finished
from cupola.gateway.http1 import Http1
from cupola.gateway.refusal import is_unix, refusing
from cupola.scheduler.protocol.commands import BEAT_SECONDS, STOP_AT_ONCE, Commands
from cupola.scheduler.protocol.lifeline import Lifeline
from cupola.scheduler.protocol.messages import ErrorCode
from cupola.scheduler.protocol.status import ProviderState

ERROR_SECONDS = 1.0  # for the errors at the end of the grace time to reach their clients
# Objects that are made before the collector looks for circles among the new ones. A request makes
# hundreds and leaves hardly a circle.
_GARBAGE = 10_000
_ACCEPT_TURNS = 3  # of the loop from accept(2) to hypercorn: transport, protocol, its task


def serve_until_stop(
    config: GatewayConfig,
    listeners: Sequence[socket.socket],
    lifeline: Lifeline,
    discover: Callable[[], Sequence[ProviderState]],
) -> None:
    # ZeroMQ needs a loop that can watch file descriptors; Windows' default one cannot.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(_main(config, listeners, lifeline, discover))


async def _main(
    config: GatewayConfig,
    listeners: Sequence[socket.socket],
    lifeline: Lifeline,
    discover: Callable[[], Sequence[ProviderState]],
) -> None:
    stop, at_once = asyncio.Event(), asyncio.Event()
    remote = RemoteModels()
    commands = lifeline.watch(when_orphaned=STOP_AT_ONCE)
    _listen(commands, stop, at_once, remote)
    async with SchedulerClient.connected(config.scheduler) as client, asyncio.TaskGroup() as tasks:
        models = ModelCache(Home(config.home), config.providers)
        with _telemetry(config.otlp_endpoint) as told:
            app = build_app(client, models, config, lifeline.tell, discover, remote, told)
            # Else each full collection looks at all of this again, and nobody is served.
            gc.freeze()
            gc.set_threshold(_GARBAGE)
            background = [
                tasks.create_task(_announce_ready(client, lifeline)),
                tasks.create_task(_beat(commands)),
            ]
            limits = ConnectionLimits.of_this_process()
            tls = (config.certificate, config.private_key) if config.certificate else None
            grace = config.grace_seconds
            await serve_app(app, client, listeners, stop, grace, limits, tls, at_once)
            for task in background:
                task.cancel()


@contextmanager
def _telemetry(endpoint: str) -> Iterator[list[Callable[[Finished], None]]]:
    """Who is to be told of each request that has ended: nobody where there is no collector."""
    if not endpoint:
        yield []
        return
    from cupola.gateway.telemetry import Telemetry  # its packages are not in every installation

    telemetry = Telemetry.to(endpoint)
    try:
        yield [telemetry.tell]
    finally:
        telemetry.close()


def _listen(
    commands: Commands, stop: asyncio.Event, at_once: asyncio.Event, remote: RemoteModels
) -> None:
    def on_line() -> None:
        for line in commands.read():
            if line == STOP_AT_ONCE:
                at_once.set()
            if line in ("stop", STOP_AT_ONCE):
                stop.set()
            remote.update(line)

    asyncio.get_running_loop().add_reader(commands.fileno(), on_line)


async def _beat(commands: Commands) -> None:
    """Show the supervisor that this loop turns."""
    while True:
        commands.beat()
        await asyncio.sleep(BEAT_SECONDS)


async def _announce_ready(client: SchedulerClient, lifeline: Lifeline) -> None:
    await client.serving()
    lifeline.tell("ready")


async def serve_app(
    app: Starlette,
    client: SchedulerClient,
    listeners: Sequence[socket.socket],
    stop: asyncio.Event,
    grace: float,
    limits: ConnectionLimits | None = None,
    tls: tuple[str, str] | None = None,
    at_once: asyncio.Event | None = None,
) -> None:
    """Serve ``app`` on ``listeners`` until ``stop``, then end in order. Closes the listeners.

    ``tls``: the files of a certificate and its key; Unix sockets go without. ``at_once`` ends the
    grace time.

    hypercorn's own grace time does nothing on Python 3.12 and later while a stream is open
    (hypercorn#308), so the streams are ended here.
    """
    # hypercorn has no setting for the classes of its connections and of their protocol.
    setattr(hypercorn.protocol, "H11Protocol", Http1)  # noqa: B010  # mypy knows no such name
    connection = partial(Connection, limits or ConnectionLimits())
    setattr(hypercorn.asyncio.run, "TCPServer", connection)  # noqa: B010  # mypy knows no such name
    at_once = at_once or asyncio.Event()
    # Other gateways accept from the same sockets. ``dup`` makes a socket block for all of them if
    # this object blocks, and their loops would stand still until somebody connects.
    for each in listeners:
        each.setblocking(False)
    again = [each.dup() for each in listeners]  # hypercorn closes those that it gets
    local = [each for each in listeners if is_unix(each)]
    others = [each.detach() for each in listeners if each not in local]
    unix = [each.detach() for each in local]
    accepting = [*others, *unix]
    settings = _hypercorn(others, unix, longest_end=grace + 2 * ERROR_SECONDS, tls=tls)

    async def stop_accepting() -> None:
        await stop.wait()
        await _stop_accepting(accepting)

    serving = serve(cast(ASGIFramework, app), settings, shutdown_trigger=stop_accepting)
    server = asyncio.create_task(serving)
    server.add_done_callback(lambda _: stop.set())  # when it fails there is nothing to wait for
    await stop.wait()
    context = settings.create_ssl_context() if tls else None
    async with refusing(again, context):
        await _first_of(server, at_once, grace)
    client.end_all(ErrorCode.SHUTTING_DOWN, "the service is shutting down; the answer is cut short")
    await asyncio.wait([server], timeout=ERROR_SECONDS)
    # Do not wait for clients that do not read their answers: they hold their connections, and
    # hypercorn with them. The end of the loop cancels what is left.
    server.cancel()
    await asyncio.wait([server], timeout=ERROR_SECONDS)
    if server.done() and not server.cancelled():
        server.result()


async def _first_of(server: asyncio.Task[None], at_once: asyncio.Event, seconds: float) -> None:
    """Wait for the end of the server, but not longer than any of the others allows."""
    hurry = asyncio.create_task(at_once.wait())
    await asyncio.wait([server, hurry], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()


async def _stop_accepting(listeners: Sequence[int]) -> None:
    """Accept nothing more, and let what is accepted reach hypercorn.

    asyncio's server drops a connection that it accepted in the very turn in which it is closed:
    nobody would serve or close it (cpython#109564).
    """
    loop = asyncio.get_running_loop()
    for listener in listeners:
        loop.remove_reader(listener)
    for _ in range(_ACCEPT_TURNS):
        await asyncio.sleep(0)


class _Config(Config):
    """hypercorn's, which would make the same date anew for each answer of a second."""

    _dated: tuple[int, list[tuple[bytes, bytes]]] = (0, [])  # the second, and its headers

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        second = int(time.time())
        if self._dated[0] != second:
            self._dated = second, super().response_headers(protocol)
        return self._dated[1]


def _hypercorn(
    listeners: Sequence[int], unix: Sequence[int], longest_end: float, tls: tuple[str, str] | None
) -> Config:
    log = logging.getLogger("hypercorn.error")
    log.setLevel(logging.WARNING)
    settings = _Config()
    settings.bind = [f"fd://{listener}" for listener in listeners]
    settings.insecure_bind = [f"fd://{listener}" for listener in unix]
    if tls is None:
        settings.bind += settings.insecure_bind
    else:
        settings.certfile, settings.keyfile = tls
        settings.alpn_protocols = ["http/1.1"]
    settings.backlog = 2048
    settings.accesslog = None  # middleware.RequestLog writes it
    settings.errorlog = log
    settings.graceful_timeout = longest_end
    settings.keep_alive_timeout = 75.0  # longer than proxies keep theirs, or they meet a closed one
    settings.keep_alive_max_requests = 1_000_000
    settings.include_server_header = False
    return settings
