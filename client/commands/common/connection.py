"""The way from a command to the service that runs, or to a new one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cupola.cache.home import Home
from cupola.client.errors import ClientError

if TYPE_CHECKING:
    from cupola.client.running_service import RunningService
    from cupola.client.sdk.connection import Connection


def running(folder: Home) -> RunningService:
    """The running service, started in the background if there is none. Raises ClientError."""
    from cupola.client import daemon
    from cupola.client.running_service import find

    if (service := find(folder)) is not None:
        return service
    print("Starting the service (cupola service stop ends it)...", file=sys.stderr, flush=True)
    return daemon.ensure_running(folder, {})[0]


def connected(folder: Home, start: bool = False) -> Connection:
    """A connection to the service; ``start`` starts it if none runs. Raises ClientError."""
    from cupola.client import daemon
    from cupola.client.sdk.connection import Connection

    if start:
        return Connection(running(folder).url)
    service = daemon.find_or_await(folder)
    if service is None:
        raise ClientError("The service is not running", "To start it: cupola service start")
    return Connection(service.url)


def loaded_ids(folder: Home) -> set[str]:
    """The models in memory; none when no service runs."""
    from cupola.client.running_service import find

    return set(connected(folder).loaded()) if find(folder) else set()
