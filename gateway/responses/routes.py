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

# Endpoints of OpenAI's that are not here, and what to do instead.
_INSTEAD = {
    "compact": "send the part of the conversation that is to be read",
    "input_tokens": "/v1/chat/completions/tokenizer/encode/count counts a conversation's tokens",
}
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
        *(Route(f"/v1/responses/{name}", _refuse, methods=["POST"]) for name in _INSTEAD),
        Route(one, api.show),
        Route(one, api.delete, methods=["DELETE"]),
        Route(f"{one}/input_items", api.input_items),
        Route(f"{one}/cancel", api.cancel, methods=["POST"]),
    ]
    return routes, lifespan


async def _refuse(request: Request) -> Response:
    instead = _INSTEAD[request.url.path.rpartition("/")[2]]
    text = f"There is no such endpoint here. Instead: {instead}"
    raise ApiError(501, "unsupported_endpoint", text, headers=NO_RETRY)
