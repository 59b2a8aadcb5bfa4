"""The paths of the Responses API, and its work in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.errors import NO_RETRY, ApiError
from cupola.gateway.openai.answers import InputTokens
from cupola.gateway.openai.responses.answers import (
    DeletedResponse,
    InputItemPage,
    ResponseObject,
    ResponsePage,
)
from cupola.gateway.openai.responses.archive import Archive
from cupola.gateway.openai.responses.background import Background
from cupola.gateway.openai.responses.body.response import ResponsesRequest
from cupola.gateway.openai.responses.endpoints import ResponsesEndpoints
from cupola.gateway.openai.responses.store import ResponseStore
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
}


class ResponsesApi:
    """The paths of /v1/responses. ``working`` is what they need beside their requests."""

    def __init__(self, dependencies: ApiDependencies) -> None:
        config = dependencies.config
        self._store: ResponseStore | None = None
        if config.stored_responses:
            self._store = ResponseStore(
                config.home / "responses.sqlite",
                config.stored_responses,
                config.stored_response_bytes,
                each=config.keys_demanded,
            )
        archive = Archive(self._store)
        self._background = Background(archive)
        self._endpoints = ResponsesEndpoints(
            dependencies.generator, dependencies.counter, archive, self._background
        )

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Responses can be made in the background. At the end the store is closed."""
        try:
            async with self._background.running():
                yield
        finally:
            if self._store is not None:
                await asyncio.to_thread(self._store.close)

    def routes(self) -> list[Route]:
        one, stored = "/v1/responses/{id}", ("response_not_found", "store_unavailable")
        return [
            post(
                "/v1/responses",
                self._endpoints.create,
                Operation(
                    Section.OPENAI,
                    "A response to some input",
                    "Stored unless `store` is false; others can continue it. With `background` "
                    "it is generated while nobody waits; with `stream` as well, its stream can be "
                    "read again from any event on. A stream ends with `[DONE]`.",
                    body=ResponsesRequest,
                    answer=ResponseObject,
                    stream=SSE,
                    errors=(*WORK, "previous_response_not_found", "store_unavailable"),
                ),
            ),
            get(
                "/v1/responses",
                self._endpoints.list,
                _about("The stored responses", ResponsePage, stored, _PAGE),
            ),
            post(
                "/v1/responses/input_tokens",
                self._endpoints.count,
                Operation(
                    Section.OPENAI,
                    "The number of tokens that a response's prompt would have",
                    body=ResponsesRequest,
                    answer=InputTokens,
                    errors=(*WORK, "previous_response_not_found", "store_unavailable"),
                ),
            ),
            *(absent(f"/v1/responses/{name}", _refuse, name, ["POST"]) for name in _INSTEAD),
            get(
                one,
                self._endpoints.show,
                _about("A stored response", ResponseObject, stored, _SHOWN),
            ),
            delete(
                one, self._endpoints.delete, _about("Forget a response", DeletedResponse, stored)
            ),
            get(
                f"{one}/input_items",
                self._endpoints.input_items,
                _about(
                    "The input of a stored response",
                    InputItemPage,
                    (*stored, "item_not_found"),
                    _PAGE,
                ),
            ),
            post(
                f"{one}/cancel",
                self._endpoints.cancel,
                _about(
                    "End a response in the background", ResponseObject, (*stored, "invalid_value")
                ),
            ),
        ]


_PAGE = {
    "limit": Query(Annotated[int, Meta(ge=1, le=100)], "how many; the default is 20"),
    "order": Query(Literal["asc", "desc"], "by time; the default is newest first"),
    "after": Query(str, "the id that comes before the first one wanted"),
}
_SHOWN = {
    "stream": Query(
        Literal["true", "false"], "the events of one made with `background` and `stream`"
    ),
    "starting_after": Query(int, "the number of the last event that is not wanted"),
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
