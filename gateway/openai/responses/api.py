"""/v1/responses: OpenAI's body to a GenerationRequest, and the stored responses."""

from __future__ import annotations

import json
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cupola.gateway.core.request import Conversation, GenerationRequest
from cupola.gateway.generation.generator import Generator
from cupola.gateway.generation.streaming import Answer
from cupola.gateway.http.errors import ApiError
from cupola.gateway.openai.responses.archive import Archive
from cupola.gateway.openai.responses.background import Background
from cupola.gateway.openai.responses.frames import ResponseFrames
from cupola.gateway.openai.responses.history import check_calls, input_items, messages, read_items
from cupola.gateway.openai.responses.progress import Progress
from cupola.gateway.openai.responses.queries import PageQuery, ShowQuery, query
from cupola.gateway.openai.responses.record import UNFINISHED, Record, new_record
from cupola.gateway.openai.responses.recording import recorded
from cupola.gateway.openai.schemas.responses import ResponsesRequest

NAMES = {
    "prompt": "input",
    "max_tokens": "max_output_tokens",
    "constraint": "text.format",
    "template_options": "reasoning",
}


class ResponsesApi:
    def __init__(self, generator: Generator, archive: Archive, background: Background) -> None:
        self._generator = generator
        self._archive = archive
        self._background = background

    async def create(self, request: Request) -> Answer | Response:
        body = await request.body()
        asked = ResponsesRequest.model_validate_json(body)
        stored = self._stores(asked)
        earlier: list[dict[str, Any]] = []
        if asked.previous_response_id is not None:
            earlier = await self._archive.conversation(asked.previous_response_id)
        generation = await self._generator.generate(generation_of(asked, earlier))
        given = json.loads(body)
        record = new_record(asked, given, generation.model, int(time.time()), stored=stored)
        items = input_items(given["input"], record["id"])
        progress = Progress(
            record, stream=bool(asked.stream), logprobs=asked.best_logprobs is not None
        )
        if asked.background:
            await self._archive.add(record, items)
            self._background.start(generation, progress)
            return JSONResponse(record)

        async def keep(record: Record) -> None:
            if stored:
                await self._archive.keep(record, items)

        events = recorded(generation.events, progress, keep)
        return Answer(events, ResponseFrames(progress), stream=bool(asked.stream))

    def _stores(self, asked: ResponsesRequest) -> bool:
        """Whether the response is stored: if nothing is said, yes, as with OpenAI."""
        if self._archive.enabled:
            return asked.store is not False
        if asked.store or asked.background:
            param = "background" if asked.background else "store"
            text = f"'{param}' is not supported here: the setting 'stored_responses' is 0"
            raise ApiError(400, "unsupported_parameter", text, param=param)
        return False

    # -- stored ------------------------------------------------------------------------------------

    async def list(self, request: Request) -> Response:
        asked = query(PageQuery, request)
        records, more = await self._archive.page(
            asked.limit, asked.after, newest_first=asked.order == "desc"
        )
        return _page(records, more)

    async def show(self, request: Request) -> Response:
        query(ShowQuery, request)
        return JSONResponse(await self._archive.get(request.path_params["id"]))

    async def delete(self, request: Request) -> Response:
        response_id = request.path_params["id"]
        await self._archive.delete(response_id)
        self._background.stop(response_id)
        return JSONResponse({"id": response_id, "object": "response.deleted", "deleted": True})

    async def input_items(self, request: Request) -> Response:
        asked = query(PageQuery, request)
        items = await self._archive.input_of(request.path_params["id"])
        if asked.order == "desc":
            items.reverse()
        start = 0
        if asked.after is not None:
            ids = [item["id"] for item in items]
            if asked.after not in ids:
                text = f"There is no item '{asked.after}' in the input"
                raise ApiError(404, "item_not_found", text, param="after")
            start = ids.index(asked.after) + 1
        end = start + asked.limit
        return _page(items[start:end], end < len(items))

    async def cancel(self, request: Request) -> Response:
        """Ends a background response; one that has ended stays as it is."""
        response_id = request.path_params["id"]
        record = await self._archive.get(response_id)
        if not record["background"]:
            text = "Only a response with 'background': true can be cancelled; close the connection"
            raise ApiError(400, "invalid_value", text, param="id")
        if record["status"] in UNFINISHED:
            cancelled = {**record, "status": "cancelled"}
            if await self._archive.update(cancelled):
                self._background.stop(response_id)
                return JSONResponse(cancelled)
            record = await self._archive.get(response_id)  # it has ended meanwhile
        return JSONResponse(record)


def generation_of(
    asked: ResponsesRequest, earlier: list[dict[str, Any]] | None = None
) -> GenerationRequest:
    """``earlier``: the items of the conversation that the request goes on with."""
    items = [*read_items(earlier or []), *asked.input]
    check_calls(items)
    effort = asked.reasoning.effort if asked.reasoning else None
    return GenerationRequest(
        model=asked.model,
        prompt=Conversation(messages(asked.instructions, items), asked.template_options),
        sampling=asked.sampling(asked.max_output_tokens, asked.best_logprobs),
        tools=asked.tool_options,
        constraint=asked.constraint,
        reasoning=None if effort is None else effort != "none",
        show_special=asked.skip_special_tokens is False,
        cache_salt=asked.cache_salt or "",
        ttl=asked.seconds_loaded,
        provider=asked.ep,
        names=NAMES,
    )


def _page(items: list[dict[str, Any]], more: bool) -> Response:
    return JSONResponse(
        {
            "object": "list",
            "data": items,
            "first_id": items[0]["id"] if items else None,
            "last_id": items[-1]["id"] if items else None,
            "has_more": more,
        }
    )
