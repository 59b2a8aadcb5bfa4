"""/v1/responses: OpenAI's body to a GenerationRequest, and the stored responses."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from cupola.gateway.core.counting import counted_below
from cupola.gateway.core.request import Conversation, GenerationRequest
from cupola.gateway.generation.generator import Generation, Generator
from cupola.gateway.generation.prompt_counter import PromptCounter
from cupola.gateway.generation.streaming import Answer
from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import aside, read_body
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
from cupola.gateway.openai.responses.event_log import EventLog
from cupola.gateway.openai.responses.frames import ResponseFrames
from cupola.gateway.openai.responses.history import check_calls, input_items, messages, read_items
from cupola.gateway.openai.responses.progress import Progress
from cupola.gateway.openai.responses.queries import PageQuery, ShowQuery, query
from cupola.gateway.openai.responses.record import new_record
from cupola.gateway.openai.responses.recording import recorded
from cupola.gateway.openai.responses.replay import stored_events, streamed

NAMES = {
    "prompt": "input",
    "constraint": "text.format",
    "template_options": "reasoning",
}


class ResponsesEndpoints:
    def __init__(
        self,
        generator: Generator,
        counter: PromptCounter,
        archive: Archive,
        background: Background,
    ) -> None:
        self._generator = generator
        self._counter = counter
        self._archive = archive
        self._background = background

    async def create(self, request: Request) -> Answer | Response:
        content = await request.body()
        body = await read_body(ResponsesRequest, request)
        stored = self._stores(body)
        wanted = await self._wanted(request, body)
        generation = await self._generator.generate(wanted)
        given = await aside(request, json.loads, content)
        record = new_record(body, given, generation.model, int(time.time()), stored=stored)
        items = await aside(request, input_items, given["input"], record.id)
        progress = Progress(
            record, stream=bool(body.stream), logprobs=body.best_logprobs is not None
        )
        if body.background:
            return await self._start(generation, progress, items)

        async def keep(record: ResponseObject) -> None:
            if stored:
                await self._archive.keep(record, items)

        events = recorded(generation.events, progress, keep)
        return Answer(events, ResponseFrames(progress), stream=bool(body.stream))

    async def count(self, request: Request) -> Response:
        """How many tokens the prompt of the same request to ``create`` has."""
        body = await read_body(ResponsesRequest, request)
        output, _ = await self._counter.encode(request, await self._wanted(request, body))
        return json_answer(InputTokens(len(output.tokens)))

    async def _wanted(self, request: Request, body: ResponsesRequest) -> GenerationRequest:
        earlier: list[dict[str, Any]] = []
        if body.previous_response_id is not None:
            earlier = await self._archive.conversation(body.previous_response_id)
        return await aside(request, generation_of, body, earlier)

    async def _start(
        self, generation: Generation, progress: Progress, items: Sequence[dict[str, Any]]
    ) -> Response:
        """Generate in the background, and answer at once; or with a stream, which nobody has to
        read to its end.
        """
        record = progress.record
        await self._archive.add(record, items)
        counted_below()  # when it ends, whoever reads the stream
        if not progress.streamed:
            self._background.start(generation, progress)
            return json_answer(record)
        log = EventLog()
        progress.wait()
        log.add(progress.take_frames())
        self._background.start(generation, progress, log)
        await self._background.store_events(record.id)
        return streamed(log.follow(-1))

    def _stores(self, body: ResponsesRequest) -> bool:
        """Whether the response is stored. By default it is, as with OpenAI."""
        if self._archive.enabled:
            return body.store is not False
        if body.store or body.background:
            param = "background" if body.background else "store"
            text = f"'{param}' is not supported here: the setting 'stored_responses' is 0"
            raise ApiError(400, "unsupported_parameter", text, param=param)
        return False

    # -- stored ------------------------------------------------------------------------------------

    async def list(self, request: Request) -> Response:
        page = query(PageQuery, request)
        records, more = await self._archive.page(
            page.limit, page.after, newest_first=page.order == "desc"
        )
        first, last = _ends([record.id for record in records])
        return json_answer(ResponsePage(data=records, first_id=first, last_id=last, has_more=more))

    async def show(self, request: Request) -> Response:
        wanted = query(ShowQuery, request)
        response_id = request.path_params["id"]
        if wanted.stream != "true":
            return json_answer(await self._archive.get(response_id))
        await self._archive.get(response_id)  # else another client's would be streamed below
        if (log := self._background.log_of(response_id)) is not None:
            return streamed(log.follow(wanted.after))
        if await self._archive.events(response_id, wanted.after) is None:
            text = "Only a response that was made with 'background' and 'stream' can be streamed"
            raise ApiError(400, "invalid_value", text, param="stream")
        return streamed(stored_events(self._archive, response_id, wanted.after))

    async def delete(self, request: Request) -> Response:
        response_id = request.path_params["id"]
        await self._archive.delete(response_id)
        self._background.stop(response_id)
        return json_answer(DeletedResponse(response_id))

    async def input_items(self, request: Request) -> Response:
        page = query(PageQuery, request)
        items = await self._archive.input_of(request.path_params["id"])
        if page.order == "desc":
            items.reverse()
        start = 0
        if page.after is not None:
            ids = [item["id"] for item in items]
            if page.after not in ids:
                text = f"There is no item '{page.after}' in the input"
                raise ApiError(404, "item_not_found", text, param="after")
            start = ids.index(page.after) + 1
        end = start + page.limit
        data = items[start:end]
        first, last = _ends([item["id"] for item in data])
        return json_answer(
            InputItemPage(data=data, first_id=first, last_id=last, has_more=end < len(items))
        )

    async def cancel(self, request: Request) -> Response:
        """Ends a background response; one that has ended stays as it is."""
        response_id = request.path_params["id"]
        record = await self._archive.get(response_id)
        if not record.background:
            text = "Only a response with 'background': true can be cancelled; close the connection"
            raise ApiError(400, "invalid_value", text, param="id")
        if not record.ended:
            cancelled = replace(record, status="cancelled")
            await self._background.store_events(response_id)
            if await self._archive.update(cancelled):
                self._background.stop(response_id)
                return json_answer(cancelled)
            record = await self._archive.get(response_id)  # it has ended meanwhile
        return json_answer(record)


def generation_of(
    body: ResponsesRequest, earlier: list[dict[str, Any]] | None = None
) -> GenerationRequest:
    """``earlier``: the items of the conversation that the request goes on with."""
    items = [*read_items(earlier or []), *body.input]
    check_calls(items)
    read = messages(body.instructions, items)
    if not read:
        text = "The input has nothing that the model can read: all its items are skipped"
        raise ApiError(400, "invalid_value", text, param="input")
    effort = body.reasoning.effort if body.reasoning else None
    return GenerationRequest(
        model=body.model,
        prompt=Conversation(
            read,
            body.template_options,
            parse_special=bool(body.parse_special),
        ),
        sampling=body.sampling(body.token_limit, body.best_logprobs),
        tools=body.tool_options,
        constraint=body.constraint,
        reasoning=None if effort is None else effort != "none",
        show_special=body.skip_special_tokens is False,
        cache_salt=body.cache_salt or "",
        ttl=body.seconds_loaded,
        provider=body.ep,
        priority=body.priority,
        timeout=body.timeout,
        names=NAMES,
    )


def _ends(ids: Sequence[str]) -> tuple[str | None, str | None]:
    """The first and the last id of a page."""
    return (ids[0], ids[-1]) if ids else (None, None)
