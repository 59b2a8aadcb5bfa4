"""POST /v1/messages and /v1/messages/count_tokens. Any ``x-api-key`` will do."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.anthropic.answers import AnthropicAnswer, TokenCount
from cupola.gateway.anthropic.body import CountRequest, MessagesRequest
from cupola.gateway.anthropic.frames import AnthropicFrames
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.generation.streaming import Answer
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.errors import NO_RETRY, ApiError
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import aside, read_body
from cupola.gateway.openapi.absent import absent
from cupola.gateway.openapi.described import SSE, Operation, Section, post
from cupola.scheduler.protocol.tasks import SamplingParams


class AnthropicApi:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._generator = dependencies.generator
        self._counter = dependencies.counter

    def routes(self) -> list[Route]:
        message = Operation(
            Section.ANTHROPIC,
            "The next message of a conversation",
            body=MessagesRequest,
            answer=AnthropicAnswer,
            stream=SSE,
            errors=WORK,
        )
        count = Operation(
            Section.ANTHROPIC,
            "How many tokens a conversation has",
            body=CountRequest,
            answer=TokenCount,
            errors=WORK,
        )
        return [
            post("/v1/messages", self.create, message),
            post("/v1/messages/count_tokens", self.count, count),
            absent("/v1/messages/batches", self.batches, "batches of messages"),
            absent("/v1/messages/batches/{rest:path}", self.batches, "batches of messages"),
        ]

    async def create(self, request: Request) -> Answer:
        body = await read_body(MessagesRequest, request)
        wanted = await aside(request, body.generation, body.sampling)
        generation = await self._generator.generate(wanted)
        frames = AnthropicFrames(
            generation.model, max_tokens=body.max_tokens, show_thinking=body.shows_thinking
        )
        return Answer(generation.events, frames, stream=bool(body.stream))

    async def count(self, request: Request) -> Response:
        body = await read_body(CountRequest, request)
        wanted = await aside(request, body.generation, SamplingParams())
        output, _ = await self._counter.encode(request, wanted)
        return json_answer(TokenCount(len(output.tokens)))

    async def batches(self, request: Request) -> Response:
        text = "There are no batches here: send the requests together, they share one run"
        raise ApiError(501, "unsupported_endpoint", text, headers=NO_RETRY)
