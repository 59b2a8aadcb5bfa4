"""POST /v1/chat/completions: OpenAI's body to a GenerationRequest, and events to its frames."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import Route

from cupola.gateway.core.request import Conversation, GenerationRequest
from cupola.gateway.generation.generator import Generator
from cupola.gateway.generation.streaming import Answer
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.openai.chat_frames import ChatFrames
from cupola.gateway.openai.schemas.answers import ChatCompletion
from cupola.gateway.openai.schemas.chat import ChatRequest
from cupola.gateway.openapi.described import SSE, Operation, Section, post


class ChatApi:
    def __init__(self, generator: Generator) -> None:
        self._generator = generator

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
        return [post("/v1/chat/completions", self.create, about)]

    async def create(self, request: Request) -> Answer:
        asked = ChatRequest.model_validate_json(await request.body())
        generation = await self._generator.generate(generation_of(asked))
        frames = ChatFrames(
            generation.model,
            answers=asked.answers,
            include_usage=asked.include_usage,
            include_reasoning=asked.include_reasoning is not False,
            logprobs=bool(asked.logprobs),
            legacy=asked.legacy,
        )
        return Answer(generation.events, frames, stream=bool(asked.stream))


def generation_of(asked: ChatRequest) -> GenerationRequest:
    return GenerationRequest(
        model=asked.model,
        prompt=Conversation(
            tuple(message.for_template() for message in asked.messages),
            template_options=asked.template_options,
            continue_last=bool(asked.continue_final_message),
        ),
        sampling=asked.sampling(asked.token_limit, asked.best_logprobs),
        answers=asked.answers,
        tools=asked.tool_options,
        constraint=asked.constraint,
        reasoning=asked.wants_reasoning,
        show_special=asked.skip_special_tokens is False,
        prediction=asked.prediction.content if asked.prediction else "",
        cache_salt=asked.cache_salt or "",
        ttl=asked.seconds_loaded,
        provider=asked.ep,
        names={
            "prompt": "messages",
            "max_tokens": "max_completion_tokens" if asked.max_completion_tokens else "max_tokens",
            "constraint": asked.constraint_param,
            "template_options": "chat_template_kwargs",
        },
    )
