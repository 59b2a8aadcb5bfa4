"""Ending work whose client has gone away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.types import Receive


@asynccontextmanager
async def cancelled_on_disconnect(receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the client disconnects, and then go on after it.

    The request's body must have been read: nobody else may call ``receive`` meanwhile.
    """
    scope = anyio.CancelScope()
    watcher = asyncio.create_task(_watch(receive, scope))
    try:
        with scope:
            yield
    finally:
        watcher.cancel()


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
