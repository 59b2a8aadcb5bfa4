"""The paths of the Responses API, and the lifespan that its background work needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.generation.generator import Generator
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.errors import NO_RETRY, ApiError
from cupola.gateway.openai.responses.answers import (
    DeletedResponse,
    InputItemPage,
    ResponseObject,
    ResponsePage,
)
from cupola.gateway.openai.responses.api import ResponsesApi
from cupola.gateway.openai.responses.archive import Archive
from cupola.gateway.openai.responses.background import Background
from cupola.gateway.openai.responses.store import ResponseStore
from cupola.gateway.openai.schemas.responses import ResponsesRequest
from cupola.gateway.openapi.absent import absent
from cupola.gateway.openapi.described import (
    SSE,
    Operation,
    Query,
    Section,
    delete,
    get,
    post,
)

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

    one, stored = "/v1/responses/{id}", ("response_not_found", "store_unavailable")
    routes = [
        post(
            "/v1/responses",
            api.create,
            Operation(
                Section.OPENAI,
                "A response to some input",
                "Stored unless `store` is false, and then the beginning of others. Made while "
                "nobody waits with `background`. A stream ends with `[DONE]`.",
                body=ResponsesRequest,
                answer=ResponseObject,
                stream=SSE,
                errors=(*WORK, "previous_response_not_found", "store_unavailable"),
            ),
        ),
        get(
            "/v1/responses",
            api.list,
            _about("The stored responses", ResponsePage, stored, _PAGE),
        ),
        *(absent(f"/v1/responses/{name}", _refuse, name, ["POST"]) for name in _INSTEAD),
        get(one, api.show, _about("A stored response", ResponseObject, stored, _SHOWN)),
        delete(one, api.delete, _about("Forget a response", DeletedResponse, stored)),
        get(
            f"{one}/input_items",
            api.input_items,
            _about(
                "The input of a stored response", InputItemPage, (*stored, "item_not_found"), _PAGE
            ),
        ),
        post(
            f"{one}/cancel",
            api.cancel,
            _about("End a response in the background", ResponseObject, (*stored, "invalid_value")),
        ),
    ]
    return routes, lifespan


_PAGE = {
    "limit": Query(Annotated[int, Meta(ge=1, le=100)], "how many, 20 where nothing is said"),
    "order": Query(Literal["asc", "desc"], "by the time, newest first where nothing is said"),
    "after": Query(str, "the id that comes before the first one wanted"),
}
_SHOWN = {
    "stream": Query(Literal["false"], "stored responses are not streamed"),
    "include_obfuscation": Query(str, "changes nothing"),
}


def _about(
    summary: str, answer: Any, errors: Sequence[str], query: Mapping[str, Query] | None = None
) -> Operation:
    return Operation(
        Section.OPENAI,
        summary,
        query=query or {},
        path={"id": Query(str, "id of a response")},
        answer=answer,
        errors=errors,
    )


async def _refuse(request: Request) -> Response:
    instead = _INSTEAD[request.url.path.rpartition("/")[2]]
    text = f"There is no such endpoint here. Instead: {instead}"
    raise ApiError(501, "unsupported_endpoint", text, headers=NO_RETRY)
