"""The paths of the Responses API, and the lifespan that its background work needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.errors import NO_RETRY, ApiError
from cupola.gateway.generator import Generator
from cupola.gateway.responses.api import ResponsesApi
from cupola.gateway.responses.archive import Archive
from cupola.gateway.responses.background import Background
from cupola.gateway.responses.store import ResponseStore

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def responses_api(generator: Generator, file: Path, limit: int) -> tuple[list[Route], Lifespan]:
    """``file``: where responses are stored, at most ``limit`` of them; 0: none are."""
    store = ResponseStore(file, limit) if limit else None
    archive = Archive(store)
    background = Background(archive)
    api = ResponsesApi(generator, archive, background)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            async with background.running():
                yield
        finally:
            if store is not None:
                await asyncio.to_thread(store.close)

    one = "/v1/responses/{id}"
    routes = [
        Route("/v1/responses", api.create, methods=["POST"]),
        Route("/v1/responses", api.list),
        Route("/v1/responses/compact", _no_compaction, methods=["POST"]),
        Route(one, api.show),
        Route(one, api.delete, methods=["DELETE"]),
        Route(f"{one}/input_items", api.input_items),
        Route(f"{one}/cancel", api.cancel, methods=["POST"]),
    ]
    return routes, lifespan


async def _no_compaction(request: Request) -> Response:
    text = "Conversations are not compacted here. Instead: send the part that is to be read"
    raise ApiError(501, "unsupported_endpoint", text, headers=NO_RETRY)
