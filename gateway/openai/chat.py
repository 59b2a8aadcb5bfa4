"""POST /v1/chat/completions: OpenAI's body to a GenerationRequest, and events to its frames."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.request import Conversation, GenerationRequest
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.generation.streaming import Answer
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import aside, read_body
from cupola.gateway.openai.answers import ChatCompletion, InputTokens
from cupola.gateway.openai.body.chat import ChatRequest
from cupola.gateway.openai.chat_frames import ChatFrames
from cupola.gateway.openai.legacy_keys import LegacyChatFrames
from cupola.gateway.openapi.described import SSE, Operation, Section, post


class ChatEndpoint:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._generator = dependencies.generator
        self._counter = dependencies.counter
        legacy_keys = dependencies.config.legacy_keys
        self._frames = LegacyChatFrames if legacy_keys else ChatFrames

    def routes(self) -> list[Route]:
        about = Operation(
            Section.OPENAI,
            "Answers to a conversation",
            "With tools, structured output and reasoning. A stream ends with `[DONE]`.",
            body=ChatRequest,
            answer=ChatCompletion,
            stream=SSE,
            errors=WORK,
        )
        count = Operation(
            Section.OPENAI,
            "The number of tokens that a conversation's prompt would have",
            body=ChatRequest,
            answer=InputTokens,
            errors=WORK,
        )
        return [
            post("/v1/chat/completions", self.create, about),
            post("/v1/chat/completions/input_tokens", self.count, count),
        ]

    async def count(self, request: Request) -> Response:
        body = await read_body(ChatRequest, request)
        wanted = await aside(request, generation_of, body)
        output, _ = await self._counter.encode(request, wanted)
        return json_answer(InputTokens(len(output.tokens)))

    async def create(self, request: Request) -> Answer:
        body = await read_body(ChatRequest, request)
        generation = await self._generator.generate(await aside(request, generation_of, body))
        frames = self._frames(
            generation.model,
            answers=body.answers,
            include_usage=body.include_usage,
            include_reasoning=body.include_reasoning is not False,
            logprobs=body.best_logprobs is not None,
            functions=body.legacy,
            timings=bool(body.timings_per_token),
        )
        return Answer(generation.events, frames, stream=bool(body.stream))


def generation_of(body: ChatRequest) -> GenerationRequest:
    return GenerationRequest(
        model=body.model,
        prompt=Conversation(
            tuple(message.for_template() for message in body.messages),
            template_options=body.template_options,
            continue_last=bool(body.continue_final_message),
            parse_special=bool(body.parse_special),
        ),
        sampling=body.sampling(body.token_limit, body.best_logprobs),
        answers=body.answers,
        tools=body.tool_options,
        constraint=body.constraint,
        reasoning=body.wants_reasoning,
        show_special=body.skip_special_tokens is False,
        timings=bool(body.timings_per_token),
        progress=bool(body.return_progress and body.stream),
        prediction=body.prediction.content if body.prediction else "",
        cache_salt=body.cache_salt or "",
        ttl=body.seconds_loaded,
        provider=body.ep,
        priority=body.priority,
        timeout=body.timeout,
        names={
            "prompt": "messages",
            "constraint": body.constraint_param,
            "template_options": "chat_template_kwargs",
        },
    )
