"""POST /v1/messages and /v1/messages/count_tokens. Any ``x-api-key`` will do."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cupola.gateway.anthropic.answers import AnthropicAnswer, TokenCount
from cupola.gateway.anthropic.body import CountRequest, MessagesRequest
from cupola.gateway.anthropic.frames import AnthropicFrames
from cupola.gateway.core.asking import ask
from cupola.gateway.core.param_names import in_words_of
from cupola.gateway.generation.arrangement import chat_prompt
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.generation.generator import new_call_id
from cupola.gateway.generation.streaming import Answer
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.errors import NO_RETRY, ApiError
from cupola.gateway.openapi.absent import absent
from cupola.gateway.openapi.described import SSE, Operation, Section, post
from cupola.scheduler.protocol.messages import Encode, SamplingParams


class AnthropicApi:
    def __init__(self, service: ApiDependencies) -> None:
        self._service = service

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
        asked = MessagesRequest.model_validate_json(await request.body())
        generation = await self._service.generator.generate(asked.generation(asked.sampling))
        frames = AnthropicFrames(
            generation.model, max_tokens=asked.max_tokens, show_thinking=asked.shows_thinking
        )
        return Answer(generation.events, frames, stream=bool(asked.stream))

    async def count(self, request: Request) -> Response:
        asked = CountRequest.model_validate_json(await request.body())
        model = await self._service.models.find(asked.model)
        family = await self._service.families.of(model.path)
        wanted = asked.generation(SamplingParams())
        with in_words_of(wanted.names):
            prompt = chat_prompt(wanted, family, new_call_id)
            (output,) = await ask(self._service.client, request, model, Encode(prompt))
        return JSONResponse({"input_tokens": len(output.tokens)})

    async def batches(self, request: Request) -> Response:
        text = "There are no batches here: send the requests together, they share one run"
        raise ApiError(501, "unsupported_endpoint", text, headers=NO_RETRY)
