"""POST /v1/completions: OpenAI's legacy body to GenerationRequests, and events to its frames."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import Route

from cupola.gateway.core.request import GenerationRequest
from cupola.gateway.generation.generator import Generator
from cupola.gateway.generation.merging import merged
from cupola.gateway.generation.streaming import Answer
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.openai.completion_frames import Asked, CompletionFrames
from cupola.gateway.openai.schemas.answers import TextCompletion
from cupola.gateway.openai.schemas.completion import CompletionRequest
from cupola.gateway.openapi.described import SSE, Operation, Section, post
from cupola.scheduler.protocol.messages import Text, Tokens


class CompletionsApi:
    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def routes(self) -> list[Route]:
        about = Operation(
            Section.OPENAI,
            "Continuations of plain prompts",
            "Texts or token ids, one or several. A stream ends with `[DONE]`.",
            body=CompletionRequest,
            answer=TextCompletion,
            stream=SSE,
            errors=WORK,
        )
        return [post("/v1/completions", self.create, about)]

    async def create(self, request: Request) -> Answer:
        asked = CompletionRequest.model_validate_json(await request.body())
        seen = Asked(
            prompts=asked.prompts,
            answers=asked.answers,
            candidates=asked.candidates,
            echo=bool(asked.echo),
            silent=asked.token_limit == 0,
            logprobs=asked.logprobs is not None,
            include_usage=asked.include_usage,
        )
        requests = [
            generation_of(asked, prompt, prompt_logprobs=seen.waits_for_echo(number))
            for number, prompt in enumerate(asked.prompts)
        ]
        generations = [await self._generator.generate(one) for one in requests]
        events = generations[0].events
        if len(generations) > 1:
            events = merged([generation.events for generation in generations], asked.candidates)
        frames = CompletionFrames(generations[0].model, seen)
        return Answer(events, frames, stream=bool(asked.stream))


def generation_of(
    asked: CompletionRequest, prompt: Text | Tokens, *, prompt_logprobs: bool = False
) -> GenerationRequest:
    logprobs = asked.logprobs
    if logprobs is None and (prompt_logprobs or asked.candidates > asked.answers):
        logprobs = 0
    return GenerationRequest(
        model=asked.model,
        prompt=prompt,
        sampling=asked.sampling(max(1, asked.token_limit), logprobs),
        answers=asked.candidates,
        constraint=asked.constraint,
        show_special=asked.skip_special_tokens is False,
        prompt_logprobs=prompt_logprobs,
        cache_salt=asked.cache_salt or "",
        ttl=asked.seconds_loaded,
        provider=asked.ep,
        names={"constraint": asked.constraint_param, "prompt_logprobs": "echo"},
    )
