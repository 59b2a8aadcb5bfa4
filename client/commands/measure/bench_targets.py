"""What ``cupola bench`` measures: the running service, other servers, peers that it starts."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from cupola.client import home
from cupola.client.errors import ClientError

if TYPE_CHECKING:
    from cupola.loadtests.bench.target import Target


def first(url: str, model: str) -> Target:
    """The server at ``url``, else the running service. Raises Broken, ClientError."""
    from cupola.client.running_service import find
    from cupola.loadtests.bench.http_target import HttpTarget

    if url:
        return HttpTarget(url, model=model)
    own = find(home.current())
    if own is None:
        raise ClientError(
            "No service is running", "To start it: cupola service start. Or give --url"
        )
    return HttpTarget(own.url, "cupola", model)


def targets(
    url: str, model: str, against: list[str], engine: bool, peers: str, stack: ExitStack
) -> list[Target]:
    """Raises Broken, ClientError."""
    from cupola.loadtests.bench.http_target import HttpTarget

    found: list[Target] = [first(url, model)]
    for text in against:
        address, _, name = text.partition("=")
        found.append(HttpTarget(address, name))
    if peers:
        found += _started(peers.split(","), stack)
    if engine:
        found.append(_engine(model))
    names = [target.name for target in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ClientError(
            f"Two targets are called {twice}", "Give a name: --against http://127.0.0.1:8080=NAME"
        )
    return found


def _started(names: list[str], stack: ExitStack) -> list[Target]:
    from cupola.loadtests.bench.http_target import HttpTarget
    from cupola.loadtests.host.own_service import DidNotStart
    from cupola.loadtests.host.peers import Peer, folder

    targets: list[Target] = []
    try:
        place = folder()
        for name in names:
            print(f"Starting {name}...", file=sys.stderr, flush=True)
            peer = Peer(name, place)
            stack.callback(peer.stop)
            peer.wait_until_ready()
            targets.append(HttpTarget(peer.url, name))
    except DidNotStart as error:
        raise ClientError(str(error)) from None
    return targets


def _engine(model: str) -> Target:
    """The engine as the service's settings have it, in this process."""
    from cupola.cache.store import ModelCache
    from cupola.loadtests.bench.engine_target import EngineTarget
    from cupola.service.settings.sources import load
    from cupola.service.settings.worker_options import only_worker

    settings = load().settings
    cached = ModelCache(home.current()).find(model or settings.model)
    return EngineTarget(cached.path, only_worker(settings))
